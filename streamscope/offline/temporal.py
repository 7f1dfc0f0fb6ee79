"""From signed traces to baseline, noise, denoised traces, events and how far they stand out."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from streamscope.core import deconvolve as dc
from streamscope.core.events import find_events
from streamscope.core.response import Response
from streamscope.offline.store import THREADS
from streamscope.types import FloatArray, IntArray, Kinetics

_BASELINE_S = 45.0


@dataclass(frozen=True, slots=True)
class Activity:
    """Denoised traces of a session."""

    C: FloatArray  # (K, T)
    S: FloatArray  # (K, T) events of the plain trace
    C_raw: FloatArray  # (K, T), baseline 0
    sn: FloatArray  # (K,)
    contrast: FloatArray  # (K,) largest step up over its noise

    @property
    def snr(self) -> FloatArray:
        """Return the peak of C over the noise, (K,)."""
        if self.C.shape[1] == 0 or self.C.shape[0] == 0:
            return np.zeros(len(self.C), np.float32)
        return np.asarray(self.C.max(1) / self.sn, np.float32)


@dataclass(frozen=True, slots=True)
class Indicator:
    """What events look like."""

    fps: float  # Hz
    kinetics: Kinetics
    least_sn: float  # smallest event, noise units
    elapsed: IntArray | None = None  # (T,) frame periods since the frame before; None: all 1

    @property
    def g(self) -> float:
        """Return the decay per frame period."""
        return math.exp(-1 / (self.fps * self.kinetics.decay_s))

    @property
    def span(self) -> int:
        """Return the decay in frames, at least 1."""
        return max(1, round(self.kinetics.decay_s * self.fps))


def denoise(signed: FloatArray, indicator: Indicator) -> Activity:
    """Return baseline-free, denoised traces and events of signed traces (K, T) with a known decay."""
    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(lambda rows: _denoise(signed[rows], indicator), _shares(len(signed))))
    return Activity(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Activity)))


def _shares(n: int) -> list[slice]:
    cuts = np.linspace(0, n, 2 * THREADS + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(cuts.tolist())]


def _denoise(signed: FloatArray, indicator: Indicator) -> Activity:
    sn = dc.noise_sd(signed)
    C_raw = signed - dc.mode_baseline(signed, max(20, round(_BASELINE_S * indicator.fps)))
    least = indicator.least_sn * sn.astype(np.float64)
    C, S = dc.deconvolve(C_raw, indicator.g, least, indicator.elapsed)
    return Activity(C, S, C_raw, sn, event_contrast(C_raw, sn, indicator.span))


def events(activity: Activity, indicator: Indicator) -> FloatArray:
    """Return the events (K, T) that explain the traces best with the whole response, rise and decay."""
    response = Response.make(indicator.fps, indicator.kinetics)
    sn = activity.sn[:, None]

    def find(rows: slice) -> FloatArray:
        traces = activity.C_raw[rows] / sn[rows]
        return find_events(traces, response, indicator.least_sn, indicator.elapsed)[0] * sn[rows]

    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate(list(pool.map(find, _shares(len(activity.C_raw)))))


def event_contrast(traces: FloatArray, sn: FloatArray, span: int) -> FloatArray:
    """Return the largest step up of each trace (K, T) over its noise, (K,).

    A step is the mean of `span` frames minus the mean of the `span` frames before, over the sd that white noise
    would give it; before the first frame is the baseline, 0, so that what begins with the recording is a step too.
    Events that last for a decay time stand out; single frames (a jerk of the head) and slow
    background do not: components that were pieces of these had 3 to 8, cells with a matched-filter SNR of 10 at
    least 12.
    """
    span = max(1, span)
    if traces.shape[1] < 2 * span:
        return np.zeros(len(traces), np.float32)
    total = np.cumsum(np.pad(traces.astype(np.float64), ((0, 0), (1 + span, 0))), axis=1)
    mean = (total[:, span:] - total[:, :-span]) / span
    step = (mean[:, span:] - mean[:, :-span]).max(1)
    return np.asarray(step / (sn * math.sqrt(2 / span)), np.float32)
