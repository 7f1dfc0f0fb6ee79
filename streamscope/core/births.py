"""From candidate sites to new components."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import apply_ring_locally
from streamscope.core.buffer import LEAST_VIEW, FrameBuffer
from streamscope.core.candidate import Fit, Rejected, examine
from streamscope.core.crew import Crew
from streamscope.core.deconvolve import noise_sd
from streamscope.core.detect import Candidate
from streamscope.core.divide import divide
from streamscope.core.kernels import sparse
from streamscope.core.merge import agreement
from streamscope.core.model import Column, Model, centre_of, unit
from streamscope.types import BoolArray, DoubleArray, FloatArray, LongArray

_BOX_DIAMETERS = 1.75  # half side of the box that is fitted
_SITE_DIAMETERS = 1.0  # half side of what a frame must show to be used
_LEAST_SHOWN = 0.5  # of the frames that must show the site
_MOST_AT_FIELD, _MOST_AT_VIEW = 0.3, 0.7  # of the peak, on the outermost line
_NEAR_DIAMETERS = 3.5  # components that can reach into the box
_APART_DIAMETERS = 1.3  # sites of two births of one block
_ONE_CELL_DIAMETERS = 0.5  # two births of one block that lie closer are one cell
_SAME_OVERLAP = 0.75
_SIMILAR_OVERLAP, _SIMILAR_R = 0.35, 0.5
_SATELLITE_DIAMETERS, _SATELLITE_ENERGY, _SATELLITE_PART = 1.6, 0.7, 0.5
_SATELLITE_SN = 4.0
_FIRST_WAIT = 8  # blocks after a first rejection
_LONGER = 1.5  # times that, with each further one
_MOST_TRIES = 24  # that the wait grows with
_WEIGHT_OF_FAILURE = 7  # rejections that a component counts for that turned out to be no cell
_RISEN = 1.2
_TOGETHER = 8  # candidates for each of the crew: the less often does one wait for the other
# Why a site at a component is no cell, if the component may be two.
_MAY_BE_TWO = ("known", "satellite", "not a blob", "wrong size", "not reproducible")
_PART_DIAMETERS = 0.8  # from the centre of a component to the site that tells of its second cell
_UNCHANGED = 0.97  # cosine of a component and one of its parts


Box: TypeAlias = tuple[int, int, int, int]  # top, left, bottom, right, px


@dataclass(frozen=True, slots=True)
class Division:
    """What becomes of a component that was two cells."""

    k: int  # position
    column: Column
    peak_sn: float


@dataclass(frozen=True, slots=True)
class Birth:
    """A new component."""

    column: Column
    centre: tuple[float, float]  # px
    site: Candidate
    sn: float  # ADU
    peak_sn: float
    reason: str
    division: Division | None = None


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a candidate is, and what the buffer and the model have around it."""

    candidate: Candidate
    box: Box
    view: Box
    slots: LongArray  # (n,) of the frames that show it
    near: LongArray  # positions of the components around it


