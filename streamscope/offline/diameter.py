"""The diameter of the cells of a recording, measured on those that flash while it is sampled.

Short runs of frames over the whole recording are registered and averaged to bins of 0.15 s; what stands still goes
with the median of the bins around. At three sizes an octave apart, sites are found where a spot lights up against
its surround, and the bins in which it does are averaged: each site gives the image of one cell, whatever its
neighbours do at other times. Its diameter is that of the circle that has the area above half of the peak. Blur only
ever enlarges a cell, so that the sizes have a sharp mode, the cells in focus, and a long tail above: the mode counts.

The same search on the negative movie tells what the background, motion and noise alone would give: tissue has dark
spots that come and go as it has bright ones, cells are only ever bright.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import label

from streamscope.config import EngineConfig
from streamscope.core.kernels import warp
from streamscope.core.motion import Motion
from streamscope.core.preprocess import Preprocess
from streamscope.types import BoolArray, DoubleArray, FloatArray, LongArray, Movie

_BIN_S = 0.15
_RUN_BINS = 3
_BLOCK_BINS = 30  # in memory at once; their median is what stands still
_MOST_BINS = 150
_LEAST_BINS = 40
_NEUTRAL_PX = 10.0  # cell diameter that registration assumes

# Everything below is in pixels of a level, the movie at a half or a quarter of its size: scales are alike.
_LEVELS = (1, 2, 4)
_SIZES = (4.5, 9.0)  # diameters that a level is for
_SPOT_SIGMA = 2.2
_SURROUND_BOXES = (9, 17)
_LEAST_SD = 6.0
_APART = 2.5  # flashes nearer than this are of one site
_REACH = 15  # half width of the image of a site
_PATCH = _REACH + 3  # and of a flash, which may lie `_APART` beside its site
_MOST_FLASHES = 50  # of one bin

_LEAST_PEAK = 6.0  # of a site's image, over the scatter of its rim
_MOST_ELONGATED = 1.6  # farthest pixel above half of the peak, radii
_LEAST_SITES = 8
_MOST_DECOYS = 0.4  # dark spots, of the bright ones
_LEAST_CONFIDENCE = 0.6
_KERNEL = 0.1  # s.d. of the density of sizes, natural logarithm of the diameter
_NEAR_MODE = 0.25  # half width of what counts as the mode, same unit
_AGREES = 0.1  # same unit
_RESAMPLINGS = 200


@dataclass(frozen=True, slots=True)
class DiameterEstimate:
    """How large the cells of a recording are, or why that cannot be told."""

    diameter_px: float | None  # at half of the peak; None: cannot be told
    confidence: float  # 0..1
    n_sites: int  # of about that size
    reason: str = ""  # why it cannot be told


@dataclass(frozen=True, slots=True)
class _Flash:
    """A spot that is brighter, or darker, than its surround in one bin."""

    y: int
    x: int
    height: float  # noise s.d.
    image: FloatArray  # (2 _PATCH + 1, same), less what stands still


def estimate_diameter(movie: Movie, fps: float) -> DiameterEstimate:
    """Return the diameter of the cells that are in focus.

    Parameters
    ----------
    movie : Movie
        The recording; at most some hundreds of its frames are read.
    fps : float
        Frame rate, Hz.

    Returns
    -------
    DiameterEstimate
        The confidence is the share of resamplings of the sites whose mode agrees within a tenth, times the share
        of sites that the negative movie does not explain.
    """
    n = max(1, round(_BIN_S * fps))
    runs = _runs(movie.info.n_frames, n * _RUN_BINS)
    if len(runs) * _RUN_BINS < _LEAST_BINS:
        least = -(-_LEAST_BINS // _RUN_BINS) * _RUN_BINS * n
        return _cannot_tell(0, f"it has {movie.info.n_frames} frames, expected at least {least}")
    levels = [f for f in _LEVELS if _SIZES[0] * f <= min(movie.info.shape) / 4]
    bright: list[list[_Flash]] = [[] for _ in levels]
    dark: list[list[_Flash]] = [[] for _ in levels]
    for block, margin in _blocks(movie, runs, n, fps):
        _take_out_static(block)
        for i, factor in enumerate(levels):
            _find_flashes(block, factor, margin, bright[i], dark[i])
    sizes, decoys = (
        np.concatenate([factor * _sizes(flashes) for factor, flashes in zip(levels, found, strict=True)])
        for found in (bright, dark)
    )
    return _judge(sizes, len(decoys))


def _runs(n_frames: int, length: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of runs of frames, evenly spread over the recording."""
    number = min(_MOST_BINS // _RUN_BINS, n_frames // length)
    starts = np.linspace(0, n_frames - length, max(number, 0)).astype(int)
    return [(int(start), int(start) + length) for start in starts]


def _blocks(
    movie: Movie, runs: list[tuple[int, int]], n: int, fps: float
) -> Iterator[tuple[FloatArray, float]]:
    """Yield bins of registered frames, about `_BLOCK_BINS` at once, (n, H, W), and their largest shift, px."""
    n_blocks = max(1, round(len(runs) * _RUN_BINS / _BLOCK_BINS))
    bins = _Bins(movie, n, fps)
    for part in np.array_split(np.array(runs), n_blocks):
        means, shifts = [], [0.0]
        for start, stop in part:
            for mean, shift in bins.of(int(start), int(stop)):
                means.append(mean)
                shifts.append(shift)
        if len(means) > _BLOCK_BINS // 3:
            yield np.stack(means), max(shifts)


class _Bins:
    """Registers frames and averages them `n` by `n`."""

    def __init__(self, movie: Movie, n: int, fps: float) -> None:
        self._movie, self._n = movie, n
        shape = movie.info.shape
        self._preprocess = Preprocess(shape, movie.info.bits)
        self._motion = Motion(EngineConfig(cell_diameter_px=_NEUTRAL_PX, fps=fps, decay_s=1.0), shape)
        self._row, self._moved = np.zeros(shape[1] + 3, np.float32), np.empty(shape, np.float32)

    def of(self, start: int, stop: int) -> Iterator[tuple[FloatArray, float]]:
        """Yield the mean of each bin of a run and its largest shift, px; frames of doubtful motion are left out."""
        frames = self._movie.read(start, stop)
        for first in range(0, len(frames), self._n):
            total, count, largest = np.zeros_like(self._moved), 0, 0.0
            for raw in frames[first : first + self._n]:
                image = self._preprocess.update(raw)
                shift = self._motion.update(image)
                if shift.ok:
                    warp.translate(image, shift.dy, shift.dx, self._row, self._moved)
                    total += self._moved
                    count += 1
                    largest = max(largest, abs(shift.dy), abs(shift.dx))
            if count:
                yield total / np.float32(count), largest


def _take_out_static(block: FloatArray) -> None:
    """Subtract the median of the bins from each, in place, scaled to its brightness."""
    still = np.median(block, axis=0)
    energy = float(np.vdot(still, still)) + 1e-12
    for image in block:
        image -= np.float32(float(np.vdot(image, still)) / energy) * still


def _find_flashes(
    block: FloatArray, factor: int, margin: float, bright: list[_Flash], dark: list[_Flash]
) -> None:
    """Add to both lists the spots of a block that stand out of the noise, at `1 / factor` of its size."""
    images = [_shrunk(image, factor) for image in block]
    spots = [_spots(image) for image in images]
    edge = int(np.ceil(margin / factor)) + 4
    h, w = images[0].shape
    inside = (slice(edge, max(edge, h - edge)), slice(edge, max(edge, w - edge)))
    for sign, found in ((1, bright), (-1, dark)):
        scale = np.float32(sign) / _noise(spots, sign)
        for image, spot in zip(images, spots, strict=True):
            height = spot * scale
            for y, x in _maxima(height, inside):
                patch = sign * _cut(image, int(y), int(x))
                found.append(_Flash(int(y), int(x), float(height[y, x]), patch))


def _noise(spots: list[FloatArray], sign: int) -> FloatArray:
    """Return the s.d. of the spots, (h, w), from the side on which those that are sought do not lie."""
    total = np.zeros_like(spots[0])
    for spot in spots:
        total += np.square(np.minimum(sign * spot, 0))
    variance = cv2.blur(total * np.float32(2 / len(spots)), (15, 15))
    return np.asarray(np.sqrt(variance) + 1e-3, np.float32)


def _shrunk(image: FloatArray, factor: int) -> FloatArray:
    if factor == 1:
        return image
    h, w = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: h * factor, : w * factor]
    return np.asarray(cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA), np.float32)


