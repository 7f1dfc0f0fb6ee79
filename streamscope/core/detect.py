"""Where the residual rises: a running score on the detection grid, scanned block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.aperture import outside
from streamscope.core.background import RingGeometry
from streamscope.core.crew import Crew
from streamscope.core.kernels import score
from streamscope.types import BoolArray, FloatArray, LongArray

_LEAST_SHARE = 0.8  # of frames in which a site must be in the field
_MAX_CANDIDATES = 200
_NOISE_MEMORY_S = 20.0
_SETTLE_FRAMES = 8  # before the noise of the score is known
_BEFORE = 2  # frames that a second difference needs


@dataclass(frozen=True, slots=True)
class Candidate:
    """A site whose score rose above the threshold."""

    y: float  # px
    x: float
    score: float


def hidden(config: EngineConfig, grid: RingGeometry) -> BoolArray:
    """Return which blocks (h, w) lie outside of the disc that a lens shows; none where the whole field is seen."""
    disc, step = config.prepare.prepared_disc(), grid.step
    if disc is None:
        return np.zeros(grid.grid, np.bool_)
    return outside(grid.grid, ((disc[0] + 0.5) / step - 0.5, (disc[1] + 0.5) / step - 0.5, disc[2] / step))


class Detector:
    """Keeps the score of the residual and gives its maxima block by block."""

    def __init__(self, config: EngineConfig, grid: RingGeometry, crew: Crew | None = None) -> None:
        self._grid = grid
        self._crew = crew or Crew()
        self._sigma = max(config.cell_diameter_px / 4 / grid.step, 0.5)
        self._radius = max(1, round(config.cell_diameter_px / 2 / grid.step))
        self._threshold = config.detect.threshold
        self._decay = np.float32(math.exp(-1 / (config.fps * config.detect.filter_s)))
        self._memory = config.frames(_NOISE_MEMORY_S)
        self._fps = config.fps
        self.planes = np.zeros((7, *grid.grid), np.float32)
        self._zmax = np.zeros(grid.grid, np.float32)
        self._outside = hidden(config, grid)
        self._n = 0

    def restart(self) -> None:
        """Forget all frames."""
        self.planes.fill(0)
        self._zmax.fill(0)
        self._n = 0

    def update(self, residuals: FloatArray, fields: LongArray) -> None:
        """Let the residuals (n, h, w) of frames into the score, all in one go: its state is then moved only once.

        `fields` (n, 4) holds the rows y0, y1 and columns x0, x1 that each frame showed, px. The residuals are blurred
        in place.
        """
        self._crew.map(self._blur, residuals)
        if self._n < _BEFORE:  # no second difference yet
            first = residuals[: _BEFORE - self._n]
            self._n += len(first)
            for residual in first:
                self.planes[1], self.planes[0] = self.planes[0].copy(), residual
            residuals, fields = residuals[len(first) :], fields[len(first) :]
        if len(residuals):
            self._score(residuals, fields)

    def _score(self, frames: FloatArray, fields: LongArray) -> None:
        n, step = len(frames), self._grid.step
        y0, y1, x0, x1 = fields.T
        insides = np.stack([-(-y0 // step), y1 // step, -(-x0 // step), x1 // step], 1)
        number = np.arange(self._n + 1, self._n + n + 1)
        self._n += n
        rates = (1 / np.minimum(number - 2, self._memory)).astype(np.float32)
        quantile_rates = (np.maximum(0.02, 2.0 / number) * 20 / self._fps).astype(np.float32)
        counts = number >= _SETTLE_FRAMES
        self._crew.map(
            lambda rows: score.update_score(
                frames,
                self.planes,
                insides,
                self._decay,
                rates,
                quantile_rates,
                counts,
                rows[0],
                rows[1],
                self._zmax,
            ),
            self._crew.share(0, self._grid.grid[0]),
        )

    def _blur(self, residual: FloatArray) -> None:
        cv2.GaussianBlur(residual, (0, 0), self._sigma, dst=residual)

    def candidates(self) -> list[Candidate]:
        """Return the maxima of the block that ends here, at most 200, strongest first, and begin a new block."""
        self._zmax[self._outside] = 0
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
