"""`streamscope arm`: let a rule of a running session act."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from streamscope.cli.options import Endpoint, Keys
from streamscope.errors import ConfigError
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import STATUS

TIMEOUT_S = 10.0  # to find the session, and to hear that it holds
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
    level: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER|CONDITION=NUMBER",
            help="Level of a condition from now on, in place of that of the file.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and note, but write nothing.")] = False,
    by: Annotated[str, typer.Option(help="Who arms it, for the journal.")] = "streamscope arm",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Arm a rule of a running session, or show how each rule stands.

    No rule is armed when a session begins. One that was disarmed, by you or because a frame was late or its cell is
    not what it was, says why, and stays so until it is armed again.

    Example: streamscope arm reward --cell 42 --level high=4.5
    """
    if rule is None:
        for line in standing(ask(endpoint, keys, "snapshot")["rules"]):
            typer.echo(line)
        return
    named = {"cells": dict(map(read_cell, cell or [])), "levels": dict(map(read_level, level or []))}
    reply = ask(endpoint, keys, "arm", rule=rule, **named, dry=dry_run, text=by)
    dry = ", dry" if dry_run else ""
    typer.echo(
        f"{rule} armed from frame {reply['frame']} on{_cells(reply['cells'])}{_levels(reply['levels'])}{dry}"
    )


def ask(endpoint: str, keys: Path | None, verb: str, **fields: Any) -> Mapping[str, Any]:
    """Return the reply of a running session."""
    with Subscriber(endpoint, STATUS, connect_timeout_s=TIMEOUT_S, keys=keys) as session:
        return session.ask(verb, **fields)


def read_cell(text: str) -> tuple[str, int]:
    """Return signal (empty if none is named) and id of ID or SIGNAL=ID."""
    signal, equals, number = text.rpartition("=")
    if not number.strip().isdecimal() or (equals and not signal.strip()):
        raise ConfigError(f"--cell is {text!r}, expected an id, or SIGNAL=ID; write e.g. --cell 42")
    return signal.strip(), int(number)


def read_level(text: str) -> tuple[str, float]:
    """Return condition (empty if none is named) and level of NUMBER or CONDITION=NUMBER."""
    condition, equals, number = text.rpartition("=")
    try:
        if equals and not condition.strip():
            raise ValueError
        return condition.strip(), float(number)
    except ValueError:
        raise ConfigError(
            f"--level is {text!r}, expected a number, or CONDITION=NUMBER; write e.g. --level 4.5"
        ) from None


def standing(rules: Mapping[str, Any]) -> list[str]:
    """Return one line for each rule: armed or why not, its cells, what it did."""
    if not rules:
        return ["this session has no rules, or no frame yet"]
    lines = []
    for name, rule in rules.items():
        counts = ", ".join(f"{n} {outcome}" for outcome, n in rule["counts"].items())
        state = ("armed, dry" if rule["dry"] else "armed") if rule["armed"] else f"not armed ({rule['why']})"
        where = f"{_cells(rule['cells'])}{_levels(rule['levels'])}"
        lines.append(f"{name:<16} {state}{where}{': ' if counts else ''}{counts}")
    return lines


def _cells(cells: Mapping[str, int | None]) -> str:
    named = [
        f"{signal} = cell {cell}" if cell else f"{signal} not there yet" for signal, cell in cells.items()
    ]
    return f", {', '.join(named)}" if named else ""


def _levels(levels: Mapping[str, float]) -> str:
    return "".join(f", {condition} at {level:g}" for condition, level in levels.items())
