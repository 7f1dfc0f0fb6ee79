"""The cells that rules see: which are confirmed, where they stand in a frame's arrays, what was measured of them."""

from __future__ import annotations

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
    version: int = 0  # one more with each epoch

    def adopt(self, table: CellTable) -> list[ComponentEvent]:
        """Take over an epoch; return the changes of confirmed cells, those that went without a word as retired."""
        before = self.row
        ids = table.ids.tolist()
        self.rows = np.flatnonzero(table.status == 1)
        self.row = {ids[k]: k for k in self.rows.tolist()}
        self.table = table
        self.version += 1
        told = {change.id for change in table.changes}
        gone = [i for i in before if i not in self.row and i not in told]
        changes = [change for change in table.changes if change.id in before]
        return [*changes, *(ComponentEvent("retired", i, 0, reason="not there") for i in gone)]

    def near(self, y: float, x: float, within_px: float) -> int | None:
        """Return the confirmed cell whose centre is nearest to a place, None if none is so near."""
        if self.table is None or not len(self.rows):
            return None
        footprints = self.table.footprints
        weights = footprints.weights.astype(np.float64)
        rows, columns = np.divmod(footprints.pixels, footprints.shape[1])
        total, down, right = (self._sums(w) for w in (weights, weights * rows, weights * columns))
        with np.errstate(invalid="ignore", divide="ignore"):
            away = np.hypot(down / total - y, right / total - x)
        return self._best(-away, -within_px)

    def under(self, pixels: IntArray, least: float = 0.3) -> int | None:
        """Return the confirmed cell that agrees best with a mask (cosine), None if none does well enough."""
        if self.table is None or not len(self.rows):
            return None
        weights = self.table.footprints.weights.astype(np.float64)
        inside = self._sums(weights * np.isin(self.table.footprints.pixels, pixels))
        norm = np.sqrt(self._sums(weights**2) * max(len(pixels), 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._best(inside / norm, least)

    def _sums(self, values: DoubleArray) -> DoubleArray:
        """Return the sum of the values of each confirmed cell's pixels."""
        assert self.table is not None
        indptr = self.table.footprints.indptr
        sums: DoubleArray = np.add.reduceat(np.append(values, 0.0), indptr[:-1])
        sums[np.diff(indptr) == 0] = 0.0
        return sums[self.rows]

    def _best(self, scores: DoubleArray, least: float) -> int | None:
        """Return the confirmed cell with the highest score, the first of equals; None if that is below `least`."""
        scores = np.where(np.isnan(scores), -np.inf, scores)
        best = int(np.argmax(scores))
        return list(self.row)[best] if scores[best] >= least else None


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
        self._scales: tuple[DoubleArray, DoubleArray] | None = None  # once the window is over, for these rows
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
        self._rows, self._scales = cells.rows, None
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

    def mean_sd(self) -> tuple[DoubleArray, DoubleArray]:
        """Return mean and standard deviation of each confirmed cell, in their order; NaN where they are not known.

        They are not before the window is over, and for cells with too few frames in it or without any change.
        """
        if not self.complete:
            unknown = np.full(len(self._own), np.nan)
            return unknown, unknown
        if self._scales is None:
            n, total, squares = self._sums[self._own, :3].T
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = np.where(n >= self.LEAST, total / n, np.nan)
                variance = squares / n - mean**2
            self._scales = mean, np.sqrt(np.where(variance > 1e-12, variance, np.nan))
        return self._scales

    def measure(self, by: str) -> Mapping[int, float]:
        """Return mean, peak or rate (events per frame) of every cell that was seen."""
        out: dict[int, float] = {}
        for i, at in self._at.items():
            n, total, _, peak, events = self._sums[at].tolist()
            if n:
                out[i] = {"mean": total / n, "peak": peak, "rate": events / n}[by]
        return out