def _spots(image: FloatArray) -> FloatArray:
    """Return what is brighter than its surround."""
    surround = image
    for width in _SURROUND_BOXES:
        surround = np.asarray(cv2.blur(surround, (width, width)), np.float32)
    return np.asarray(cv2.subtract(cv2.GaussianBlur(image, (0, 0), _SPOT_SIGMA), surround), np.float32)


def _maxima(height: FloatArray, inside: tuple[slice, slice]) -> LongArray:
    """Return rows and columns of the highest local maxima, (n, 2)."""
    high = height >= _LEAST_SD
    if not high.any():
        return np.zeros((0, 2), np.int64)
    top = np.zeros(height.shape, bool)
    top[inside] = (high & (height == cv2.dilate(height, np.ones((7, 7), np.uint8))))[inside]
    places = np.argwhere(top)
    order = np.argsort(-height[top], kind="stable")[:_MOST_FLASHES]
    return np.asarray(places[order], np.int64)


def _cut(image: FloatArray, y: int, x: int) -> FloatArray:
    """Return the square of half width `_PATCH` about a pixel, mirrored at the edges of the field."""
    rows, columns = (np.arange(-_PATCH, _PATCH + 1) + centre for centre in (y, x))
    rows, columns = (_mirrored(at, size) for at, size in zip((rows, columns), image.shape, strict=True))
    return image[np.ix_(rows, columns)]


