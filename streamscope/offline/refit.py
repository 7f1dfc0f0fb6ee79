"""The offline refit: from a recording, and what was learned live, to the session's record.

Every frame is registered anew to one fixed template, and stored if it is a picture of the tissue; what follows learns
from those alone. Cells known from the live session are the start;
cells that stand out of what they leave are added, twice, and pieces of one cell are merged. Ring background,
traces and footprints are fitted in turn, on all frames. In the end each component is accepted or rejected, with
the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from streamscope.config import EngineConfig
from streamscope.core.background import RingGeometry, bin_footprints, fit_ring_rows, ring_mean_weights
from streamscope.core.detect import hidden
from streamscope.core.kinetics import fit_kinetics
from streamscope.offline import accept
from streamscope.offline.pictures import correlation_image
from streamscope.offline.project import Background, demix, mixed, project, rows_matrix
from streamscope.offline.reregister import Registration, SessionAligner
from streamscope.offline.reshape import reshape
from streamscope.offline.seeding import find_seeds
from streamscope.offline.store import THREADS, FrameStore
from streamscope.offline.survey import Survey
from streamscope.offline.temporal import Indicator, denoise, events
from streamscope.offline.timeline import Timeline
from streamscope.types import (
    FLAG_BIG_MOTION,
    DoubleArray,
    FloatArray,
    Footprints,
    IdArray,
    Kinetics,
    LongArray,
    Movie,
    RefitResult,
)

Progress = Callable[[str, float], None]
AnySession = TypeVar("AnySession", bound="Session")

_RING_RADIUS = 1.5  # cell diameters
_RING_FRAMES = 600
_RING_VALUES = 30_000_000
_RIDGE = 1e-5  # of the trace of each ring's Gram matrix
_FIRST_SCORE, _SECOND_SCORE = 4.0, 3.0  # least score of seeds: strict first, permissive on the residual
_PRUNE_CONTRAST = 7.0  # a component without a larger event leaves the model
_SILENT_SN = 0.2  # a trace under this says nothing of a shape, and costs time
_FEWEST_FRAMES = 50


def refit(
    movie: Movie,
    config: EngineConfig,
    live: Footprints | None,
    live_ids: IdArray | None,
    shifts: FloatArray | None,
    progress: Progress | None = None,
    first_new_id: int | None = None,
) -> RefitResult:
    """Return footprints, traces and events of a whole recording.

    Parameters
    ----------
    movie : Movie
        The recording.
    config : EngineConfig
        Settings of the engine.
    live : Footprints, optional
        Live components, in the reference frame; may be few, poor or none.
    live_ids : ndarray, shape (K,), uint32, optional
        Their ids.
    shifts : ndarray, shape (T, 2), float32, optional
        Live shifts, px; they fix the frame of reference.
    progress : callable, optional
        Called with the stage's name and the share of it that is done, 0..1.
    first_new_id : int, optional
        Number of the first component that has no live id; one above all `live_ids` if not given.

    Returns
    -------
    RefitResult
        Two calls with the same arguments give the same bytes.
    """
    report = progress or (lambda stage, done: None)
    with registered(Session, movie, config, shifts, report) as (session, found):
        if session.store.n_frames >= _FEWEST_FRAMES:
            session.begin(live, live_ids)
            session.run(report)
        else:
            session.notes["warning"] = _too_few(session.store.n_frames, movie.info.n_frames)
        report("finishing", 0.0)
        return session.result(found, live_ids, first_new_id)


@contextmanager
def registered(
    kind: type[AnySession], movie: Movie, config: EngineConfig, shifts: FloatArray | None, report: Progress
) -> Iterator[tuple[AnySession, Registration]]:
    """Register a recording; give a session of its good frames, without components, and where all of them lie.

    What they hold on disk goes at the end.
    """
    clock = Clock()
    with FrameStore(movie.info.shape, movie.info.n_frames, config.refit.chunk_frames) as store:
        report("registering", 0.0)
        found = SessionAligner(movie, config, shifts).run(store, lambda done: report("registering", done))
        clock.stop("registering")
        session = kind(store, config, Timeline.of(movie.gap, found.ok), clock)
        with session.survey.scratch:
            yield session, found


def _too_few(n_good: int, n_frames: int) -> str:
    which = (
        f"{n_frames} frames" if n_good == n_frames else f"{n_good} of {n_frames} frames show tissue, which"
    )
    return f"{which} are too few to find cells in"


@dataclass
class Clock:
    """Seconds by stage, wall time."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + now - self.last, 3)
        self.last = now