class Births:
    """Examines candidates, and remembers which sites were rejected so that they are not fitted again and again."""

    def __init__(self, config: EngineConfig, crew: Crew) -> None:
        self._crew = crew
        self._diameter = config.cell_diameter_px
        self._most = config.detect.max_births_per_block
        self._waiting: list[Candidate] = []
        self._rejected: DoubleArray = np.zeros((0, 5))  # y, x, score, block of the last rejection, how many
        self._block = 0
        self._together = _TOGETHER * crew.n
        self._scratch = deque(np.empty(0, np.float32) for _ in range(crew.n))  # taken out while in use

    def search(self, candidates: list[Candidate], model: Model, buffer: FrameBuffer) -> list[Birth]:
        """Return the cells among the candidates of a block; what lies too close to one of them waits a block."""
        self._block += 1
        self._rejected = self._rejected[self._block - self._rejected[:, 3] <= 4 * self._waits()]
        queue, self._waiting = deque(self._waiting + candidates), []
        births: list[Birth] = []
        view = buffer.view(LEAST_VIEW)
        while together := self._next(queue, births):
            outcomes = self._crew.map(
                lambda candidate: self._try_with_scratch(candidate, model, buffer, view), together
            )
            for candidate, outcome in zip(together, outcomes, strict=True):
                if isinstance(outcome, Birth) and self._is_one_of(outcome, births):
                    self._waiting.append(candidate)
                elif isinstance(outcome, Birth):
                    births += [outcome] * (not _divided_before(outcome, births))
                elif outcome.reason not in ("too short", "out of view"):
                    self._reject(candidate)
        self._waiting = self._waiting[: 2 * self._most]
        self._look_again_around(births)
        return births

    def _next(self, queue: deque[Candidate], births: list[Birth]) -> list[Candidate]:
        """Take candidates off the queue that can be tried at a time, as if one by one; none when it is empty."""
        together: list[Candidate] = []
        while queue and len(together) < self._together:
            candidate = queue[0]
            if self._close(candidate, [(c.y, c.x) for c in together]):
                break
            if not self._known_bad(candidate):
                born = [(birth.site.y, birth.site.x) for birth in births]
                if len(births) >= self._most or self._close(candidate, born):
                    self._waiting.append(candidate)
                elif len(births) + len(together) >= self._most:
                    break
                else:
                    together.append(candidate)
            queue.popleft()
        return together

    def forget(self) -> None:
        """Forget the sites that wait: the frames that showed them are no longer there."""
        self._waiting = []

    def _known_bad(self, candidate: Candidate) -> bool:
        """Return whether a site was rejected before and shows no more than then.

        A site is then looked at a number of times that grows with the logarithm of the session, and noise does not
        pass in the end because it was given enough tries.
        """
        score = self._rejected[:, 2]
        fresh = self._block - self._rejected[:, 3] <= self._waits()
        return bool((self._at(candidate) & fresh & (candidate.score < _RISEN * score)).any())

    def _waits(self) -> DoubleArray:
        """Return how many blocks each rejected site waits for its next examination."""
        return np.asarray(_FIRST_WAIT * _LONGER ** np.minimum(self._rejected[:, 4] - 1, _MOST_TRIES))

    def leave_alone(self, y: float, x: float) -> None:
        """Remember that what was at a site turned out to be no cell."""
        self._reject(Candidate(float(y), float(x), math.inf), _WEIGHT_OF_FAILURE)

    def give_up(self, site: Candidate) -> None:
        """Remember that what a site showed came to nothing: it must show more to be looked at soon."""
        self._reject(site, _WEIGHT_OF_FAILURE)

    def _look_again_around(self, births: list[Birth]) -> None:
        """Forget why sites near a new cell were rejected: its light is no longer in what they show."""
        y, x, score = self._rejected[:, :3].T
        stale = np.zeros(len(self._rejected), np.bool_)
        for birth in births:
            stale |= np.hypot(y - birth.centre[0], x - birth.centre[1]) < _APART_DIAMETERS * self._diameter
        self._rejected = self._rejected[~stale | np.isinf(score)]

    def _reject(self, candidate: Candidate, tries: int = 1) -> None:
        """Remember a rejection, together with earlier ones of the same site."""
        here = self._at(candidate)
        score = max(self._rejected[here, 2].max(initial=0.0), candidate.score)
        tries += self._rejected[here, 4].max(initial=0.0)
        row = (candidate.y, candidate.x, score, self._block, tries)
        self._rejected = np.vstack([self._rejected[~here], row])

    def _at(self, candidate: Candidate) -> BoolArray:
        """Return which rejections were at the site of a candidate."""
        y, x = self._rejected[:, 0], self._rejected[:, 1]
        apart = np.maximum(np.abs(y - candidate.y), np.abs(x - candidate.x))
        return np.asarray(apart < self._diameter / 3)

    def _is_one_of(self, birth: Birth, births: list[Birth]) -> bool:
        """Return whether another site's fit went to the same cell."""
        apart = [math.dist(birth.centre, other.centre) for other in births]
        return min(apart, default=math.inf) < _ONE_CELL_DIAMETERS * self._diameter

    def _close(self, candidate: Candidate, places: list[tuple[float, float]]) -> bool:
        reach = _APART_DIAMETERS * self._diameter
        return any(math.hypot(candidate.y - y, candidate.x - x) < reach for y, x in places)

    def _try_with_scratch(
        self, candidate: Candidate, model: Model, buffer: FrameBuffer, view: Box
    ) -> Birth | Rejected:
        """Examine a candidate; no more are at it at a time than there are scratches."""
        half = math.ceil(_BOX_DIAMETERS * self._diameter)
        needed = buffer.n * (2 * half + 1) ** 2
        scratch = self._scratch.pop()
        if scratch.size < needed:
            scratch = np.empty(needed, np.float32)
        try:
            return self._try(candidate, model, buffer, view, scratch)
        finally:
            self._scratch.append(scratch)

    def _try(
        self,
        candidate: Candidate,
        model: Model,
        buffer: FrameBuffer,
        view: Box,
        scratch: FloatArray,
    ) -> Birth | Rejected:
        at = (candidate.y, candidate.x)
        box = top, left, bottom, right = _around(*at, _BOX_DIAMETERS * self._diameter, view)
        slots = buffer.showing(_around(*at, _SITE_DIAMETERS * self._diameter, view))
        if bottom <= top or right <= left or len(slots) < _LEAST_SHOWN * buffer.n:
            return Rejected("out of view")
        near = np.flatnonzero(np.hypot(*(model.centres - at).T) < _NEAR_DIAMETERS * self._diameter)
        site = _Site(candidate, box, view, slots, near)
        movie = self._residual(model, buffer, slots, near, box, scratch)
        outcome = self._judge(site, movie, model, buffer)
        if isinstance(outcome, Rejected) and outcome.reason in _MAY_BE_TWO:
            return self._divide(site, movie, model, buffer) or outcome
        return outcome

    def _judge(self, site: _Site, movie: FloatArray, model: Model, buffer: FrameBuffer) -> Birth | Rejected:
        """Return the cell that the residual (n, h, w) of a site's box shows."""
        (top, left, _, _), width = site.box, model.shape[1]
        fit = examine(movie, site.candidate.y - top, site.candidate.x - left, self._diameter)
        if isinstance(fit, Rejected):
            return fit
        if _truncated(fit.image, site.box, site.view, model.shape):
            return Rejected("at the border")
        column = _column(fit.image, site.box, width)
        known = self._known(fit, column, model, buffer, site.slots, site.near)
        if known:
            return Rejected(known)
        reason = f"shape {fit.split_half:.2f} / {fit.blob:.2f}, peak {fit.peak_sn:.1f} sn"
        return Birth(
            column, centre_of(column, width), site.candidate, float(noise_sd(fit.trace)), fit.peak_sn, reason
        )

    def _divide(self, site: _Site, movie: FloatArray, model: Model, buffer: FrameBuffer) -> Birth | None:
        """Return the second cell of the component at a site, if it is two."""
        box, near, width = site.box, site.near, model.shape[1]
        apart = np.hypot(*(model.centres[near] - (site.candidate.y, site.candidate.x)).T)
        if not len(near) or apart.min() > _PART_DIAMETERS * self._diameter:
            return None
        k = int(near[apart.argmin()])
        image = _image(model.columns[k], box, width)
        parts = divide(movie, image, buffer.c[site.slots, k], self._diameter)
        if isinstance(parts, Rejected):
            return None
        if any(_truncated(part.image, box, site.view, model.shape) for part in parts):
            return None
        old, new = parts
        others = [_image(model.columns[j], box, width) for j in near if j != k]
        if any(float((other * new.image).sum()) > _SAME_OVERLAP for other in others):
            return None
        rest = model.columns[k] if old.likeness > _UNCHANGED else _column(old.image, box, width)
        column, division = _column(new.image, box, width), Division(k, rest, old.peak_sn)
        reason = f"divided from {model.ids[k]}, shape {new.blob:.2f}, peak {new.peak_sn:.1f} sn"
        return Birth(column, centre_of(column, width), site.candidate, new.sn, new.peak_sn, reason, division)

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
        box: Box,
        scratch: FloatArray,
    ) -> FloatArray:
        """Return what the model does not explain in a box (top, left, bottom, right) of the buffered frames.

        It lies in `scratch`.
        """
        top, left, bottom, right = box
        shape = (len(slots), bottom - top, right - left)
        movie = scratch[: math.prod(shape)].reshape(shape)
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


