"""`streamscope arm`: let a rule of a running session act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import typer

from streamscope.errors import ConfigError
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import STATUS

TIMEOUT_S = 10.0  # to find the session, and to hear that it holds
Endpoint: TypeAlias = Annotated[str, typer.Option(help="Address that the session printed when it began.")]
Cells: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        metavar="ID|SIGNAL=ID",
        help="Cell of a signal whose cell the rules leave open.",
        show_default=False,
    ),
]


def arm(
    rule: Annotated[str | None, typer.Argument(help="Name of the rule; none: how each rule stands.")] = None,
    cell: Cells = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and note, but write nothing.")] = False,
    by: Annotated[str, typer.Option(help="Who arms it, for the journal.")] = "streamscope arm",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
) -> None:
    """Arm a rule of a running session, or show how each rule stands.

    No rule is armed when a session begins. One that was disarmed, by you or because a frame was late or its cell is
    not what it was, says why, and stays so until it is armed again.

    Example: streamscope arm reward --cell 42
    """
    if rule is None:
        for line in standing(ask(endpoint, "snapshot")["rules"]):
            typer.echo(line)
        return
    reply = ask(endpoint, "arm", rule=rule, cells=dict(map(read_cell, cell or [])), dry=dry_run, text=by)
    typer.echo(
        f"{rule} armed from frame {reply['frame']} on{_cells(reply['cells'])}{', dry' if dry_run else ''}"
    )


def ask(endpoint: str, verb: str, **fields: Any) -> Mapping[str, Any]:
    """Return the reply of a running session."""
    with Subscriber(endpoint, STATUS, connect_timeout_s=TIMEOUT_S) as session:
        return session.ask(verb, **fields)


def read_cell(text: str) -> tuple[str, int]:
    """Return signal (empty if none is named) and id of ID or SIGNAL=ID."""
    signal, equals, number = text.rpartition("=")
    if not number.strip().isdecimal() or (equals and not signal.strip()):
        raise ConfigError(f"--cell is {text!r}, expected an id, or SIGNAL=ID; write e.g. --cell 42")
    return signal.strip(), int(number)


def standing(rules: Mapping[str, Any]) -> list[str]:
    """Return one line for each rule: armed or why not, its cells, what it did."""
    if not rules:
        return ["this session has no rules, or no frame yet"]
    lines = []
    for name, rule in rules.items():
        counts = ", ".join(f"{n} {outcome}" for outcome, n in rule["counts"].items())
        state = ("armed, dry" if rule["dry"] else "armed") if rule["armed"] else f"not armed ({rule['why']})"
        lines.append(f"{name:<16} {state}{_cells(rule['cells'])}{': ' if counts else ''}{counts}")
    return lines


def _cells(cells: Mapping[str, int | None]) -> str:
    named = [
        f"{signal} = cell {cell}" if cell else f"{signal} not there yet" for signal, cell in cells.items()
    ]
    return f", {', '.join(named)}" if named else ""
