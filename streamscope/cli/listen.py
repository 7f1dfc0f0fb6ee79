"""`streamscope listen`: print what a running session publishes, one line per message."""

from __future__ import annotations

import itertools
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from streamscope.cli.options import Keys
from streamscope.clock import clock_ns
from streamscope.errors import WireError
from streamscope.wire.client import Subscriber
from streamscope.wire.endpoints import DEFAULT_ENDPOINT
from streamscope.wire.schema import (
    TRACES,
    ComponentMessage,
    EventMessage,
    ImageMessage,
    Message,
    StatusMessage,
    TracesMessage,
    TriggerMessage,
)

_STRONGEST = 5


def listen(
    endpoint: Annotated[
        str, typer.Argument(help="address that the session printed when it began")
    ] = DEFAULT_ENDPOINT,
    topic: Annotated[
        str, typer.Option("--topic", help="traces/ components/ events/ triggers/ status/ or image/")
    ] = TRACES,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="stop after so many messages; default: at the end")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0.1, help="give up when nothing comes for so long, s")
    ] = 10.0,
    keys: Keys = None,
) -> None:
    """Print what a running session publishes, one line per message.

    Example: streamscope listen tcp://127.0.0.1:5570 --topic components/
    """
    out = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        with Subscriber(
            endpoint, topic, timeout_s=timeout_s, connect_timeout_s=timeout_s, keys=keys
        ) as subscriber:
            for message in itertools.islice(subscriber, count):
                out.print(line(message, clock_ns()))
    except WireError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(str(error))
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        return  # how one stops listening


def line(message: Message, now_ns: int) -> str:
    """Return one line that says what a message holds; `now_ns` by streamscope.clock."""
    lost = f"  ({message.missed} messages lost before)" if message.missed else ""
    return _text(message, now_ns) + lost


def _text(message: Message, now_ns: int) -> str:
    match message:
        case TracesMessage():
            strongest = "  ".join(
                f"#{message.ids[k]} {message.c[k]:.1f}" for k in _order(message)[:_STRONGEST]
            )
            gap = f"  {message.gap} frames missing before" if message.gap else ""
            age = f"age {message.age_ms(now_ns):6.1f} ms"
            return f"{_frame(message)}  {age}  cells {len(message.ids):4d}  {strongest}{gap}".rstrip()
        case ComponentMessage(event=event):
            into = "" if event.into is None else f" into #{event.into}"
            where = "" if event.y is None or event.x is None else f" at y {event.y:.1f} x {event.x:.1f} px"
            snr = "" if event.snr is None else f" snr {event.snr:.1f}"
            reason = f" ({event.reason})" if event.reason else ""
            return f"frame {event.frame:6d}  {event.kind} #{event.id}{into}{where}{snr}{reason}"
        case EventMessage():
            fields = "  ".join(f"{key} {value}" for key, value in message.fields.items())
            return f"{_frame(message)}  {message.name}  {fields}".rstrip()
        case TriggerMessage(decision=d):
            why = f" ({d.reason})" if d.reason else ""
            inputs = "  ".join(f"{name} {value:.2f}" for name, value in d.inputs)
            return f"{_frame(message)}  {d.rule} {d.outcome}{why}  {inputs}".rstrip()
        case StatusMessage(health=health):
            return (
                f"{_frame(message)}  {health.state}  {health.fps:.1f} fps  age p50 {health.age_p50_ms:.1f} "
                f"p99 {health.age_p99_ms:.1f} ms  cells {health.cells} (+{health.provisional} provisional)  "
                f"lost {health.lost}  {health.message}"
            ).rstrip()
        case ImageMessage():
            return f"{_frame(message)}  image {message.image.shape[0]}x{message.image.shape[1]} px"
    return f"{_frame(message)}  {message.topic} seq {message.seq}"


def _frame(message: Message) -> str:
    return "frame      -" if message.frame is None else f"frame {message.frame:6d}"


def _order(message: TracesMessage) -> list[int]:
    active = np.flatnonzero(message.c > 0)
    return [int(k) for k in active[np.argsort(-message.c[active], kind="stable")]]
