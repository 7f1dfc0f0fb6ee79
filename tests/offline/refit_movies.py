"""Tiny synthetic recordings with a known truth, for tests of the refit."""

from pathlib import Path

import numpy as np

from streamscope.config import EngineConfig
from streamscope.types import MovieInfo

SHAPE = (64, 72)
CENTRES = [(16, 18), (20, 44), (34, 30), (46, 52), (48, 14), (38, 26)]  # the last overlaps the third
CONFIG = EngineConfig(cell_diameter_px=9.0, fps=10.0, decay_s=0.6)


class ArrayMovie:
    def __init__(self, frames, gap=None):
        self.frames = frames
        self.info = MovieInfo("array", (Path("array"),), frames.shape[1:], len(frames), 10.0)
        self.times_s = np.arange(len(frames)) / 10
        self.gap = np.zeros(len(frames), np.int32) if gap is None else gap
        self.hw = None

    def read(self, start, stop):
        return self.frames[start:stop]

    def close(self):
        pass


def simulate(n_frames=300, seed=1, moving=True):
    """Return a movie, footprints (H, W, K), fluorescence (K, T) and shifts (T, 2)."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    shifts = np.zeros((n_frames, 2))
    if moving:
        shifts[1:] = np.cumsum(rng.normal(0, 0.25, (n_frames - 1, 2)), 0)
        shifts = 2 * np.sin(shifts / 2)
    s = (rng.random((len(CENTRES), n_frames)) < 0.03) * rng.uniform(20, 40, (len(CENTRES), n_frames))
    F = np.zeros_like(s)
    for t in range(1, n_frames):
        F[:, t] = np.exp(-1 / 6) * F[:, t - 1] + s[:, t]
    waves = np.cumsum(rng.normal(0, 1, (3, n_frames)), 1)
    waves = 6 * (waves - waves.mean(1, keepdims=True)) / (waves.std(1, keepdims=True) + 1e-9)
    vessels = [(rng.uniform(0, SHAPE[0]), rng.uniform(0, np.pi)) for _ in range(5)]
    movie = np.empty((n_frames, *SHAPE), np.uint8)
    for t in range(n_frames):
        movie[t] = _frame(yy - shifts[t, 0], xx - shifts[t, 1], F[:, t], waves[:, t], vessels, rng)
    A = np.stack([_blob(yy, xx, c) for c in CENTRES], -1)
    return ArrayMovie(movie), A, F, shifts


def _blob(y, x, centre, sigma=2.4):
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))


def _frame(y, x, f, waves, vessels, rng):
    image = 70 + waves[0] + waves[1] * np.sin(y / 25) + waves[2] * np.cos(x / 30)
    for offset, angle in vessels:
        across = (y - offset) * np.cos(angle) + (x - 36) * np.sin(angle)
        image = image * (1 - 0.35 * np.exp(-(across**2) / 8))
    for value, centre in zip(f, CENTRES, strict=True):
        image = image + value * _blob(y, x, centre)
    return np.clip(np.round(image + rng.normal(0, 2.0, y.shape)), 0, 255)


def match(result, A, F, accepted=True):
    """Return for each true cell the best footprint cosine and the correlation of its trace."""
    found = result.footprints.dense().reshape(-1, result.footprints.n)
    truth = A.reshape(-1, A.shape[2])
    cosine = (truth / np.linalg.norm(truth, axis=0)).T @ (found / np.linalg.norm(found, axis=0))
    if accepted:
        cosine = np.where(np.array(result.status) == "accepted", cosine, 0)
    best = cosine.argmax(1)
    r = [np.corrcoef(result.C[j], F[i])[0, 1] for i, j in enumerate(best)]
    return cosine.max(1), np.array(r), best
