"""The threads that frames go through: driver, pipeline, learner. Each owns what no other may touch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from streamscope.clock import clock_ns
from streamscope.core.epoch import Epoch
from streamscope.session.queue import BoundedQueue
from streamscope.session.triggering import RuleItem
from streamscope.types import (
    FLAG_LATE,
    FLAG_NO_LEARNING,
    FloatArray,
    Frame,
    FrameResult,
    ImageArray,
    Source,
    Tail,
)

AT_ONCE = 8  # frames that are handed to the learner in one go, if it is behind
RING_BYTES = 128 << 20  # aligned frames that may wait for the learner in real time: 3 s of 608x608 at 30 fps


@dataclass(frozen=True, slots=True)
class Adopted:
    """An epoch, and the first frame that was inferred on it."""

    epoch: Epoch
    frame: int


@dataclass(frozen=True, slots=True)
class Held:
    """From this frame on nothing but the static background changes (frozen), or everything may again (not)."""

    frozen: bool
    frame: int
    asked: bool = False  # by a request, or else planned before the session


Item: TypeAlias = FrameResult | Adopted | Held | Tail | RuleItem


@dataclass(frozen=True, slots=True)
class Order:
    """That the learner is to freeze, or thaw, from a frame that was planned, or as soon as it can."""

    frozen: bool
    frame: int | None = None


class Infers(Protocol):
    """What the pipeline needs of the engine."""

    def __call__(self, frame: Frame, aligned: FloatArray) -> FrameResult:
        """Infer one frame and fill `aligned` with the registered frame."""

    def adopt(self, epoch: Epoch) -> None:
        """Take over what was learned."""

    def tail(self) -> Tail:
        """Return the delayed values that no later frame carries."""


class Learns(Protocol):
    """What the learner thread needs of the engine."""

    lag_frames: int

    def room(self, n_frames: int, shape: tuple[int, int]) -> FloatArray:
        """Return memory (n_frames, H, W) in which aligned frames are handed over; called once."""

    def consume(self, frames: Sequence[tuple[int, FrameResult]]) -> list[Epoch | None]:
        """Learn from frames, given by their place in `room`; return for each an epoch when something changed."""

    def freeze(self) -> None:
        """Change nothing but the static background from the next frame on."""

    def thaw(self) -> None:
        """Learn on from the next frame."""


class Decides(Protocol):
    """What the pipeline needs of the rules."""

    def adopt(self, epoch: Epoch, frame: int) -> list[RuleItem]:
        """Hear of the cells that are there from `frame` on; return what is to be passed on."""

    def decide(self, result: FrameResult, meta: Mapping[str, Any]) -> list[RuleItem]:
        """Decide on a frame, and return what is to be passed on."""

    def end(self) -> list[RuleItem]:
        """Hear that there is no further frame."""


class Outlet(Protocol):
    """Where results go: the loop, the journal."""

    def put(self, item: Item) -> bool:
        """Take an item over."""

    def close(self) -> None:
        """Accept no further items."""


def drive(
    source: Source,
    frames: BoundedQueue[Frame],
    stopped: Callable[[], bool],
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Hand the frames of a source to the pipeline until it ends, is stopped, or nobody takes them.

    `begun` is called with the first frame, when the source has started what it needs.
    """
    try:
        for n, frame in enumerate(source.frames(stopped)):
            if not n:
                begun()
            if not frames.put(frame):
                return
    finally:
        frames.close()


class NewestFrames(BoundedQueue[Frame]):
    """Frames of a device that cannot wait: a full queue gives up its oldest, and the next one says so.

    A recording has them all the same.
    """

    def _make_room(self) -> None:
        while len(self._items) >= self.capacity > 1:
            lost = self._items.popleft()
            self._items[0] = replace(self._items[0], gap=self._items[0].gap + 1 + lost.gap)


