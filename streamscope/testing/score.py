"""How well an estimate agrees with the truth of a simulated recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csc_matrix

from streamscope.testing.synth import Truth
from streamscope.types import BoolArray, DoubleArray, FloatArray, Footprints, LongArray

LEAST_COSINE = 0.6  # a component and a cell with less in common are not a pair
LEAST_FRAMES = 100  # fewer say nothing about a trace


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement with the truth; n pairs of a component and a cell."""

    precision: float  # components that are a true cell, of all components
    recall: float  # cells that were to be found and were, of all that were to be found
    trace_correlation: float  # median over the pairs, from the first available frame on; NaN without pairs
    motion_rms_px: float  # of the shifts, up to a constant
    n_components: int
    n_targets: int
    pairs: LongArray  # (n, 2) component, cell of the truth
    correlations: DoubleArray  # (n,) NaN where the trace is too short or the cell silent
    offset_px: tuple[float, float]  # of the estimate's reference frame from the true one

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def score(
    truth: Truth, footprints: Footprints, C: FloatArray, shifts: FloatArray, avail: LongArray | None = None
) -> Score:
    """Return how well footprints, traces and shifts agree with the truth.

    Components are paired with cells so that the sum of cosines is largest (Hungarian method), first with the
    cells that are to be found, then those left over with the others: a faint cell is no mistake.

    Parameters
    ----------
    truth : Truth
        Of J cells over T frames.
    footprints : Footprints
        K components.
    C : ndarray, shape (K, T)
        Their traces.
    shifts : ndarray, shape (T, 2)
        dy, dx of each frame; their constant part tells how the two reference frames lie to each other.
    avail : ndarray, shape (K,), optional
        First frame of each trace; 0 for all if not given.
    """
    offset, rms_px = _motion(shifts, truth.shifts)
    cosines = cosine(_sparse(moved(footprints, *offset)), _sparse(truth.footprints))
    targets = _pairs(cosines, truth.target, np.ones(footprints.n, bool))
    left = ~np.isin(np.arange(footprints.n), targets[:, 0])
    others = _pairs(cosines, ~truth.target, left)
    first = np.zeros(footprints.n, np.int64) if avail is None else avail
    correlations = np.array([_agreement(truth, C[k], int(first[k]), j) for k, j in targets])
    known = correlations[np.isfinite(correlations)]
    n_targets = int(truth.target.sum())
    return Score(
        precision=(len(targets) + len(others)) / footprints.n if footprints.n else 0.0,
        recall=len(targets) / n_targets if n_targets else float("nan"),
        trace_correlation=float(np.median(known)) if len(known) else float("nan"),
        motion_rms_px=rms_px,
        n_components=footprints.n,
        n_targets=n_targets,
        pairs=targets,
        correlations=correlations,
        offset_px=offset,
    )


def moved(footprints: Footprints, dy: float, dx: float) -> Footprints:
    """Return footprints moved by (dy, dx) px, each weight shared between the four nearest pixels."""
    height, width = footprints.shape
    column = np.repeat(np.arange(footprints.n), np.diff(footprints.indptr))
    y, x = np.divmod(footprints.pixels.astype(np.int64), width)
    down, right = int(np.floor(dy)), int(np.floor(dx))
    parts = []
    for ty, share_y in ((down, 1 - (dy - down)), (down + 1, dy - down)):
        for tx, share_x in ((right, 1 - (dx - right)), (right + 1, dx - right)):
            inside = (y + ty >= 0) & (y + ty < height) & (x + tx >= 0) & (x + tx < width)
            pixel = (y + ty) * width + x + tx
            parts.append((footprints.weights[inside] * share_y * share_x, pixel[inside], column[inside]))
    weights, pixels, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    matrix = csc_matrix((weights, (pixels, columns)), shape=(height * width, footprints.n))
    matrix.eliminate_zeros()
    return Footprints(
        footprints.shape,
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
    )


def cosine(a: csc_matrix, b: csc_matrix) -> DoubleArray:
    """Return the cosine between each column of `a`, (P, K), and each of `b`, (P, J), as (K, J)."""
    norms = [np.sqrt(np.asarray(m.multiply(m).sum(0)).ravel()) for m in (a, b)]
    product = (a.T @ b).toarray()
    return np.asarray(product / np.maximum(norms[0][:, None] * norms[1][None, :], 1e-12))


def _sparse(footprints: Footprints) -> csc_matrix:
    n_pixels = footprints.shape[0] * footprints.shape[1]
    parts = (footprints.weights.astype(float), footprints.pixels, footprints.indptr)
    return csc_matrix(parts, shape=(n_pixels, footprints.n))


def _pairs(cosines: DoubleArray, cells: BoolArray, components: BoolArray) -> LongArray:
    """Return (n, 2) pairs of component and cell among those chosen, each at least `LEAST_COSINE`."""
    rows, columns = np.flatnonzero(components), np.flatnonzero(cells)
    part = cosines[np.ix_(rows, columns)]
    part = np.where(part >= LEAST_COSINE, part, 0.0)
    i, j = linear_sum_assignment(part, maximize=True)
    keep = part[i, j] > 0
    return np.stack([rows[i[keep]], columns[j[keep]]], 1).astype(np.int64)


def _motion(shifts: FloatArray, true: FloatArray) -> tuple[tuple[float, float], float]:
    """Return the constant part of the difference, and the r.m.s. of what remains, px."""
    n = min(len(shifts), len(true))
    difference = np.asarray(shifts[:n], float) - np.asarray(true[:n], float)
    offset = np.median(difference, axis=0)
    rms_px = float(np.sqrt(np.square(difference - offset).sum(1).mean()))
    return (float(offset[0]), float(offset[1])), rms_px


def _agreement(truth: Truth, trace: FloatArray, first: int, j: int) -> float:
    """Return the correlation with cell j from frame `first` on; 0 for a trace with holes or without life."""
    n = min(len(trace), truth.F.shape[1])
    if n - first < LEAST_FRAMES or not truth.S[j, first:n].any():
        return float("nan")
    part = trace[first:n].astype(float)
    if not np.isfinite(part).all():
        return 0.0
    return _pearson(part, truth.F[j, first:n].astype(float))


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0
