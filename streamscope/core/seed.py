"""Cells that are known before the first frame: where they are found in today's field, and with which noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.align import Placement, align, carry
from streamscope.core.buffer import FrameBuffer
from streamscope.core.deconvolve import noise_sd
from streamscope.core.model import Column
from streamscope.types import FloatArray, Footprints, IdArray, SeedReport

LEAST_AGREEMENT = 0.5  # other fields reach 0.34, the same field on another day 0.98 in simulations
LEAST_FRAMES = 20  # that today's still image is made of
_LEAST_IN_VIEW = 0.5  # of a footprint


@dataclass(frozen=True, slots=True)
class Seed:
    """The components of an earlier session, in the frame of its own still image."""

    source: str  # where they come from, as it is told
    image: FloatArray  # (H, W) static background b0
    ids: IdArray  # (K,)
    footprints: Footprints
    next_id: int  # above every id that was ever given


@dataclass(frozen=True, slots=True)
class Planted:
    """A seeded component in today's field."""

    id: int
    column: Column
    sn: float  # ADU


@dataclass(slots=True)
class Seeder:
    """Tries to place a seed, at one still image of today after the other until it fits."""

    config: EngineConfig
    seed: Seed
    best: float = field(default=-1.0)  # agreement so far

    def place(
        self, image: FloatArray, buffer: FrameBuffer, last_try: bool
    ) -> tuple[SeedReport | None, list[Planted]]:
        """Return what became of the seed, None while it may still be placed, and its components.

        Parameters
        ----------
        image : ndarray, shape (H, W), float32
            Today's static background so far, ADU.
        buffer : FrameBuffer
            Today's frames so far.
        last_try : bool
            Whether to give up if it does not fit.
        """
        seed = self.seed
        if buffer.n >= LEAST_FRAMES:
            placement = align(seed.image, image, self.config.cell_diameter_px)
            self.best = max(self.best, placement.agreement)
            if placement.agreement >= LEAST_AGREEMENT:
                return self._planted(placement, image, buffer)
        if last_try:
            return SeedReport(False, seed.source, self.best, LEAST_AGREEMENT, seed.next_id), []
        return None, []

    def _planted(
        self, placement: Placement, image: FloatArray, buffer: FrameBuffer
    ) -> tuple[SeedReport, list[Planted]]:
        seed, shape = self.seed, image.shape
        diameter = self.config.cell_diameter_px
        ids, columns, outside = [], [], []
        for k, id_ in enumerate(seed.ids.tolist()):
            column, part = carry(seed.footprints.column(k), placement, shape, diameter)
            if column is None or part < _LEAST_IN_VIEW:
                outside.append(id_)
            else:
                ids.append(id_)
                columns.append(column)
        report = SeedReport(
            *(True, seed.source, placement.agreement, LEAST_AGREEMENT, seed.next_id),
            *(placement.dy, placement.dx, placement.angle_deg, tuple(ids), tuple(outside)),
        )
        noise = trace_noise(columns, image, buffer)
        return report, [Planted(*some) for some in zip(ids, columns, noise, strict=True)]


def trace_noise(columns: list[Column], image: FloatArray, buffer: FrameBuffer) -> list[float]:
    """Return the noise of each footprint's trace, ADU, from few frames.

    Twenty frames say little of one trace, but all traces together tell how noise goes with light: the
    variance of a trace is taken as proportional to the light that its footprint sees.
    """
    frames = buffer.flat[buffer.order()]
    expected, found = [], []
    for pixels, weights in columns:
        light = np.maximum(image.reshape(-1)[pixels], 1.0)
        expected.append(float(np.sqrt((weights.astype(np.float64) ** 2) @ light)))
        found.append(float(noise_sd(np.float32(frames[:, pixels] * buffer.scale) @ weights)))
    scale = float(np.median(np.array(found) / np.array(expected))) if columns else 1.0
    return [scale * e for e in expected]
