"""Denoised traces and events, frame by frame and over whole traces: AR(1) OASIS, and what goes with it live.

The trace of a cell is c_t = g c_{t-1} + s_t, s_t = 0 or at least s_min. Fluorescence also takes a moment to
rise; AR(1) alone then sees one event as several. The events of a frame are therefore read on that frame from the
trace with its rise undone, y'_t = (y_t - rho y_{t-1}) / (1 - rho), and with a few frames' delay by non-negative
deconvolution with the whole response (`EventWindow`); c comes from the plain trace, which is less noisy.

References
----------
Friedrich, Zhou, Paninski 2017, PLoS Comput Biol 13:e1005423. We depart from it in one point: a pool is
compared with the *clipped* trace of the pool before, so that no event is smaller than s_min.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.core.events import EventWindow
from streamscope.core.kernels import oasis as kernels
from streamscope.core.response import Response
from streamscope.core.robust import median
from streamscope.errors import StageError
from streamscope.types import DoubleArray, FloatArray, IntArray, Kinetics, LongArray

_SHARP_MIN_SN = 3.0  # smallest event of the frame itself, units of the larger noise without the rise
_MEMORY_DECAYS = 8.0  # pools older than this many decay times are final


def deconvolve(
    y: FloatArray,
    g: float | DoubleArray,
    s_min: float | DoubleArray = 0.0,
    elapsed: IntArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the denoised traces and events of whole traces.

    Parameters
    ----------
    y : ndarray, shape (K, T), float32
        Traces with a baseline of 0.
    g : float or ndarray, shape (K,)
        Decay per frame period, 0..1.
    s_min : float or ndarray, shape (K,)
        Smallest event, in the units of y.
    elapsed : ndarray, shape (T,), int, optional
        Frame periods since the frame before (1 + missing frames); all 1 if not given.

    Returns
    -------
    c, s : ndarray, shape (K, T), float32
        Denoised traces; events, 0 or at least s_min. The first frame has no event.
    """
    n_cells, length = y.shape
    times = np.arange(length, dtype=np.int64) if elapsed is None else np.cumsum(elapsed, dtype=np.int64)
    c, s = np.zeros((n_cells, length), np.float32), np.zeros((n_cells, length), np.float32)
    kernels.oasis_ar1(
        np.ascontiguousarray(y, np.float32), times, _each(g, n_cells), _each(s_min, n_cells), c, s
    )
    return c, s


def remove_rise(y: FloatArray, rho: float, elapsed: IntArray | None = None) -> FloatArray:
    """Return y'_t = (y_t - rho y_{t-1}) / (1 - rho) along the last axis; the first sample is kept."""
    out = y.astype(np.float32)
    if rho <= 0 or y.shape[-1] < 2:
        return out
    part = np.float32(rho) ** (1 if elapsed is None else np.asarray(elapsed[1:], np.float32))
    out[..., 1:] = (y[..., 1:] - part * y[..., :-1]) / (1 - part)
    return out


def rise_coefficient(fps: float, rise_s: float) -> float:
    """Return rho = exp(-1 / (fps rise)), 0 for no rise."""
    return math.exp(-1.0 / (fps * rise_s)) if rise_s > 0 else 0.0


def rise_noise_factor(rho: float) -> float:
    """Return by how much removing the rise multiplies the sd of white noise."""
    return math.sqrt(1 + rho * rho) / (1 - rho)


