"""Where the residual rises: a running score on the detection grid, scanned block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import RingGeometry
from streamscope.core.kernels import score
from streamscope.types import FloatArray

_LEAST_SHARE = 0.8  # of frames in which a site must be in the field
_MAX_CANDIDATES = 200
_NOISE_MEMORY_S = 20.0
_SETTLE_FRAMES = 8  # before the noise of the score is known


@dataclass(frozen=True, slots=True)
class Candidate:
    """A site whose score rose above the threshold."""

    y: float  # px
    x: float
    score: float


class Detector:
    """Keeps the score of the residual and gives its maxima block by block."""

    def __init__(self, config: EngineConfig, grid: RingGeometry) -> None:
        self._grid = grid
        self._sigma = max(config.cell_diameter_px / 4 / grid.step, 0.5)
        self._radius = max(1, round(config.cell_diameter_px / 2 / grid.step))
        self._threshold = config.detect.threshold
        self._decay = np.float32(math.exp(-1 / (config.fps * config.detect.filter_s)))
        self._memory = config.frames(_NOISE_MEMORY_S)
        self._fps = config.fps
        self.planes = np.zeros((7, *grid.grid), np.float32)
        self._zmax = np.zeros(grid.grid, np.float32)
        self._n = 0

    def restart(self) -> None:
        """Forget all frames."""
        self.planes.fill(0)
        self._zmax.fill(0)
        self._n = 0

    def update(self, residual: FloatArray, field: tuple[int, int, int, int]) -> None:
        """Let the residual (h, w) of one frame into the score."""
        blurred = np.asarray(cv2.GaussianBlur(residual, (0, 0), self._sigma), np.float32)
        self._n += 1
        if self._n <= 2:  # no second difference yet
            self.planes[1], self.planes[0] = self.planes[0].copy(), blurred
            return
        rate = np.float32(1 / min(self._n - 2, self._memory))
        step = self._grid.step
        y0, y1, x0, x1 = field
        inside = np.array([-(-y0 // step), y1 // step, -(-x0 // step), x1 // step], np.int64)
        quantile_rate = np.float32(max(0.02, 2.0 / self._n) * 20 / self._fps)
        score.update_score(blurred, self.planes, inside, self._decay, rate, quantile_rate, self._zmax)
        if self._n < _SETTLE_FRAMES:
            self._zmax.fill(0)

    def candidates(self) -> list[Candidate]:
        """Return the maxima of the block that ends here, at most 200, strongest first, and begin a new block."""
        places = np.zeros((int(np.count_nonzero(self._zmax >= self._threshold)), 2), np.int64)
        n = score.local_maxima(
            self._zmax,
            self.planes[6],
            np.float32(self._threshold),
            np.float32(_LEAST_SHARE),
            self._radius,
            places,
        )
        step = self._grid.step
        found = [
            Candidate((y + 0.5) * step - 0.5, (x + 0.5) * step - 0.5, float(self._zmax[y, x]))
            for y, x in places[:n]
        ]
        self._zmax.fill(0)
        return sorted(found, key=lambda c: -c.score)[:_MAX_CANDIDATES]
