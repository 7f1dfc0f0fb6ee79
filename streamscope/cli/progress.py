"""What a session shows in the terminal while it runs, and what it says at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamscope.session.machine import State
from streamscope.session.observer import Observer
from streamscope.session.plan import SessionPlan
from streamscope.session.runner import Outcome
from streamscope.types import Health, MovieInfo
from streamscope.wire.endpoints import Endpoints

QUIET_S = 3.0  # kernels that come out of the cache in this time are not worth a line
LINE_EVERY_S = 5.0  # where there is no terminal, e.g. in a log file
BAR_WIDTH = 30


class Progress(Observer):
    """Show a session's progress; a context manager around the session.

    The picture is drawn in a thread of its own (by rich): the loop, which calls in here, must not wait.
    Where there is no terminal, a line is written now and then.

    Parameters
    ----------
    console : Console, optional
        Where to draw; standard error by default.
    clock : callable
        Monotonic time, s.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._compiling_since_s: float | None = None
        self._line_s = clock()
        self._said_compiling = False
        self._message = ""  # of the session, as it was said last
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def bound(self, endpoints: Endpoints) -> None:
        """Say where the stream can be heard."""
        self._say(f"stream   {endpoints.data}   (listen with: streamscope listen {endpoints.data})")

    def warming(self, what: str, done: int, total: int) -> None:
        """Say that kernels are compiled, if it takes longer than reading them from the cache."""
        if self._compiling_since_s is None:
            self._compiling_since_s = self._clock()
        if self._clock() - self._compiling_since_s < QUIET_S or done >= total:
            return
        if not self._said_compiling:
            self._said_compiling = True
            self._say("compiling, first start only; about a minute")
        self._draw(_bar_line("compiling", done, total, what))

    def started(self, folder: Path) -> None:
        """Say where the session is written."""
        self._say(f"session  {folder}")

    def health(self, health: Health) -> None:
        """Show how the session stands, and say what it has to say."""
        if health.message != self._message:
            self._message = health.message
            self._say(f"note     {health.message}")
        if health.state in (State.RUNNING.value, State.DRAINING.value):
            self._draw(_picture(health))
            if not self._console.is_terminal and self._clock() - self._line_s >= LINE_EVERY_S:
                self._line_s = self._clock()
                self._say(_line(health))

    def state(self, state: State) -> None:
        """Say that the refit begins."""
        if state is State.REFITTING:
            self._say("refitting the recording (Ctrl-C to leave it out)")

    def refitting(self, stage: str, fraction: float) -> None:
        """Show how far the refit is."""
        self._draw(_bar_line("refit", fraction, 1.0, stage))
        if not self._console.is_terminal and self._clock() - self._line_s >= LINE_EVERY_S:
            self._line_s = self._clock()
            self._say(f"refit: {stage}, {100 * fraction:.0f} %")

    def _draw(self, picture: Group | Table) -> None:
        if self._console.is_terminal:
            self._live.update(picture)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def tell_warnings(info: MovieInfo) -> None:
    """Write what was repaired or is doubtful in a recording, one line each."""
    console = Console(stderr=True, highlight=False)
    for warning in info.warnings:
        console.print(f"note     {warning}", markup=False, soft_wrap=True)


def tell_diameter(plan: SessionPlan) -> None:
    """Write the cell diameter if it was measured on the recording, and how sure it is."""
    if plan.diameter is None:
        return
    px, um_per_px = plan.engine.cell_diameter_px, plan.engine.um_per_px
    um = "" if um_per_px is None else f" ({px * um_per_px:.0f} um)"
    Console(stderr=True, highlight=False).print(
        f"cells    {px:.1f} px{um}, confidence {plan.diameter.confidence:.2f}, "
        f"from {plan.diameter.n_sites} sites",
        markup=False,
        soft_wrap=True,
    )


