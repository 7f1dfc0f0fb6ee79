"""`streamscope set`: change settings of the device of a running session."""

from __future__ import annotations

from typing import Annotated

import typer

from streamscope.cli.options import Keys
from streamscope.errors import ConfigError
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import STATUS

TIMEOUT_S = 10.0


def set(
    settings: Annotated[
        list[str], typer.Argument(help="NAME=VALUE ..., e.g. led=30 gain=medium focus=-20 fps=30")
    ],
    endpoint: Annotated[
        str, typer.Option(help="Address that the session printed when it began.")
    ] = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Change settings of the device that a running session watches; prints the first frame that shows them.

    Example: streamscope set led=30 gain=medium
    """
    values = dict(map(read_setting, settings))
    with Subscriber(endpoint, STATUS, connect_timeout_s=TIMEOUT_S, keys=keys) as session:
        reply = session.ask("set", values=values)
    kept = ", ".join(f"{name} {value}" for name, value in reply["values"].items())
    typer.echo(f"{kept} from frame {reply['frame']} on")


def read_setting(text: str) -> tuple[str, float | str]:
    """Return name and value of NAME=VALUE."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise ConfigError(f"{text!r} is no setting, expected NAME=VALUE; write e.g. led=30")
    try:
        return name, float(value)
    except ValueError:
        return name, value
