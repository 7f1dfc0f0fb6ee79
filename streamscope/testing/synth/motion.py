"""How the tissue moves against the sensor, and how a picture is moved by a fraction of a pixel."""

from __future__ import annotations

import cv2
import numpy as np

from streamscope.testing.synth.config import SynthConfig
from streamscope.types import DoubleArray, FloatArray

TAPS = 6  # of the interpolation
BEFORE = 2  # taps left of the point


def trajectory(config: SynthConfig, rng: np.random.Generator) -> FloatArray:
    """Return the shift of each frame: slow drift, jitter of single frames, and jerks that ring out.

    Returns
    -------
    ndarray, shape (T, 2), float32
        (dy, dx), px: reference content at (y, x) is seen at (y + dy, x + dx). The first is 0.
    """
    t_s = np.arange(config.n_frames) / config.fps
    shifts = _drift(t_s, config.drift_px, rng) + config.jitter_px * _jitter(config.n_frames, rng)
    n_jerks = rng.poisson(config.jerks_per_min * t_s[-1] / 60.0)
    for start_s in rng.uniform(1.0, max(t_s[-1], 1.1), n_jerks):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(*config.jerk_px)
        shifts += size * _jerk(t_s - start_s, rng)[:, None] * (np.sin(angle), np.cos(angle))
    return np.asarray(shifts - shifts[0], np.float32)


def move(tissue: FloatArray, shift: FloatArray, pad: int, shape: tuple[int, int]) -> FloatArray:
    """Return the part of `tissue` that the sensor sees when the tissue has moved by `shift`.

    Six-point Lagrange interpolation: a translation by any fraction of a pixel is true to 1e-3 px for
    pictures as smooth as these. OpenCV's cubic warp is off by up to 0.04 px, which a test would see.

    Parameters
    ----------
    tissue : ndarray, shape (H + 2 pad, W + 2 pad), float32
    shift : ndarray, shape (2,)
        (dy, dx), px, smaller than pad - 4.
    pad : int
        Margin of the tissue around the field, px.
    shape : tuple of int
        (H, W) of the field.

    Returns
    -------
    ndarray, shape (H, W), float32
    """
    (row, taps_y), (column, taps_x) = _taps(pad - float(shift[0])), _taps(pad - float(shift[1]))
    top, left = row - BEFORE, column - BEFORE
    seen = tissue[top : top + shape[0] + TAPS, left : left + shape[1] + TAPS]
    moved = cv2.sepFilter2D(seen, cv2.CV_32F, taps_x, taps_y, anchor=(BEFORE, BEFORE))
    return np.asarray(moved[BEFORE : BEFORE + shape[0], BEFORE : BEFORE + shape[1]], np.float32)


def _taps(position: float) -> tuple[int, FloatArray]:
    """Return the whole part of a position and the Lagrange weights of its fraction."""
    whole = int(np.floor(position))
    fraction = position - whole
    points = np.arange(-BEFORE, TAPS - BEFORE, dtype=np.float64)
    weights = np.ones(TAPS)
    for i, here in enumerate(points):
        others = np.delete(points, i)
        weights[i] = np.prod((fraction - others) / (here - others))
    return whole, weights.astype(np.float32)


def _drift(t_s: DoubleArray, size_px: float, rng: np.random.Generator) -> DoubleArray:
    """Return a slow wander made of a few sines with periods from 20 s to 200 s."""
    periods_s, phases = rng.uniform(20, 200, (6, 2)), rng.uniform(0, 2 * np.pi, (6, 2))
    waves = periods_s * np.sin(2 * np.pi * t_s[:, None, None] / periods_s + phases)
    drift = waves.sum(1)
    drift -= drift[0]
    return np.asarray(size_px * drift / max(float(np.abs(drift).max()), 1e-9))


def _jitter(n_frames: int, rng: np.random.Generator) -> DoubleArray:
    """Return noise of unit s.d. that two neighbouring frames share a part of."""
    white = rng.normal(size=(n_frames + 1, 2))
    return np.asarray((white[1:] + 0.5 * white[:-1]) / np.sqrt(1.25))


def _jerk(dt_s: DoubleArray, rng: np.random.Generator) -> DoubleArray:
    """Return one jerk of unit size: away within a frame or two, back in a damped swing."""
    rise_s, fall_s, swing_hz = rng.uniform(0.03, 0.1), rng.uniform(0.1, 0.5), rng.uniform(1.0, 3.0)
    after = np.clip(dt_s, 0, None)
    shape = (1 - np.exp(-after / rise_s)) * np.exp(-after / fall_s) * np.cos(2 * np.pi * swing_hz * after)
    return np.asarray(shape / max(float(np.abs(shape).max()), 0.2))
