"""Where the cells are, what they look like, and when they fire."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streamscope.testing.synth.config import SynthConfig
from streamscope.types import BoolArray, DoubleArray, FloatArray, IntArray, LongArray

FLOOR = 0.02  # footprint values under this fraction of the peak are dropped
NEAR_BLUR_PX = (0.8, 1.5)  # s.d. of the blur
FAR_BLUR_PX = (2.0, 3.0)
DEEP_BLUR_PX = (7.0, 12.0)


@dataclass(frozen=True, slots=True)
class Patch:
    """One footprint on its own small square."""

    top: int
    left: int
    weights: FloatArray  # (n, n), maximum 1

    def within(self, shape: tuple[int, int]) -> tuple[IntArray, FloatArray]:
        """Return flat pixel indices and weights of the part that lies inside of `shape`."""
        y, x = np.nonzero(self.weights >= FLOOR)
        weights = self.weights[y, x]
        y, x = y + self.top, x + self.left
        inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        return (y[inside] * shape[1] + x[inside]).astype(np.int32), weights[inside].astype(np.float32)


@dataclass(frozen=True, slots=True)
class Activity:
    """What the cells do. K cells, T frames."""

    spikes: LongArray  # (K, T) spikes per frame
    calcium: FloatArray  # (K, T) largest value of each cell is 1
    late: BoolArray  # (K,) silent until about the middle


def place(
    n_cells: int, shape: tuple[int, int], min_distance_px: float, rng: np.random.Generator
) -> DoubleArray:
    """Return (n, 2) centres (y, x), no two closer than `min_distance_px`; fewer than asked if full."""
    centres = np.zeros((n_cells, 2))
    n = 0
    for y, x in rng.uniform((0, 0), shape, (60 * n_cells, 2)):
        if n == n_cells:
            break
        if np.all(np.hypot(centres[:n, 0] - y, centres[:n, 1] - x) >= min_distance_px):
            centres[n] = y, x
            n += 1
    return centres[:n]


def soma(
    centre: DoubleArray, diameter_px: float, blur_px: float, offset_px: float, rng: np.random.Generator
) -> Patch:
    """Return an irregular soma with a dim nucleus and one short process, seen through a blur.

    Parameters
    ----------
    centre : ndarray, shape (2,)
        (y, x), px.
    diameter_px : float
        Mean diameter before the blur.
    blur_px : float
        S.d. of the blur.
    offset_px : float
        Added to the centre: the margin of the frame that the patch is in.
    """
    radius = diameter_px / 2
    half = int(np.ceil(2.6 * radius + 3.2 * blur_px))
    top, left = (int(np.floor(v + offset_px)) - half for v in centre)
    y, x = np.mgrid[0 : 2 * half + 1, 0 : 2 * half + 1]
    dy, dx = y + top - centre[0] - offset_px, x + left - centre[1] - offset_px
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    edge = radius * (1 + _outline(angle, rng))
    body = 1 / (1 + np.exp((distance - edge) / 0.35))
    nucleus = 0.35 * np.exp(-((distance / (0.45 * radius)) ** 2))
    process = _process(dy, dx, radius, rng)
    sharp = np.maximum(body * (1 - nucleus), process).astype(np.float32)
    seen = cv2.GaussianBlur(sharp, (0, 0), blur_px, borderType=cv2.BORDER_CONSTANT)
    return Patch(top, left, np.asarray(seen / seen.max(), np.float32))


def activity(config: SynthConfig, n_cells: int, drive: FloatArray, rng: np.random.Generator) -> Activity:
    """Return bursty spikes and the calcium that follows them with the indicator's rise and decay.

    Parameters
    ----------
    config : SynthConfig
        Rates and time constants.
    n_cells : int
    drive : ndarray, shape (T,)
        Common drive: its exponential scales the rates, so cells and background wake together.
    """
    late = rng.random(n_cells) < config.late_fraction
    first = np.where(late, rng.uniform(0.4, 0.7, n_cells) * config.n_frames, 0).astype(int)
    rate = np.exp(0.5 * drive) / np.exp(0.5 * drive).mean() / config.fps
    spikes = np.zeros((n_cells, config.n_frames), np.int64)
    for k in range(n_cells):
        own = rng.lognormal(0, 0.4)
        starts = np.flatnonzero(rng.random(config.n_frames) < config.burst_hz * own * rate)
        starts = starts[starts >= first[k]]
        if len(starts) == 0:  # every cell shows itself once, or it would not belong to the truth
            starts = rng.integers(first[k], max(first[k] + 1, int(0.9 * config.n_frames)), 1)
        spikes[k] = rng.poisson(config.single_hz * own * rate) * (np.arange(config.n_frames) >= first[k])
        for start in starts:
            _add_burst(spikes[k], int(start), config.fps, rng)
    calcium = _calcium(spikes, config)
    return Activity(spikes, calcium, np.asarray(late))


def _outline(angle: DoubleArray, rng: np.random.Generator) -> DoubleArray:
    """Return the relative deviation of the radius: an ellipse with dents."""
    deviation = np.zeros_like(angle)
    for order, size in ((2, 0.16), (3, 0.09), (4, 0.06), (5, 0.04)):
        deviation += size * rng.normal() * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.clip(deviation, -0.4, 0.5))


def _process(dy: DoubleArray, dx: DoubleArray, radius: float, rng: np.random.Generator) -> DoubleArray:
    """Return a faint stub of dendrite that leaves the soma in a random direction."""
    angle, length = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.2, 2.2)
    along = dy * np.sin(angle) + dx * np.cos(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    on = (along > 0) & (along < length)
    return np.asarray(0.4 * on * np.exp(-((across / (0.22 * radius)) ** 2)) * (1 - along / length))


def _add_burst(spikes: LongArray, start: int, fps: float, rng: np.random.Generator) -> None:
    """Add a burst of 4 spikes or more, on average 8, about 25 ms apart."""
    at_s = np.cumsum(rng.exponential(0.025, 3 + rng.geometric(0.2)))
    frames = start + (at_s * fps).astype(int)
    np.add.at(spikes, frames[frames < len(spikes)], 1)


def _calcium(spikes: LongArray, config: SynthConfig) -> FloatArray:
    """Return spikes passed through the difference of two exponentials, an AR(2) process."""
    from scipy.signal import lfilter  # a second to import, which recordings from files need not wait for

    slow, fast = np.exp(-1 / (config.fps * config.decay_s)), np.exp(-1 / (config.fps * config.rise_s))
    calcium = lfilter([1.0], [1.0, -(slow + fast), slow * fast], spikes.astype(float), axis=1)
    return np.asarray(calcium / np.maximum(calcium.max(1, keepdims=True), 1e-9), np.float32)
