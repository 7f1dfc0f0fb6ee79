"""The fluorescence that follows one action potential, as a camera sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamscope.types import DoubleArray, Kinetics

_MEMORY_DECAYS = 8.0
_FASTEST_RISE = 0.2  # frame periods; a faster one looks the same


@dataclass(frozen=True, slots=True)
class Response:
    """Samples of exp(-t / decay) - exp(-t / rise), with peak 1.

    An action potential falls anywhere in its frame, and the frame is exposed all the time. A sample is therefore
    the mean of the curve over a triangle two frames wide: its first is some 0.15 of the peak at 20 Hz, and for
    k >= 1 it is `slow` d^k - `fast` q^k with d and q the decays of the two exponentials in a frame period.
    """

    taps: DoubleArray  # (N,)
    exponentials: DoubleArray  # (4,): slow, log d, fast, log q

    @classmethod
    def make(cls, fps: float, kinetics: Kinetics) -> Response:
        """Return the response at a frame rate, Hz."""
        decay = fps * kinetics.decay_s
        rise = min(max(fps * kinetics.rise_s, _FASTEST_RISE), 0.9 * decay)
        lags = np.arange(math.ceil(_MEMORY_DECAYS * decay) + 2)
        slow, fast = _blur(decay), _blur(rise)
        taps = slow * np.exp(-lags / decay) - fast * np.exp(-lags / rise)
        taps[0] = _first(decay) - _first(rise)
        peak = float(taps.max())
        return cls(taps / peak, np.array([slow / peak, -1 / decay, fast / peak, -1 / rise]))

    @property
    def norm(self) -> float:
        """Return the root of the sum of squares."""
        return float(np.linalg.norm(self.taps))


def _blur(tau: float) -> float:
    """Return the mean of exp(-x / tau) over the triangle on -1..1."""
    half = 1 / (2 * tau)
    return (math.sinh(half) / half) ** 2


def _first(tau: float) -> float:
    """Return the integral of (1 - x) exp(-x / tau) from 0 to 1."""
    return tau - tau * tau * (1 - math.exp(-1 / tau))
