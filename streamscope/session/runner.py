"""One session from the bind of its sockets to its finished file."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

from streamscope._version import __version__
from streamscope.errors import StorageError, StreamScopeError, WireError
from streamscope.session.acting import Outputs, open_outputs
from streamscope.session.engine import Engine, real_engine
from streamscope.session.health import HealthMeter
from streamscope.session.live import LivePart
from streamscope.session.machine import Event, Machine, State
from streamscope.session.observer import Observer
from streamscope.session.plan import SessionPlan
from streamscope.session.recorder import Recorder
from streamscope.session.refitting import (
    LEAST_FRAMES,
    Progress,
    RefitStopped,
    refit_from_source,
    refit_session,
    write_live,
)
from streamscope.session.rois import roi_engine
from streamscope.session.stopping import stopped_by_signals
from streamscope.session.threads import in_thread
from streamscope.session.triggering import arm_command, disarm_command
from streamscope.storage.notes import write_notes
from streamscope.storage.recording import Recording, finish_recording
from streamscope.storage.session_folder import SessionFolder, create_session, note_cameras, note_recording
from streamscope.types import Health, OutputReport, RefitResult
from streamscope.wire.control import Later
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import EVENT_STATE, Arm, Disarm, Hold, Mark, Set, Stop

P = ParamSpec("P")

JOIN_S = 1.0  # from the bind to frame 0, so that subscribers that were waiting miss nothing
ERROR_FILE = "error.txt"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended."""

    folder: Path | None  # None if it was stopped before it began
    result: Path | None  # session.h5
    n_frames: int  # published
    refit_status: tuple[str, ...] | None  # of each component that the refit looked at; None without a refit
    health: Health  # at the end; rate and age over the last frames
    recording: Mapping[str, Any] | None = None  # what is noted of it in metaData.json; None if none was made
    cameras: Mapping[str, Any] = field(
        default_factory=dict
    )  # what is noted of each behaviour camera, by its name
    not_kept: str = ""  # why the last results were published, but not kept


def run_session(plan: SessionPlan, observer: Observer | None = None, engine: Engine | None = None) -> Outcome:
    """Run a session to its end in this thread; Ctrl-C once ends it well, twice without the refit.

    Raises
    ------
    StreamScopeError
        If a part of it failed; the live results up to then are kept, and the message says where.
    """
    session = Session(plan, observer or Observer(), engine or engine_of(plan))
    # The selector loop also on Windows: pyzmq's asyncio sockets need add_reader.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner, stopped_by_signals(session.stop):
        return runner.run(session.run())


def engine_of(plan: SessionPlan) -> Engine:
    """Return the engine that a plan asks for: one that learns, or one that reads out given regions."""
    return real_engine(plan.engine.bits) if plan.rois is None else roi_engine(plan.rois, plan.engine)


