"""The live part of a session: its queues, its threads, and the publishing between them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from streamscope.clock import clock_ns
from streamscope.errors import StorageError, WireError
from streamscope.session.acting import Outputs
from streamscope.session.adjusting import Adjusting
from streamscope.session.cameras import CameraLane, Since, always
from streamscope.session.engine import Engine
from streamscope.session.freezing import Freezing
from streamscope.session.gate import TriggerGate
from streamscope.session.health import HealthMeter
from streamscope.session.lanes import Item, Learning, LockstepLearning, NewestFrames, Pipeline, drive
from streamscope.session.outputs import LoopOutlet, Record
from streamscope.session.plan import SessionPlan
from streamscope.session.preparing import prepared_source
from streamscope.session.publishing import Publishing
from streamscope.session.queue import BoundedQueue, NeverWait
from streamscope.session.recorder import Recorder
from streamscope.session.threads import (
    give_way,
    go_first,
    in_thread,
    learner_threads,
    quiet_interpreter,
)
from streamscope.session.triggering import Triggering, command_after
from streamscope.session.writing import Writer
from streamscope.storage.recording import Recording
from streamscope.trigger.engine import MARK, Circumstances, Command
from streamscope.types import Frame, Health, OutputReport, Source
from streamscope.wire.control import Later
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import EVENT_MARK, EVENT_RESULTS_STOPPED

FRAMES = 32  # that may wait for the pipeline; a replay waits when they do
FRAMES_OF_A_DEVICE = 128  # a device does not wait: the oldest are given up
FRAMES_AT_FULL_SPEED = 4  # enough to keep the pipeline busy; more would only make them old
RESULTS_AT_FULL_SPEED = 128  # that may wait for the loop before the pipeline waits
RESULTS_IN_REAL_TIME = 4096  # minutes behind: the session ends with an error rather than lose results
RECORDS = 4096  # that may wait for the writer


class LivePart:
    """Run the lanes of a session from its first frame to the last record in the journal.

    Parameters
    ----------
    plan : SessionPlan
        What to replay, and how fast.
    publisher : Publisher
        Bound sockets.
    meter : HealthMeter
        Counts what is published.
    engine : Engine
        How to infer and learn.
    journal : Path
        Where to keep the results.
    recording : Recording, optional
        Where to keep the frames.
    outputs : Outputs, optional
        Of the plan's rules, open.
    """

    def __init__(
        self,
        plan: SessionPlan,
        publisher: Publisher,
        meter: HealthMeter,
        engine: Engine,
        journal: Path,
        recording: Recording | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        shape = plan.info.shape
        paced = plan.speed is not None
        self._meter = meter
        self._device = plan.device
        self._place = go_first if paced else give_way  # at full speed all wait for the learner
        self.failure: tuple[str, Exception] | None = None  # which lane ended the session, and why
        self.not_kept = ""  # why results are kept no more, while the session goes on
        self._paced = paced
        self._stopped = threading.Event()
        self.recorder = None if recording is None else Recorder(recording, paced, self._teller())
        by_trigger = plan.config.record_on_trigger if plan.device is not None else None
        self.gate = None if by_trigger is None else TriggerGate(by_trigger, self._teller())
        since = Since()
        came = since.tap(self._recorded(plan.open_source()))
        self._source = prepared_source(came, plan.engine.prepare)
        wanted = always if self.gate is None else self.gate.wants
        self.cameras = [
            CameraLane(camera, journal.parent, since, wanted, self._camera_teller(camera.info.name))
            for camera in plan.cameras
        ]
        self._frames: BoundedQueue[Frame] = (
            NewestFrames(FRAMES_OF_A_DEVICE)
            if plan.device is not None
            else BoundedQueue(FRAMES if paced else FRAMES_AT_FULL_SPEED)
        )
        self._results: BoundedQueue[Item] = (
            NeverWait(RESULTS_IN_REAL_TIME, "stream") if paced else BoundedQueue(RESULTS_AT_FULL_SPEED)
        )
        self._records: BoundedQueue[Record] = BoundedQueue(RECORDS)
        self._outlet = LoopOutlet(self._results)
        self._learning = (Learning if paced else LockstepLearning)(
            engine.learner(plan.engine, shape, plan.seed, learner_threads(paced)),
            shape,
            plan.freeze_at,
        )
        self._freezing = Freezing(self._learning.order)
        self._adjusting = Adjusting(plan.device)
        if plan.device is not None:
            plan.device.listen(self._teller())
        self._meter = meter
        self._rules: Triggering | None = None
        if plan.rules is not None and outputs is not None:
            around = Circumstances(plan.engine.fps, plan.engine.cell_diameter_px, paced)
            self._rules = Triggering(plan.rules, around, outputs)
        self._publishing = Publishing(publisher, meter, self._records, self._freezing, outputs)
        self._pipeline = Pipeline(
            engine.infer(plan.engine, shape),
            self._frames,
            self._learning,
            [self._outlet],
            plan.frame_ns,
            first=engine.first,
            rules=self._rules,
        )
        self._writer = Writer(journal, self._records)

    @property
    def queue(self) -> int:
        """Return the number of frames that wait for the pipeline."""
        return len(self._frames)

    @property
    def dropped(self) -> int:
        """Return the number of frames that the pipeline never got."""
        return self._frames.dropped

    @property
    def trouble(self) -> str:
        """Return what does not go as it should, in words."""
        told = [part.trouble for part in (self._device, self.recorder, self._publishing) if part is not None]
        told += [] if self.gate is None else [self.gate.waiting]
        told += [lane.trouble for lane in self.cameras]
        return "; ".join(filter(None, [self.not_kept, *told]))

    def stop(self) -> None:
        """Take no further frames from the source; what is under way is finished."""
        self._stopped.set()

    def hold(self, frozen: bool) -> Later:
        """Freeze what is learned, or thaw it; the reply comes with the frame from which it holds."""
        return self._freezing.ask(frozen)

    def adjust(self, values: Mapping[str, Any]) -> Later:
        """Change settings of the device; the reply comes with the first frame that shows it."""
        return self._adjusting.ask(values)

    def command(self, command: Command) -> Later:
        """Have something done with the rules; the reply comes with the next frame."""
        if self._rules is None:
            raise WireError("this session has no rules, expected some; start it with --rules FILE.toml")
        return self._rules.ask(command)

    def mark(self, text: str) -> Mapping[str, Any] | Later:
        """Keep a text with the frame that was published last, or with the next one where rules may watch for it."""
        if self._rules is not None:
            return self._rules.ask(Command(MARK, text=text))
        fields: dict[str, Any] = {"text": text, "t_ns": clock_ns()}
        frame = max(self._meter.frame, 0)
        self._publishing.tell(EVENT_MARK, frame, fields)
        return {"frame": frame, "t_ns": fields["t_ns"]}

    def reported(self, report: OutputReport) -> None:
        """Take note of what became of a decision at an output."""
        self._publishing.reported(report)

    def keep(self, health: Health) -> None:
        """Write a health record into the journal, unless the writer is far behind."""
        if len(self._records) < self._records.capacity // 2:
            self._records.put(health)

    async def run(self, group: asyncio.TaskGroup, source_ended: Callable[[], object]) -> None:
        """Run to the end; afterwards `failure` says whether a lane failed.

        Parameters
        ----------
        group : TaskGroup
            Owns the tasks.
        source_ended : callable
            Called when the source has given its last frame.
        """
        with quiet_interpreter():
            lanes = {
                "driver": self._drive(source_ended),
                "pipeline": in_thread("pipeline", self._pipeline.run, self._place),
                "learner": in_thread("learner", self._learning.run, give_way),
                "writer": in_thread("writer", self._writer.run, give_way),
                "publishing": self._publishing.run(self._outlet),
            }
            if self.recorder is not None:
                lanes["recorder"] = in_thread("recorder", self.recorder.run, give_way)
            for camera in self.cameras:
                lanes[f"camera {camera.info.name}"] = in_thread("camera", camera.run, give_way)
            tasks = [group.create_task(self._watched(name, body), name=name) for name, body in lanes.items()]
            await asyncio.wait(tasks)
        self._learning.release()

    def _recorded(self, source: Source) -> Source:
        """Return a source whose frames are recorded on their way, all or by the trigger, if any are to be."""
        if self.recorder is None:
            return source
        return self.recorder.tap(source) if self.gate is None else self.gate.tap(source, self.recorder)

    async def _drive(self, source_ended: Callable[[], object]) -> None:
        frames, stopped = self._frames, self._stopped.is_set
        try:
            await in_thread("driver", lambda: drive(self._source, frames, stopped, self._place))
        finally:
            self._adjusting.end()
            for camera in self.cameras:
                camera.stop()
        source_ended()

    def _teller(self) -> Callable[[str, int, dict[str, object]], None]:
        """Return a function that any thread may call to have an event published and noted."""
        loop = asyncio.get_running_loop()

        def tell(name: str, frame: int, fields: dict[str, object]) -> None:
            command = command_after(name, fields)
            if self._rules is not None and command is not None:
                self._rules.note(command)
            loop.call_soon_threadsafe(lambda: self._publishing.tell(name, frame, fields))

        return tell

    def _camera_teller(self, name: str) -> Callable[[str, str, dict[str, object]], None]:
        """Return a function that any thread may call to have what happened to a camera published and noted."""
        loop = asyncio.get_running_loop()

        def tell(what: str, text: str, fields: dict[str, object]) -> None:
            loop.call_soon_threadsafe(lambda: self._publishing.tell_of_camera(name, what, text, fields))

        return tell

    async def _watched(self, name: str, body: Coroutine[Any, Any, None]) -> None:
        try:
            await body
        except Exception as error:  # top of each lane: the session ends, its files are kept
            if name == "writer" and self._paced and isinstance(error, StorageError):
                self._go_on_unkept(error)
                return
            if self.failure is None:
                self.failure = (name, error)
            self._give_up(name)

    def _go_on_unkept(self, error: StorageError) -> None:
        """Let traces and recording go on when the disk takes no more results: an experiment may depend on them."""
        frame = self._meter.frame + 1
        self.not_kept = f"results are NOT kept from about frame {frame} on: {error}"
        self._records.cancel()
        self._publishing.tell(EVENT_RESULTS_STOPPED, frame, {"reason": str(error)})

    def _give_up(self, name: str) -> None:
        """Let every lane end soon; what was published is still written, if the writer can."""
        self._stopped.set()
        self._frames.cancel()
        self._learning.cancel()
        if name == "publishing":
            self._outlet.cancel()
        if name == "writer":
            self._records.cancel()