def _mirrored(at: LongArray, size: int) -> LongArray:
    period = 2 * (size - 1)
    return np.asarray((size - 1) - np.abs((at % period) - (size - 1)))


def _sizes(flashes: list[_Flash]) -> DoubleArray:
    """Return the diameters of the sites that look like cells of the size that the level is for, (n,)."""
    found = [_diameter(image) for image in _sites(flashes)]
    return np.array([d for d in found if d is not None and _SIZES[0] <= d < _SIZES[1]])


def _sites(flashes: list[_Flash]) -> Iterator[FloatArray]:
    """Yield the mean image of each site that flashes, weighted by height, the highest first."""
    ordered = sorted(flashes, key=lambda flash: -flash.height)
    places = np.array([(flash.y, flash.x) for flash in ordered]).reshape(-1, 2)
    free = np.ones(len(ordered), bool)
    for i, first in enumerate(ordered):
        if not free[i]:
            continue
        near = free & (np.hypot(*(places - places[i]).T) <= _APART)
        free &= ~near
        image = np.zeros((2 * _REACH + 1, 2 * _REACH + 1), np.float32)
        for j in np.flatnonzero(near):
            flash = ordered[j]
            top, left = _PATCH - _REACH + first.y - flash.y, _PATCH - _REACH + first.x - flash.x
            image += flash.height * flash.image[top : top + len(image), left : left + len(image)]
        yield image


def _diameter(image: FloatArray) -> float | None:
    """Return the diameter of the spot in the middle at half of its height, or None if it is not round and clear."""
    smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), np.float32)
    dy, dx = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    r = np.hypot(dy, dx)
    diameter = sum(_SIZES) / 2
    for _ in range(4):  # the surround begins where the spot ends
        rim = (r > 1.1 * diameter) & (r <= 1.7 * diameter)
        level = float(np.median(image[rim]))
        height = np.where(r <= 0.4 * diameter, smooth - level, -np.inf)
        peak = float(height.max())
        if peak <= 0:
            return None
        spot = _connected(smooth - level > peak / 2, int(height.argmax()))
        measured = 2 * float(np.sqrt(spot.sum() / np.pi))
        diameter = float(np.clip(measured, 3.0, _REACH / 1.25))
    cy, cx = dy[spot].mean(), dx[spot].mean()
    centred = np.hypot(cy, cx) < _APART
    is_round = np.hypot(dy[spot] - cy, dx[spot] - cx).max() < _MOST_ELONGATED * measured / 2
    scatter = 1.4826 * float(np.median(np.abs(smooth[rim] - level)))
    return measured if centred and is_round and peak > _LEAST_PEAK * scatter else None


def _connected(above: BoolArray, seed: int) -> BoolArray:
    """Return the connected part that holds the pixel at the flat position `seed`."""
    parts, _ = label(above)
    return np.asarray(parts == parts.reshape(-1)[seed])


def _judge(sizes: DoubleArray, n_decoys: int) -> DiameterEstimate:
    """Return the estimate from the diameters of all sites, px, and the number that the negative movie has."""
    if len(sizes) < _LEAST_SITES:
        return _cannot_tell(
            len(sizes), f"only {len(sizes)} spots flash as cells do, expected at least {_LEAST_SITES}"
        )
    if n_decoys > _MOST_DECOYS * len(sizes):
        return _cannot_tell(
            len(sizes), f"{len(sizes)} spots light up, but {n_decoys} go dark, which cells do not do"
        )
    x = np.log(sizes)
    grid = np.arange(x.min(), x.max() + 0.02, 0.02)
    # Cells spread evenly over depth, blur adding in squares, have a density d^2 / sqrt(d^2 - d0^2) of log d: it
    # rises again far above the size d0 of those in focus. Weighed by 1 / d^2 it only falls.
    density = np.exp(-0.5 * ((x[:, None] - grid) / _KERNEL) ** 2) / sizes[:, None] ** 2
    mode = grid[density.sum(0).argmax()]
    near = np.abs(x - mode) <= _NEAR_MODE
    n_sites = int(near.sum())
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), _RESAMPLINGS)
    agrees = np.abs(grid[(counts @ density).argmax(1)] - mode) <= _AGREES
    confidence = float(agrees.mean()) * (1 - n_decoys / len(sizes))
    if n_sites < _LEAST_SITES or confidence < _LEAST_CONFIDENCE:
        return _cannot_tell(
            n_sites, f"the sizes of the {len(sizes)} spots that flash do not agree", confidence
        )
    return DiameterEstimate(round(float(np.median(sizes[near])), 1), round(confidence, 2), n_sites)


def _cannot_tell(n_sites: int, reason: str, confidence: float = 0.0) -> DiameterEstimate:
    return DiameterEstimate(None, confidence, n_sites, reason)