class Session:
    """The life of one session; `run` is called once.

    Parameters
    ----------
    plan : SessionPlan
        What to do.
    observer : Observer
        Who watches.
    engine : Engine
        How to infer and learn.
    """

    def __init__(self, plan: SessionPlan, observer: Observer, engine: Engine) -> None:
        self._plan = plan
        self._observer = observer
        self._engine = engine
        self._machine = Machine(self._changed)
        self._meter = HealthMeter(plan.n_frames)
        self._publisher = Publisher(
            plan.config.wire.bind,
            info=_hello(plan),
            keys=None if plan.config.wire.keys is None else Path(plan.config.wire.keys),
            commands={
                "mark": self._mark,
                "arm": self._arm,
                "disarm": self._disarm,
                "freeze": self._hold,
                "thaw": self._hold,
                "set": self._set,
                "stop": self._stop,
            },
        )
        self._live: LivePart | None = None
        self._outputs: Outputs | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stops = 0
        self._refit_unwanted = not plan.refit

    def stop(self) -> None:
        """Ask the session to end: once with the refit, twice without. May be called in any thread."""
        if self._loop is None:
            self._stops += 1
        else:
            self._loop.call_soon_threadsafe(self._take_stop)

    async def run(self) -> Outcome:
        """Bind, warm up, run, drain, refit; return how it ended.

        Raises
        ------
        StreamScopeError
            If the sockets cannot be bound or a part of the session failed.
        """
        self._loop = asyncio.get_running_loop()
        self._observer.bound(self._publisher.bind())
        try:
            async with asyncio.TaskGroup() as group:
                served = group.create_task(self._publisher.serve_control(), name="control")
                status = group.create_task(self._report(), name="status")
                ended = await self._guarded(group)
                served.cancel()
                status.cancel()
        finally:
            self._publisher.close()
            if self._outputs is not None and self._live is None:
                self._outputs.close()
            self._engine.close()
        if isinstance(ended, Exception):
            raise ended
        return ended

    async def _guarded(self, group: asyncio.TaskGroup) -> Outcome | Exception:
        """Return the error instead of raising it: a group would wrap it into another."""
        try:
            return await self._phases(group)
        except Exception as error:  # top of the session: the files are kept, the command line says why
            if self._machine.state is not State.FAILED:
                self._machine.send(Event.ERROR)
            return error

    async def _phases(self, group: asyncio.TaskGroup) -> Outcome:
        ready_s = time.monotonic() + JOIN_S
        await self._warm_up()
        await asyncio.sleep(max(0.0, ready_s - time.monotonic()))
        if self._stops:
            return Outcome(None, None, 0, None, self._health())
        if self._plan.rules is not None:
            self._outputs = open_outputs(self._plan.rules, self._relay(self._reported))
        folder = self._make_folder()
        self._observer.started(folder.folder)
        folder = await self._run_live(group, folder)
        result = await in_thread("result", lambda: _result_of(folder))
        status = await self._refit(folder)
        return Outcome(
            folder.folder,
            result,
            self._meter.n_published,
            status,
            self._health(),
            folder.recording,
            folder.ours.get("cameras", {}),
            "" if self._live is None else self._live.not_kept,
        )

    async def _warm_up(self) -> None:
        relay = self._relay(self._observer.warming)

        def progress(what: str, done: int, total: int) -> None:
            if self._stops:
                raise _Stopped
            relay(what, done, total)

        with suppress(_Stopped):
            await in_thread("warm-up", lambda: self._engine.warm_up(progress))

    def _make_folder(self) -> SessionFolder:
        plan, now = self._plan, datetime.now(UTC).astimezone()
        estimates = None if plan.diameter is None else {"cell_diameter": asdict(plan.diameter)}
        return create_session(
            Path(plan.config.out),
            plan.config,
            plan.engine,
            plan.info,
            now,
            device=plan.info.device if plan.record else None,
            loops=plan.loop,
            estimates=estimates,
            cameras=[camera.info.name for camera in plan.cameras],
        )

    async def _run_live(self, group: asyncio.TaskGroup, folder: SessionFolder) -> SessionFolder:
        recording = self._make_recording(folder)
        live = LivePart(
            self._plan, self._publisher, self._meter, self._engine, folder.journal, recording, self._outputs
        )
        self._live = live
        self._machine.send(Event.START)
        try:
            await live.run(group, partial(self._machine.send, Event.END))
        finally:
            await in_thread("end of learning", self._engine.close)
        if recording is not None and live.recorder is not None:
            more = {} if live.gate is None else live.gate.facts()
            folder = await in_thread("recording", partial(_finished, folder, recording, live.recorder, more))
        if live.cameras:
            facts = {lane.info.name: lane.facts() for lane in live.cameras}
            folder = await in_thread("cameras", partial(_noted, folder, facts))
        if live.failure is not None:
            self._machine.send(Event.ERROR)
            await self._salvage(folder, *live.failure)
        return folder

    def _make_recording(self, folder: SessionFolder) -> Recording | None:
        plan = self._plan
        if not plan.record:
            return None
        source, prepare = plan.source_info, plan.engine.prepare
        um_per_px = None if plan.engine.um_per_px is None else plan.engine.um_per_px / prepare.bin
        return Recording(
            folder,
            source,
            plan.engine.fps * prepare.bin_frames,
            um_per_px,
            compression=plan.config.compression,
        )

    async def _salvage(self, folder: SessionFolder, lane: str, error: Exception) -> NoReturn:
        """Keep what there is, note the details beside it, and say in one sentence what happened."""
        reason = _note_error(folder, error)
        kept = folder.journal.name
        with suppress(StreamScopeError):
            kept = (await in_thread("result", lambda: write_live(folder))).name
        raise StreamScopeError(
            f"the session ended after frame {self._meter.frame} because its {lane} failed: {reason}; "
            f"the live results up to there are kept in {folder.folder / kept}, details in {ERROR_FILE}"
        ) from error

    async def _refit(self, folder: SessionFolder) -> tuple[str, ...] | None:
        """Refit unless nobody wants it; return the status of each component, None without a refit."""
        if self._refit_unwanted or self._frames_to_refit(folder) < LEAST_FRAMES:
            self._machine.send(Event.KEPT)
            return None
        self._machine.send(Event.DRAINED)
        relay = self._relay(self._observer.refitting)

        def progress(stage: str, fraction: float) -> None:
            if self._refit_unwanted:
                raise RefitStopped
            relay(stage, fraction)

        try:
            result = await in_thread("refit", lambda: self._refit_from(folder, progress))
        except RefitStopped:
            self._machine.send(Event.KEPT)
            return None
        except Exception as error:
            self._machine.send(Event.ERROR)
            raise StreamScopeError(
                f"the refit failed: {_note_error(folder, error)}; the live results are complete in "
                f"{folder.result}, details in {ERROR_FILE}; try again with: streamscope refit {folder.folder}"
            ) from error
        self._machine.send(Event.REFITTED)
        return result.status

    def _frames_to_refit(self, folder: SessionFolder) -> int:
        """Return how many frames there are: of a device no more than were recorded, e.g. none without a trigger."""
        recorded = (folder.recording or {}).get("n_frames", 0)
        return self._meter.n_published if self._plan.device is None else int(recorded)

    def _refit_from(self, folder: SessionFolder, progress: Progress) -> RefitResult:
        """Refit from the session's own recording if there is one, else from the movie that is open."""
        movie = self._plan.movie
        if folder.recording is None and movie is not None:
            return refit_session(folder, movie, progress)
        return refit_from_source(folder, progress)

    def _take_stop(self) -> None:
        """Stop the source; a second stop, or one during the refit, also gives up the refit."""
        self._stops += 1
        if self._stops > 1 or self._machine.state is State.REFITTING:
            self._refit_unwanted = True
        self._machine.send(Event.STOP)
        if self._live is not None:
            self._live.stop()

    def _stop(self, request: Stop) -> dict[str, Any]:
        """Stop because a client asks for it."""
        self._take_stop()
        return {}

    def _mark(self, request: Mark) -> Mapping[str, Any] | Later:
        """Keep a text with the newest frame, for subscribers and in the journal."""
        if self._live is None or self._machine.state is not State.RUNNING:
            raise WireError(
                f"the session is {self._machine.state.value}, expected running; only then are marks kept"
            )
        return self._live.mark(request.text)

    def _arm(self, request: Arm) -> Later:
        """Arm a rule, for a client."""
        return self._running().command(arm_command(request))

    def _disarm(self, request: Disarm) -> Later:
        """Disarm a rule, or all of them, for a client."""
        return self._running().command(disarm_command(request))

    def _running(self) -> LivePart:
        if self._live is None or self._machine.state is not State.RUNNING:
            raise WireError(
                f"the session is {self._machine.state.value}, expected running; only then do rules decide"
            )
        return self._live

    def _hold(self, request: Hold) -> Later:
        """Freeze or thaw what is learned, if it is being learned."""
        if self._live is None or self._machine.state is not State.RUNNING:
            raise WireError(
                f"the session is {self._machine.state.value}, expected running; only then is anything learned"
            )
        return self._live.hold(request.frozen)

    def _set(self, request: Set) -> Later:
        """Change settings of the device, if there is one and it runs."""
        if self._live is None or self._machine.state is not State.RUNNING:
            raise WireError(
                f"the session is {self._machine.state.value}, expected running; only then can a device be set"
            )
        return self._live.adjust(request.values)

    def _reported(self, report: OutputReport) -> None:
        if self._live is not None:
            self._live.reported(report)

    def _changed(self, state: State) -> None:
        self._publisher.publish_event(EVENT_STATE, max(self._meter.frame, 0), state=state.value)
        self._publisher.publish_status(self._health())
        self._observer.state(state)

    async def _report(self) -> None:
        """Publish how the session stands, until cancelled."""
        while True:
            health = self._health()
            self._publisher.publish_status(health)
            self._observer.health(health)
            if self._live is not None:
                self._live.keep(health)
            await asyncio.sleep(1.0 / self._plan.config.wire.status_hz)

    def _health(self) -> Health:
        live = self._live
        if live is None:
            return self._meter.now(self._machine.state)
        return self._meter.now(self._machine.state, live.queue, live.dropped, live.trouble)

    def _relay(self, told: Callable[P, None]) -> Callable[P, None]:
        """Return a function that any thread may call and that calls `told` in the loop's thread."""
        loop = asyncio.get_running_loop()

        def tell(*args: P.args, **kwargs: P.kwargs) -> None:
            loop.call_soon_threadsafe(partial(told, *args, **kwargs))

        return tell


