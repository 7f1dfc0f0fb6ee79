"""The light that is not in focus: texture, moving background, vessels, illumination."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.testing.synth.config import SynthConfig
from streamscope.types import DoubleArray, FloatArray

N_MODES = 8
BACKGROUND_STEP_PX = 8  # the smooth background is made on a grid this coarse
TIME_CONSTANTS_S = (0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 4.0, 2.0)


def texture(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return the uneven brightness of resting tissue, mean about 1, from fine to coarse."""
    image = np.ones(shape, np.float32)
    for blur_px, size in ((2.0, 0.025), (5.0, 0.04), (14.0, 0.07), (45.0, 0.12)):
        image += size * smooth_noise(shape, blur_px, rng)
    return np.maximum(image, 0.3)


def smooth_noise(shape: tuple[int, int], blur_px: float, rng: np.random.Generator) -> FloatArray:
    """Return Gaussian noise of unit s.d., blurred by `blur_px` (made on a coarser grid where it can be)."""
    step = max(1, int(blur_px / 3))
    coarse = (shape[0] // step + 2, shape[1] // step + 2)
    noise = rng.standard_normal(coarse, np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), blur_px / step, borderType=cv2.BORDER_REFLECT)
    full = cv2.resize(soft, (coarse[1] * step, coarse[0] * step), interpolation=cv2.INTER_CUBIC)
    return _standard(full[: shape[0], : shape[1]])


def vessels(shape: tuple[int, int], n_roots: int, um_per_px: float, rng: np.random.Generator) -> FloatArray:
    """Return the fraction of light that passes: 1 beside the vessels, down to about 0.5 in the largest."""
    depth = np.zeros(shape, np.float32)
    for _ in range(n_roots):
        side = rng.integers(4)
        along = rng.uniform(0.1, 0.9)
        start = [(0.0, along), (1.0, along), (along, 0.0), (along, 1.0)][side]
        heading = [np.pi / 2, -np.pi / 2, 0.0, np.pi][side] + rng.normal(0, 0.4)
        position = np.array(start) * shape
        _grow(depth, position, heading, rng.uniform(14, 22) / um_per_px, rng)
    soft = cv2.GaussianBlur(depth, (0, 0), 2.5 / um_per_px + 0.6)
    return np.asarray(1 - 0.5 * np.minimum(soft, 1), np.float32)


def falloff(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return the fraction of the light that is excited and collected: 1 in the middle, half in corners."""
    r2 = _radius_squared(shape, rng.uniform(-0.06, 0.06, 2))
    return np.asarray((1 - 0.25 * r2) * (1 - 0.3 * r2**1.5), np.float32)


def stray_light(shape: tuple[int, int], level: float) -> FloatArray:
    """Return light that reaches the sensor without having been in the tissue; it does not move."""
    return np.asarray(level * np.exp(-2 * _radius_squared(shape, (0.0, 0.0))), np.float32)


def background_modes(shape: tuple[int, int], um_per_px: float, rng: np.random.Generator) -> FloatArray:
    """Return smooth patterns that flicker independently, on a coarse grid.

    Returns
    -------
    ndarray, shape (N_MODES, h, w), float32
        `h`, `w` cover `shape` in steps of BACKGROUND_STEP_PX. The first is wide-field: positive everywhere.
    """
    small = tuple(-(-n // BACKGROUND_STEP_PX) + 1 for n in shape)
    modes = np.empty((N_MODES, *small), np.float32)
    for m, blur_um in enumerate((300, 40, 40, 60, 60, 90, 130, 200)):
        modes[m] = smooth_noise((small[0], small[1]), blur_um / um_per_px / BACKGROUND_STEP_PX, rng)
    modes[0] = 1.0 + 0.25 * modes[0]
    modes[1:] *= 0.45
    return modes


def background_times(config: SynthConfig, rng: np.random.Generator) -> FloatArray:
    """Return the time course of each mode, (N_MODES, T): unit s.d., correlated over 0.4 to 12 s.

    The first is the common drive; the others follow it in part.
    """
    own = np.stack([_wander(config, tau_s, rng) for tau_s in TIME_CONSTANTS_S])
    common = own[2] + 0.6 * own[4]
    common /= max(float(common.std()), 1e-9)
    share = np.concatenate([[1.0], rng.uniform(0.0, 0.5, N_MODES - 1)])[:, None]
    return np.asarray(share * common + np.sqrt(1 - share**2) * own, np.float32)


def _wander(config: SynthConfig, tau_s: float, rng: np.random.Generator) -> FloatArray:
    """Return noise with an exponential memory, made smooth from frame to frame, unit s.d."""
    from scipy.signal import lfilter  # a second to import, which recordings from files need not wait for

    a, b = np.exp(-1 / (config.fps * tau_s)), np.exp(-1 / (config.fps * 0.15))
    lead = int(5 * tau_s * config.fps)  # until the memory has forgotten its start
    noise = lfilter([1.0], [1.0, -(a + b), a * b], rng.normal(size=lead + config.n_frames))[lead:]
    return _standard(noise)


def _standard(values: NDArray[Any]) -> FloatArray:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9), np.float32)


def _radius_squared(shape: tuple[int, int], offset: tuple[float, float] | DoubleArray) -> FloatArray:
    """Return the squared distance from a centre near the middle, 1 in the corners of a centred square."""
    y = (np.arange(shape[0]) / shape[0] - 0.5 - offset[0])[:, None]
    x = (np.arange(shape[1]) / shape[1] - 0.5 - offset[1])[None, :]
    return np.asarray(2 * (y * y + x * x), np.float32)


def _grow(
    depth: FloatArray, position: DoubleArray, heading: float, width_px: float, rng: np.random.Generator
) -> None:
    """Draw one vessel, and by recursion its branches, into `depth`."""
    step = 7.0
    while width_px > 1.2:
        end = position + step * np.array([np.sin(heading), np.cos(heading)])
        ends = [(round(float(p[1]) * 16), round(float(p[0]) * 16)) for p in (position, end)]
        value = min(1.0, 0.35 + width_px / 14)
        cv2.line(depth, ends[0], ends[1], value, max(1, round(width_px)), cv2.LINE_AA, shift=4)
        position = np.asarray(end, np.float64)
        heading += rng.normal(0, 0.16)
        width_px *= 0.992
        if rng.random() < 0.045:
            turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
            _grow(depth, position, heading + turn, width_px * rng.uniform(0.45, 0.7), rng)
            width_px *= 0.93
        if not (-40 < position[0] < depth.shape[0] + 40 and -40 < position[1] < depth.shape[1] + 40):
            return
