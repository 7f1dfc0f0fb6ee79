"""The value of each signal on each frame; NaN where it is not known."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from streamscope.trigger import settings
from streamscope.trigger.cells import Cells, Sums
from streamscope.types import ComponentEvent, DoubleArray, FloatArray, FrameResult, LongArray

Quaternion: TypeAlias = tuple[float, float, float, float]  # w, x, y, z


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen of one frame."""

    result: FrameResult
    t: float  # s since the first frame, never falling
    cells: Cells
    orientation: Quaternion | None = None
    marks: Sequence[str] = ()  # since the frame before


class Signal(Protocol):
    """Something that has a value on every frame."""

    def value(self, sight: Sight) -> float:
        """Return the value on this frame, NaN if it is not known; called once for every frame."""

    def watches(self) -> Iterable[int]:
        """Return the cells without which it would be something else."""


class Trace:
    """Values of cells, in noise units or z."""

    def __init__(self, config: settings.OnTraces, sums: Sums | None) -> None:
        self._trace, self._sums = config.trace, sums
        self._version = 0
        self._places: dict[
            tuple[int, ...], LongArray | None
        ] = {}  # among the confirmed cells of that version

    def of_all(self, sight: Sight) -> DoubleArray:
        """Return the values of all confirmed cells, NaN for those without a baseline."""
        values: DoubleArray = getattr(sight.result, self._trace)[sight.cells.rows].astype(np.float64)
        if self._sums is None:
            return values
        mean, sd = self._sums.mean_sd()
        return (values - mean) / sd

    def of(self, sight: Sight, cells: tuple[int, ...]) -> DoubleArray | None:
        """Return the values of these cells, None if one of them is not there or not known."""
        places = self._place(sight.cells, cells)
        if places is None:
            return None
        if self._sums is None:
            values: DoubleArray = getattr(sight.result, self._trace)[sight.cells.rows[places]].astype(
                np.float64
            )
        else:
            values = self.of_all(sight)[places]
        return None if np.isnan(values).any() else values

    def _place(self, among: Cells, cells: tuple[int, ...]) -> LongArray | None:
        if among.version != self._version:
            self._version = among.version
            self._places.clear()
        if cells not in self._places:
            order = {i: k for k, i in enumerate(among.row)}
            found = [order.get(i, -1) for i in cells]
            self._places[cells] = None if -1 in found else np.array(found, np.int64)
        return self._places[cells]


@dataclass
class CellValue:
    """One cell, which is named once and then stays: bound."""

    config: settings.CellSignal
    trace: Trace
    within_px: float
    bound: int | None = None
    lost: bool = False  # what it was bound to is not what it was: it is bound again only when a rule is armed

    def __post_init__(self) -> None:
        self._pixels = np.array(self.config.mask_pixels or (), np.int32)

    @property
    def named_at_run_time(self) -> bool:
        """Return whether the rules file leaves the cell open."""
        c = self.config
        return c.id is None and c.seeded is None and c.at is None and c.mask is None

    def find(self, cells: Cells) -> int | None:
        """Return the confirmed cell that the rules file means, None if there is none (yet)."""
        c = self.config
        if c.at is not None:
            return cells.near(*c.at, self.within_px)
        if c.mask is not None:
            return cells.under(self._pixels)
        named = c.id if c.id is not None else c.seeded
        return named if named in cells.row else None

    def value(self, sight: Sight) -> float:
        """Return the trace of the bound cell."""
        values = None if self.bound is None else self.trace.of(sight, (self.bound,))
        return math.nan if values is None else float(values[0])

    def watches(self) -> Iterable[int]:
        """Return the bound cell."""
        return () if self.bound is None else (self.bound,)


