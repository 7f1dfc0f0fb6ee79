"""Movies of tissue that bends, with the bends known."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from streamscope.config import EngineConfig, MotionConfig
from streamscope.testing.naive import field_at

SHAPE = (144, 160)
N_FRAMES = 240


def config_of(mode):
    motion = MotionConfig(template_s=12.0, piecewise=mode)
    return EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6, motion=motion)


def bends(rng, n_frames, size_px):
    """Return fields (n, 3, 3, 2) that come and go in a third of a second, without their mean."""
    out = gaussian_filter1d(rng.normal(size=(n_frames, 3, 3, 2)), 6, axis=0)
    out -= out.mean((1, 2), keepdims=True)
    return (out * size_px / out.std()).astype(np.float32)


def movie_of(fields, rng, sd=3.0):
    """Return frames of moving tissue with cells that flash, and the shifts."""
    h, w = SHAPE
    rows, cols = np.mgrid[0 : h + 40, 0 : w + 40].astype(np.float32)
    fine, coarse = (gaussian_filter(rng.normal(size=rows.shape), s) for s in (2, 12))
    tissue = (80 + 9 * fine / fine.std() + 15 * coarse / coarse.std()).astype(np.float32)
    centres = rng.uniform((30, 40), (150, 150), (25, 2))
    cells = np.stack(
        [np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 12) for y, x in centres.astype(np.float32)]
    )
    ages = np.arange(len(fields))[:, None] + 17 * np.arange(len(cells))
    activity = (30 * np.exp(-(ages % 90) / 12)).astype(np.float32)
    shifts = rng.uniform(-3, 3, (len(fields), 2))
    places = np.mgrid[0:h, 0:w].transpose(1, 2, 0) + 20
    frames = []
    for t, (field, shift) in enumerate(zip(fields, shifts, strict=True)):
        scene = tissue + np.tensordot(activity[t], cells, 1)
        u = field_at(field, SHAPE) + shift
        at = (places - u).astype(np.float32)
        seen = cv2.remap(scene, at[..., 1], at[..., 0], cv2.INTER_CUBIC)
        frames.append((seen + rng.normal(0, sd, SHAPE)).astype(np.float32))
    return frames, shifts


def displacement_error(found, shifts, fields, start):
    """Return the rms of shift plus field against the truth, away from the border, up to one constant."""
    wrong = []
    for shift, true, field in list(zip(found, shifts, fields, strict=True))[start:]:
        own = field_at(shift.field, SHAPE) if shift.field is not None else np.zeros((*SHAPE, 2))
        both = own + np.array([shift.dy, shift.dx]) - true - field_at(field, SHAPE)
        wrong.append(both[12:-12:12, 12:-12:12])
    wrong = np.array(wrong)
    wrong -= wrong.mean((0, 1, 2))
    return np.sqrt((wrong**2).sum(-1).mean())
