"""What a session holds and what was lost, in numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.live import (
    LIVE_STATUS,
    SEED_EVENT,
    EventRecord,
    LiveComponents,
    LiveFrames,
    LiveRecord,
    seed_record,
    seeded_among,
)
from streamscope.storage.recording import recorded_frames
from streamscope.storage.result_reader import ResultReader
from streamscope.storage.session_folder import SessionFolder
from streamscope.storage.session_record import open_live
from streamscope.types import (
    FLAG_BAD_MOTION,
    FLAG_BROKEN,
    FLAG_FROZEN,
    FLAG_LATE,
    FLAG_SATURATED,
    DoubleArray,
    Kinetics,
)


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is distributed over frames."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Frames of a session, and what is wrong with them."""

    inferred: int
    never_inferred: int  # frames of the recording for which no result was kept
    lost: int  # missing in the recording: the sum of all gaps
    gaps: int
    bad_motion: int
    late: int
    duration_s: float
    broken: int = 0  # of those with doubtful motion: rows or blocks are not of the picture
    frozen: int = 0  # of those: the frame before once more
    saturated: int = 0


@dataclass(frozen=True, slots=True)
class MotionSummary:
    """Size of the shifts, px, and the share of frames above each limit."""

    px: Spread
    above: Mapping[str, float]  # limit in words: fraction of frames


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """What was recorded into the session's folder."""

    device: str  # name of the folder
    n_frames: int
    not_recorded: int | None  # frames that came and are not in it; not known where the program ended suddenly
    holes: int  # runs of missing frames between those that are there
    stopped: str  # why it ended before the session; empty if it did not
    n_files: int
    size: int  # bytes
    compression: str = "GREY"  # none, or FFV1


@dataclass(frozen=True, slots=True)
class RefitSummary:
    """What the refit accepted and why it rejected the rest."""

    accepted: int
    rejected: int
    reasons: Mapping[str, int]
    kinetics: Kinetics | None


@dataclass(frozen=True, slots=True)
class SeedSummary:
    """What became of the components of an earlier session."""

    placed: bool
    text: str  # one sentence
    seen: int  # how many of them were confirmed today


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session in numbers; None where nothing is known."""

    ended: bool  # the journal was closed in good order
    built: bool  # session.h5 exists
    frames: FrameCounts
    motion: MotionSummary | None
    latency_ms: Mapping[str, Spread]  # due to result, result to published, due to published
    cells: Mapping[str, int]  # by status
    epochs: int
    refit: RefitSummary | None
    seeding: SeedSummary | None
    recording: RecordingSummary | None  # None: not recorded
    events: tuple[EventRecord, ...]
    changes: Mapping[str, int]  # component events by kind
    files: Mapping[str, int]  # name: bytes


def summarise(session: SessionFolder) -> SessionSummary:
    """Return a session in numbers, from session.h5 or, after a crash, from the journal.

    Raises
    ------
    StorageError
        If the session holds neither.
    """
    with open_live(session) as live:
        frames = live.frames()
        components, events = live.components(), live.events()
        status = Counter(components.status)
        return SessionSummary(
            ended=_ended(session, live),
            built=session.result.is_file(),
            frames=_count_frames(frames),
            motion=_motion(frames, session),
            latency_ms=_latency(frames),
            cells={name: status[name] for name in LIVE_STATUS},
            epochs=len(live.epochs()),
            refit=_refit(live),
            seeding=_seeding(components, events),
            events=tuple(event for event in events if event.kind != SEED_EVENT),
            recording=_recording(session),
            changes=Counter(event.kind for event in live.component_events()),
            files=_files(session),
        )


def _ended(session: SessionFolder, live: LiveRecord) -> bool:
    if isinstance(live, JournalReader):
        return live.closed
    if not session.journal.is_file():
        return True
    with JournalReader(session.journal) as journal:
        return journal.closed


def _count_frames(frames: LiveFrames) -> FrameCounts:
    known = frames.epoch >= 0
    times = frames.time_s[known]
    return FrameCounts(
        inferred=int(known.sum()),
        never_inferred=int((~known).sum()),
        lost=int(frames.gap.sum()),
        gaps=int(np.count_nonzero(frames.gap)),
        bad_motion=int(np.count_nonzero(frames.flags & FLAG_BAD_MOTION)),
        late=int(np.count_nonzero(frames.flags & FLAG_LATE)),
        duration_s=float(times[-1] - times[0]) if len(times) else 0.0,
        broken=int(np.count_nonzero(frames.flags & FLAG_BROKEN)),
        frozen=int(np.count_nonzero(frames.flags & FLAG_FROZEN)),
        saturated=int(np.count_nonzero(frames.flags & FLAG_SATURATED)),
    )


def _motion(frames: LiveFrames, session: SessionFolder) -> MotionSummary | None:
    size = np.hypot(*frames.shifts[frames.epoch >= 0].T)
    if not len(size):
        return None
    engine = session.engine
    limits = {"one cell diameter": engine.cell_diameter_px}
    if engine.um_per_px is not None:
        limits = {f"{um} um": um / engine.um_per_px for um in (5, 15)} | limits
    return MotionSummary(_spread(size), {name: float(np.mean(size > px)) for name, px in limits.items()})


def _latency(frames: LiveFrames) -> dict[str, Spread]:
    timed = frames.t_publish_ns > 0
    if not timed.any():
        return {}
    due, result, published = (
        t[timed] for t in (frames.t_capture_ns, frames.t_result_ns, frames.t_publish_ns)
    )
    return {
        "due to result": _spread((result - due) / 1e6),
        "result to published": _spread((published - result) / 1e6),
        "due to published": _spread((published - due) / 1e6),
    }


def _spread(values: DoubleArray) -> Spread:
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return Spread(float(p50), float(p95), float(p99), float(values.max()))


def _refit(live: LiveRecord) -> RefitSummary | None:
    if not isinstance(live, ResultReader) or not live.has_refit:
        return None
    status, reasons = live.refit_verdicts()
    rejected = [reason for verdict, reason in zip(status, reasons, strict=True) if verdict != "accepted"]
    # Reasons quote each component's own numbers; the kind of reason is what is left without them.
    kinds = Counter(re.sub(r"-?\d+(\.\d+)?", "N", reason) for reason in rejected)
    return RefitSummary(len(status) - len(rejected), len(rejected), kinds, live.refit_kinetics())


def _seeding(components: LiveComponents, events: tuple[EventRecord, ...]) -> SeedSummary | None:
    record = seed_record(events)
    if record is None:
        return None
    seen = seeded_among(components.ids, events) & components.has_status("confirmed")
    return SeedSummary(bool(record["placed"]), str(record["text"]), int(seen.sum()))


def _recording(session: SessionFolder) -> RecordingSummary | None:
    noted, folder = session.recording, session.recording_folder
    if noted is None or folder is None:
        return None
    videos = list(folder.glob("*.avi"))
    frames = recorded_frames(session) if folder.is_dir() else np.zeros(0, np.int64)
    return RecordingSummary(
        device=folder.name,
        n_frames=len(frames),
        not_recorded=noted.get("not_recorded"),
        holes=int(np.count_nonzero(np.diff(frames, prepend=-1) > 1)),
        stopped=noted.get("stopped", ""),
        n_files=len(videos),
        size=sum(video.stat().st_size for video in videos),
        compression=session.ours["config"].get("compression", "GREY"),
    )


def _files(session: SessionFolder) -> dict[str, int]:
    paths = (path for path in sorted(session.folder.rglob("*")) if path.is_file())
    return {path.relative_to(session.folder).as_posix(): path.stat().st_size for path in paths}
