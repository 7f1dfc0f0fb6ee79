"""`streamscope thaw`: ask a running session to learn on."""

from __future__ import annotations

from typing import Annotated

import typer

from streamscope.cli.freeze import held_from
from streamscope.cli.options import Keys
from streamscope.wire.endpoints import DEFAULT_ENDPOINT


def thaw(
    endpoint: Annotated[
        str, typer.Argument(help="address that the session printed when it began")
    ] = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Let a frozen session learn on: new cells, changed footprints.

    Thawing what is not frozen does nothing, and prints the frame from which it has been so.

    Example: streamscope thaw tcp://127.0.0.1:5570
    """
    typer.echo(f"thawed from frame {held_from(endpoint, 'thaw', keys)} on")
