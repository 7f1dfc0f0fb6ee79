"""The commands of `streamscope`, and what they have in common: one sentence for each error."""

from __future__ import annotations

import tempfile
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streamscope._version import __version__
from streamscope.errors import StreamScopeError

COMMANDS = (
    *("demo", "replay", "live", "preview", "devices", "doctor"),
    *("listen", "mark", "set", "freeze", "thaw", "stop", "keys"),
    *("arm", "disarm", "triggers", "fit-decoder"),
    *("refit", "inspect", "export", "config", "import-config"),
)
EXIT_FAULT = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class Commands(TyperGroup):
    """Commands whose modules are imported when they are used, and which end with one sentence on an error.

    Each is the function of its name in the module of its name, - written as _.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        body = getattr(import_module(f"streamscope.cli.{name}"), name)
        if isinstance(body, typer.Typer):  # a command with commands of its own
            return typer.main.get_command(body)
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name)(body)
        return typer.main.get_command(single)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except StreamScopeError as error:
            typer.echo(f"streamscope: {error}", err=True)
            raise typer.Exit(EXIT_ERROR) from error
        except KeyboardInterrupt as error:
            typer.echo("streamscope: stopped", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):  # wrong use and early ends: typer's own
                raise
            typer.echo(f"streamscope: {_fault(error)}", err=True)
            raise typer.Exit(EXIT_FAULT) from error


def _fault(error: Exception) -> str:
    """Write down an error that nobody foresaw and return what to say of it."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="streamscope-error-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    return (
        f"a fault of the program, not yours ({type(error).__name__}: {error}); "
        f"please report it with the details in {file.name}"
    )


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Live calcium traces from a 1-photon miniscope, while the animal behaves. Try it: streamscope demo",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamscope {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line; the entry point of the `streamscope` command."""
    app()