@dataclass
class EnsembleValue:
    """Mean, sum, largest (any) or smallest (all) value of several cells."""

    config: settings.EnsembleSignal
    trace: Trace
    best_of: Sums | None = None  # until `at_s`, to choose the best by
    chosen: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        self._weights = np.array(self.config.weights or (), np.float64)

    def value(self, sight: Sight) -> float:
        """Return the value of the ensemble; not known while one of its named cells is not."""
        c = self.config
        if c.top is not None:
            self._choose(sight)
            values = self.trace.of(sight, self.chosen or ())
        elif c.cells == "all":
            values = self.trace.of_all(sight)
            values = values[~np.isnan(values)]
        else:
            values = self.trace.of(sight, c.cells)
        if values is None or not len(values):
            return math.nan
        if c.combine in settings.MIRROR:
            return float(values.max() if c.combine == "any" else values.min())
        total = math.fsum((values if c.weights is None else values * self._weights).tolist())
        return total if c.combine == "sum" else total / self._whole(len(values))

    def _whole(self, n: int) -> float:
        return n if self.config.weights is None else math.fsum(map(abs, self.config.weights)) or math.nan

    def watches(self) -> Iterable[int]:
        """Return the cells that are named, or were chosen."""
        if self.config.top is not None:
            return self.chosen or ()
        return () if self.config.cells == "all" else self.config.cells

    def _choose(self, sight: Sight) -> None:
        c = self.config
        if self.chosen is not None or c.at_s is None or sight.t < c.at_s or sight.cells.table is None:
            return
        if c.by == "snr":
            measured = {i: float(sight.cells.table.snr[k]) for i, k in sight.cells.row.items()}
        else:
            measured = dict(self.best_of.measure(c.by)) if self.best_of is not None else {}
        allowed = sight.cells.row if c.cells == "all" else set(c.cells) & sight.cells.row.keys()
        ranked = sorted((-value, i) for i, value in measured.items() if i in allowed)
        self.chosen = tuple(i for _, i in ranked[: c.top]) if len(ranked) >= (c.top or 0) else ()


@dataclass
class DecoderValue:
    """A linear sum of traces, or its logistic."""

    config: settings.DecoderSignal
    trace: Trace

    def __post_init__(self) -> None:
        self._weights = np.array(self.config.weights, np.float64)

    def value(self, sight: Sight) -> float:
        """Return what is decoded; not known while one of its cells is not."""
        c = self.config
        values = self.trace.of(sight, c.cells)
        if values is None:
            return math.nan
        total = math.fsum((c.bias, *(values * self._weights).tolist()))
        if c.link == "linear":
            return total
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, total))))

    def watches(self) -> Iterable[int]:
        """Return the cells that have a weight."""
        return self.config.cells


@dataclass
class RateValue:
    """Events per cell and second."""

    config: settings.RateSignal
    seen: deque[tuple[float, float]] = field(default_factory=deque)  # time, events per cell
    first: float | None = None  # s

    def value(self, sight: Sight) -> float:
        """Return the rate over the window, NaN until there was one, or while there was no cell in it."""
        s: FloatArray = sight.result.s[sight.cells.rows]
        self.seen.append((sight.t, int(np.count_nonzero(s > 0)) / len(s) if len(s) else math.nan))
        since = sight.t - self.config.window_s + 1e-9
        while self.seen[0][0] <= since:
            self.seen.popleft()
        self.first = sight.t if self.first is None else self.first
        if self.first > since:
            return math.nan
        return math.fsum(n for _, n in self.seen) / self.config.window_s

    def watches(self) -> Iterable[int]:
        """Return nothing: cells may come and go."""
        return ()


@dataclass
class OrientationValue:
    """Yaw, pitch or roll of the head in degrees, or how fast it turns."""

    config: settings.OrientationSignal
    before: tuple[float, Quaternion] | None = None

    def value(self, sight: Sight) -> float:
        """Return the angle, NaN if the sensor gives none."""
        q, before = sight.orientation, self.before
        self.before = None if q is None else (sight.t, q)
        if q is None:
            return math.nan
        if self.config.measure != "turn":
            return _angle(self.config.measure, q)
        if before is None or sight.t <= before[0]:
            return math.nan
        cosine = abs(math.fsum(a * b for a, b in zip(q, before[1], strict=True)))
        return math.degrees(2 * math.acos(min(1.0, cosine))) / (sight.t - before[0])

    def watches(self) -> Iterable[int]:
        """Return nothing."""
        return ()


