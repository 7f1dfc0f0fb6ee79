"""`streamscope disarm`: let rules of a running session act no more."""

from __future__ import annotations

from typing import Annotated

import typer

from streamscope.cli.arm import ask
from streamscope.cli.options import Endpoint, Keys
from streamscope.wire.endpoints import DEFAULT_ENDPOINT


def disarm(
    rule: Annotated[str | None, typer.Argument(help="Name of the rule; none: all of them.")] = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Every line low at once, and no rule can be armed any more.")
    ] = False,
    by: Annotated[str, typer.Option(help="Who disarms, for the journal.")] = "streamscope disarm",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    keys: Keys = None,
) -> None:
    """Disarm a rule of a running session, or all of them.

    Example: streamscope disarm --emergency
    """
    reply = ask(endpoint, keys, "disarm", rule=rule, emergency=emergency, text=by)
    if emergency:
        typer.echo(f"stopped from frame {reply['frame']} on; no rule can be armed in this session any more")
    else:
        typer.echo(
            f"disarmed from frame {reply['frame']} on: {', '.join(reply['rules']) or 'nothing was armed'}"
        )