def _divided_before(birth: Birth, births: list[Birth]) -> bool:
    """Return whether another birth of this block divides the same component."""
    if birth.division is None:
        return False
    return birth.division.k in [other.division.k for other in births if other.division is not None]


def _column(image: FloatArray, box: Box, width: int) -> Column:
    """Return the footprint that an image of a box (top, left, bottom, right) shows, in a field of this width."""
    rows, cols = np.nonzero(image)
    return unit(((rows + box[0]) * width + cols + box[1]).astype(np.int32), image[rows, cols])


def _image(column: Column, box: Box, width: int) -> FloatArray:
    """Return a footprint as an image of a box, as far as it lies in it."""
    top, left, bottom, right = box
    image = np.zeros((bottom - top, right - left), np.float32)
    rows, cols = column[0] // width, column[0] % width
    inside = (rows >= top) & (rows < bottom) & (cols >= left) & (cols < right)
    image[rows[inside] - top, cols[inside] - left] = column[1][inside]
    return image


def _around(y: float, x: float, half: float, view: Box) -> Box:
    """Return the box (top, left, bottom, right) within `half` px of a place, as far as it lies in view."""
    top, left, bottom, right = view
    reach = math.ceil(half)
    row, column = round(y), round(x)
    return (
        max(top, row - reach),
        max(left, column - reach),
        min(bottom, row + reach + 1),
        min(right, column + reach + 1),
    )


def _truncated(
    image: FloatArray,
    box: Box,
    view: Box,
    shape: tuple[int, int],
) -> bool:
    """Return whether a footprint is cut: bright pixels on the outermost line of the field, or of the view.

    What lies between the edge of the view and that of the field may come into view later: only the brightest part
    must not lie there.
    """
    field = (0, 0, *shape)
    for line, here, in_view, last in zip(
        (image[0], image[:, 0], image[-1], image[:, -1]), box, view, field, strict=True
    ):
        most = _MOST_AT_FIELD if here == last else _MOST_AT_VIEW
        if here == in_view and bool((line > most * image.max()).any()):
            return True
    return False
