"""`lsl:NAME`: every decision as a marker of a Lab Streaming Layer stream, stamped with its frame's time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from streamscope.clock import clock_ns
from streamscope.errors import ConfigError
from streamscope.types import Decision, Output, OutputReport
from streamscope_drivers.outputs.account import plain
from streamscope_drivers.outputs.worker import Worker


class LslOutlet(Worker):
    """Pushes decisions into an outlet.

    The stream has one channel of text and no regular rate. A sample is the decision in JSON; its time is that at
    which the frame was taken, on LSL's clock, so that it lies on recordings of other devices without the delay of
    deciding.
    """

    def __init__(
        self, spec: str, name: str, tell: Callable[[OutputReport], None], outlet: Any, clock: Any
    ) -> None:
        super().__init__(spec, name, tell)
        self._outlet: Any = outlet
        self._clock = clock

    def _put(self, decision: Decision) -> None:
        ahead_s = self._clock() - clock_ns() / 1e9
        self._outlet.push_sample([json.dumps(plain(decision))], decision.t_capture_ns / 1e9 + ahead_s)

    def _end(self) -> None:
        self._outlet = None  # closes the stream


def open_output(spec: str, name: str, tell: Callable[[OutputReport], None]) -> Output:
    """Return the stream in `lsl:NAME`, open.

    Raises
    ------
    ConfigError
        If the name is missing, or the package pylsl or its library.
    """
    stream = spec.partition(":")[2]
    if not stream or not stream.isprintable() or len(stream) > 100:
        raise ConfigError(f"{spec!r:.80} names no stream, expected lsl:NAME, e.g. lsl:StreamScope")
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as error:  # the last two: its library is missing
        raise ConfigError(
            f"LSL needs the package pylsl with its library ({error}): pip install 'streamscope[lsl]'"
        ) from error
    info = pylsl.StreamInfo(
        stream, "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, f"streamscope-{stream}"
    )
    info.desc().append_child_value("format", "JSON, one decision of a rule; the time is that of its frame")
    output = LslOutlet(spec, name, tell, pylsl.StreamOutlet(info), pylsl.local_clock)
    output.start()
    return output