class Session:
    """The model of one refit and what is fitted in turn; every step leaves footprints and traces in agreement.

    It knows the good frames of the recording, which the store holds, as if the others were missing.
    """

    def __init__(self, store: FrameStore, config: EngineConfig, timeline: Timeline, clock: Clock) -> None:
        self.store, self.config, self.timeline, self.clock = store, config, timeline, clock
        self.diameter = config.cell_diameter_px
        self.notes: dict[str, Any] = {"gone": {}, "found": []}
        self.footprints = Footprints.from_columns(store.shape, [])
        self.ids = np.zeros(0, np.int64)  # -1: not known live
        step = max(2, round(self.diameter / 4))
        geometry = RingGeometry.make(store.shape, self.diameter, _RING_RADIUS, step)
        self.survey = Survey.of(store, geometry, config.fps)
        mean, mean_bins = self.survey.mean_image, self.survey.mean_bins
        self._prior = ring_mean_weights(mean_bins, geometry)
        self.background = Background(geometry, self._prior, mean, mean_bins)
        self._u = np.zeros((0, store.n_frames), np.float32)
        least = config.deconvolve.min_event_sn
        self.indicator = Indicator(config.fps, Kinetics(config.decay_s), least, timeline.elapsed)
        self.activity = denoise(self._u, self.indicator)
        clock.stop("surveying")

    def begin(self, live: Footprints | None, live_ids: IdArray | None) -> None:
        """Take over the live components."""
        if live is None or live_ids is None:
            return
        columns, ids = [], []
        for k in range(live.n):
            pixels, weights = live.column(k)
            norm = float(np.linalg.norm(weights)) if len(weights) else 0.0
            if norm > 0 and math.isfinite(norm):
                columns.append((pixels, (weights / norm).astype(np.float32)))
                ids.append(int(live_ids[k]))
        self.footprints = Footprints.from_columns(self.store.shape, columns)
        self.ids = np.array(ids, np.int64)
        self.fit_traces()
        if self.footprints.n:
            self.fit_ring()
            self.fit_traces()

    def run(self, report: Progress) -> None:
        """Fit everything in turn."""
        traces, ring = ("fitting traces", self.fit_traces), ("fitting the background", self.fit_ring)
        shapes, kinetics = ("fitting footprints", self.fit_shapes), ("fitting traces", self.fit_kinetics)
        merge, prune, split = ("merging", self.merge), ("merging", self.prune), ("merging", self.split)
        steps: list[tuple[str, Callable[[], None]]] = [
            *[
                ("finding cells", lambda: self.seed(_FIRST_SCORE)),
                traces,
                merge,
                prune,
                ring,
                traces,
                kinetics,
            ],
            *[shapes, traces, merge, prune],
            *[("finding more cells", lambda: self.seed(_SECOND_SCORE)), traces, merge, prune, shapes, traces],
            *[merge, prune, ring, traces, shapes, ring, traces, split, merge, kinetics],
        ]
        for i, (stage, step) in enumerate(steps):
            report(stage, i / len(steps))
            step()
            self.clock.stop(stage)

    def seed(self, least: float) -> None:
        """Add the cells that stand out of the residual; their traces follow with `fit_traces`."""
        W = self.background.W
        blind = hidden(self.config, self.survey.geometry)
        seeds = find_seeds(self.survey, self.footprints, self.activity.C, W, self.diameter, least, blind)
        new = seeds.footprints
        columns = [self.footprints.column(k) for k in range(self.footprints.n)]
        columns += [new.column(k) for k in range(new.n)]
        self.footprints = Footprints.from_columns(self.store.shape, columns)
        self.ids = np.concatenate([self.ids, np.full(new.n, -1)])
        self.notes["found"].append({"seeds": new.n, "threshold": round(seeds.threshold, 2)})

    def fit_traces(self) -> None:
        """Project the store on the components, demix and denoise."""
        self._u = project(self.store, self.footprints, self.background)
        self._denoise()

    def _denoise(self) -> None:
        signed = demix(self._u, self.footprints, self.background)
        self.activity = denoise(signed, self.indicator)

    def fit_ring(self) -> None:
        """Fit the ring to the binned movie without the components."""
        survey, geometry = self.survey, self.survey.geometry
        n = min(_RING_FRAMES, survey.length, max(50, _RING_VALUES // geometry.n_bins))
        chosen = np.unique(np.linspace(0, survey.length - 1, n).astype(np.int64))
        DA = rows_matrix(bin_footprints(self.footprints, geometry)).tocsc()
        C = survey.binned(self.activity.C, chosen).T
        x = np.empty((len(chosen), geometry.n_bins), np.float32)
        part = -(-geometry.n_bins // 8)
        for first in range(0, geometry.n_bins, part):
            last = min(first + part, geometry.n_bins)
            x[:, first:last] = survey.band(first, last, chosen) - C @ DA[:, first:last]
        x -= x.mean(0)
        W = np.zeros_like(self._prior)
        cuts = np.linspace(0, geometry.n_bins, 4 * THREADS + 1).astype(int)
        with ThreadPoolExecutor(THREADS) as pool:
            list(
                pool.map(
                    lambda a, b: fit_ring_rows(x, geometry, _RIDGE, self._prior, int(a), int(b), W),
                    cuts[:-1],
                    cuts[1:],
                )
            )
        self.background = Background(geometry, W, self.background.mean_image, self.background.mean_bins)

    def fit_kinetics(self) -> None:
        """Fit the decay and rise of the indicator, and denoise with them."""
        a, config = self.activity, self.config
        found = fit_kinetics(
            self.timeline.spread(a.C_raw, np.nan),
            a.sn,
            config.fps,
            Kinetics(config.decay_s),
            start=self.indicator.kinetics,
        )
        self.indicator = replace(self.indicator, kinetics=found)
        self._denoise()

    def fit_shapes(self) -> None:
        """Fit the footprints to the store; the traces follow with `fit_traces`."""
        a = self.activity
        active = a.C.copy()
        active[active <= _SILENT_SN * a.sn[:, None]] = 0
        self.footprints = reshape(self.store, self.footprints, active, self.background, self.diameter)

    def merge(self) -> None:
        """Let pieces of one cell become one component."""
        into = accept.merge_plan(self.footprints, self.activity.C, self.diameter)
        stay = np.flatnonzero(into == np.arange(len(into)))
        if len(stay) == len(into):
            return
        power = np.maximum(accept.strength(self.activity.C), 1e-6)  # silent ones keep their footprint
        ids = np.array([self._name(np.flatnonzero(into == k), power) for k in stay], np.int64)
        row = np.searchsorted(stay, into)
        mix = sp.csr_matrix((power, (row, np.arange(len(into)))), (len(stay), len(into)))
        self._change(mix, ids)

    def _name(self, group: LongArray, power: DoubleArray) -> int:
        """Return the live id of the strongest of a group that has one, and note the ids that go."""
        named = [
            int(self.ids[j]) for j in group[np.argsort(-power[group], kind="stable")] if self.ids[j] >= 0
        ]
        for gone in named[1:]:
            self.notes["gone"][str(gone)] = f"merged into {named[0]}"
        return named[0] if named else -1

    def prune(self) -> None:
        """Drop components without an event that stands out: they cost the others their noise."""
        contrast = self.activity.contrast
        keep = np.flatnonzero(contrast >= _PRUNE_CONTRAST)
        for k in np.flatnonzero((contrast < _PRUNE_CONTRAST) & (self.ids >= 0)):
            self.notes["gone"][str(self.ids[k])] = (
                f"its largest event rises {contrast[k]:.1f} times the noise"
            )
        self._keep(keep)

    def split(self) -> None:
        """Drop components that are two cells, each of which is there by itself too; fit the others anew."""
        config = self.config.refit
        sums = accept.sums_of_others(
            self.footprints, self.activity, self.indicator.span, self.diameter, config.min_peak_sn
        )
        for k, parts in sums.items():
            if self.ids[k] >= 0:
                self.notes["gone"][str(self.ids[k])] = (
                    f"its trace was the sum of those of {len(parts)} others"
                )
        if sums:
            self._keep(np.setdiff1d(np.arange(self.footprints.n), list(sums)))
            self.fit_shapes()
            self.fit_traces()

    def _keep(self, keep: LongArray) -> None:
        n = self.footprints.n
        if len(keep) < n:
            ones = sp.csr_matrix((np.ones(len(keep)), (np.arange(len(keep)), keep)), (len(keep), n))
            self._change(ones, self.ids[keep])

    def _change(self, mix: sp.csr_matrix, ids: LongArray) -> None:
        """Replace the components by combinations of them, and follow up their traces without reading."""
        footprints = mixed(self.footprints, mix)
        norm = np.array([np.linalg.norm(footprints.column(k)[1]) for k in range(footprints.n)])
        mix = sp.diags(1 / np.maximum(norm, 1e-12)) @ mix
        self.footprints = mixed(self.footprints, mix.tocsr())
        self.ids = ids
        self._u = np.asarray(mix @ self._u, np.float32)
        self._denoise()

    def judge(self) -> Sequence[str]:
        """Return why each component is rejected, empty if it is accepted."""
        least = self.config.refit.min_peak_sn
        disc = self.config.prepare.prepared_disc()
        return accept.verdicts(
            self.footprints, self.activity, self.indicator.span, self.diameter, least, disc
        )

    def result(
        self,
        found: Registration,
        live_ids: IdArray | None,
        first_new_id: int | None,
    ) -> RefitResult:
        """Return the record of the session, all of its frames."""
        a, n, timeline = self.activity, self.footprints.n, self.timeline
        reasons = self.judge()
        mean = self.survey.mean_image
        b0 = mean.copy()
        for k in range(n):
            pixels, weights = self.footprints.column(k)
            b0[pixels] -= weights * float(a.C[k].mean())
        picture = correlation_image(self.store, self.footprints, a.C, self.background)
        self.clock.stop("finishing")
        self.notes |= {"seconds": dict(self.clock.seconds)}
        g = np.zeros((n, 2), np.float32)
        g[:, 0] = self.indicator.g
        C = timeline.decayed(a.C, self.indicator.g)
        shape = self.store.shape
        return RefitResult(
            footprints=self.footprints,
            ids=_numbered(self.ids, live_ids, first_new_id),
            C=C,
            S=timeline.spread(events(a, self.indicator), 0),
            C_raw=np.where(timeline.ok, timeline.spread(a.C_raw, 0), C),
            sn=a.sn,
            g=g,
            snr=a.snr,
            status=tuple("rejected" if reason else "accepted" for reason in reasons),
            reasons=tuple(reason or "event, shape and place are those of a cell" for reason in reasons),
            shifts=found.shifts,
            quality=found.quality,
            flags=_flags(found, self.diameter),
            field=found.fields,
            b0=b0.reshape(shape),
            mean_image=mean.reshape(shape),
            correlation_image=picture,
            kinetics=self.indicator.kinetics,
            notes=self.notes,
        )


def _numbered(ids: LongArray, live_ids: IdArray | None, first_new_id: int | None) -> IdArray:
    out = ids.copy()
    if first_new_id is None:
        first_new_id = 1 + int(np.max(live_ids)) if live_ids is not None and len(live_ids) else 1
    new = np.flatnonzero(out < 0)
    out[new] = first_new_id + np.arange(len(new))
    return out.astype(np.uint32)


def _flags(found: Registration, diameter_px: float) -> LongArray:
    """Return the flags of each frame, (T,), as live ones have them."""
    big = (np.abs(found.shifts) > diameter_px).any(1)
    return np.asarray(found.flags | np.where(big, FLAG_BIG_MOTION, 0), np.int64)