class Learning:
    """The learner thread and the ring of aligned frames between it and the pipeline.

    An epoch that is there is adopted when the result of a frame is out, for the next: adopting it, publishing it and
    writing it down then take none of a frame's time. Frames that find the ring full are not learned from.
    A learner that is behind gets several frames at once: each hand-over costs as much as a small frame.
    An order to freeze reaches the learner between two frames, and the pipeline after the last epoch that was
    learned before it, so that the frame from which it holds is known exactly.

    Parameters
    ----------
    learner : Learns
        Owned by the learner thread from here on.
    shape : tuple of int
        (H, W) of the frames.
    freeze_at : int, optional
        Frame from which the learner is to be frozen.
    """

    def __init__(
        self,
        learner: Learns,
        shape: tuple[int, int],
        freeze_at: int | None = None,
    ) -> None:
        n = self._ring_size(learner.lag_frames, shape)
        self.skipped = 0
        self._missing = 0  # frames that the learner did not get since the last that it got
        self._learner = learner
        self._ring = learner.room(n, shape)
        self._scratch = np.zeros(shape, np.float32)  # for frames that the learner cannot take
        self._free = list(range(n))  # the last one given back goes out first: it is still in the cache
        self._waiting: BoundedQueue[tuple[int, FrameResult]] = BoundedQueue(n)
        self._changes: deque[tuple[int, Epoch | Order]] = deque()
        self._orders: deque[Order] = deque()
        self._freeze_at = freeze_at
        self._frozen = False  # the learner
        self._consumed = -1
        self._ended = False
        self._progress = threading.Condition()

    def run(self) -> None:
        """Learn from the frames that are handed over until the last; the body of the learner thread."""
        try:
            while frames := self._next():
                epochs = self._learner.consume(frames)
                for (slot, result), epoch in zip(frames, epochs, strict=True):
                    self._free.append(slot)
                    self._report(result.index, epoch, last=result is frames[-1][1])
        finally:
            with self._progress:
                self._ended = True
                self._progress.notify_all()

    def _next(self) -> list[tuple[int, FrameResult]]:
        """Return the frames to learn from next, none at the end: several if they wait, up to where an order holds."""
        frames: list[tuple[int, FrameResult]] = []
        while not frames or (
            len(frames) < AT_ONCE and len(self._waiting) and not self._must_obey(frames[-1][1].index)
        ):
            item = self._waiting.get()
            if item is None:
                break
            frames.append(item)
        return frames

    def order(self, frozen: bool) -> None:
        """Have the learner freeze, or thaw, after the frame that it is at; may be called in any thread."""
        self._orders.append(Order(frozen))

    def before(self, index: int) -> list[Epoch | Order]:
        """Return the epochs and orders to take over before frame `index`, in order: what was known from the start."""
        return self._ready(index, -self._learner.lag_frames)

    def after(self, index: int) -> list[Epoch | Order]:
        """Return those to take over when the result of frame `index` is out, for the next. Never waits."""
        return self._ready(index + 1, index)

    def slot(self) -> int | None:
        """Return a free place in the ring, None if the learner is too far behind."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def buffer(self, slot: int | None) -> FloatArray:
        """Return the (H, W) array to fill for this slot."""
        return self._scratch if slot is None else self._ring[slot]

    def hand_over(self, slot: int, result: FrameResult) -> None:
        """Let the learner have an aligned frame and its result; frames that it did not get are a gap to it."""
        if self._missing:
            result = replace(result, gap=result.gap + self._missing)
            self._missing = 0
        self._waiting.put((slot, result))

    def leave_out(self, result: FrameResult) -> None:
        """Note that the learner does not get this frame."""
        self.skipped += 1
        self._missing += 1 + result.gap

    def cancel(self) -> None:
        """Let the learner end after the frame that it is at."""
        self._waiting.cancel()

    def release(self) -> None:
        """Let go of the learner's memory, once nobody looks at it any more."""
        self._ring = self._ring[:0].copy()

    def _report(self, index: int, epoch: Epoch | None, last: bool) -> None:
        changes: list[tuple[int, Epoch | Order]] = [] if epoch is None else [(index, epoch)]
        if last:
            changes += self._obey(index)
        with self._progress:
            self._changes.extend(changes)
            self._consumed = index
            self._progress.notify_all()

    def _must_obey(self, index: int) -> bool:
        """Return whether there is an order that holds for what is learned after frame `index`."""
        planned = self._freeze_at
        return bool(self._orders) or (planned is not None and planned <= index + self._learner.lag_frames)

    def _obey(self, index: int) -> list[tuple[int, Order]]:
        """Carry out the orders that hold for what is learned after frame `index`."""
        lag = self._learner.lag_frames
        obeyed: list[tuple[int, Order]] = []
        if self._freeze_at is not None and self._freeze_at <= index + lag:
            obeyed.append((self._freeze_at - lag, Order(True, self._freeze_at)))
            self._freeze_at = None
        while self._orders:
            obeyed.append((index, self._orders.popleft()))
        for _, order in obeyed:
            if order.frozen != self._frozen:
                (self._learner.freeze if order.frozen else self._learner.thaw)()
                self._frozen = order.frozen
        return obeyed

    def _ready(self, index: int, last: int) -> list[Epoch | Order]:
        """Take out what was learned up to frame `last` and may take effect with frame `index`."""
        ready: list[Epoch | Order] = []
        while self._changes:
            learned, change = self._changes[0]
            if learned > last or (isinstance(change, Order) and (change.frame or 0) > index):
                break
            ready.append(change)
            self._changes.popleft()
        return ready

    @staticmethod
    def _ring_size(lag_frames: int, shape: tuple[int, int]) -> int:
        return max(lag_frames + 2, min(256, RING_BYTES // (4 * shape[0] * shape[1])))


class LockstepLearning(Learning):
    """The learner of a replay at full speed: what it learned up to frame t takes effect at t + lag, always.

    Two runs give the same bytes; the pipeline waits for the learner, which it may not do in real time.
    """

    def before(self, index: int) -> list[Epoch | Order]:
        """Return what was learned from frames up to `index` - lag, after waiting for that frame."""
        last = index - self._learner.lag_frames
        with self._progress:
            while self._consumed < last and not self._ended:
                self._progress.wait()
            return self._ready(index, last)

    def after(self, index: int) -> list[Epoch | Order]:
        """Return nothing: the next frame waits for what it is inferred on."""
        return []

    @staticmethod
    def _ring_size(lag_frames: int, shape: tuple[int, int]) -> int:
        return lag_frames + 2


class Pipeline:
    """The pipeline thread: the way of a frame from the queue to everybody who wants its result.

    Parameters
    ----------
    infer : Infers
        Owned by the pipeline thread from here on.
    frames : BoundedQueue
        Frames, in order.
    learning : Learning
        Where aligned frames go, and where epochs come from.
    outlets : sequence of Outlet
        Where results go, the most urgent first.
    rules : Decides, optional
        Decides on each result before anybody else hears of it.
    late_after_ns : int or None
        Age at which a result is flagged as late; None where there is no pace.
    clock : callable
        Monotonic time, ns.
    first : callable, optional
        Makes of the first frame the epoch that is in force from it on.
    """

    def __init__(
        self,
        infer: Infers,
        frames: BoundedQueue[Frame],
        learning: Learning,
        outlets: Sequence[Outlet],
        late_after_ns: int | None = None,
        clock: Callable[[], int] = clock_ns,
        first: Callable[[ImageArray], Epoch] | None = None,
        rules: Decides | None = None,
    ) -> None:
        self._rules = rules
        self._infer = infer
        self._frames = frames
        self._learning = learning
        self._outlets = outlets
        self._late_after_ns = late_after_ns
        self._clock = clock
        self._first = first

    def run(self) -> None:
        """Infer every frame, then give out the tail; the body of the pipeline thread."""
        try:
            while (frame := self._frames.get()) is not None:
                self._one(frame)
            self._give(self._infer.tail())
        finally:
            if self._rules is not None:
                self._pass_on(self._rules.end())
            self._learning.cancel()  # what it might still find could no longer be published
            for outlet in self._outlets:
                outlet.close()

    def _one(self, frame: Frame) -> None:
        """Give out the result of a frame, then let the learner have it and take over what it learned."""
        if self._first is not None:
            self._take_over([self._first(frame.image)], frame.index)
            self._first = None
        self._take_over(self._learning.before(frame.index), frame.index)
        slot = self._learning.slot()
        result = self._infer(frame, self._learning.buffer(slot))
        result = self._stamp(result, learned=slot is not None)
        if self._rules is not None:
            self._pass_on(self._rules.decide(result, frame.meta))
        self._give(result)
        if slot is None:
            self._learning.leave_out(result)
        else:
            self._learning.hand_over(slot, result)
        if not self._frames.ended:
            self._take_over(self._learning.after(frame.index), frame.index + 1)

    def _take_over(self, changes: list[Epoch | Order], frame: int) -> None:
        for change in changes:
            if isinstance(change, Epoch):
                self._infer.adopt(change)
                self._give(Adopted(change, frame))
                if self._rules is not None:
                    self._pass_on(self._rules.adopt(change, frame))
            else:
                self._give(Held(change.frozen, frame, asked=change.frame is None))

    def _pass_on(self, items: Sequence[RuleItem]) -> None:
        for item in items:
            self._give(item)

    def _stamp(self, result: FrameResult, *, learned: bool) -> FrameResult:
        now_ns = self._clock()
        flags = result.flags | (0 if learned else FLAG_NO_LEARNING)
        if self._late_after_ns is not None and now_ns - result.t_capture_ns > self._late_after_ns:
            flags |= FLAG_LATE
        return replace(result, t_result_ns=now_ns, flags=flags)

    def _give(self, item: Item) -> None:
        for outlet in self._outlets:
            outlet.put(item)
