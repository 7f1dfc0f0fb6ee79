"""Recording by a trigger input: from the frame that shows a rising edge up to the last before a falling one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamscope.session.recorder import Recorder
from streamscope.session.tapped import Tapped
from streamscope.types import Frame, Source
from streamscope.wire.schema import EVENT_RECORDING


class TriggerGate:
    """Gives frames to the recorder while a trigger input is high; all of them go on to the pipeline.

    Edges count, and not levels: an input that is high from the start has to fall first. What lies between two
    stretches counts as missing before the first frame of the next one. Used in the driver thread.

    Parameters
    ----------
    number : int
        Of the input, 0 or 1.
    tell : callable
        Called with an event's name, the frame from which it holds, and its fields.
    """

    def __init__(self, number: int, tell: Callable[[str, int, dict[str, object]], None]) -> None:
        self.open = False
        self.outside = 0  # frames that came while nothing was to be recorded
        self.stretches: list[list[int]] = []  # [first frame, first frame after it]
        self._number = number
        self._tell = tell
        self._level: int | None = None
        self._turns: list[tuple[int, bool]] = []  # (ns, whether it opened)
        self._skipped = 0  # frames before the next that is recorded, lost ones included

    def wants(self, t_ns: int) -> bool:
        """Return whether a moment, ns, is to be recorded; may be called in any thread."""
        turns = list(self._turns)
        before = [on for at_ns, on in turns if at_ns <= t_ns]
        return bool(before) and before[-1]

    @property
    def waiting(self) -> str:
        """Return what recording waits for, in words; empty if it does not."""
        if self.open:
            return ""
        first = "fall and " if self._level else ""
        return f"not recording: waiting for trigger input {self._number} to {first}rise"

    def facts(self) -> dict[str, Any]:
        """Return what is noted of the recording, besides what is noted of any."""
        return {
            "on_trigger": {"input": self._number, "stretches": self.stretches, "frames_outside": self.outside}
        }

    def tap(self, source: Source, recorder: Recorder) -> Source:
        """Return a source that gives the recorder what it is to have before it hands each frame on."""

        def record(frame: Frame) -> None:
            wanted = self.passed(frame)
            if wanted is not None:
                recorder.put(wanted)

        return Tapped(source, record, recorder.close)

    def passed(self, frame: Frame) -> Frame | None:
        """Return a frame as it is to be recorded, None if it is not."""
        self._look(frame)
        if not self.open:
            self.outside += 1
            self._skipped += 1 + frame.gap
            return None
        self.stretches[-1][1] = frame.index + 1
        if not self._skipped:
            return frame
        skipped, self._skipped = self._skipped, 0
        return replace(frame, gap=frame.gap + skipped)

    def _look(self, frame: Frame) -> None:
        """Open or close at an edge; a frame whose inputs could not be read says nothing."""
        inputs = frame.meta.get("inputs")
        if inputs is None:
            return
        level = inputs >> self._number & 1
        before, self._level = self._level, level
        if before is None or level == before:
            return
        self.open = bool(level)
        self._turns.append((frame.t_capture_ns, self.open))
        if self.open:
            self.stretches.append([frame.index, frame.index])
        fields: dict[str, object] = {"on": self.open, "input": self._number, "t_ns": frame.t_capture_ns}
        self._tell(EVENT_RECORDING, frame.index, fields)
