"""Whether a setting that was sent can be seen in the frames that follow: the rate, and the light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from streamscope.types import ByteArray
from streamscope_drivers.miniscope.devices import Value

SETTLE = 3  # frames until it must be seen
WATCHED = 11  # frames over which a rate is measured
WORST_RATE = 0.1  # share by which it may be off
LIGHT_STEP = 10.0  # of a setting of light, from which on a change must be seen
LEAST_CHANGE = 0.5  # gray levels of the mean picture
_STEP = 8  # pixels; the mean of every eighth is good enough


@dataclass
class _Awaited:
    """One setting whose effect is not seen yet."""

    name: str
    value: Value
    rate_hz: float | None
    before: float
    sign: float
    frames: int = 0
    stamps: list[int] = field(default_factory=list)


class Effects:
    """Looks for the effects of settings.

    Parameters
    ----------
    missed : callable
        Called with a sentence when an effect did not come.
    """

    def __init__(self, missed: Callable[[str], None]) -> None:
        self._missed = missed
        self._level = 0.0  # mean of the last picture
        self._awaited: dict[str, _Awaited] = {}

    def expect_rate(self, name: str, value: Value, rate_hz: float) -> None:
        """Expect frames at another rate."""
        self._awaited[name] = _Awaited(name, value, rate_hz, 0.0, 0.0)

    def expect_light(self, name: str, before: float, after: float) -> None:
        """Expect a brighter or darker picture, if the step is large enough to be seen."""
        if abs(after - before) >= LIGHT_STEP:
            sign = 1.0 if after > before else -1.0
            self._awaited[name] = _Awaited(name, after, None, self._level, sign)

    def frame(self, t_ns: int, image: ByteArray) -> None:
        """Look at a frame."""
        self._level = float(image[::_STEP, ::_STEP].mean())
        for awaited in list(self._awaited.values()):
            awaited.frames += 1
            if awaited.frames > SETTLE and self._judged(awaited, t_ns):
                del self._awaited[awaited.name]

    def _judged(self, awaited: _Awaited, t_ns: int) -> bool:
        if awaited.rate_hz is None:
            change = (self._level - awaited.before) * awaited.sign
            saturated = awaited.sign > 0 and awaited.before > 250
            if change < LEAST_CHANGE and not saturated:
                self._missed(
                    f"{awaited.name} was set to {awaited.value}, but the picture did not change; is the scope's "
                    "cable whole?"
                )
            return True
        awaited.stamps.append(t_ns)
        if len(awaited.stamps) < WATCHED:
            return False
        rate_hz = 1e9 / float(np.median(np.diff(awaited.stamps)))
        if abs(rate_hz / awaited.rate_hz - 1.0) > WORST_RATE:
            self._missed(
                f"{awaited.name} was set to {awaited.value}, but frames come at {rate_hz:.1f} Hz, expected "
                f"{awaited.rate_hz:.1f}; is the scope's cable whole?"
            )
        return True