class OnlineOasis:
    """AR(1) OASIS of K cells, one frame at a time; equal to `deconvolve` on the frames so far.

    Parameters
    ----------
    g : float or ndarray, shape (K,)
        Decay per frame period. New components take the scalar, or the first value.
    lag : int
        Delay of the second read-out, frames.
    s_min : float or ndarray, shape (K,)
        Smallest event, in the units of y.

    Notes
    -----
    Each push adds one pool and each merge removes one: amortised constant time. Pools that began more than
    about 8 decay times ago are final, so the memory is bounded; the difference from the unbounded algorithm
    is below exp(-8) of a pool's height. A NaN sample says nothing: the trace decays through it.
    """

    def __init__(self, g: float | DoubleArray, lag: int = 2, s_min: float | DoubleArray = 0.0) -> None:
        n_cells = max(np.size(g) if np.ndim(g) else 0, np.size(s_min) if np.ndim(s_min) else 0)
        self._new_g, self._new_s_min = float(np.ravel(g)[0]), float(np.ravel(s_min)[0])
        self._lag = lag
        self._g, self._s_min = _each(g, n_cells), _each(s_min, n_cells)
        slowest = float(self._g.max()) if n_cells else self._new_g
        size = math.ceil(_MEMORY_DECAYS / -math.log(slowest)) + lag + 2
        self._v, self._w = np.zeros((n_cells, size)), np.ones((n_cells, size))
        self._t0 = np.zeros((n_cells, size), np.int64)
        self._oldest, self._count = np.zeros(n_cells, np.int64), np.zeros(n_cells, np.int64)
        self._born = np.full(n_cells, -1, np.int64)
        self._times = np.full(lag + 1, -1, np.int64)  # of the last frames, newest last

    @property
    def n(self) -> int:
        """Return the number of cells."""
        return len(self._g)

    def push(self, y: FloatArray, elapsed: int = 1) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Advance every cell by one frame.

        Parameters
        ----------
        y : ndarray, shape (K,), float32
            Traces of this frame, baseline 0.
        elapsed : int
            Frame periods since the frame before: 1 + missing frames.

        Returns
        -------
        c, s : ndarray, shape (K,), float32
            Denoised trace and event at this frame.
        c_lag, s_lag : ndarray, shape (K,), float32
            The same for the frame `lag` frames ago; 0 where the cell did not yet exist.

        Raises
        ------
        StageError
            If `y` does not have one value per cell.
        """
        self.advance(y, elapsed)
        return *self.read(0), *self.read(self._lag)

    def advance(self, y: FloatArray, elapsed: int = 1) -> None:
        """Advance every cell by one frame, as `push` does, and read nothing yet."""
        if len(y) != self.n:
            raise StageError(f"expected {self.n} traces, one per cell, got {len(y)}; was remap forgotten?")
        now = max(int(self._times[-1]), -1) + elapsed
        self._times[:-1] = self._times[1:]
        self._times[-1] = now
        kernels.oasis_push(y, now, np.log(self._g), self._s_min, *self._pools())

    def read(self, back: int) -> tuple[FloatArray, FloatArray]:
        """Return c, s (K,) as known now, of the frame that is `back` <= lag frames old."""
        return self._read(int(self._times[self._lag - back]))

    def remap(self, index: LongArray, g: DoubleArray | None = None, s_min: DoubleArray | None = None) -> None:
        """Take over a new list of components: the old position of each, or -1 for a new one.

        `g` and `s_min` (K,) replace the values of all components if given; otherwise they move along.
        """
        index = np.asarray(index, np.int64)
        if self.n == 0 and len(index) and index.max() >= 0:
            raise StageError(
                "a component was said to come from an old position, but there were no components"
            )
        new = index < 0
        source = np.maximum(index, 0)
        if len(index) == self.n and g is None and s_min is None and np.array_equal(index, np.arange(self.n)):
            return  # most epochs change no more than shapes
        for name, fresh in self._columns().items():
            old: NDArray[Any] = getattr(self, name)
            value = np.full((len(index), *old.shape[1:]), fresh, old.dtype)
            if len(old):
                value[~new] = old[source[~new]]
            setattr(self, name, value)
        if g is not None:
            self._g = _each(g, len(index))
        if s_min is not None:
            self._s_min = _each(s_min, len(index))

    def retune(self, g: float, s_min: float) -> None:
        """Go on with another decay and smallest event for all cells; every trace goes on from where it is.

        A trace whose pool began longer ago than the memory has decayed to nothing, and stays there.
        """
        slots = np.arange(self._v.shape[1])
        nth = (slots - self._oldest[:, None]) % len(slots)
        following = np.roll(self._t0, -1, axis=1)
        end = np.where(nth == self._count[:, None] - 1, self._times[-1], following)
        length = np.where(nth < self._count[:, None], end - self._t0, 0)
        self._v *= (self._g[:, None] / g) ** np.minimum(length, len(slots))
        self._new_g, self._new_s_min = g, s_min
        self._g[:], self._s_min[:] = g, s_min

    def tail(self) -> tuple[FloatArray, FloatArray]:
        """Return c, s (n, K) of the last n <= lag frames, which no later frame can carry."""
        times = [int(t) for t in self._times[1:] if t >= 0]
        rows = [self._read(t) for t in times]
        c = np.stack([r[0] for r in rows]) if rows else np.zeros((0, self.n), np.float32)
        s = np.stack([r[1] for r in rows]) if rows else np.zeros((0, self.n), np.float32)
        return c, s

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all state as arrays, copied."""
        state = {name[1:]: getattr(self, name).copy() for name in self._columns()}
        state["times"] = self._times.copy()
        state["new"] = np.array([self._new_g, self._new_s_min])
        return state

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> OnlineOasis:
        """Return an instance that goes on where `state` was taken."""
        new_g, new_s_min = (float(value) for value in state["new"])
        out = cls(new_g, len(state["times"]) - 1, new_s_min)
        for name in out._columns():
            setattr(out, name, state[name[1:]].copy())
        out._times = state["times"].copy()
        return out

    def _columns(self) -> dict[str, float]:
        return {
            "_g": self._new_g,
            "_s_min": self._new_s_min,
            "_v": 0.0,
            "_w": 1.0,
            "_t0": 0,
            "_oldest": 0,
            "_count": 0,
            "_born": -1,
        }

    def _pools(self) -> tuple[DoubleArray, DoubleArray, LongArray, LongArray, LongArray, LongArray]:
        return self._v, self._w, self._t0, self._oldest, self._count, self._born

    def _read(self, at: int) -> tuple[FloatArray, FloatArray]:
        c, s = np.empty(self.n, np.float32), np.empty(self.n, np.float32)
        kernels.oasis_read(at, np.log(self._g), *self._pools(), c, s)
        return c, s


