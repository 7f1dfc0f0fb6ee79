"""`streamscope freeze`: ask a running session to stop learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamscope.cli.options import Keys
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import STATUS

TIMEOUT_S = 10.0  # to find the session, and to hear that it holds


def freeze(
    endpoint: Annotated[
        str, typer.Argument(help="address that the session printed when it began")
    ] = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Freeze what a running session learns: no new cells, no changed footprints, until it is thawed.

    The static background still follows the light, so that traces do not drift. Freezing what is frozen does
    nothing, and prints the frame from which it has been so.

    Example: streamscope freeze tcp://127.0.0.1:5570
    """
    typer.echo(f"frozen from frame {held_from(endpoint, 'freeze', keys)} on")


def held_from(endpoint: str, verb: str, keys: Path | None = None) -> int:
    """Ask the session to freeze or thaw, and return the first frame for which it holds."""
    with Subscriber(endpoint, STATUS, connect_timeout_s=TIMEOUT_S, keys=keys) as session:
        return int(session.ask(verb)["frame"])
