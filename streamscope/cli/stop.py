"""`streamscope stop`: ask a running session to end."""

from __future__ import annotations

from typing import Annotated

import typer

from streamscope.cli.options import Keys
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import STATUS

TIMEOUT_S = 10.0


def stop(
    endpoint: Annotated[
        str, typer.Argument(help="address that the session printed when it began")
    ] = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Ask a running session to end well, as Ctrl-C where it runs: once with the refit, twice without.

    Example: streamscope stop
    """
    with Subscriber(endpoint, STATUS, connect_timeout_s=TIMEOUT_S, keys=keys) as session:
        session.ask("stop")
    typer.echo("the session takes no further frames; it drains, and refits unless it was stopped before")
