"""An engine of a few lines that finds one-pixel cells on a schedule, so that a session can be tested alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import SparseRows
from streamscope.core.epoch import Epoch
from streamscope.session.engine import Engine, Shape, WarmProgress
from streamscope.session.lanes import Infers, Learns
from streamscope.types import (
    ComponentEvent,
    FloatArray,
    Footprints,
    Frame,
    FrameResult,
    Kinetics,
    Shift,
    Tail,
)

LAG = 2


def fake_epoch(
    n: int, frame: int, shape: Shape, events: Sequence[ComponentEvent] = (), number: int | None = None
) -> Epoch:
    """Return an epoch, number `n` if not given, with `n` cells of one pixel each, the last one provisional."""
    columns = [(np.array([7 * k + 3], np.int32), np.ones(1, np.float32)) for k in range(n)]
    return Epoch(
        number=n if number is None else number,
        frame=frame,
        ids=np.arange(1, n + 1, dtype=np.uint32),
        status=np.array([k < n - 1 for k in range(n)], np.uint8),
        born_at=np.zeros(n, np.int64),
        snr=np.ones(n, np.float32),
        footprints=Footprints.from_columns(shape, columns),
        V=SparseRows.empty(n, 1),
        step=1,
        solve=SparseRows.identity(n),
        b0=np.zeros(shape, np.float32),
        sn=np.ones(n, np.float32),
        kinetics=Kinetics(0.6),
        events=tuple(events),
    )


class FakeInfer:
    """Traces are pixel values; `adopted` holds (number, learned from, first frame) of each epoch."""

    def __init__(self, config: EngineConfig | None, shape: Shape) -> None:
        self.epoch: Epoch | None = None
        self.adopted: list[tuple[int, int, int]] = []
        self.next_frame = 0
        self.past: list[FloatArray] = []

    def __call__(self, frame: Frame, aligned: FloatArray) -> FrameResult:
        """Return the pixel of each cell as its trace."""
        aligned[...] = frame.image
        self.next_frame = frame.index + 1
        ids = np.zeros(0, np.uint32) if self.epoch is None else self.epoch.ids
        pixels = np.zeros(0, np.int32) if self.epoch is None else self.epoch.footprints.pixels
        y = aligned.ravel()[pixels]
        self.past = [*self.past[-LAG:], y]
        old = np.full(len(ids), np.nan, np.float32)
        if len(self.past) > LAG:
            old[: len(self.past[0])] = self.past[0]
        return FrameResult(
            index=frame.index,
            epoch=0 if self.epoch is None else self.epoch.number,
            t_capture_ns=frame.t_capture_ns,
            t_result_ns=0,
            shift=Shift(0.5, -0.25),
            ids=ids,
            y=y,
            c=np.maximum(y, 0),
            s=np.zeros_like(y),
            c_lag=old,
            s_lag=np.zeros_like(old),
            lag=LAG,
            gap=frame.gap,
            time_s=frame.time_s,
        )

    def adopt(self, epoch: Epoch) -> None:
        """Take over an epoch and note when."""
        self.adopted.append((epoch.number, epoch.frame, self.next_frame))
        self.epoch = epoch

    def tail(self) -> Tail:
        """Return the last pixels."""
        ids = np.zeros(0, np.uint32) if self.epoch is None else self.epoch.ids
        values = np.full((LAG, len(ids)), np.nan, np.float32)
        for row, y in zip(values, self.past[-LAG:], strict=False):
            row[: len(y)] = y
        return Tail(self.next_frame - LAG, ids, values, np.zeros_like(values))


class FakeLearner:
    """Finds one more cell every `every` frames and confirms the one before, unless frozen.

    `seen` holds the frames.
    """

    every = 20

    def __init__(self, config: EngineConfig | None, shape: Shape) -> None:
        self.lag_frames = 5
        self.shape = shape
        self.seen: list[int] = []
        self.n = self.number = 0
        self.frozen = False
        self._room = np.zeros((0, *shape), np.float32)

    def room(self, n_frames: int, shape: Shape) -> FloatArray:
        """Return memory for frames."""
        self._room = np.zeros((n_frames, *shape), np.float32)
        return self._room

    def consume(self, frames: Sequence[tuple[int, FrameResult]]) -> list[Epoch | None]:
        """Learn from frames, one after the other."""
        return [self.learn(self._room[place], result) for place, result in frames]

    def freeze(self) -> None:
        """Find no further cell."""
        self.frozen = True

    def thaw(self) -> None:
        """Find cells again."""
        self.frozen = False

    def learn(self, aligned: FloatArray, result: FrameResult) -> Epoch | None:
        """Return an epoch with one more cell now and then."""
        self.seen.append(result.index)
        if (result.index + 1) % self.every:
            return None
        self.number += 1
        if self.frozen:
            return fake_epoch(self.n, result.index, self.shape, number=self.number)
        self.n += 1
        first = result.index + self.lag_frames
        events = [ComponentEvent("born", self.n, first, y=0.0, x=float(self.n), snr=9.0)]
        if self.n > 1:
            events.append(ComponentEvent("confirmed", self.n - 1, first))
        return fake_epoch(self.n, result.index, self.shape, events, self.number)


def ready(progress: WarmProgress) -> None:
    """Compile nothing."""
    progress("nothing", 1, 1)


def fake_engine(
    infer: Callable[[EngineConfig, Shape], Infers] = FakeInfer,
    learner: Callable[[EngineConfig, Shape], Learns] = FakeLearner,
    warm_up: Callable[[WarmProgress], None] = ready,
) -> Engine:
    """Return an engine of these parts."""
    return Engine(
        infer, lambda config, shape, seed=None, threads=1: learner(config, shape), warm_up, lambda: None
    )