def tell_room(plan: SessionPlan) -> None:
    """Write what a recording takes of the disk and how long that lasts, and warn if it is not long."""
    if plan.room is None:
        return
    console = Console(stderr=True, highlight=False)
    most = "" if plan.config.compression == "GREY" else "at most "
    console.print(f"disk     {most}{plan.room.text()}", markup=False, soft_wrap=True)
    if plan.room.low:
        console.print(f"note     {plan.room.warning()}", markup=False, soft_wrap=True)


def tell_outcome(outcome: Outcome) -> None:
    """Write how a session ended and where its results are."""
    console = Console(highlight=False)
    for line in outcome_lines(outcome):
        console.print(line, markup=False, soft_wrap=True)


def outcome_lines(outcome: Outcome) -> list[str]:
    """Return what is to be said of a session that ended."""
    if outcome.result is None:
        return ["stopped before the first frame; nothing was written"]
    health = outcome.health
    lines = [
        f"frames   {outcome.n_frames}, lost {health.lost}, late {health.late}, "
        f"age p50 {health.age_p50_ms:.1f} ms, p99 {health.age_p99_ms:.1f} ms at the end",
        f"live     {health.cells} cells, and {health.provisional} provisional",
    ]
    if outcome.not_kept:
        lines.append(f"note     {outcome.not_kept}")
    if outcome.recording is not None:
        lines += _recording_lines(outcome.recording, outcome.folder)
    for name, camera in outcome.cameras.items():
        lines.append(f"camera   {camera['n_frames']} pictures in {name}, {camera['missing']} missing")
        if camera["stopped"]:
            lines.append(f"note     {name} stopped before the session: {camera['stopped']}")
    if outcome.refit_status is None:
        lines.append(f"refit    none; make one with: streamscope refit {outcome.folder}")
    else:
        lines.append(refit_line(outcome.refit_status))
    return [*lines, f"result   {outcome.result}"]


def _recording_lines(recording: Mapping[str, Any], folder: Path | None) -> Iterator[str]:
    place = recording["device"] if folder is None else folder / recording["device"]
    yield f"recorded {recording.get('n_frames', 0)} frames in {place}"
    if recording.get("on_trigger"):
        by = recording["on_trigger"]
        yield f"trigger  input {by['input']}: {len(by['stretches'])} stretches, {by['frames_outside']} frames outside"
    if recording.get("stopped"):
        yield f"note     the recording stopped before the session: {recording['stopped']}"
    if recording.get("not_recorded"):
        yield f"note     {recording['not_recorded']} frames are NOT recorded"


def refit_line(status: tuple[str, ...]) -> str:
    """Return what is to be said of a refit; `status` is that of each component."""
    accepted = status.count("accepted")
    return f"refit    {accepted} cells accepted, {len(status) - accepted} rejected"


def _bar_line(title: str, done: float, total: float, what: str) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_row(title, ProgressBar(total=total, completed=done, width=BAR_WIDTH), what)
    return line


def _picture(health: Health) -> Group:
    total = health.n_frames or max(health.frame + 1, 1)
    where = (
        f"frame {health.frame + 1} of {health.n_frames}" if health.n_frames else f"frame {health.frame + 1}"
    )
    return Group(_bar_line(health.state, health.frame + 1, total, where), *map(Text, _facts(health)))


def _facts(health: Health) -> tuple[str, str]:
    dy, dx = health.shift_px
    shed = f"   overload: no {health.shed}" if health.shed else ""
    message = f"   {health.message}" if health.message else ""
    return (
        f"  {health.fps:5.1f} fps   age p50 {health.age_p50_ms:6.1f} ms  p99 {health.age_p99_ms:6.1f} ms   "
        f"lost {health.lost}   late {health.late}   queue {health.queue}{shed}",
        f"  {health.cells} cells (+{health.provisional} provisional)   epoch {health.epoch}   "
        f"shift {dy:+.1f} {dx:+.1f} px{message}",
    )


def _line(health: Health) -> str:
    speed, found = (" ".join(fact.split()) for fact in _facts(health))
    return f"frame {health.frame + 1}: {speed}, {found}"
