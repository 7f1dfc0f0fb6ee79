"""What a live session left behind, as tables: per component, per frame, and the traces of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from streamscope.types import (
    BoolArray,
    ComponentEvent,
    DoubleArray,
    FloatArray,
    Footprints,
    IdArray,
    LongArray,
)

SEED_EVENT = "seed"  # kind of the event that tells what became of a seed
NO_FIELD = (2, 2, 2)  # shape of the field of a session without one: the four corners, all 0
LIVE_STATUS = ("confirmed", "provisional", "merged", "retired")


@dataclass(frozen=True, slots=True)
class LiveComponents:
    """Every component that a traces/ message ever carried, by rising id."""

    ids: IdArray  # (K,)
    status: tuple[str, ...]  # one of LIVE_STATUS, as it stood at the end
    reasons: tuple[str, ...]  # why it was merged or retired, empty otherwise
    avail: LongArray  # (K,) first frame that carried it
    last: LongArray  # (K,) last frame that carried it
    footprints: Footprints  # as stored in the last epoch that held it

    def select(self, keep: BoolArray) -> LiveComponents:
        """Return the components where `keep`, (K,), is true."""
        rows = np.flatnonzero(keep)
        return LiveComponents(
            ids=self.ids[rows],
            status=tuple(self.status[k] for k in rows),
            reasons=tuple(self.reasons[k] for k in rows),
            avail=self.avail[rows],
            last=self.last[rows],
            footprints=self.footprints.select(rows),
        )

    def has_status(self, status: str) -> BoolArray:
        """Return where the status is this one, (K,)."""
        return np.array([s == status for s in self.status], dtype=bool)


@dataclass(frozen=True, slots=True)
class LiveTraces:
    """Traces of K components over n frames, (K, n) each, sn units; NaN where no message gave a value."""

    C: FloatArray  # c_lag, at the frame that it describes
    S: FloatArray  # s_lag, at the frame that it describes
    C_causal: FloatArray  # c
    S_causal: FloatArray  # s
    C_raw: FloatArray  # y, signed


TRACE_FIELDS = ("C", "S", "C_causal", "S_causal", "C_raw")


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """One row per frame of the recording, T rows; a frame that was never inferred has epoch -1 and NaN."""

    epoch: LongArray
    shifts: DoubleArray  # (T, 2) dy, dx, px
    quality: DoubleArray  # correlation with the template
    field: FloatArray  # (T, gy, gx, 2) dy, dx on top of the shifts, px, at nodes corner to corner; 0: rigid
    flags: LongArray
    gap: LongArray  # frames missing before this one
    hw: LongArray  # hardware counter, -1 where there is none
    time_s: DoubleArray  # recorded time since the first frame, s
    t_capture_ns: LongArray
    t_result_ns: LongArray
    t_publish_ns: LongArray


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """When an epoch was learned and used."""

    number: int
    learned_frame: int  # last frame that it was learned from
    adopted_frame: int  # first frame inferred with it


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Anything else that happened."""

    kind: str
    frame: int | None
    fields: Mapping[str, Any]


class LiveRecord(Protocol):
    """The live part of a session, from its journal or from its session.h5."""

    @property
    def n_frames(self) -> int:
        """Return the number of frames, T."""

    def components(self) -> LiveComponents:
        """Return every component that was ever published."""

    def ids_seen(self) -> IdArray:
        """Return every id that a frame ever carried, rising, (K,)."""

    def static_background(self) -> FloatArray | None:
        """Return b0 (H, W) of the last epoch, gray levels; None if there was none, or it was not kept."""

    def traces(self, ids: IdArray, start: int = 0, stop: int | None = None) -> LiveTraces:
        """Return the traces of `ids` in frames start..stop."""

    def frames(self) -> LiveFrames:
        """Return the table of frames."""

    def component_events(self) -> tuple[ComponentEvent, ...]:
        """Return the changes in the life of components, in order."""

    def events(self) -> tuple[EventRecord, ...]:
        """Return the other events, in order."""

    def epochs(self) -> tuple[EpochRecord, ...]:
        """Return the epochs, by number."""


def seed_record(events: tuple[EventRecord, ...]) -> Mapping[str, Any] | None:
    """Return the fields of the event that tells what became of a seed, None if there was no seed."""
    for event in events:
        if event.kind == SEED_EVENT:
            return event.fields
    return None


def seeded_among(ids: IdArray, events: tuple[EventRecord, ...]) -> BoolArray:
    """Return which of these components came from an earlier session, (K,)."""
    record = seed_record(events)
    return np.isin(ids, [] if record is None else record["ids"])
