"""Seeds: cells found by greedy peeling in the binned movie, with the model so far subtracted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streamscope.core.background import RingGeometry, bin_footprints, spread_up
from streamscope.core.deconvolve import noise_sd
from streamscope.core.kernels import seeds as kernels
from streamscope.core.kernels import sums
from streamscope.offline.project import rows_matrix
from streamscope.offline.survey import Survey
from streamscope.types import BoolArray, FloatArray, Footprints, IntArray

_SUREST = 1.5
_MOST_VALUES = 24_000_000  # of a band of the movie in memory


@dataclass(frozen=True, slots=True)
class Seeds:
    """What one search found, best first."""

    footprints: Footprints  # at full resolution, unit norm
    score: FloatArray  # (N,) peak over noise times local correlation
    threshold: float


def find_seeds(
    survey: Survey,
    footprints: Footprints,
    C: FloatArray,
    W: FloatArray,
    diameter_px: float,
    least: float,
    blind: BoolArray | None = None,
) -> Seeds:
    """Return the cells that stand out of the binned movie when the known ones are subtracted.

    Parameters
    ----------
    survey : Survey
        The movie, binned in space and time.
    footprints : Footprints
        Known cells.
    C : ndarray, shape (K, T), float32
        Their denoised traces.
    W : ndarray, shape (P', n), float32
        Ring weights: the background is taken off too, or texture that flickers with it looks like cells.
    diameter_px : float
        Cell diameter, px.
    least : float
        No score under this counts, whatever the decoys say; from 1.5 times this on every score does.
    blind : ndarray, shape (h, w), bool, optional
        Blocks in which there is nothing to see.
    """
    geometry = survey.geometry
    h, w = geometry.grid
    diameter = diameter_px / geometry.step
    DA = rows_matrix(bin_footprints(footprints, geometry)).tocsc()
    known = survey.binned(C).T
    halo = round(3 * diameter)
    rows = max(8, _MOST_VALUES // max(1, survey.length * w) - 2 * halo)
    found = []
    for top in range(0, h, rows):
        core = (top, min(top + rows, h))
        band = (max(core[0] - halo, 0), min(core[1] + halo, h))
        movie = survey.band(band[0] * w, band[1] * w)
        movie -= known @ DA[:, band[0] * w : band[1] * w]
        sums.subtract_ring(W, geometry.neighbours, band[0] * w, band[1] * w, movie)
        if blind is not None:
            movie[:, blind[band[0] : band[1]].reshape(-1)] = 0
        found.append(_search(movie, w, core, band, diameter, least))
    decoys = float(np.quantile(np.concatenate([f.decoys for f in found]), 0.95))
    threshold = min(max(least, decoys), _SUREST * least)
    seeds, score, shapes = (
        np.concatenate([getattr(f, name)[f.score >= threshold] for f in found])
        for name in ("seeds", "score", "shapes")
    )
    return Seeds(_full_size(seeds, shapes, geometry), score, threshold)


@dataclass(frozen=True, slots=True)
class _Found:
    seeds: IntArray  # (N,) block in the whole grid
    score: FloatArray  # (N,)
    shapes: FloatArray  # (N, n, n)
    decoys: FloatArray  # scores of local maxima after the flip of sign


def _search(
    movie: FloatArray, w: int, core: tuple[int, int], band: tuple[int, int], diameter: float, least: float
) -> _Found:
    """Peel cells off a band of rows, and measure decoys on what is left; consumes `movie` (T', n)."""
    stencil = band_pass_stencil(diameter)
    h = band[1] - band[0]
    movie -= movie.mean(0)
    Z = np.empty((movie.shape[1], movie.shape[0]), np.float32)
    for t, image in enumerate(movie):
        flat = image.reshape(h, w)
        Z[:, t] = cv2.filter2D(flat, -1, stencil, borderType=cv2.BORDER_REFLECT).reshape(-1)
    X = np.ascontiguousarray(movie.T)
    Z -= Z.mean(1, keepdims=True)
    noise = noise_sd(Z)
    noise = np.maximum(noise, 0.2 * float(np.median(noise)))
    seeds, score, shapes = _peel(X, Z, (h, w), noise, stencil, diameter, least)
    row = seeds // w + band[0]
    inside = (row >= core[0]) & (row < core[1])
    np.negative(Z, out=Z)
    decoys = _decoys(Z, (h, w), noise)
    return _Found((seeds + band[0] * w)[inside], score[inside], shapes[inside], decoys)


def band_pass_stencil(diameter: float) -> FloatArray:
    """Return a Gaussian of a quarter diameter minus a box of about a diameter, sum 0, (n, n)."""
    reach = max(2, round(0.75 * diameter))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    gauss = np.exp(-(y * y + x * x) / (2 * (diameter / 4) ** 2))
    stencil = gauss / gauss.sum() - 1 / gauss.size
    return np.asarray(stencil, np.float32)


def _peel(
    X: FloatArray,
    Z: FloatArray,
    grid: tuple[int, int],
    noise: FloatArray,
    stencil: FloatArray,
    diameter: float,
    threshold: float,
) -> tuple[IntArray, FloatArray, FloatArray]:
    n_bins = grid[0] * grid[1]
    radius = max(2, round(diameter))
    most = int(max(50, min(3000, n_bins / diameter**2)))  # one per square diameter
    right, down, peak, score = (np.zeros(n_bins, np.float32) for _ in range(4))
    kernels.score_box(Z, grid, noise, (0, grid[0], 0, grid[1]), right, down, peak, score)
    seeds = np.zeros((most, 3), np.float32)
    shapes = np.zeros((most, 2 * radius + 1, 2 * radius + 1), np.float32)
    traces = np.zeros((most, X.shape[1]), np.float32)
    n = kernels.peel(
        X, Z, grid, noise, stencil, diameter, threshold, 1, right, down, peak, score, seeds, shapes, traces
    )
    return seeds[:n, 0].astype(np.int32), seeds[:n, 1].copy(), shapes[:n].copy()


def _decoys(flipped: FloatArray, grid: tuple[int, int], noise: FloatArray) -> FloatArray:
    """Return the local maxima of the score on the sign-flipped rest: cells are never negative."""
    right, down, peak, score = (np.zeros(grid[0] * grid[1], np.float32) for _ in range(4))
    kernels.score_box(flipped, grid, noise, (0, grid[0], 0, grid[1]), right, down, peak, score)
    image = score.reshape(grid)
    top = cv2.dilate(image, np.ones((3, 3), np.uint8))
    maxima = image[(image == top) & (image > 0)]
    return maxima if len(maxima) else np.zeros(1, np.float32)


def _full_size(seeds: IntArray, shapes: FloatArray, geometry: RingGeometry) -> Footprints:
    h, w = geometry.grid
    radius = shapes.shape[1] // 2
    columns = []
    low, full = np.zeros((h, w), np.float32), np.empty(geometry.shape, np.float32)
    for seed, shape in zip(seeds, shapes, strict=True):
        y, x = divmod(int(seed), w)
        padded = np.zeros((h + 2 * radius, w + 2 * radius), np.float32)
        padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1] = shape
        low[:] = padded[radius : radius + h, radius : radius + w]
        spread_up(low, geometry.step, full)
        pixels = np.flatnonzero(full > 0.05 * full.max())
        weights = full.reshape(-1)[pixels]
        columns.append((pixels.astype(np.int32), (weights / np.linalg.norm(weights)).astype(np.float32)))
    return Footprints.from_columns(geometry.shape, columns)
