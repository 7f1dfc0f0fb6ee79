"""From candidate sites to new components."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import apply_ring_locally
from streamscope.core.buffer import FrameBuffer
from streamscope.core.candidate import Fit, Rejected, examine
from streamscope.core.crew import Crew
from streamscope.core.deconvolve import noise_sd
from streamscope.core.detect import Candidate
from streamscope.core.kernels import sparse
from streamscope.core.merge import agreement
from streamscope.core.model import Column, Model, centre_of, unit
from streamscope.types import DoubleArray, FloatArray, LongArray

_BOX_DIAMETERS = 1.75  # half side of the box that is fitted
_NEAR_DIAMETERS = 3.5  # components that can reach into the box
_APART_DIAMETERS = 1.3  # two births of one block
_SAME_OVERLAP = 0.75
_SIMILAR_OVERLAP, _SIMILAR_R = 0.35, 0.5
_SATELLITE_DIAMETERS, _SATELLITE_ENERGY, _SATELLITE_PART = 1.6, 0.7, 0.5
_SATELLITE_SN = 4.0
_FORGET_BLOCKS = 16
_RISEN = 1.2


@dataclass(frozen=True, slots=True)
class Birth:
    """A new component."""

    column: Column
    centre: tuple[float, float]  # px
    site: tuple[float, float]  # px, of the candidate
    sn: float  # ADU
    peak_sn: float
    reason: str


class Births:
    """Examines candidates, and remembers which sites were rejected so that they are not fitted again and again."""

    def __init__(self, config: EngineConfig, crew: Crew) -> None:
        self._crew = crew
        self._diameter = config.cell_diameter_px
        self._most = config.detect.max_births_per_block
        self._waiting: list[Candidate] = []
        self._rejected: DoubleArray = np.zeros((0, 4))  # y, x, score, and the block in which it was
        self._block = 0
        self._scratch = [np.empty(0, np.float32) for _ in range(crew.n)]

    def search(self, candidates: list[Candidate], model: Model, buffer: FrameBuffer) -> list[Birth]:
        """Return the cells among the candidates of a block; what lies too close to one of them waits a block."""
        self._block += 1
        self._rejected = self._rejected[self._block - self._rejected[:, 3] <= _FORGET_BLOCKS]
        queue, self._waiting = deque(self._waiting + candidates), []
        births: list[Birth] = []
        while together := self._next(queue, births):
            outcomes = self._crew.map(
                lambda candidate, scratch: self._try(candidate, model, buffer, scratch),
                together,
                range(len(together)),
            )
            for candidate, outcome in zip(together, outcomes, strict=True):
                if isinstance(outcome, Birth):
                    births.append(outcome)
                elif outcome.reason != "too short":
                    row = (candidate.y, candidate.x, candidate.score, self._block)
                    self._rejected = np.vstack([self._rejected, row])
        self._waiting = self._waiting[: 2 * self._most]
        return births

    def _next(self, queue: deque[Candidate], births: list[Birth]) -> list[Candidate]:
        """Take candidates off the queue that can be tried at a time, as if one by one; none when it is empty."""
        together: list[Candidate] = []
        while queue and len(together) < self._crew.n:
            candidate = queue[0]
            if self._close(candidate, [(c.y, c.x) for c in together]):
                break
            if not self._known_bad(candidate):
                if len(births) >= self._most or self._close(candidate, [birth.site for birth in births]):
                    self._waiting.append(candidate)
                elif len(births) + len(together) >= self._most:
                    break
                else:
                    together.append(candidate)
            queue.popleft()
        return together

    def _known_bad(self, candidate: Candidate) -> bool:
        y, x, score, _ = self._rejected.T
        near = np.maximum(np.abs(y - candidate.y), np.abs(x - candidate.x)) < self._diameter / 3
        return bool((near & (candidate.score < _RISEN * score)).any())

    def _close(self, candidate: Candidate, places: list[tuple[float, float]]) -> bool:
        reach = _APART_DIAMETERS * self._diameter
        return any(math.hypot(candidate.y - y, candidate.x - x) < reach for y, x in places)

    def _try(self, candidate: Candidate, model: Model, buffer: FrameBuffer, scratch: int) -> Birth | Rejected:
        h, w = model.shape
        half = math.ceil(_BOX_DIAMETERS * self._diameter)
        top, left = max(0, round(candidate.y) - half), max(0, round(candidate.x) - half)
        bottom, right = min(h, round(candidate.y) + half + 1), min(w, round(candidate.x) + half + 1)
        slots = buffer.order()
        apart = np.hypot(*(model.centres - (candidate.y, candidate.x)).T)
        near = np.flatnonzero(apart < _NEAR_DIAMETERS * self._diameter)
        movie = self._residual(model, buffer, slots, near, (top, left, bottom, right), scratch)
        fit = examine(movie, candidate.y - top, candidate.x - left, self._diameter)
        if isinstance(fit, Rejected):
            return fit
        if _truncated(fit.image, (top, left, bottom, right), (h, w)):
            return Rejected("at the border")
        rows, cols = np.nonzero(fit.image)
        column = unit(((rows + top) * w + cols + left).astype(np.int32), fit.image[rows, cols])
        known = self._known(fit, column, model, buffer, slots, near)
        if known:
            return Rejected(known)
        reason = f"shape {fit.split_half:.2f} / {fit.blob:.2f}, peak {fit.peak_sn:.1f} sn"
        site = (candidate.y, candidate.x)
        return Birth(column, centre_of(column, w), site, float(noise_sd(fit.trace)), fit.peak_sn, reason)

    def _known(
        self,
        fit: Fit,
        column: Column,
        model: Model,
        buffer: FrameBuffer,
        slots: LongArray,
        near: LongArray,
    ) -> str:
        """Return why a fit is not a new cell but part of a known one, or nothing."""
        dense = np.zeros(model.shape[0] * model.shape[1], np.float32)
        dense[column[0]] = column[1]
        y, x = centre_of(column, model.shape[1])
        event = np.maximum(fit.trace, 0) * fit.active
        energy = float(event @ event) + 1e-12
        for k in near:
            pixels, weights = model.columns[k]
            overlap = float(dense[pixels] @ weights)
            c = buffer.c[slots, k]
            if overlap > _SAME_OVERLAP:
                return "known"
            if overlap > _SIMILAR_OVERLAP and agreement(event, c) > _SIMILAR_R:
                return "known"
            if math.hypot(*(model.centres[k] - (y, x))) < _SATELLITE_DIAMETERS * self._diameter:
                busy = c > _SATELLITE_SN * model.sn[k]
                shared = float(event[busy] @ event[busy]) / energy
                if shared > _SATELLITE_ENERGY and event.max() < _SATELLITE_PART * float(c.max()):
                    return "satellite"
        return ""

    def _residual(
        self,
        model: Model,
        buffer: FrameBuffer,
        slots: LongArray,
        near: LongArray,
        box: tuple[int, int, int, int],
        scratch: int,
    ) -> FloatArray:
        """Return what the model does not explain in a box (top, left, bottom, right) of the buffered frames.

        Good until the next call with the same `scratch`: it lies in memory that is used again.
        """
        top, left, bottom, right = box
        shape = (len(slots), bottom - top, right - left)
        if self._scratch[scratch].size < math.prod(shape):
            self._scratch[scratch] = np.empty(math.prod(shape), np.float32)
        movie = self._scratch[scratch][: math.prod(shape)].reshape(shape)
        geometry, A = model.geometry, model.footprints
        blocks = geometry.around(*box)
        background = apply_ring_locally(model.W, geometry, buffer.rest, slots, blocks)
        sparse.box_residual(
            buffer.frames,
            buffer.rects,
            buffer.scale,
            model.b0,
            background,
            *blocks[:2],
            geometry.grid,
            geometry.step,
            slots,
            top,
            left,
            movie,
        )
        sparse.subtract_from_box(
            A.indptr, A.pixels, A.weights, near, buffer.c, slots, model.shape[1], top, left, movie
        )
        return movie


def _truncated(image: FloatArray, box: tuple[int, int, int, int], shape: tuple[int, int]) -> bool:
    """Return whether a footprint is cut by the edge of the field: bright pixels on the outermost line."""
    top, left, bottom, right = box
    level = 0.3 * image.max()
    edges = [
        (top == 0, image[0]),
        (left == 0, image[:, 0]),
        (bottom == shape[0], image[-1]),
        (right == shape[1], image[:, -1]),
    ]
    return any(at_edge and bool((line > level).any()) for at_edge, line in edges)
