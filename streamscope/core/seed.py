"""Cells that are known before the first frame: where they are found in today's field, and with which noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.align import Placement, align, carry
from streamscope.core.aperture import border_distance
from streamscope.core.deconvolve import noise_sd
from streamscope.core.model import Column, centre_of
from streamscope.types import FloatArray, Footprints, IdArray, SeedReport

LEAST_AGREEMENT = 0.5  # other fields reach 0.34, the same field on another day 0.98 in simulations
LEAST_FRAMES = 20  # that today's still image is made of
_LEAST_IN_VIEW = 0.75  # of a footprint
_LEAST_BORDER = 0.5  # distance of its centre from the border, cell diameters; as for the confirmation


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


@dataclass(slots=True)
class Seeder:
    """Tries to place a seed, at one still image of today after the other until it fits."""

    config: EngineConfig
    seed: Seed
    best: float = field(default=-1.0)  # agreement so far

    def place(
        self, image: FloatArray, n_frames: int, last_try: bool
    ) -> tuple[SeedReport | None, list[Planted]]:
        """Return what became of the seed, None while it may still be placed, and its components.

        Parameters
        ----------
        image : ndarray, shape (H, W), float32
            Today's static background so far, ADU.
        n_frames : int
            How many frames it is made of.
        last_try : bool
            Whether to give up if it does not fit.
        """
        seed = self.seed
        if n_frames >= LEAST_FRAMES:
            placement = align(seed.image, image, self.config.cell_diameter_px)
            self.best = max(self.best, placement.agreement)
            if placement.agreement >= LEAST_AGREEMENT:
                return self._planted(placement, image.shape)
        if last_try:
            return SeedReport(False, seed.source, self.best, LEAST_AGREEMENT, seed.next_id), []
        return None, []

    def _planted(self, placement: Placement, shape: tuple[int, int]) -> tuple[SeedReport, list[Planted]]:
        seed = self.seed
        diameter = self.config.cell_diameter_px
        ids, columns, outside = [], [], []
        for k, id_ in enumerate(seed.ids.tolist()):
            column, part = carry(seed.footprints.column(k), placement, shape, diameter)
            if column is None or part < _LEAST_IN_VIEW or self._at_border(column, shape):
                outside.append(id_)
            else:
                ids.append(id_)
                columns.append(column)
        report = SeedReport(
            *(True, seed.source, placement.agreement, LEAST_AGREEMENT, seed.next_id),
            *(placement.dy, placement.dx, placement.angle_deg, tuple(ids), tuple(outside)),
        )
        return report, [Planted(*some) for some in zip(ids, columns, strict=True)]

    def _at_border(self, column: Column, shape: tuple[int, ...]) -> bool:
        centre = np.array([centre_of(column, shape[1])])
        away = border_distance(centre, shape, self.config.prepare.prepared_disc())
        return bool(away[0] < _LEAST_BORDER * self.config.cell_diameter_px)


def trace_noise(columns: list[Column], image: FloatArray, y: FloatArray) -> FloatArray:
    """Return the noise of each component's trace, (K,), ADU, from few frames.

    Twenty frames say little of one trace, but all traces together tell how noise goes with light: the
    variance of a trace is taken as proportional to the light that its footprint sees.

    Parameters
    ----------
    columns : list of (pixels, weights)
        Footprints, unit norm.
    image : ndarray, shape (H, W), float32
        Static background, ADU.
    y : ndarray, shape (n, K), float32
        Signed traces, ADU.
    """
    light = np.maximum(image.reshape(-1), 1.0)
    expected = np.array([np.sqrt((weights * weights) @ light[pixels]) for pixels, weights in columns])
    scale = np.median(noise_sd(np.ascontiguousarray(y.T)) / expected)
    return np.asarray(scale * expected, np.float32)
