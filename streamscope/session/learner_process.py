"""The learner in a process of its own, so that what it computes never holds up the pipeline.

Both sides are here. `LearnerProcess` starts ``python -m streamscope.session.learner_process`` and talks to it
through its standard input and output: pickled messages, one answer to each; the registered frame goes through
shared memory. Nobody else can reach these pipes, so that pickle is safe here, unlike on the wire.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import IO, Any

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.epoch import Epoch
from streamscope.core.seed import Seed
from streamscope.errors import StageError, StreamScopeError
from streamscope.session.threads import NICENESS, SWITCH_S, ThreadCrew
from streamscope.types import FloatArray, FrameResult, Shift

Shape = tuple[int, int]
Progress = Callable[[str, int, int], None]

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_END_S = 2.0  # it may take to end by itself


class LearnerProcess:
    """The other process, from its start in `warm_up` to `close`. Used by one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._learners: list[RemoteLearner] = []

    def warm_up(self, progress: Progress, meanwhile: Callable[[], None]) -> None:
        """Start the process and let it compile, while this one does what it has to do `meanwhile`.

        Parameters
        ----------
        progress : callable
            Told (what, done, total) of what is compiled in the other process.
        meanwhile : callable
            Called once, while the other process compiles.

        Raises
        ------
        StageError
            If the process does not start or the learner does not run on this machine.
        """
        self._start()
        self._send("warm_up")
        meanwhile()
        self._answer(progress)

    def learner(
        self, config: EngineConfig, shape: Shape, seed: Seed | None = None, threads: int = 1
    ) -> RemoteLearner:
        """Return a learner that lives in the other process, with or without cells to begin with."""
        self._start()
        learner = RemoteLearner(self, config, shape, seed, threads)
        self._learners.append(learner)
        return learner

    def ask(self, name: str, *values: Any) -> Any:
        """Return what the other process answers."""
        self._send(name, *values)
        return self._answer()

    def close(self) -> None:
        """End the process and free what is shared with it. May be called again."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                _pipe(process.stdin).close()  # it ends when nobody asks any more
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _pipe(process.stdout).close()
        while self._learners:
            self._learners.pop().free()

    def _start(self) -> None:
        if self._process is not None:
            return
        flags = getattr(
            subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0
        )  # Windows; elsewhere it makes itself nice
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
            creationflags=flags,
        )

    def _send(self, name: str, *values: Any) -> None:
        process = self._running()
        try:
            _write(_pipe(process.stdin), (name, *values))
        except OSError as error:
            raise _gone(process) from error

    def _answer(self, told: Progress | None = None) -> Any:
        """Return the answer to what was sent; `told` hears of the progress until then."""
        process = self._running()
        while True:
            try:
                kind, *values = pickle.load(_pipe(process.stdout))
            except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
                raise _gone(process) from error
            if kind == "done":
                return values[0]
            if kind == "failed":
                failure = StageError(values[0])
                failure.add_note(values[1])
                raise failure
            if told is not None:
                told(*values)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StageError("the learner was asked to learn after its end")
        return self._process


def _pipe(file: IO[bytes] | None) -> IO[bytes]:
    assert file is not None  # all are pipes
    return file


def _gone(process: subprocess.Popen[bytes]) -> StageError:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    return StageError(
        f"the learner's process ended with exit code {process.returncode}, expected to run as long as "
        "the session; was it killed, or is memory short? Close other programs and start again"
    )


class RemoteLearner:
    """A learner in another process. Aligned frames lie in memory that both processes see."""

    def __init__(
        self, process: LearnerProcess, config: EngineConfig, shape: Shape, seed: Seed | None, threads: int
    ) -> None:
        self._process = process
        self._memory: SharedMemory | None = None
        self.lag_frames: int = process.ask("new", config, shape, seed, threads)

    def room(self, n_frames: int, shape: Shape) -> FloatArray:
        """Return memory for aligned frames, (n_frames, H, W) float32; called once."""
        self._memory = SharedMemory(create=True, size=4 * n_frames * shape[0] * shape[1])
        frames: FloatArray = np.ndarray((n_frames, *shape), np.float32, self._memory.buf)
        weakref.finalize(frames, self._memory.close)  # not before: an array does not keep its memory mapped
        frames.fill(0)  # written to, so that memory does not grow later
        self._process.ask("attach", self._memory.name, frames.shape)
        return frames

    def consume(self, frames: Sequence[tuple[int, FrameResult]]) -> list[Epoch | None]:
        """Learn from frames; return for each an epoch when something changed.

        Parameters
        ----------
        frames : sequence of (int, FrameResult)
            Where each of them lies in `room`, and its result.

        Raises
        ------
        StageError
            If the learner failed or its process has ended.
        """
        seen = [(place, result.index, result.gap, result.shift) for place, result in frames]
        epochs: list[Epoch | None] = self._process.ask("learn", seen)
        return epochs

    def freeze(self) -> None:
        """Change nothing but the static background from the next frame on."""
        self._process.ask("freeze")

    def thaw(self) -> None:
        """Learn on from the next frame."""
        self._process.ask("thaw")

    def free(self) -> None:
        """Give the shared memory back; it goes when nobody looks at `room` any more."""
        memory, self._memory = self._memory, None
        if memory is not None:
            with suppress(FileNotFoundError):
                memory.unlink()


# -- in the other process


class _Server:
    """Answers what `LearnerProcess` asks."""

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers = answers
        self._learner: Any = None
        self._memory: SharedMemory | None = None
        self._frames: FloatArray | None = None

    def warm_up(self) -> None:
        from streamscope.core.warmup import warm_up_learner

        warm_up_learner(lambda *progress: _write(self._answers, ("told", *progress)))

    def new(self, config: EngineConfig, shape: Shape, seed: Seed | None, threads: int) -> int:
        from streamscope.core.learn import Learner

        sys.setswitchinterval(SWITCH_S)
        self._learner = Learner(config, shape, seed, ThreadCrew(threads) if threads > 1 else None)
        gc.collect()
        gc.freeze()
        return int(self._learner.lag_frames)

    def attach(self, memory: str, shape: tuple[int, ...]) -> None:
        self._memory = _attach(memory)
        self._frames = np.ndarray(shape, np.float32, self._memory.buf)

    def learn(self, seen: list[tuple[int, int, int, Shift]]) -> list[Epoch | None]:
        assert self._frames is not None  # `attach` came first
        return [
            self._learner.consume(self._frames[place], FrameResult.without_traces(index, shift, gap))
            for place, index, gap, shift in seen
        ]

    def freeze(self) -> None:
        self._learner.freeze()

    def thaw(self) -> None:
        self._learner.thaw()

    def answer(self, name: str, values: tuple[Any, ...]) -> None:
        """Do what is asked and answer; errors are answers too."""
        able: tuple[Callable[..., Any], ...] = (
            self.warm_up,
            self.new,
            self.attach,
            self.learn,
            self.freeze,
            self.thaw,
        )
        try:
            value = {body.__name__: body for body in able}[name](*values)
        except Exception as error:  # top of the process: handed on to whoever asked
            said = str(error) if isinstance(error, StreamScopeError) else f"{type(error).__name__}: {error}"
            _write(self._answers, ("failed", said, traceback.format_exc()))
        else:
            _write(self._answers, ("done", value))


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the session's, which ends us when it is done
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library may print must not get between the answers
    import cv2

    cv2.setNumThreads(1)
    server = _Server(answers)
    with suppress(EOFError, BrokenPipeError):  # the session has gone
        while True:
            name, *values = pickle.load(questions)
            server.answer(name, values)


def _write(file: IO[bytes], message: tuple[Any, ...]) -> None:
    pickle.dump(message, file, protocol=pickle.HIGHEST_PROTOCOL)
    file.flush()


def _attach(name: str) -> SharedMemory:
    """Return memory that the other side owns: before Python 3.13 whoever attached would unlink it at its end."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    register, resource_tracker.register = resource_tracker.register, lambda *_: None
    try:
        return SharedMemory(name)
    finally:
        resource_tracker.register = register


if __name__ == "__main__":
    main()
