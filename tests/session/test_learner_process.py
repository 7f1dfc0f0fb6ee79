"""The learner in its own process learns what it would learn in ours, and its failures are told."""

from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from streamscope.config import BackgroundConfig, DetectConfig, EngineConfig
from streamscope.core.infer import Infer
from streamscope.core.learn import Learner
from streamscope.errors import StageError
from streamscope.session.learner_process import LearnerProcess
from streamscope.types import Frame

pytestmark = pytest.mark.usefixtures("compiled_learner")

SHAPE = (56, 64)
CONFIG = EngineConfig(
    cell_diameter_px=8,
    fps=20,
    decay_s=0.3,
    detect=DetectConfig(block_s=1.0, buffer_s=2.0, threshold=4.0),
    background=BackgroundConfig(n_frames=50),
)


@pytest.fixture(scope="module")
def shared():
    """Return a process for the tests that leave it as it is; to start one takes seconds."""
    process = LearnerProcess()
    yield process
    process.close()


@pytest.fixture
def process():
    process = LearnerProcess()
    yield process
    process.close()


def frames():
    rng = np.random.default_rng(3)
    rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    tissue = 80 + 6 * rng.normal(size=SHAPE)
    for t in range(60):
        image = tissue + rng.normal(0, 2, SHAPE)
        for k, (y, x) in enumerate([(20, 20), (34, 44)]):
            image += 50 * np.exp(-((t + 9 * k) % 23) / 6) * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)
        yield Frame(t, np.clip(image, 0, 255).astype(np.uint8), 0)


def a_frame():
    aligned = np.zeros(SHAPE, np.float32)
    return aligned, Infer(CONFIG, SHAPE)(next(frames()), aligned)


class There:
    """A learner in the other process, with two threads, one frame at a time."""

    def __init__(self, process):
        self.learner = process.learner(CONFIG, SHAPE, threads=2)
        self.room = self.learner.room(2, SHAPE)

    def consume(self, aligned, result):
        self.room[result.index % 2] = aligned
        (epoch,) = self.learner.consume([(result.index % 2, result)])
        return epoch


def test_it_learns_the_same_as_a_learner_in_this_process(shared):
    here, there = Learner(CONFIG, SHAPE), There(shared)
    assert there.learner.lag_frames == here.lag_frames
    infer, aligned = Infer(CONFIG, SHAPE), np.zeros(SHAPE, np.float32)
    epochs = 0
    for frame in frames():
        result = infer(frame, aligned)
        ours, theirs = here.consume(aligned, result), there.consume(aligned, result)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            epochs += 1
            assert theirs.events == ours.events
            mine, other = ours.arrays(), theirs.arrays()
            for name, array in mine.items():
                assert array.tobytes() == other[name].tobytes(), name
            assert theirs.footprints.pixels.flags.writeable  # a read-only array would compile kernels anew
            infer.adopt(theirs)
    assert epochs == 3
    assert ours.n == 2


def test_it_freezes_and_thaws_as_a_learner_in_this_process_does(shared):
    here, there = Learner(CONFIG, SHAPE), There(shared)
    infer, aligned = Infer(CONFIG, SHAPE), np.zeros(SHAPE, np.float32)
    cells = []
    for frame in frames():
        for learner in (here, there.learner):
            if frame.index in (10, 40):
                (learner.freeze if frame.index == 10 else learner.thaw)()
        result = infer(frame, aligned)
        ours, theirs = here.consume(aligned, result), there.consume(aligned, result)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            cells.append(ours.n)
            assert ours.b0.tobytes() == theirs.b0.tobytes()
            assert ours.n == theirs.n
            infer.adopt(theirs)
    assert cells[:2] == [0, 0]
    assert len(cells) == 3


def test_frames_that_are_handed_over_at_once_are_learned_from_one_after_the_other(shared):
    here, there = Learner(CONFIG, SHAPE), shared.learner(CONFIG, SHAPE)
    infer, room = Infer(CONFIG, SHAPE), there.room(30, SHAPE)
    results = [infer(frame, room[frame.index]) for frame in list(frames())[:30]]
    ours = [here.consume(room[k].copy(), result) for k, result in enumerate(results)]
    theirs = there.consume(list(enumerate(results)))
    assert [t for t, epoch in enumerate(theirs) if epoch is not None] == [19]
    assert theirs[19].b0.tobytes() == ours[19].b0.tobytes()
    assert theirs[19].events == ours[19].events


def test_a_failure_over_there_is_told_here_with_its_traceback(shared):
    learner = There(shared)
    aligned, result = a_frame()
    with pytest.raises(StageError, match="AttributeError: 'NoneType'") as failed:
        learner.consume(aligned, replace(result, shift=None))
    assert "in consume" in "".join(failed.value.__notes__)
    assert learner.consume(aligned, result) is None  # and it goes on


def test_a_process_that_was_killed_is_told_in_one_sentence(process):
    learner = There(process)
    aligned, result = a_frame()
    process._process.kill()
    with pytest.raises(
        StageError, match=r"the learner's process ended with exit code -?\d+, expected to run"
    ):
        learner.consume(aligned, result)
    process.close()
    with pytest.raises(StageError, match="after its end"):
        learner.consume(aligned, result)


def test_closing_gives_the_shared_memory_back_and_ends_the_process(process):
    learner = process.learner(CONFIG, SHAPE)
    room = learner.room(2, SHAPE)
    room[0, 0, 0] = 1
    name, child = learner._memory.name, process._process
    del room  # nobody looks at it any more
    process.close()
    process.close()
    assert child.returncode == 0
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


def test_it_compiles_while_this_process_does_something_else(shared):
    said, order = [], []
    shared.warm_up(lambda *progress: said.append(progress), lambda: order.append(len(said)))
    assert order == [0]
    what, done, total = said[-1]
    assert what == "the learner"
    assert 0 < done <= total
