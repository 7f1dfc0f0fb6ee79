"""Which components are one and the same cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamscope.core.model import Model
from streamscope.types import BoolArray, DoubleArray, FloatArray

_LEAST_OVERLAP = 0.3
_LEAST_ALONE = 100.0  # sum of squared activity (noise units) that says that two components are two
_SAME_OVERLAP, _SAME_R = 0.7, 0.8
_NEAR_DIAMETERS, _NEAR_R = 0.5, 0.85
_ON_TOP_DIAMETERS, _ON_TOP_OVERLAP = 0.3, 0.5
_REMAINDER_DIAMETERS, _REMAINDER_R = 1.2, 0.85


@dataclass(frozen=True, slots=True)
class Pair:
    """Two components that are one cell."""

    weaker: int  # positions
    stronger: int
    remainder: bool  # the weaker one is no cell but what the stronger one's footprint leaves of its light


def duplicates(
    model: Model, recent: FloatArray, longer: FloatArray, alone: DoubleArray, diameter: float
) -> list[Pair]:
    """Return the pairs of components that should be one; no component is in two pairs.

    Two footprints that overlap by 0.7 with activity correlated by 0.8 are one cell, as are two whose centres lie
    within half a diameter and whose activity is nearly the same, and two that lie on top of each other: they share
    one signal arbitrarily, so that their activities tell nothing. But two components that both had events without
    the other are two cells.

    A component that hardly overlaps a brighter neighbour, has no events without it and always follows it is the rest
    of that neighbour's light: a crescent beside its footprint.

    Parameters
    ----------
    model : Model
    recent, longer : ndarray, shape (n, K), float32
        Activity in the last half minute, and in the last minute (some frames of it are enough).
    alone : ndarray, shape (K, K), float64
        What each component showed without another one; see `Evidence`.
    diameter : float
        Cell diameter, px.
    """
    pairs, used = [], set()
    for i, j, overlap, apart in _candidates(model, alone, diameter):
        if i in used or j in used:
            continue
        pair = _judge(i, j, overlap, apart, recent, longer)
        if pair is not None:
            pairs.append(pair)
            used |= {i, j}
    return pairs


def _candidates(model: Model, alone: DoubleArray, diameter: float) -> list[tuple[int, int, float, float]]:
    """Return (weaker, stronger, overlap, distance in diameters) of the pairs that could be one cell."""
    AtA = model.AtA
    i, j = np.repeat(np.arange(model.n), np.diff(AtA.indptr)), AtA.bins
    apart = np.hypot(*(model.centres[i] - model.centres[j]).T) / diameter
    weaker = (model.peak[i] < model.peak[j]) | ((model.peak[i] == model.peak[j]) & (i > j))
    unshared = alone[i, j] < _LEAST_ALONE
    alike = (AtA.values > _LEAST_OVERLAP) & (unshared | (alone[j, i] < _LEAST_ALONE))
    beside = (AtA.values <= _LEAST_OVERLAP) & (apart < _REMAINDER_DIAMETERS) & unshared
    which: BoolArray = weaker & (alike | beside)
    return list(
        zip(
            i[which].tolist(),
            j[which].tolist(),
            AtA.values[which].tolist(),
            apart[which].tolist(),
            strict=True,
        )
    )


def _judge(
    i: int, j: int, overlap: float, apart: float, recent: FloatArray, longer: FloatArray
) -> Pair | None:
    r = agreement(recent[:, i], recent[:, j])
    if overlap > _LEAST_OVERLAP:
        one = (
            (overlap > _SAME_OVERLAP and r > _SAME_R)
            or (apart < _NEAR_DIAMETERS and r > _NEAR_R)
            or (apart < _ON_TOP_DIAMETERS and overlap > _ON_TOP_OVERLAP)
        )
        return Pair(i, j, False) if one else None
    if r > _REMAINDER_R and agreement(longer[:, i], longer[:, j]) > _REMAINDER_R:
        return Pair(i, j, True)
    return None


def agreement(a: FloatArray, b: FloatArray) -> float:
    """Return Pearson's r of two activities, 0 if one of them is silent."""
    u, v = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(u) * np.linalg.norm(v))
    return float(u @ v) / norm if norm > 0 else 0.0
