"""Events: non-negative deconvolution with the response of the session, frame by frame and over whole traces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.core.kernels import spikes as kernels
from streamscope.core.response import Response
from streamscope.types import DoubleArray, FloatArray, IntArray, LongArray

_SWEEPS = 2
_MORE_THAN_LAG = 8  # frames of the window beside the lag
_OFFLINE_WINDOW = 24
_LONG_AGO = -(10**9)


def find_events(
    y: FloatArray,
    response: Response,
    least: float,
    elapsed: IntArray | None = None,
    size: int = _OFFLINE_WINDOW,
) -> tuple[FloatArray, DoubleArray]:
    """Return the events of whole traces and what they leave.

    Parameters
    ----------
    y : ndarray, shape (K, T), float32
        Traces, baseline 0, noise units.
    response : Response
        Of the session.
    least : float
        What the matched filter must exceed, noise units.
    elapsed : ndarray, shape (T,), int, optional
        Frame periods since the frame before (1 + missing frames); all 1 if not given.
    size : int
        Frames in which an event may be revised.

    Returns
    -------
    S : ndarray, shape (K, T), float32
        Peak of the transient that starts in each frame, noise units, or 0.
    squares : ndarray, shape (K,), float64
        Sum of squares of y - h * S.
    """
    n_cells, length = y.shape
    at = np.arange(length, dtype=np.int64) if elapsed is None else np.cumsum(elapsed, dtype=np.int64)
    window = EventWindow(response, least, size=size)
    window.remap(np.full(n_cells, -1))
    out, squares = np.zeros((length, n_cells), np.float32), np.zeros(n_cells)
    window.run(np.ascontiguousarray(y.T, np.float32), at, out, squares)
    return np.ascontiguousarray(out.T), squares


class EventWindow:
    """Events of K cells, one frame at a time, revised while they are in the window.

    Parameters
    ----------
    response : Response
        Of the session.
    least : float
        What the matched filter of an event must exceed, noise units.
    lag : int
        Delay of the read-out, frames.
    size : int, optional
        Frames of the window; the lag and 8 more if not given. With the true response, windows of 8 to 32 frames
        gave the same correlation with the true events at a lag of 2.
    """

    def __init__(self, response: Response, least: float, lag: int = 2, size: int | None = None) -> None:
        self._response, self._least, self._lag = response, least, lag
        size = size or lag + _MORE_THAN_LAG
        self._times = np.full(size, _LONG_AGO, np.int64)
        self._lagged = np.zeros((size, size))
        self._s, self._r, self._seen = (np.zeros((size, 0)) for _ in range(3))
        self._tail, self._work = np.zeros((2, 0)), np.zeros((2, 0))

    def push(self, y: FloatArray, elapsed: int = 1) -> FloatArray:
        """Advance every cell by one frame, y (K,) in noise units; return the events of `lag` frames ago, (K,)."""
        now = max(int(self._times[-1]), -1) + elapsed
        kernels.push_window(y, now, *self._arguments())
        return self._read(self._lag)

    def run(self, y: FloatArray, at: LongArray, events: FloatArray, squares: DoubleArray) -> None:
        """Fill `events` (T, K) and `squares` (K,) from whole traces y (T, K) at times `at`, frame periods."""
        kernels.run_window(y, at, events, squares, *self._arguments())

    def retune(self, response: Response) -> None:
        """Go on with another response; what the cells show now stays."""
        self._response = response
        self._tail[0] -= self._tail[1]
        self._tail[1] = 0

    def remap(self, index: LongArray) -> None:
        """Take over a new list of components: the old position of each, or -1 for a new one."""
        old = index >= 0
        if np.array_equal(index, np.arange(self._s.shape[1])):
            return  # most epochs change no more than shapes
        for name, fresh in (("_s", 0.0), ("_r", 0.0), ("_seen", 0.0), ("_tail", np.nan)):
            value = getattr(self, name)
            moved = np.full((len(value), len(index)), fresh)
            moved[:, old] = value[:, index[old]]
            setattr(self, name, moved)
        self._work = np.zeros((2, len(index)))

    def tail(self) -> FloatArray:
        """Return the events (n, K) of the last n <= lag frames."""
        known = int((self._times[-self._lag :] >= 0).sum()) if self._lag else 0
        rows = [self._read(back) for back in range(known - 1, -1, -1)]
        return np.stack(rows) if rows else np.zeros((0, self._s.shape[1]), np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all state as arrays, copied."""
        state = {name: getattr(self, f"_{name}").copy() for name in ("times", "s", "r", "seen", "tail")}
        state["settings"] = np.array([self._least, self._lag])
        return state | {"taps": self._response.taps, "exponentials": self._response.exponentials}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> EventWindow:
        """Return an instance that goes on where `state` was taken."""
        least, lag = (float(v) for v in state["settings"])
        out = cls(Response(state["taps"], state["exponentials"]), least, int(lag), len(state["times"]))
        for name in ("times", "s", "r", "seen", "tail"):
            setattr(out, f"_{name}", state[name].copy())
        out._work = np.zeros_like(out._tail)
        return out

    def _arguments(self) -> tuple[Any, ...]:
        response = (self._response.taps, self._response.exponentials, self._least, _SWEEPS)
        return self._times, *response, self._lagged, self._work, self._s, self._r, self._seen, self._tail

    def _read(self, back: int) -> FloatArray:
        events: FloatArray = self._s[len(self._times) - 1 - back].astype(np.float32)
        return events
