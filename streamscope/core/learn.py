"""The learner: everything that is learned from the frames, in order, block by block.

Frame by frame it keeps the residual's score and remembers. Once a block it settles baselines, refines shapes,
refreshes the ring, merges and takes in cells. The result is a new epoch.

Frozen, it only follows the static background; everything else stays as it is until it is thawed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import apply_ring, bin_down, ring_mean_weights, spread_up
from streamscope.core.births import Birth, Births
from streamscope.core.crew import Crew
from streamscope.core.demix import Demix, field_of
from streamscope.core.detect import Candidate, Detector
from streamscope.core.epoch import CONFIRMED, Epoch
from streamscope.core.evidence import Evidence
from streamscope.core.kernels import sparse
from streamscope.core.kinetics import SessionKinetics
from streamscope.core.light import Light
from streamscope.core.memory import Memory
from streamscope.core.merge import duplicates
from streamscope.core.model import Model, centre_of
from streamscope.core.seed import Planted, Seed, Seeder, trace_noise
from streamscope.core.shapes import Shapes
from streamscope.types import ComponentEvent, DoubleArray, FloatArray, FrameResult, LongArray, SeedReport

_MEAN_MEMORY_S = 30.0
_LARGEST_GAUGE_SN = 2.0  # baseline correction of one block
_CONFIRM_PEAK_SN = 8.0
_SILENT_SN = 4.0  # peaks of a block below this may be noise
_LEAST_ROUNDNESS = 0.65  # of a refined footprint
_CONFIRM_BORDER = 0.5  # least distance of the bright part from the border, cell diameters
_RETIRE_BORDER = 0.4
_PATIENCE = (
    2.0  # times the silence after which a provisional component goes: then it goes though it is active
)
_WATCH_S = 60.0  # in which a cell outshines its neighbours once
_SEED_ENERGY = 2000.0  # sum of squared activity, noise units, that yesterday's footprint counts for
_FIRST_REFRESHES_S = (5.0, 10.0, 20.0)  # of the ring; then in regular intervals
_START_OVER_BLOCKS = (1, 2, 3, 5, 8)
_LIGHT_FRAMES = 5  # that tell how bright the light is at the end of a block


class Learner:
    """Learns from aligned frames; hands over an epoch at the end of each block."""

    def __init__(
        self,
        config: EngineConfig,
        shape: tuple[int, int],
        seed: Seed | None = None,
        crew: Crew | None = None,
    ) -> None:
        self._config = config
        self._shape = shape
        crew = crew or Crew()
        self.model = Model(config, shape, crew)
        self.memory = Memory(config, self.model, crew)
        self._block = config.frames(config.detect.block_s)
        self.lag_frames = self._block
        self._demix = Demix(shape, self.model.geometry.step)
        self._detector = Detector(config, self.model.fine, crew)
        self._births = Births(config, crew)
        self._shapes = Shapes(config, shape, crew)
        self._evidence = Evidence(config)
        self._kinetics = SessionKinetics(config, crew)
        self._light = Light()
        self._background = np.zeros(self.model.geometry.grid, np.float32)
        self._fine = np.zeros(self.model.fine.grid, np.float32)
        self._fine_background = np.zeros(self.model.fine.grid, np.float32)
        self._events: list[ComponentEvent] = []
        self._sites: dict[int, Candidate] = {}  # where components were found, by id
        self._n = self._in_block = self._n_blocks = 0
        self._unseen = 0  # frame periods since the last frame that was learned from
        self._frozen = False
        self._n_frozen = 0  # frames, since it was frozen
        self._refresh_at = [config.frames(s) for s in _FIRST_REFRESHES_S]
        self._seeder = None if seed is None else Seeder(config, seed)
        self._seeding: SeedReport | None = None  # told with the next epoch
        self._seeded: frozenset[int] = frozenset()  # ids
        if seed is not None:
            self.model.next_id = seed.next_id

    def consume(self, aligned: FloatArray, result: FrameResult) -> Epoch | None:
        """Learn from one frame.

        Parameters
        ----------
        aligned : ndarray, shape (H, W), float32
            Registered frame, ADU. Not kept.
        result : FrameResult
            Of the same frame; its shift says which part of the field was seen.

        Returns
        -------
        Epoch or None
            At the end of a block, the new model.
        """
        self._unseen += 1 + result.gap
        if result.shift.ok:
            self._observe(aligned, result)
            self._unseen = 0
        self._in_block += 1
        self._n_frozen += self._frozen
        if self._in_block < self._block or self._n < self._block:
            return None
        self._in_block = 0
        if self._frozen:
            return self._keep_up(result.index)
        self._n_blocks += 1
        return self._close_block(result.index)

    def freeze(self) -> None:
        """Keep components, footprints, ring and time constants as they are, from the next frame on."""
        self._frozen = True

    def thaw(self) -> None:
        """Learn on from the next frame; time spent frozen is no silence of what could not be confirmed then."""
        self._frozen = False
        self.model.active_at += self._n_frozen
        self._n_frozen = 0
        self._detector.restart()

    # -- frame by frame

    def _observe(self, aligned: FloatArray, result: FrameResult) -> None:
        """Score and remember a frame."""
        model, demix, memory = self.model, self._demix, self.memory
        field = field_of(self._shape, result.shift)
        self._n += 1
        demix.center(aligned, model.b0, result.shift)
        y = demix.solve(model.footprints, model.V, model.solve)
        c = memory.activity(y, self._unseen)
        rest = memory.without_cells(demix.blocks, c)
        apply_ring(model.ring, model.geometry, rest[None], self._background.reshape(1, -1))
        if self._n_blocks and not self._frozen:  # the first block is scored when it ends and b0 is known
            self._score(demix.x, self._background, c, field)
        model.follow(aligned, field, c, self._n, self._config.frames(_MEAN_MEMORY_S))
        blocks = demix.blocks.reshape(-1) + model.b0_blocks
        u, seen = demix.u + model.still, demix.seen + model.still_seen
        background = self._background.reshape(-1)
        memory.buffer.push(aligned, field, result.index, blocks, rest, background, u, seen, y, c)
        memory.history.offer(result.index, blocks, c)
        memory.window.push(y, c)

    def _score(
        self, x: FloatArray, background: FloatArray, c: FloatArray, field: tuple[int, int, int, int]
    ) -> None:
        """Update the detection score with what the model, B (h, w) included, does not explain of a centred frame."""
        model, fine, detail = self.model, self._fine, self.model.detail
        bin_down(x, model.fine.step, fine)
        spread_up(background, model.geometry.step // model.fine.step, self._fine_background)
        fine -= self._fine_background
        sparse.subtract_components(detail.indptr, detail.bins, detail.values, c, fine.reshape(-1))
        self._detector.update(fine, field)

    # -- block by block

    def _close_block(self, frame: int) -> Epoch:
        """Learn from the block that ends with `frame`, and return the new model."""
        if self._light_jumped() or not self.memory.buffer.n:
            return self.model.epoch(frame, self._kinetics.present, ())
        if self._n_blocks in _START_OVER_BLOCKS and self._holds_all():
            self._start_over()
        if self._seeder is not None:
            self._place_seed(frame, self._seeder)
        slots = self.memory.buffer.order(last=self._block)
        self._settle_baselines()
        reshaped = self._refine_shapes(slots)
        refreshed = self._refresh_ring()
        divided, born = self._take_in(frame)
        if born or reshaped or refreshed:
            self._rebuild(reshaped, divided, born, refreshed)
        self._merge(frame)
        self._confirm(slots, frame)
        self._retire(frame)
        events, self._events = tuple(self._events), []
        kinetics = self._kinetics.update(self._n, self.memory.window, self.model.sn)
        epoch = replace(self.model.epoch(frame, kinetics, events), seeding=self._seeding)
        self._seeding = None
        return epoch

    def _place_seed(self, frame: int, seeder: Seeder) -> None:
        """Take in the components of an earlier session once today's still image shows where they are."""
        last_try = self._n_blocks >= _START_OVER_BLOCKS[-1]
        if not last_try and self._n_blocks not in _START_OVER_BLOCKS:
            return
        self._seeding, planted = seeder.place(self.model.b0, self.memory.buffer.n, last_try)
        if self._seeding is None:
            return
        self._seeder = None
        if planted:
            self._plant(planted, frame)

    def _plant(self, planted: list[Planted], frame: int) -> None:
        """Add components under the ids that they had."""
        for seeded in planted:
            y, x = centre_of(seeded.column, self._shape[1])
            self.model.add(seeded.column, (y, x), frame, 1.0, 0.0, seeded.id)
            self._shapes.add(seeded.column)
            self._evidence.add()
            self._events.append(ComponentEvent("born", seeded.id, frame, y=y, x=x, reason="seeded"))
        self._seeded = frozenset(seeded.id for seeded in planted)
        self.model.rebuild()
        self.memory.renew(n_new=len(planted))
        new = np.arange(self.model.n - len(planted), self.model.n)
        columns, traces = [seeded.column for seeded in planted], self.memory.buffer.y
        self.model.sn[new] = trace_noise(
            columns, self.model.b0, traces[np.ix_(self.memory.buffer.order(), new)]
        )
        for k in new:
            self._shapes.trust(int(k), self.model.columns[k], _SEED_ENERGY * float(self.model.sn[k]) ** 2)
        if self._holds_all():
            self._start_over()  # their activity so far is no residual
        else:
            self._detector.restart()

    def _keep_up(self, frame: int) -> Epoch:
        """Return the frozen model with the static background of now: traces would drift as the light bleaches."""
        if not self._light_jumped():
            self._settle_baselines()
        return self.model.epoch(frame, self._kinetics.present, ())

    def _light_jumped(self) -> bool:
        """Return whether the light made a step in this block; if so, put b0 right and learn nothing from before."""
        model, buffer = self.model, self.memory.buffer
        if self._holds_all() or not buffer.n:
            return False
        slots = buffer.order(last=_LIGHT_FRAMES)
        smooth = np.empty((1, model.geometry.n_bins), np.float32)
        apply_ring(model.ring, model.geometry, model.b0_blocks[None], smooth)
        rest, background = (values[slots].mean(0) for values in (buffer.rest, buffer.background))
        step = self._light.step(rest, background, model.b0_blocks, smooth[0])
        if not step:
            return False
        self.memory.brighten(1 + step)
        self._births.forget()
        self._detector.restart()
        return True

    def _holds_all(self) -> bool:
        return self._n <= self.memory.buffer.size

    def _start_over(self) -> None:
        """While the buffer holds every frame: take b0, traces and score from all of them anew."""
        model, memory = self.model, self.memory
        memory.start_over()
        if self._n_blocks == 1:
            model.take_ring(ring_mean_weights(model.b0_blocks, model.geometry))
            model.rebuild()
        self._detector.restart()
        buffer, x = memory.buffer, self._demix.x
        for slot in buffer.order():
            y0, y1, x0, x1 = (int(v) for v in buffer.rects[slot])
            sparse.decode_centered(buffer.frames[slot], buffer.scale, model.b0, y0, y1, x0, x1, x)
            background = buffer.background[slot : slot + 1]
            apply_ring(model.ring, model.geometry, buffer.rest[slot : slot + 1], background)
            self._score(x, background.reshape(model.geometry.grid), buffer.c[slot], (y0, y1, x0, x1))

    def _settle_baselines(self) -> None:
        """Move the mode of each trace into b0, a bounded step at a time."""
        bound = _LARGEST_GAUGE_SN * self.model.sn
        self.memory.shift_baselines(np.clip(self.memory.baselines(), -bound, bound))

    def _refine_shapes(self, slots: LongArray) -> list[int]:
        """Refine the footprints of the cells that were active; return which changed."""
        model, buffer = self.model, self.memory.buffer
        if not model.n:
            return []
        self._shapes.forget()
        self._shapes.observe(model, buffer, slots)
        self._evidence.forget()
        self._evidence.observe(model, buffer, slots, np.arange(model.n))
        return self._shapes.update(model, np.flatnonzero((buffer.c[slots] > 3 * model.sn).any(0)))

    def _refresh_ring(self) -> bool:
        """Fit the ring anew when it is time."""
        if self._n < self._refresh_at[0]:
            return False
        self._refresh_at.pop(0)
        if not self._refresh_at:
            self._refresh_at.append(self._n + self._config.frames(self._config.background.refresh_s))
        self.memory.fit_ring()
        return True

    def _take_in(self, frame: int) -> tuple[list[int], int]:
        """Add the cells that the residual of this block shows; return what was divided, and how many are new."""
        found = self._births.search(self._detector.candidates(), self.model, self.memory.buffer)
        for birth in found:
            k = self.model.add(birth.column, birth.centre, frame, birth.sn, birth.peak_sn)
            self._shapes.add(birth.column)
            self._evidence.add()
            self._sites[self.model.ids[k]] = birth.site
            y, x = birth.centre
            self._events.append(
                ComponentEvent(
                    "born", self.model.ids[k], frame, y=y, x=x, snr=birth.peak_sn, reason=birth.reason
                )
            )
        return self._divide(found), len(found)

    def _divide(self, births: list[Birth]) -> list[int]:
        """Take the light of new cells out of the components that they were a part of; return which changed."""
        divided = []
        for division in (birth.division for birth in births):
            if division is None or division.column is self.model.columns[division.k]:
                continue
            k = division.k
            self.model.columns[k] = division.column
            self.model.peak[k] = division.peak_sn
            self._shapes.restart(k, division.column)
            self._evidence.restart(k)
            divided.append(k)
        return divided

    def _rebuild(self, reshaped: list[int], divided: list[int], n_born: int, refreshed: bool) -> None:
        """Bring model and memory in step after changes of footprints or ring."""
        model, memory = self.model, self.memory
        model.rebuild()
        memory.renew(np.union1d(reshaped, divided).astype(np.int64), n_born, refreshed)
        if n_born:
            begun = np.r_[np.array(divided, np.int64), np.arange(model.n - n_born, model.n)]
            self._shapes.recall(model, memory.buffer, begun)
            self._evidence.observe(model, memory.buffer, memory.buffer.order(), begun)

    def _merge(self, frame: int) -> None:
        """Merge components that are one cell."""
        model, window, history = self.model, self.memory.window, self.memory.history
        recent, longer = window.c[: window.n], history.c[: history.n]
        pairs = duplicates(model, recent, longer, self._evidence.alone, self._config.cell_diameter_px)
        if not pairs:
            return
        for pair in pairs:
            if pair.remainder:
                self._give_up(pair.weaker)
        named = [self._named_last(pair.weaker, pair.stronger) for pair in pairs]
        for weaker, stronger in named:
            self._events.append(ComponentEvent("merged", model.ids[weaker], frame, into=model.ids[stronger]))
            model.peak[stronger] = max(model.peak[stronger], model.peak[weaker])
        self._remove([weaker for weaker, _ in named])

    def _named_last(self, weaker: int, stronger: int) -> tuple[int, int]:
        """Return a pair to merge so that a seeded component lives on rather than one that is new today."""
        ids = self.model.ids
        swap = ids[weaker] in self._seeded and ids[stronger] not in self._seeded
        return (stronger, weaker) if swap else (weaker, stronger)

    def _retire(self, frame: int) -> None:
        """Give up what is no cell after all.

        That is what was never confirmed and has been silent for long (noise, or a flash of something else), or has
        had small activity for twice as long (background), what has no events but its neighbours', and
        what does not look like a cell once its footprint is known from many frames: the rest that a bright cell
        leaves around it, or a strip along the border. What was seeded stays: that it is a cell was known before.
        """
        model = self.model
        silent = frame - model.active_at > self._config.frames(self._config.detect.give_up_s)
        seconds, give_up_s = self._shapes.seconds, self._config.detect.give_up_s
        from_border, outshone = self._from_border(), self._evidence.outshone(model, seconds > _WATCH_S)
        gone: dict[int, str] = {}
        for k in range(model.n):
            if model.ids[k] in self._seeded:
                continue
            if reason := self._no_cell(k, from_border[k], outshone[k]):
                gone[k] = reason
                self._births.leave_alone(*model.centres[k])
                if outshone[k]:
                    self._evidence.judge_anew(model, k)
            elif model.status[k] != CONFIRMED and (silent[k] or seconds[k] > _PATIENCE * give_up_s):
                why = f", silent for {give_up_s:g} s" if silent[k] else f" in {_PATIENCE * give_up_s:g} s"
                gone[k] = f"never confirmed{why}"
                self._give_up(k)
        if gone:
            for k, reason in gone.items():
                self._events.append(ComponentEvent("retired", model.ids[k], frame, reason=reason))
            self._remove(list(gone))

    def _give_up(self, k: int) -> None:
        """Let nothing be born soon where a component was found, unless the site shows more than it did then."""
        y, x = (float(v) for v in self.model.centres[k])
        self._births.give_up(self._sites.get(self.model.ids[k], Candidate(y, x, math.inf)))

    def _no_cell(self, k: int, from_border: float, outshone: bool) -> str:
        """Return why a component cannot be a cell, or nothing."""
        roundness = self._shapes.roundness[k]
        if roundness < _LEAST_ROUNDNESS:
            return f"no cell by its shape, r {roundness:.2f} with a round one"
        if self.model.status[k] == CONFIRMED and from_border < _RETIRE_BORDER:
            return "its light lies at the border"
        if outshone:
            return "no events but its neighbours'"
        return ""

    def _from_border(self) -> DoubleArray:
        """Return how far the bright part of each footprint is from the border of the field, cell diameters."""
        bright, last = self._shapes.bright, np.array(self._shape) - 1
        return np.asarray(np.minimum(bright, last - bright).min(1) / self._config.cell_diameter_px)

    def _remove(self, positions: list[int]) -> None:
        """Take components out of model and memory."""
        for k in positions:
            self._sites.pop(self.model.ids[k], None)
        keep = self.model.remove(positions)
        self._shapes.keep(keep)
        self._evidence.keep(keep)
        self.memory.keep(keep)
        self.model.rebuild()
        self.memory.renew()

    def _confirm(self, slots: LongArray, frame: int) -> None:
        """Keep the largest peaks, and confirm what showed a large one and is not cut by the border.

        On simulated sets what is no cell peaks below 8 noise units or sits on the border. In the block in which
        it is planted, a seeded component's baseline is not settled: its peaks count from the next block on.
        """
        model = self.model
        if not model.n:
            return
        planted = [
            id_ in self._seeded and born == frame for id_, born in zip(model.ids, model.born_at, strict=True)
        ]
        peak = np.where(planted, 0, self.memory.buffer.c[slots].max(0) / model.sn)
        model.peak = np.maximum(model.peak, peak)
        model.active_at[peak > _SILENT_SN] = frame
        ready = (model.peak >= _CONFIRM_PEAK_SN) & (self._from_border() >= _CONFIRM_BORDER)
        for k in np.flatnonzero(ready):
            if model.status[k] != CONFIRMED:
                model.status[k] = CONFIRMED
                y, x = (float(v) for v in model.centres[k])
                snr = float(model.peak[k])
                self._events.append(ComponentEvent("confirmed", model.ids[k], frame, y=y, x=x, snr=snr))
