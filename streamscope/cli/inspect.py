"""streamscope inspect: what a session holds and what was lost, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamscope.config import Preparation
from streamscope.errors import StorageError
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.live import EventRecord
from streamscope.storage.session_folder import SessionFolder, open_session
from streamscope.storage.summary import (
    FrameCounts,
    MotionSummary,
    RecordingSummary,
    SeedSummary,
    SessionSummary,
    summarise,
)
from streamscope.types import Kinetics

_MOST_EVENTS = 6
_MOST_FILES = 8


def inspect(session: Annotated[Path, typer.Argument(help="Session folder.")]) -> None:
    """Show what a session holds: recording, frames, losses, motion, cells, latency, files.

    Example: streamscope inspect StreamScope/mouse1/2026_05_01/14_30_05
    """
    folder = open_session(session)
    summary = summarise(folder)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, line in _lines(folder, summary):
        table.add_row(name, Text(line))
    console = Console()
    console.print(table)
    for advice in _advice(folder, summary):
        console.print(Text(advice, style="yellow"), soft_wrap=True)


def _lines(folder: SessionFolder, summary: SessionSummary) -> Iterator[tuple[str, str]]:
    yield "session", folder.folder.as_posix()
    yield from _recording(folder)
    source = folder.ours["source"]
    yield "frames", _frames(summary.frames, source["n_frames"] * source.get("loops", 1))
    yield "lost", _losses(summary.frames)
    if summary.recording is not None:
        yield "recorded", _recorded(summary.recording)
    yield from _beside(folder)
    if summary.motion is not None:
        yield "motion", _motion(summary.motion, folder.engine.um_per_px)
        yield (
            "",
            ", ".join(f"{share:.1%} of frames over {name}" for name, share in summary.motion.above.items()),
        )
    for name, spread in summary.latency_ms.items():
        yield (
            "latency" if name == "due to result" else "",
            f"{name}: p50 {spread.p50:.2f}, p99 {spread.p99:.2f}, max {spread.max:.2f} ms",
        )
    yield "cells, live", _counts(summary.cells) + f"; {summary.epochs} epochs"
    yield from _learning(summary, folder.engine.fps)
    yield "cells, refit", _refit(summary)
    if summary.seeding is not None:
        yield "seed", _seed(summary.seeding)
    if summary.refit is not None and summary.refit.kinetics is not None:
        yield "kinetics", _kinetics(summary.refit.kinetics)
    yield from _decisions(folder)
    yield from _events(summary)
    yield "files", _files(summary)


def _decisions(folder: SessionFolder) -> Iterator[tuple[str, str]]:
    """Yield what each rule decided, nothing without rules."""
    try:
        with JournalReader(folder.journal, folder.shape) as journal:
            decisions = journal.trigger_log().decisions
    except StorageError:  # session.h5 alone has no decisions
        return
    counts: dict[str, Counter[str]] = {}
    for decision in decisions:
        counts.setdefault(decision.rule, Counter())[decision.outcome] += 1
    for k, (rule, outcomes) in enumerate(counts.items()):
        told = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
        yield "" if k else "decisions", f"{rule}: {told}"


def _recording(folder: SessionFolder) -> Iterator[tuple[str, str]]:
    source, config, engine = (folder.ours[name] for name in ("source", "config", "engine"))
    start = folder.metadata.get("recordingStartTime", {})
    clock = ("year", "month", "day", "hour", "minute", "second")
    if all(name in start for name in clock):
        when = "{:04d}-{:02d}-{:02d} {:02d}:{:02d}:{:02d}".format(*(start[name] for name in clock))
        yield "subject", f"{config['subject']}, {when}, StreamScope {folder.ours['version']}"
    height, width = folder.shape
    um = "um per px not known" if engine["um_per_px"] is None else f"{engine['um_per_px']:g} um per px"
    yield "recording", f"{source['spec']} ({source['device']}, {height}x{width} px, {um})"
    if told := _prepared(folder.engine.prepare):
        yield "", told
    measured = folder.ours.get("estimates", {}).get("cell_diameter")
    sure = "" if measured is None else f" (measured, confidence {measured['confidence']:.2f})"
    yield (
        "",
        f"cell diameter {engine['cell_diameter_px']:.1f} px{sure}, {engine['fps']:g} fps, {config['indicator']}",
    )


def _prepared(prepare: Preparation) -> str:
    """Return in words what was done to the frames, empty if nothing was."""
    told = []
    if prepare.crop is not None:
        y0, y1, x0, x1 = prepare.crop
        told.append(f"cropped to rows {y0}:{y1}, columns {x0}:{x1}")
    if prepare.bin > 1:
        told.append(f"means of {prepare.bin}x{prepare.bin} px")
    if prepare.bin_frames > 1:
        told.append(f"means of {prepare.bin_frames} frames")
    return ", ".join(told)


def _frames(frames: FrameCounts, expected: int) -> str:
    rate = (frames.inferred - 1) / frames.duration_s if frames.duration_s > 0 else 0.0
    of = f" of {expected}" if expected else ""  # how many a device will give nobody knows
    return f"{frames.inferred}{of}, {frames.duration_s:.1f} s recorded, {rate:.2f} frames a second"


def _losses(frames: FrameCounts) -> str:
    why = ", ".join(f"{n} {what}" for n, what in ((frames.broken, "broken"), (frames.frozen, "frozen")) if n)
    return (
        f"{frames.lost} missing (gaps: {frames.gaps}), {frames.never_inferred} dropped, "
        f"{frames.bad_motion} with doubtful motion{f' ({why})' if why else ''}, {frames.late} late"
        + (f", {frames.saturated} saturated" if frames.saturated else "")
    )


def _recorded(recording: RecordingSummary) -> str:
    files = f"{recording.n_files} file{'' if recording.n_files == 1 else 's'}"
    how = "uncompressed" if recording.compression == "GREY" else recording.compression
    text = f"{recording.n_frames} frames in {recording.device}, {files} of {_size(recording.size)}, {how}"
    if recording.not_recorded is None:
        return f"{text}; not finished"
    if recording.not_recorded:
        text += f"; {recording.not_recorded} frames are not recorded (holes: {recording.holes})"
    return f"{text}; stopped: {recording.stopped}" if recording.stopped else text


def _beside(folder: SessionFolder) -> Iterator[tuple[str, str]]:
    """Yield what was recorded by a trigger, and by behaviour cameras."""
    trigger = (folder.recording or {}).get("on_trigger")
    if trigger is not None:
        stretches = ", ".join(f"{first} to {stop - 1}" for first, stop in trigger["stretches"]) or "none"
        yield "trigger", f"input {trigger['input']}, frames {stretches}; {trigger['frames_outside']} outside"
    for name, camera in folder.ours.get("cameras", {}).items():
        height, width = camera["shape"]
        text = f"{name} ({camera['source']}, {height}x{width} px): {camera['n_frames']} pictures"
        stopped = f"; stopped: {camera['stopped']}" if camera["stopped"] else ""
        yield "camera", f"{text}, {camera['missing']} missing{stopped}"


def _motion(motion: MotionSummary, um_per_px: float | None) -> str:
    named = (("median", motion.px.p50), ("p95", motion.px.p95), ("max", motion.px.max))
    px = ", ".join(f"{name} {value:.2f}" for name, value in named) + " px"
    if um_per_px is None:
        return px
    return f"{px} ({', '.join(f'{value * um_per_px:.1f}' for _, value in named)} um)"


def _refit(summary: SessionSummary) -> str:
    if summary.refit is None:
        return "not refitted"
    reasons = "; ".join(f"{count} x {reason}" for reason, count in summary.refit.reasons.items())
    counts = f"{summary.refit.accepted} accepted, {summary.refit.rejected} rejected"
    return f"{counts} ({reasons})" if reasons else counts


def _seed(seeding: SeedSummary) -> str:
    if not seeding.placed:
        return seeding.text
    return f"{seeding.text}; {seeding.seen} of them seen active"


def _kinetics(kinetics: Kinetics) -> str:
    times = f"decay {kinetics.decay_s:.3g} s, rise {kinetics.rise_s:.2g} s"
    if not kinetics.fitted:
        return f"{times}, as given: too few large events to fit them"
    return f"{times}, fitted; {kinetics.confidence:.0%} of the traces agree"


def _learning(summary: SessionSummary, fps: float) -> Iterator[tuple[str, str]]:
    """Say when learning was frozen, if it was."""
    held = [
        f"{event.kind} from frame {event.frame} ({event.frame / fps:.1f} s)"
        for event in summary.events
        if event.kind in ("frozen", "thawed") and event.frame is not None
    ]
    if held:
        yield "learning", ", ".join(held)


def _events(summary: SessionSummary) -> Iterator[tuple[str, str]]:
    if summary.changes:
        yield "changes", _counts(summary.changes)
    shown = summary.events[:_MOST_EVENTS]
    for number, event in enumerate(shown):
        yield ("events" if number == 0 else ""), _event(event)
    if len(summary.events) > len(shown):
        yield "", f"and {len(summary.events) - len(shown)} more"


def _event(event: EventRecord) -> str:
    where = "" if event.frame is None else f" at frame {event.frame}"
    fields = ", ".join(f"{name} {value}" for name, value in event.fields.items())
    return f"{event.kind}{where}: {fields}" if fields else event.kind + where


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _files(summary: SessionSummary) -> str:
    largest = sorted(summary.files.items(), key=lambda item: -item[1])
    named = [f"{name} {_size(size)}" for name, size in largest[:_MOST_FILES]]
    rest = largest[_MOST_FILES:]
    if rest:
        named.append(f"and {len(rest)} more of {_size(sum(size for _, size in rest))}")
    return ", ".join(named)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _advice(folder: SessionFolder, summary: SessionSummary) -> Iterator[str]:
    name = folder.folder.as_posix()
    if not summary.ended:
        yield (
            "The journal was not closed: the session is still running, or its program ended suddenly. "
            f"What was committed, up to frame {summary.frames.inferred + summary.frames.never_inferred - 1}, "
            "is whole; at most one second is lost."
        )
    if not summary.built:
        yield f"There is no session.h5. The live traces can be had: streamscope export {name} traces.npz"
    if summary.refit is None:
        yield f"To refit from the recording: streamscope refit {name}"