def _angle(measure: str, q: Quaternion) -> float:
    w, x, y, z = q
    if measure == "yaw":
        return math.degrees(math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    if measure == "roll":
        return math.degrees(math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)))
    return math.degrees(math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x)))))


@dataclass
class MotionValue:
    """How well a frame is registered, how far it is shifted, or how fast."""

    config: settings.MotionSignal
    before: tuple[float, float, float] | None = None  # time, dy, dx

    def value(self, sight: Sight) -> float:
        """Return the measure; shift and speed are not known of a frame that is not registered."""
        shift, before = sight.result.shift, self.before
        dy, dx = float(shift.dy), float(shift.dx)  # as the journal keeps them
        self.before = (sight.t, dy, dx) if shift.ok else None
        if self.config.measure == "quality":
            return float(shift.quality)
        if not shift.ok:
            return math.nan
        if self.config.measure == "shift":
            return math.hypot(dy, dx)
        if before is None or sight.t <= before[0]:
            return math.nan
        return math.hypot(dy - before[1], dx - before[2]) / (sight.t - before[0])

    def watches(self) -> Iterable[int]:
        """Return nothing."""
        return ()


@dataclass
class MarkValue:
    """1 from a mark on for a while, else 0."""

    config: settings.MarkSignal
    last: float = -math.inf

    def value(self, sight: Sight) -> float:
        """Return 1 or 0."""
        came = self.config.text in sight.marks
        if came:
            self.last = sight.t
        return float(came or sight.t - self.last < self.config.hold_s)

    def watches(self) -> Iterable[int]:
        """Return nothing."""
        return ()


class Signals:
    """All signals of a rules file, with what they share.

    Parameters
    ----------
    rules : Rules
        With masks and decoders read.
    cell_diameter_px : float
        For cells that are named by their place.
    """

    def __init__(self, rules: settings.Rules, cell_diameter_px: float) -> None:
        self._sums: dict[tuple[str, float, float], Sums] = {}
        self._diameter_px = cell_diameter_px
        self.by_name: dict[str, Signal] = {name: self._make(c) for name, c in rules.signals.items()}
        for name, config in rules.signals.items():
            if isinstance(config, settings.EnsembleSignal) and config.combine in settings.MIRROR:
                other = config.model_copy(update={"combine": settings.MIRROR[config.combine]})
                self.by_name[settings.mirrored(name)] = self._make(other)

    @property
    def cells(self) -> dict[str, CellValue]:
        """Return the signals that are one cell each."""
        return {name: s for name, s in self.by_name.items() if isinstance(s, CellValue)}

    def adopt(self, cells: Cells, changes: Sequence[ComponentEvent]) -> None:
        """Follow the cells of a new epoch."""
        for sums in self._sums.values():
            sums.adopt(cells, changes)

    def values(self, sight: Sight) -> dict[str, float]:
        """Return the value of every signal on this frame."""
        for sums in self._sums.values():
            sums.add(sight.result, sight.t)
        return {name: signal.value(sight) for name, signal in self.by_name.items()}

    def _make(self, config: settings.Signal) -> Signal:
        match config:
            case settings.CellSignal():
                return CellValue(config, self._trace(config), config.within_px or self._diameter_px / 2)
            case settings.EnsembleSignal():
                best = None if config.at_s is None else self._shared(config.trace, 0.0, config.at_s)
                return EnsembleValue(config, self._trace(config), best)
            case settings.DecoderSignal():
                return DecoderValue(config, self._trace(config))
            case settings.RateSignal():
                return RateValue(config)
            case settings.OrientationSignal():
                return OrientationValue(config)
            case settings.MotionSignal():
                return MotionValue(config)
            case settings.MarkSignal():
                return MarkValue(config)

    def _trace(self, config: settings.OnTraces) -> Trace:
        return Trace(
            config, None if config.baseline_s is None else self._shared(config.trace, *config.baseline_s)
        )

    def _shared(self, trace: str, start_s: float, stop_s: float) -> Sums:
        return self._sums.setdefault((trace, start_s, stop_s), Sums(trace, start_s, stop_s))