class _Stopped(Exception):
    """The user stopped the session while kernels were compiled."""


def _result_of(folder: SessionFolder) -> Path:
    """Write session.h5 and return its path; a disk that does not take it costs nothing but time."""
    try:
        return write_live(folder)
    except StorageError as error:
        raise StorageError(
            f"{error}; nothing that was kept is lost: make room, and then: streamscope refit {folder.folder}"
        ) from error


def _finished(
    folder: SessionFolder, recording: Recording, recorder: Recorder, more: Mapping[str, Any]
) -> SessionFolder:
    """Note what was recorded; a disk that does not take that costs the session nothing else."""
    try:
        write_notes(folder)
        finished = finish_recording(folder, recording, recorder.received, recorder.stopped)
        return note_recording(finished, more) if more else finished
    except StorageError as error:
        recorder.stopped = recorder.stopped or str(error)
        return folder


def _noted(folder: SessionFolder, cameras: Mapping[str, Any]) -> SessionFolder:
    """Note what behaviour cameras recorded; a disk that does not take that costs the session nothing else."""
    try:
        return note_cameras(folder, cameras)
    except StorageError:
        return folder


def _note_error(folder: SessionFolder, error: Exception) -> str:
    """Write the traceback into the session folder and return the reason in words."""
    (folder.folder / ERROR_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return str(error) if isinstance(error, StreamScopeError) else f"{type(error).__name__}: {error}"


def _hello(plan: SessionPlan) -> dict[str, Any]:
    """Return what subscribers are told of the session."""
    info = plan.info
    return {
        "source": info.source,
        "subject": plan.config.subject,
        "shape": list(info.shape),
        "n_frames": plan.n_frames,
        "fps": plan.engine.fps,
        "um_per_px": plan.engine.um_per_px,
        "cell_diameter_px": plan.engine.cell_diameter_px,
        "prepare": plan.engine.prepare.model_dump(mode="json"),
        "lag": plan.engine.deconvolve.lag,
        "version": __version__,
    }
