"""The cells that rules see: which are confirmed, where they stand in a frame's arrays, what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamscope.types import (
    ByteArray,
    ComponentEvent,
    DoubleArray,
    FloatArray,
    Footprints,
    FrameResult,
    IdArray,
    IntArray,
    LongArray,
)

CHANGES = ("merged", "retired", "rescaled")  # after which a cell is not what a rule was armed for


@dataclass(frozen=True, slots=True)
class CellTable:
    """The components of an epoch, and what changed since the one before."""

    epoch: int
    ids: IdArray  # (K,)
    status: ByteArray  # (K,) 0 provisional, 1 confirmed
    snr: FloatArray  # (K,)
    footprints: Footprints
    changes: tuple[ComponentEvent, ...] = ()  # of the kinds in CHANGES


@dataclass
class Cells:
    """Where each confirmed cell stands in the arrays of the frames on the present epoch."""

    row: dict[int, int] = field(default_factory=dict)  # of confirmed cells only
    rows: LongArray = field(default_factory=lambda: np.zeros(0, np.int64))  # of all of them
    table: CellTable | None = None

    def adopt(self, table: CellTable) -> list[ComponentEvent]:
        """Take over an epoch; return the changes, with the cells that went without a word as retired."""
        before = self.row
        ids = table.ids.tolist()
        self.rows = np.flatnonzero(table.status == 1)
        self.row = {ids[k]: k for k in self.rows.tolist()}
        self.table = table
        told = {change.id for change in table.changes}
        gone = [i for i in before if i not in self.row and i not in told]
        return [*table.changes, *(ComponentEvent("retired", i, 0, reason="not there") for i in gone)]

    def near(self, y: float, x: float, within_px: float) -> int | None:
        """Return the confirmed cell whose centre is nearest to a place, None if none is so near."""
        if self.table is None or not len(self.rows):
            return None
        best, distance = None, within_px
        width = self.table.footprints.shape[1]
        for i, k in self.row.items():
            pixels, weights = self.table.footprints.column(k)
            centre = _centre(pixels, weights, width)
            away = math.hypot(centre[0] - y, centre[1] - x)
            if away < distance or (away == distance and best is None):
                best, distance = i, away
        return best

    def under(self, pixels: IntArray, least: float = 0.3) -> int | None:
        """Return the confirmed cell that agrees best with a mask (cosine), None if none does well enough."""
        if self.table is None:
            return None
        best, agreement = None, least
        for i, k in self.row.items():
            own, weights = self.table.footprints.column(k)
            inside = weights[np.isin(own, pixels)]
            norm = math.sqrt(math.fsum((weights.astype(np.float64) ** 2).tolist()) * len(pixels))
            cosine = math.fsum(inside.tolist()) / norm if norm else 0.0
            if cosine > agreement:
                best, agreement = i, cosine
        return best


def _centre(pixels: IntArray, weights: FloatArray, width: int) -> tuple[float, float]:
    w = weights.tolist()
    total = math.fsum(w)
    if not total:
        return math.inf, math.inf
    rows, columns = (pixels // width).tolist(), (pixels % width).tolist()
    y = math.fsum(a * b for a, b in zip(w, rows, strict=True)) / total
    return y, math.fsum(a * b for a, b in zip(w, columns, strict=True)) / total


class Sums:
    """Mean, deviation, peak and number of events of every confirmed cell over a part of a session.

    Parameters
    ----------
    trace : str
        Which of a result's arrays.
    start_s, stop_s : float
        From and until when, s.
    """

    LEAST = 20  # frames without which there is no mean

    def __init__(self, trace: str, start_s: float, stop_s: float) -> None:
        self._trace = trace
        self._start_s, self._stop_s = start_s, stop_s
        self._at: dict[int, int] = {}  # id: row of the sums
        self._sums: DoubleArray = np.zeros((0, 5))  # n, sum, sum of squares, peak, events
        self._rows: LongArray = np.zeros(0, np.int64)  # of the frame's arrays
        self._own: LongArray = np.zeros(0, np.int64)  # of the sums, in the same order
        self.complete = False

    def adopt(self, cells: Cells, changes: Iterable[ComponentEvent]) -> None:
        """Follow the rows of the cells; what a rescaled cell showed before is rescaled too."""
        for change in changes:
            if change.kind == "rescaled" and change.factor and change.id in self._at:
                self._sums[self._at[change.id]] *= (1, change.factor, change.factor**2, change.factor, 1)
        for i in cells.row:
            self._at.setdefault(i, len(self._at))
        more = np.tile([0.0, 0.0, 0.0, -np.inf, 0.0], (len(self._at) - len(self._sums), 1))
        self._sums = np.concatenate([self._sums, more])
        self._rows = cells.rows
        self._own = np.array([self._at[i] for i in cells.row], np.int64)

    def add(self, result: FrameResult, t: float) -> None:
        """Take a frame into account, if it is in the window."""
        self.complete = t >= self._stop_s
        if self.complete or t < self._start_s or not len(self._rows):
            return
        values = getattr(result, self._trace)[self._rows].astype(np.float64)
        seen = np.isfinite(values)
        values, own = values[seen], self._own[seen]
        events = result.s[self._rows][seen] > 0
        self._sums[own] += np.stack(
            [np.ones_like(values), values, values**2, np.zeros_like(values), events], 1
        )
        self._sums[own, 3] = np.maximum(self._sums[own, 3], values)

    def mean_sd(self, cell: int) -> tuple[float, float]:
        """Return mean and standard deviation of a cell; NaN until the window is over, or with too few frames."""
        at = self._at.get(cell)
        if not self.complete or at is None:
            return math.nan, math.nan
        n, total, squares = self._sums[at, :3].tolist()
        if n < self.LEAST:
            return math.nan, math.nan
        mean = total / n
        variance = squares / n - mean * mean
        return mean, math.sqrt(variance) if variance > 1e-12 else math.nan

    def measure(self, by: str) -> Mapping[int, float]:
        """Return mean, peak or rate (events per frame) of every cell that was seen."""
        out: dict[int, float] = {}
        for i, at in self._at.items():
            n, total, _, peak, events = self._sums[at].tolist()
            if n:
                out[i] = {"mean": total / n, "peak": peak, "rate": events / n}[by]
        return out
