"""Decay and rise of a session's indicator, fitted to the traces of many cells.

The pair is wanted that explains the traces best at a price on events: the least 1/2 |y - h * s|^2 + lambda sum s,
lambda = least |h|, of the non-negative deconvolution with response h. A response that is too short needs more
events for the same trace, one that is too long cannot follow it; bursts and overlap lengthen neither, as they do
averages of events and autocovariances.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.buffer import TraceWindow
from streamscope.core.crew import Crew
from streamscope.core.events import find_events
from streamscope.core.response import Response
from streamscope.types import DoubleArray, FloatArray, Kinetics

_SPAN_S = 30.0  # of the stretches of traces that are looked at
_LARGEST_FACTOR = 3.0  # of the decay from the indicator's
_RISES_S = (0.012, 0.3)
_LEAST = 2.5  # noise units; from 2 to 3 the truth is found, under 1.5 events make up for too short a response
_STEPS = (1.5, 1.22, 1.1, 1.05)  # factors of the pattern search
_MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1))  # of (decay, rise)
_LOUD_SN = 4.0
_FEWEST_STRETCHES = 4
_WINDOW = 16  # frames

_LIVE_STRETCHES, _LIVE_TRIALS = 12, 24
_FIRST_FIT_S = 15.0
_HELD_FROM_S = 40.0  # the first two fits are not held on to
_RETRY_S = 10.0
_CLEARLY_BETTER = 0.01  # mean log of the cost


def fit_kinetics(
    C_raw: FloatArray,
    sn: FloatArray,
    fps: float,
    given: Kinetics,
    start: Kinetics | None = None,
    margin: float = 0.0,
    n_stretches: int = 48,
    n_trials: int = 60,
    crew: Crew | None = None,
) -> Kinetics:
    """Return the time constants that explain the liveliest stretches of the traces best.

    Parameters
    ----------
    C_raw : ndarray, shape (K, T), float32
        Traces with a baseline of 0; NaN where there is none.
    sn : ndarray, shape (K,), float32
        Their noise.
    fps : float
        Frame rate, Hz.
    given : Kinetics
        The indicator's; the decay found is within a factor of 3 of it.
    start : Kinetics, optional
        Where the search begins; `given` if not given.
    margin : float
        By how much the mean log of the cost must fall for `start` to be left.
    n_stretches, n_trials : int
        Bounds of the work.
    crew : Crew, optional
        Shares the stretches.

    Returns
    -------
    Kinetics
        `start` if fewer than four stretches of 30 s have large events. Its confidence is the share of stretches
        that by themselves prefer it to a decay half as long again and to one shorter by as much.
    """
    best = start or given
    stretches = _liveliest(C_raw, sn, round(_SPAN_S * fps), n_stretches)
    if len(stretches) < _FEWEST_STRETCHES:
        return best
    cost = _Cost(stretches, fps, crew or Crew())
    found = _descend(cost, best, given, n_trials)
    if cost.mean(found) > cost.mean(best) - margin:
        found = best
    mine = cost(found)
    others = [cost(Kinetics(found.decay_s * factor, found.rise_s)) for factor in (1.5, 1 / 1.5)]
    agree = float(np.mean((mine < others[0]) & (mine < others[1])))
    return Kinetics(found.decay_s, found.rise_s, round(agree, 3), fitted=True)


class SessionKinetics:
    """The time constants of a live session: the indicator's at first, then fitted at a few moments.

    The moments are 15 s, 30 s, 1 min, 2 min and so on, doubling, so that the work does not grow with the session.
    """

    def __init__(self, config: EngineConfig, crew: Crew | None = None) -> None:
        self._config = config
        self._crew = crew
        self._given = self.present = Kinetics(config.decay_s)
        self._next = config.frames(_FIRST_FIT_S)

    def update(self, n_frames: int, window: TraceWindow, sn: FloatArray) -> Kinetics:
        """Return the time constants after `n_frames` frames, fitted anew to the window (ADU) if it is time."""
        if n_frames < self._next or window.y.shape[1] == 0:
            return self.present
        traces = np.ascontiguousarray(window.y[window.newest(window.n)].T)
        held = n_frames > self._config.frames(_HELD_FROM_S)
        self.present = fit_kinetics(
            traces,
            sn,
            self._config.fps,
            self._given,
            self.present,
            _CLEARLY_BETTER if held else 0.0,
            _LIVE_STRETCHES,
            _LIVE_TRIALS,
            self._crew,
        )
        later = n_frames if self.present.fitted else self._config.frames(_RETRY_S)
        self._next = n_frames + later
        return self.present


class _Cost:
    """The cost of time constants on each stretch, (n,), with those known remembered."""

    def __init__(self, stretches: FloatArray, fps: float, crew: Crew) -> None:
        self._stretches, self._fps, self._crew = stretches, fps, crew
        self._n_samples = np.isfinite(stretches).sum(1)
        self._known: dict[tuple[float, float], DoubleArray] = {}

    def __call__(self, kinetics: Kinetics) -> DoubleArray:
        key = (kinetics.decay_s, kinetics.rise_s)
        if key not in self._known:
            response = Response.make(self._fps, kinetics)
            parts = self._crew.map(
                lambda part: find_events(self._stretches[slice(*part)], response, _LEAST, size=_WINDOW),
                self._crew.share(0, len(self._stretches)),
            )
            S, squares = (np.concatenate(values) for values in zip(*parts, strict=True))
            self._known[key] = (0.5 * squares + _LEAST * response.norm * S.sum(1)) / self._n_samples
        return self._known[key]

    def mean(self, kinetics: Kinetics) -> float:
        """Return the mean log over the stretches: loud cells do not outvote the others."""
        return float(np.log(self(kinetics)).mean())

    @property
    def n_trials(self) -> int:
        return len(self._known)


def _descend(cost: _Cost, start: Kinetics, given: Kinetics, n_trials: int) -> Kinetics:
    """Return where a pattern search with shrinking steps ends."""
    best = start
    for step in _STEPS:
        while cost.n_trials < n_trials:
            better = next((k for k in _around(best, step, given) if cost.mean(k) < cost.mean(best)), None)
            if better is None:
                break
            best = better
    return best


def _around(kinetics: Kinetics, step: float, given: Kinetics) -> Iterator[Kinetics]:
    for decay, rise in _MOVES:
        decay_s = kinetics.decay_s * step**decay
        rise_s = kinetics.rise_s * step**rise
        yield Kinetics(
            float(np.clip(decay_s, given.decay_s / _LARGEST_FACTOR, given.decay_s * _LARGEST_FACTOR)),
            float(np.clip(rise_s, *_RISES_S)),
        )


def _liveliest(C_raw: FloatArray, sn: FloatArray, length: int, n: int) -> FloatArray:
    """Return the n stretches (n, length) with most activity, noise units."""
    length = min(length, C_raw.shape[1])
    whole = C_raw.shape[1] // max(length, 1) * length
    parts = (C_raw[:, :whole] / sn[:, None]).reshape(-1, max(length, 1))
    parts = parts[np.isfinite(parts).sum(1) > length // 2]
    if len(parts) == 0:
        return np.zeros((0, length), np.float32)
    loud = np.nanquantile(parts, 0.98, axis=1)
    order = np.argsort(-loud, kind="stable")[:n]
    return np.ascontiguousarray(parts[order[loud[order] > _LOUD_SN]], np.float32)
