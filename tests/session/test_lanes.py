"""The lanes, run by hand or in threads, without sockets and files."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from streamscope.session.lanes import AT_ONCE, Adopted, Held, Learning, LockstepLearning, Pipeline, drive
from streamscope.session.queue import BoundedQueue
from streamscope.testing.fake_engine import FakeInfer, FakeLearner
from streamscope.types import FLAG_LATE, FLAG_NO_LEARNING, Frame, FrameResult, Tail

SHAPE = (24, 32)
N = 100


def frames(n=N):
    rng = np.random.default_rng(4)
    images = rng.integers(0, 255, (n, *SHAPE)).astype(np.uint8)
    return [Frame(index=i, image=images[i], t_capture_ns=1000 * i) for i in range(n)]


class Collector:
    def __init__(self):
        self.items = []
        self.closed = False

    def put(self, item):
        self.items.append(item)
        return True

    def close(self):
        self.closed = True

    def of(self, kind):
        return [item for item in self.items if isinstance(item, kind)]


def run(
    learning_class=LockstepLearning, n=N, learner=None, late_after_ns=None, clock=lambda: 0, freeze_at=None
):
    infer, learner = FakeInfer(None, SHAPE), learner or FakeLearner(None, SHAPE)
    learning, out = learning_class(learner, SHAPE, freeze_at), Collector()
    queue = BoundedQueue(n)
    for frame in frames(n):
        queue.put(frame)
    queue.close()
    thread = threading.Thread(target=learning.run)
    thread.start()
    Pipeline(infer, queue, learning, [out], late_after_ns, clock).run()
    thread.join(10)
    return infer, learner, learning, out


def test_every_frame_leaves_once_in_order_with_the_tail_at_the_end():
    _, _, _, out = run()
    assert [r.index for r in out.of(FrameResult)] == list(range(N))
    assert isinstance(out.items[-1], Tail)
    assert out.items[-1].first_frame == N - 2
    assert out.closed


def test_in_lockstep_an_epoch_takes_effect_a_fixed_lag_after_its_last_frame():
    infer, learner, _, _ = run()
    assert [at for _, _, at in infer.adopted] == [
        learned + learner.lag_frames for _, learned, _ in infer.adopted
    ]
    assert len(infer.adopted) == N // learner.every - 1 + (N % learner.every > learner.lag_frames)


def test_in_lockstep_the_learner_sees_every_frame():
    _, learner, learning, out = run()
    last = N - 1 - learner.lag_frames  # what it would learn from later ones takes effect no more
    assert learner.seen[: last + 1] == list(range(last + 1))
    assert learning.skipped == 0
    assert not any(r.flags & FLAG_NO_LEARNING for r in out.of(FrameResult))


def test_two_lockstep_runs_give_the_same_results():
    first, second = (run()[3].of(FrameResult) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.index, a.epoch, a.ids.tobytes(), a.y.tobytes()) == (
            b.index,
            b.epoch,
            b.ids.tobytes(),
            b.y.tobytes(),
        )


def test_an_adoption_leaves_before_the_first_frame_on_it():
    _, _, _, out = run()
    for at, item in enumerate(out.items):
        if isinstance(item, Adopted):
            assert out.items[at + 1].index == item.frame
            assert out.items[at + 1].epoch == item.epoch.number


class Prompt(Learning):
    """Has learned from a frame before the pipeline goes on."""

    def hand_over(self, slot, result):
        super().hand_over(slot, result)
        with self._progress:
            while self._consumed < result.index:
                assert self._progress.wait(10)


def test_paced_an_epoch_is_taken_over_when_a_result_is_out_and_a_frame_may_follow():
    infer, learner, _, out = run(Prompt)
    assert [at for _, _, at in infer.adopted] == list(range(learner.every, N, learner.every))
    for at, item in enumerate(out.items):
        if isinstance(item, Adopted):
            before, after = out.items[at - 1], out.items[at + 1]
            assert (before.index, after.index) == (item.frame - 1, item.frame)
            assert (before.epoch, after.epoch) == (item.epoch.number - 1, item.epoch.number)


def cells_by_frame(out):
    return {r.index: len(r.ids) for r in out.of(FrameResult)}


@pytest.mark.parametrize("freeze_at", [24, 44, 45, 50])  # an epoch learned from frame 39 takes effect at 44
def test_in_lockstep_a_planned_freeze_holds_from_exactly_its_frame(freeze_at):
    _, _, _, out = run(freeze_at=freeze_at)
    assert out.of(Held) == [Held(True, freeze_at)]
    at = out.items.index(Held(True, freeze_at))
    assert next(i for i in out.items[at:] if isinstance(i, FrameResult)).index == freeze_at
    cells, free = cells_by_frame(out), cells_by_frame(run()[3])
    assert all(cells[t] == free[t] for t in range(freeze_at + 1))
    assert {cells[t] for t in range(freeze_at, N)} == {free[freeze_at]}
    assert free[N - 1] > free[freeze_at]
    adopted = [a for a in out.of(Adopted) if a.frame > freeze_at]  # the background still follows
    assert [a.frame for a in adopted] == [f for f in range(44, N, 20) if f > freeze_at]


def test_frozen_in_lockstep_two_runs_give_the_same():
    first, second = (run(freeze_at=50)[3].items for _ in range(2))
    assert [type(i) for i in first] == [type(i) for i in second]


class Handed(FakeLearner):
    """Orders while it learns from a frame."""

    orders: dict[int, bool]
    learning = None

    def learn(self, aligned, result):
        if result.index in self.orders:
            self.learning.order(self.orders[result.index])
        return super().learn(aligned, result)


def test_an_order_takes_effect_a_lag_after_the_frame_in_which_it_came():
    learner = Handed(None, SHAPE)
    learner.orders = {30: True, 70: False}
    learning, out, queue = LockstepLearning(learner, SHAPE), Collector(), BoundedQueue(N)
    learner.learning = learning
    for frame in frames():
        queue.put(frame)
    queue.close()
    thread = threading.Thread(target=learning.run)
    thread.start()
    Pipeline(FakeInfer(None, SHAPE), queue, learning, [out], None, lambda: 0).run()
    thread.join(10)
    frozen, thawed = out.of(Held)
    assert (frozen.frozen, thawed.frozen) == (True, False)
    assert frozen.asked
    assert thawed.asked
    assert frozen.frame in range(35, 35 + AT_ONCE)  # the learner may have taken some frames at once
    assert thawed.frame in range(75, 75 + AT_ONCE)
    cells = cells_by_frame(out)
    assert [cells[t] for t in (34, 43, 83, 84)] == [1, 1, 1, 2]


def test_paced_an_order_is_announced_after_every_epoch_that_was_learned_before_it():
    learner = FakeLearner(None, SHAPE)
    learning, out, queue = Learning(learner, SHAPE, freeze_at=60), Collector(), BoundedQueue(400)
    threads = [
        threading.Thread(target=learning.run),
        threading.Thread(target=Pipeline(FakeInfer(None, SHAPE), queue, learning, [out], None).run),
    ]
    for thread in threads:
        thread.start()
    for frame in frames(N):
        queue.put(frame)
        while len(learner.seen) <= frame.index:  # the camera's pace: the learner is done before the next
            assert threads[0].is_alive()
    queue.close()
    for thread in threads:
        thread.join(10)
    (held,) = out.of(Held)
    assert held == Held(True, 60)  # not before, although the learner was frozen earlier
    assert len({n for t, n in cells_by_frame(out).items() if t >= 60}) == 1


def test_a_learner_that_is_behind_costs_it_frames_and_never_the_pipeline():
    held = threading.Event()

    class Slow(FakeLearner):
        def __init__(self, config, shape):
            super().__init__(config, shape)
            self.gaps = []

        def learn(self, aligned, result):
            held.wait(10)
            self.gaps.append(result.gap)
            return super().learn(aligned, result)

    learner = Slow(None, SHAPE)
    learning, out, queue = Learning(learner, SHAPE), Collector(), BoundedQueue(400)
    pipeline = Pipeline(FakeInfer(None, SHAPE), queue, learning, [out], None, lambda: 0)
    for frame in frames(300):
        queue.put(frame)
    learner_thread = threading.Thread(target=learning.run)
    pipeline_thread = threading.Thread(target=pipeline.run)
    learner_thread.start()
    pipeline_thread.start()
    while len(out.items) < 300:  # all of them, although the learner is stuck
        assert pipeline_thread.is_alive()
    held.set()
    while len(learner.seen) < 256:
        assert learner_thread.is_alive()
    for frame in frames(310)[300:]:
        queue.put(frame)
    while len(learner.seen) < 266:
        assert learner_thread.is_alive()
    queue.close()
    pipeline_thread.join(10)
    learner_thread.join(10)
    flagged = [r.index for r in out.of(FrameResult) if r.flags & FLAG_NO_LEARNING]
    assert flagged == list(range(256, 300))
    assert learning.skipped == 44
    assert learner.seen == [*range(256), *range(300, 310)]
    assert learner.gaps == [0] * 256 + [44] + [0] * 9


def test_a_result_is_stamped_and_flagged_when_it_is_late():
    _, _, _, out = run(n=30, late_after_ns=20_000, clock=lambda: 40_000)
    late = [r.index for r in out.of(FrameResult) if r.flags & FLAG_LATE]
    assert late == list(range(20))
    assert all(r.t_result_ns == 40_000 for r in out.of(FrameResult))


def test_a_learner_that_fails_frees_the_pipeline():
    class Broken(FakeLearner):
        def learn(self, aligned, result):
            raise ZeroDivisionError("on purpose")

    learning = LockstepLearning(Broken(None, SHAPE), SHAPE)
    failed = []

    def body():
        try:
            learning.run()
        except ZeroDivisionError as error:
            failed.append(error)

    queue, out = BoundedQueue(N), Collector()
    for frame in frames():
        queue.put(frame)
    queue.close()
    thread = threading.Thread(target=body)
    thread.start()
    Pipeline(FakeInfer(None, SHAPE), queue, learning, [out], None, lambda: 0).run()
    thread.join(10)
    assert len(failed) == 1
    assert len(out.of(FrameResult)) == N


class FakeSource:
    def __init__(self, error=None):
        self.error = error

    def frames(self, stopped):
        for frame in frames(10):
            if stopped():
                return
            yield frame
        if self.error:
            raise self.error


def test_the_driver_closes_the_queue_at_the_end_and_when_the_source_fails():
    queue = BoundedQueue(20)
    drive(FakeSource(), queue, lambda: False)
    assert [f.index for f in queue.take_all()] == list(range(10))
    assert queue.ended
    queue = BoundedQueue(20)
    with pytest.raises(OSError, match="unplugged"):
        drive(FakeSource(OSError("unplugged")), queue, lambda: False)
    assert len(queue.take_all()) == 10
    assert queue.ended


def test_the_driver_says_once_that_the_source_has_begun():
    queue, begun = BoundedQueue(20), []
    drive(FakeSource(), queue, lambda: False, lambda: begun.append(len(queue)))
    assert begun == [0]


def test_the_driver_ends_when_it_is_stopped_or_nobody_takes_its_frames():
    queue = BoundedQueue(20)
    drive(FakeSource(), queue, lambda: True)
    assert queue.ended
    queue = BoundedQueue(1)
    queue.cancel()
    drive(FakeSource(), queue, lambda: False)
    assert queue.ended
