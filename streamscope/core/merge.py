"""Which components are one and the same cell."""

from __future__ import annotations

import numpy as np

from streamscope.core.buffer import TraceWindow
from streamscope.core.model import Model
from streamscope.types import FloatArray

_LEAST_OVERLAP = 0.3
_SAME_OVERLAP, _SAME_R = 0.7, 0.8
_NEAR_DIAMETERS, _NEAR_R = 0.6, 0.85
_ON_TOP_DIAMETERS, _ON_TOP_OVERLAP = 0.3, 0.5


def duplicates(model: Model, window: TraceWindow, diameter: float) -> list[tuple[int, int]]:
    """Return pairs (weaker, stronger) that should be one; no component is in two pairs.

    Two footprints that overlap by 0.7 with activity correlated by 0.8 are one cell, as are two whose centres
    lie within 0.6 diameters and whose activity is nearly the same, and two that lie on top of each other: they
    share one signal arbitrarily, so that their activities tell nothing.
    """
    pairs, used = [], set()
    AtA = model.AtA
    of_row = np.repeat(np.arange(model.n), np.diff(AtA.indptr))
    for e in np.flatnonzero((AtA.values > _LEAST_OVERLAP) & (AtA.bins > of_row)):
        i, j, overlap = int(of_row[e]), int(AtA.bins[e]), float(AtA.values[e])
        if i in used or j in used:
            continue
        r = agreement(window.c[: window.n, i], window.c[: window.n, j])
        apart = np.hypot(*(model.centres[i] - model.centres[j])) / diameter
        if (
            (overlap > _SAME_OVERLAP and r > _SAME_R)
            or (apart < _NEAR_DIAMETERS and r > _NEAR_R)
            or (apart < _ON_TOP_DIAMETERS and overlap > _ON_TOP_OVERLAP)
        ):
            weaker, stronger = (i, j) if model.peak[i] < model.peak[j] else (j, i)
            pairs.append((weaker, stronger))
            used |= {i, j}
    return pairs


def agreement(a: FloatArray, b: FloatArray) -> float:
    """Return Pearson's r of two activities, 0 if one of them is silent."""
    u, v = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(u) * np.linalg.norm(v))
    return float(u @ v) / norm if norm > 0 else 0.0