class Deconvolver:
    """Denoised traces, events of the frame itself, and better ones a few frames later, frame by frame.

    Parameters
    ----------
    fps : float
        Frame rate, Hz.
    kinetics : Kinetics
        Of the session.
    lag : int
        Delay of the second read-out, frames.
    least : float
        Smallest event, noise units (y is in noise units): of the trace for c, of the matched filter for s_lag.

    Notes
    -----
    The smallest event of the frame itself is 3 units of the larger noise of the trace without its rise; with 2 most
    of them are noise.
    """

    def __init__(self, fps: float, kinetics: Kinetics, lag: int = 2, least: float = 1.5) -> None:
        self._fps, self._lag, self._least = fps, lag, least
        self._kinetics = kinetics
        self._plain = OnlineOasis(self._g, lag, least)
        self._sharp = OnlineOasis(self._g, lag, self._sharp_min)
        self._window = EventWindow(Response.make(fps, kinetics), least, lag)
        self._last = np.zeros(0, np.float32)  # y of the frame before; NaN for a new component

    def push(self, y: FloatArray, elapsed: int = 1) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Advance by one frame; return c, s, c_lag, s_lag (K,) as `OnlineOasis.push` does."""
        self._plain.advance(y, elapsed)
        part = np.float32(self._rho**elapsed)
        last = np.where(np.isnan(self._last), y, self._last)
        self._last = y.astype(np.float32)
        sharp = np.asarray((y - part * last) / (1 - part), np.float32)
        self._sharp.advance(sharp, elapsed)
        c, s, c_lag = self._plain.read(0)[0], self._sharp.read(0)[1], self._plain.read(self._lag)[0]
        return c, s, c_lag, self._window.push(y, elapsed)

    def retune(self, kinetics: Kinetics) -> None:
        """Go on with other time constants; every trace goes on from where it is."""
        if kinetics == self._kinetics:
            return
        self._kinetics = kinetics
        self._plain.retune(self._g, self._least)
        self._sharp.retune(self._g, self._sharp_min)
        self._window.retune(Response.make(self._fps, kinetics))

    def remap(self, index: LongArray) -> None:
        """Take over a new list of components: the old position of each, or -1 for a new one."""
        index = np.asarray(index, np.int64)
        for part in (self._plain, self._sharp, self._window):
            part.remap(index)
        last = np.full(len(index), np.nan, np.float32)
        if len(self._last):
            last[index >= 0] = self._last[index[index >= 0]]
        self._last = last

    def tail(self) -> tuple[FloatArray, FloatArray]:
        """Return c, s (n, K) of the last n <= lag frames."""
        return self._plain.tail()[0], self._window.tail()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all state as arrays, copied."""
        state = {f"plain_{name}": value for name, value in self._plain.state().items()}
        state |= {f"sharp_{name}": value for name, value in self._sharp.state().items()}
        state |= {f"window_{name}": value for name, value in self._window.state().items()}
        settings = np.array([self._fps, self._lag, self._least])
        return state | {"last": self._last.copy(), "settings": settings, "kinetics": self._kinetics.array()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Deconvolver:
        """Return an instance that goes on where `state` was taken."""
        fps, lag, least = (float(value) for value in state["settings"])
        out = cls(fps, Kinetics.from_array(state["kinetics"]), int(lag), least)
        out._plain = OnlineOasis.from_state(_part(state, "plain_"))
        out._sharp = OnlineOasis.from_state(_part(state, "sharp_"))
        out._window = EventWindow.from_state(_part(state, "window_"))
        out._last = state["last"].copy()
        return out

    @property
    def _g(self) -> float:
        return math.exp(-1 / (self._fps * self._kinetics.decay_s))

    @property
    def _rho(self) -> float:
        return rise_coefficient(self._fps, self._kinetics.rise_s)

    @property
    def _sharp_min(self) -> float:
        return _SHARP_MIN_SN * rise_noise_factor(self._rho)


def noise_sd(y: FloatArray) -> FloatArray:
    """Return the sd of the white noise of traces (..., T) from their second differences, robustly, float32.

    Slow signals drop out and rare events do not count: 1.4826 median |y_t - 2 y_{t-1} + y_{t-2}| / sqrt 6.
    """
    if y.shape[-1] < 3:
        return np.full(y.shape[:-1], 1e-6, np.float32)
    second = np.abs(y[..., 2:] - 2 * y[..., 1:-1] + y[..., :-2])
    middle = median(second) if second.ndim == 1 else np.median(second, axis=-1)
    sd = 1.4826 / math.sqrt(6) * middle
    return np.asarray(np.maximum(sd, 1e-6), np.float32)


def mode_baseline(y: FloatArray, window: int, fraction: float = 0.35) -> FloatArray:
    """Return the baseline of traces (K, T): the mode in windows of `window` frames, interpolated, float32.

    The mode is the mean of the narrowest interval that holds `fraction` of the samples: cells that are active
    a third of the time do not pull it up, as they do a low quantile.
    """
    n_cells, length = y.shape
    if length == 0:
        return np.zeros_like(y)
    n_windows = max(1, round(2 * length / window) - 1)
    centres = (np.arange(n_windows) + 1) * length / (n_windows + 1)
    reach = length / (n_windows + 1) if n_windows > 1 else length
    modes = np.empty((n_cells, n_windows))
    for i, centre in enumerate(centres):
        modes[:, i] = _mode(y[:, max(int(centre - reach), 0) : int(centre + reach) + 1], fraction)
    at = np.arange(length)
    out = np.empty((n_cells, length), np.float32)
    for k in range(n_cells):
        out[k] = np.interp(at, centres, modes[k])
    return out


def _mode(y: FloatArray, fraction: float) -> NDArray[Any]:
    ordered = np.sort(y, axis=1)
    n = max(1, round(fraction * y.shape[1]))
    width = ordered[:, n - 1 :] - ordered[:, : ordered.shape[1] - n + 1]
    start = np.argmin(width, axis=1)
    total = np.cumsum(np.pad(ordered.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    rows = np.arange(len(y))
    return np.asarray((total[rows, start + n] - total[rows, start]) / n)


def _each(value: float | DoubleArray, n: int) -> DoubleArray:
    out = np.empty(n)  # never a read-only broadcast: kernels would be compiled again for it
    out[:] = value
    return out


def _part(state: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
