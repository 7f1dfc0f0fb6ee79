"""`streamscope mark`: have a running session keep a text with the present frame."""

from __future__ import annotations

from typing import Annotated

import typer

from streamscope.cli.options import Endpoint, Keys
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import STATUS

TIMEOUT_S = 10.0


def mark(
    text: Annotated[str, typer.Argument(help="what to keep, one line of at most 200 letters")],
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Keep a text with the present frame of a running session, on the wire, in the journal and in session.h5.

    Example: streamscope mark "tone on"
    """
    with Subscriber(endpoint, STATUS, connect_timeout_s=TIMEOUT_S, keys=keys) as session:
        reply = session.ask("mark", text=text)
    typer.echo(f"marked frame {reply['frame']}")
