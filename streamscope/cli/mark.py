"""`streamscope mark`: note something in a running session."""

from __future__ import annotations

from typing import Annotated

import typer

from streamscope.cli.arm import Endpoint, ask
from streamscope.wire.endpoints import DEFAULT_ENDPOINT


def mark(
    text: Annotated[str, typer.Argument(help="What to note; rules may watch for it.")],
    endpoint: Endpoint = DEFAULT_ENDPOINT,
) -> None:
    """Mark the present frame of a running session: an event, a line in notes.csv, and a signal for rules.

    Example: streamscope mark "tone on"
    """
    typer.echo(f"marked frame {ask(endpoint, 'mark', text=text)['frame']}")
