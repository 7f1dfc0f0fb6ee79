"""Registration of a whole session to one fixed template, with a field or without, and the store of its good frames.

Frames that are no picture of the tissue are told by the rules of core/quality.py, here against the template of the
whole session. They get the shift that lies between those of their neighbours, and are not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.config import EngineConfig
from streamscope.core.edges import SensorEdges
from streamscope.core.kernels import sums, warp
from streamscope.core.kernels.field import warp_field
from streamscope.core.motion import BandPass, Matcher, Motion, Template, make_matcher, votes_by_place
from streamscope.core.piecewise import Registered, leveled
from streamscope.core.preprocess import Stillness, Substitutes, always_full, grey_levels
from streamscope.core.quality import (
    LASTING_S,
    MOST_SATURATED,
    N_BANDS,
    FrameQuality,
    Look,
    Looker,
    band_agreements,
    strange_shares,
)
from streamscope.offline.bends import Bends
from streamscope.offline.store import SCALE, THREADS, FrameStore, WordArray
from streamscope.types import (
    FLAG_BAD_MOTION,
    FLAG_FROZEN,
    FLAG_SATURATED,
    BoolArray,
    DoubleArray,
    FloatArray,
    ImageArray,
    LongArray,
    Movie,
)

_N_TEMPLATE = 300  # frames that the template is made of
_HOT_COUNTS = 10.0  # grey levels above the median of the neighbours
_EDGE_ROUNDS = 3  # of finding what stays with the sensor, and making the template without it
_TRUST = 0.9  # of the usual quality: a live shift that fits so well needs no search
_DOUBTFUL_BAND = 0.5  # agreement of a band from which on nobody asks more of it
_FIELD_TRUST = 0.4  # of the usual quality: a frame that fits worse says nothing of its field
_HALF_ALIKE = (
    0.4  # of the agreement of the best tenth: what is less like the first template is not in the second
)


@dataclass(frozen=True, slots=True)
class Registration:
    """Where the frames of a session lie, and which of them are pictures of the tissue."""

    shifts: FloatArray  # (T, 2) dy, dx, px; of a bad frame: between those of its neighbours
    quality: FloatArray  # (T,) correlation with the template
    fields: FloatArray  # (T, gy, gx, 2) dy, dx on top of the shifts, px
    ok: BoolArray  # (T,)
    flags: LongArray  # (T,) of FrameResult.flags, those that say what is wrong with a frame


_Seen: TypeAlias = tuple[float, Look, FloatArray]  # agreement, look, agreement of bands


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is measured of n frames, each with the template alone; slices are filled in place."""

    shifts: FloatArray  # (n, 2) px of the full frame
    quality: FloatArray  # (n,)
    inside: BoolArray  # (n,) the shift lies within the reach of the search
    looks: NDArray[np.object_]  # (n,) `Look` of the raw frame
    bands: FloatArray  # (n, bands) `band_agreements`
    strange: FloatArray  # (n, bands) `strange_shares`
    bends: DoubleArray  # (n, values)

    @classmethod
    def empty(cls, n: int, n_values: int) -> _Measured:
        return cls(
            np.zeros((n, 2), np.float32),
            np.zeros(n, np.float32),
            np.ones(n, bool),
            np.empty(n, np.object_),
            np.zeros((n, N_BANDS), np.float32),
            np.zeros((n, N_BANDS), np.float32),
            np.zeros((n, n_values)),
        )

    def seen(self, k: int | np.integer) -> _Seen:
        """Return agreement, look and bands of one of the frames."""
        return float(self.quality[k]), self.looks[k], self.bands[k]

    def part(self, part: slice) -> _Measured:
        return _Measured(
            self.shifts[part],
            self.quality[part],
            self.inside[part],
            self.looks[part],
            self.bands[part],
            self.strange[part],
            self.bends[part],
        )


class SessionAligner:
    """Finds every frame's shift against a template that no longer changes.

    Parameters
    ----------
    movie : Movie
        The recording.
    config : EngineConfig
        Settings of the engine.
    shifts : ndarray, shape (T, 2), float32, optional
        Live shifts; they fix the frame of reference. Without them the template starts at frame 0.
    """

    def __init__(self, movie: Movie, config: EngineConfig, shifts: FloatArray | None) -> None:
        self._movie, self._config = movie, config
        shape = movie.info.shape
        sample = np.unique(np.linspace(0, movie.info.n_frames - 1, _N_TEMPLATE).astype(int))
        frames = np.stack([movie.read(t, t + 1)[0] for t in sample])
        self.hot = hot_pixels(grey_levels(frames, config.bits))
        self._full = Substitutes.of(always_full(frames.mean(0, dtype=np.float32), config.bits))
        self._band_pass = BandPass(config, shape)
        self.factor = self._band_pass.factor
        self._hints = shifts
        self._usual = 1.0
        self._keep: FloatArray | None = None  # pixels of the sensor that see tissue
        first = self._first_shifts(frames) if shifts is None else shifts[sample]
        frames, first = self._pictures(frames, first)
        first = self._without_edges(frames, first)
        self._bends = Bends(config, self._band_pass.shape, self.factor)
        self.rigid = not self._bends.settle(self._registered(frames, first), self._template)
        if not self.rigid:
            self._sharpen(frames, first)
        self._still = Stillness()
        self._lasting = max(config.frames(LASTING_S), 2)
        self._unusual: list[_Seen] = []  # what is seen of bad frames in a row
        self._quality = FrameQuality()
        found = self._measured(frames, first)
        for k in range(len(frames)):
            self._quality.remember(*found.seen(k))
        self._usual = float(np.median(found.quality))

    def _first_shifts(self, frames: ImageArray) -> FloatArray:
        rigid = self._config.motion.model_copy(update={"piecewise": "off"})
        motion = Motion(self._config.model_copy(update={"motion": rigid}), self._movie.info.shape)
        found = [motion.update(self.repair(frame)) for frame in frames]
        return np.array([(s.dy, s.dx) for s in found], np.float32)

    def _pictures(self, frames: ImageArray, shifts: FloatArray) -> tuple[ImageArray, FloatArray]:
        """Make the template, and return the frames of the sample, with their shifts, that are pictures of it.

        All of them if there are none: a recording of darkness has a template too.
        """
        moved = np.stack([self._moved(*one) for one in zip(frames, shifts, strict=True)])
        self._template = self._template_of(moved)
        found, quality = self._measured(frames, shifts), FrameQuality()
        for k in np.flatnonzero(found.quality >= _HALF_ALIKE * np.quantile(found.quality, 0.9)):
            quality.remember(*found.seen(k))
        good = np.array([not _judged(quality, found, k) for k in range(len(frames))])
        if good.all() or not good.any():
            return frames, shifts
        self._template = self._template_of(moved[good])
        return frames[good], shifts[good]

    def _without_edges(self, frames: ImageArray, shifts: FloatArray) -> FloatArray:
        """Find what stays with the sensor, make the template without it, and return the shifts without its pull."""
        for _ in range(_EDGE_ROUNDS):
            edges = SensorEdges.of_sample(self._band_pass.shape, len(frames))
            for frame in self._registered(frames, shifts):
                edges.look(frame.image, self._template.mean, frame.dy, frame.dx, frame.gain)
            edges.judge()
            self._keep = edges.keep
            if self._keep is None:
                break
            shifts, images, kept = self._found_anew(frames)
            self._template = self._template_of(images, kept)
        return shifts

    def _found_anew(self, frames: ImageArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the shifts (n, 2) of the sample, the registered images (n, h, w), and which of their pixels vote."""
        matcher, shape = self._matcher(), (len(frames), *self._band_pass.shape)
        shifts = np.zeros((len(frames), 2), np.float32)
        images, kept = np.empty(shape, np.float32), np.ones(shape, np.float32)
        for k, frame in enumerate(frames):
            filtered = self._band_pass(self.repair(frame))
            dy, dx, _ = matcher.coarse(filtered, self._template, self._keep)
            dy, dx, _ = matcher.refine(filtered, self._template, dy, dx, keep=self._keep)
            shifts[k] = self.factor * dy, self.factor * dx
            images[k] = matcher.moved
            if matcher.kept is not None:
                kept[k] = matcher.kept
        return shifts, images, kept

    def _template_of(self, moved: FloatArray, kept: FloatArray | None = None) -> Template:
        """Return the template of registered images (n, h, w), each where `kept` is 1 if it is given."""
        if kept is None:
            kept = np.broadcast_to(np.float32(1), moved.shape)
        seen = np.maximum(kept.sum(0), np.float32(1))  # in so many images
        mean = np.einsum("nhw,nhw->hw", moved, kept) / seen
        template = Template(mean, votes_by_place(self._config, self._band_pass))
        energy = max(float((template.mean**2).sum()), 1e-9)
        template.variance[:] = 0
        for image, part in zip(moved, kept, strict=True):
            gain = max(float((image * template.mean).sum()) / energy, 0.05)
            template.variance += np.square(image / gain - template.mean) * part / seen
        template.refresh()
        return template

    def _registered(self, frames: ImageArray, shifts: FloatArray) -> Iterator[Registered]:
        """Yield the sample as the rigid step leaves it; the next one takes the place of `moved`."""
        matcher = self._matcher()
        for frame, (dy, dx) in zip(frames, shifts / self.factor, strict=True):
            filtered = self._band_pass(self.repair(frame))
            dy, dx, _ = matcher.refine(filtered, self._template, float(dy), float(dx), keep=self._keep)
            yield Registered(filtered, matcher.moved, dy, dx, matcher.gain, matcher.weight)

    def _sharpen(self, frames: ImageArray, shifts: FloatArray) -> None:
        """Make the template again, of frames whose bends are undone."""
        row = np.zeros(self._band_pass.shape[1] + 3, np.float32)
        images = []
        for frame in self._registered(frames, shifts):
            self._bends.measure(frame, self._template, row)
            images.append(frame.moved.copy())
        self._template = self._template_of(np.stack(images))
        self._bends.settle(self._registered(frames, shifts), self._template)

    def _measured(self, frames: ImageArray, shifts: FloatArray) -> _Measured:
        """Return what there is to judge the frames of the sample by, with the template as it is."""
        found, matcher, look = _Measured.empty(len(frames), 0), self._matcher(), self._looker()
        for k, (frame, shift) in enumerate(zip(frames, shifts, strict=True)):
            image = self.repair(frame)
            small, filtered = self._small(shift), self._band_pass(image)
            at = matcher.refine(filtered, self._template, *small, keep=self._keep)
            found.quality[k], found.looks[k] = at[2], look(image)
            self._inspect(at[0], matcher, found, k)
        return found

    def _inspect(self, dy: float, matcher: Matcher, found: _Measured, k: int) -> None:
        """Note what tells a picture from something else; the matcher holds the registered image."""
        template = self._template
        votes = matcher.reference(template).weight
        found.bands[k] = band_agreements(matcher.moved, template.mean, votes, dy)
        if found.quality[k] < _TRUST * self._usual or (found.bands[k] < _DOUBTFUL_BAND).any():
            found.strange[k] = strange_shares(matcher.moved, matcher.gain, template.mean, template.clip)

    def _small(self, shift: FloatArray) -> tuple[float, float]:
        """Return a shift (2,) at the size of the filtered frames; float32 would compile kernels anew."""
        return float(shift[0]) / self.factor, float(shift[1]) / self.factor

    def _matcher(self) -> Matcher:
        return make_matcher(self._config, self._band_pass)

    def _looker(self) -> Looker:
        return Looker(self._movie.info.shape, self._config.motion.max_shift_px, self._config.bits)

    def _moved(self, frame: ImageArray, shift: FloatArray) -> FloatArray:
        filtered = self._band_pass(self.repair(frame))
        dy, dx = (float(value) / self.factor for value in shift)
        out = np.empty_like(filtered)
        warp.translate(filtered, dy, dx, np.zeros(filtered.shape[1] + 3, np.float32), out)
        return out

    def repair(self, frame: ImageArray) -> NDArray[np.generic]:
        """Return a copy of a frame in grey levels, its hot pixels replaced by the median of their neighbours."""
        image = frame.copy()
        if self.hot.any():
            image[self.hot] = cv2.medianBlur(frame, 3)[self.hot]
        self._full.fill(image)
        return grey_levels(image, self._config.bits)

    def run(self, store: FrameStore, progress: Callable[[float], None] | None = None) -> Registration:
        """Register every frame, and fill the store with the good ones, one after the other."""
        n_frames, n_good = self._movie.info.n_frames, 0
        out = Registration(
            np.zeros((n_frames, 2), np.float32),
            np.zeros(n_frames, np.float32),
            np.zeros((n_frames, *self._bends.grid, 2), np.float32),
            np.zeros(n_frames, bool),
            np.zeros(n_frames, np.int64),
        )
        with ThreadPoolExecutor(THREADS) as pool:
            for start, stop in store.spans():
                words = self._chunk(pool, start, stop, out)
                store.write(n_good, words)
                n_good += len(words)
                if progress is not None:
                    progress(stop / n_frames)
        store.cut(n_good)
        return replace(out, shifts=_between(out.shifts, out.ok))

    def _chunk(self, pool: ThreadPoolExecutor, start: int, stop: int, out: Registration) -> WordArray:
        """Fill `out` for frames start..stop, and return the good ones registered, (n, P)."""
        frames, here = self._movie.read(start, stop), slice(start, stop)
        found = _Measured.empty(stop - start, 0 if self.rigid else self._bends.n_values)

        def register(part: slice) -> None:
            self._register(frames[part], start + part.start, found.part(part))

        list(pool.map(register, _parts(stop - start)))
        flags = self._judged(found, self._frozen(frames, start))
        ok = (flags & FLAG_BAD_MOTION) == 0
        out.shifts[here], out.quality[here], out.ok[here], out.flags[here] = (
            *(found.shifts, found.quality),
            *(ok, flags),
        )
        if not self.rigid:
            fields = self._bends.smooth(found.bends, ok & (found.quality > _FIELD_TRUST * self._usual))
            mean, out.fields[here] = leveled(fields)
            found.shifts[:] += mean
            out.shifts[here] = found.shifts
        good = np.flatnonzero(ok)
        words = np.empty((len(good), frames[0].size), np.uint16)

        def warp_part(part: slice) -> None:
            chosen = good[part]
            self._warp(frames[chosen], found.shifts[chosen], out.fields[start + chosen], words[part])

        list(pool.map(warp_part, _parts(len(good))))
        return words

    def _frozen(self, frames: ImageArray, start: int) -> BoolArray:
        """Return which of consecutive frames from `start` on are the frame before once more, (n,)."""
        out = np.zeros(len(frames), bool)
        before = self._movie.read(start - 1, start)[0] if start else None
        for k, frame in enumerate(frames):
            out[k] = before is not None and self._still.again(before, frame)
            before = frame
        return out

    def _judged(self, found: _Measured, frozen: BoolArray) -> LongArray:
        """Return the flags of consecutive frames, and let pictures of the tissue into what is usual.

        What lasts is the scene, as it is live, if it can be registered to the template of the session.
        """
        flags = np.zeros(len(found.quality), np.int64)
        for k in range(len(flags)):
            seen = found.seen(k)
            if frozen[k]:
                flags[k] = FLAG_BAD_MOTION | FLAG_FROZEN
                continue
            if found.looks[k].saturated > MOST_SATURATED:
                flags[k] = FLAG_SATURATED
            wrong = _judged(self._quality, found, k)
            flags[k] |= wrong if found.inside[k] else wrong | FLAG_BAD_MOTION
            if not flags[k] & FLAG_BAD_MOTION:
                self._quality.remember(*seen)
                self._unusual.clear()
            elif found.inside[k] and seen[0] > self._quality.least:
                self._unusual.append(seen)
            else:
                self._unusual.clear()
            if len(self._unusual) >= self._lasting:
                self._quality = FrameQuality()
                for one in self._unusual:
                    self._quality.remember(*one)
                self._unusual.clear()
        return flags

    def _find(self, matcher: Matcher, filtered: FloatArray, t: int) -> tuple[float, float, float, bool]:
        """Return shift, quality, and whether it was in reach, of frame `t`: near its live shift, or anywhere."""
        if self._hints is not None:
            dy, dx = self._small(self._hints[t])
            found = matcher.refine(filtered, self._template, dy, dx, keep=self._keep)
            near = abs(found[0] - dy) < 1 and abs(found[1] - dx) < 1
            if near and found[2] > _TRUST * self._usual:
                return *found, True
        dy, dx, inside = matcher.coarse(filtered, self._template, self._keep)
        return *matcher.refine(filtered, self._template, dy, dx, keep=self._keep), inside

    def _register(self, frames: ImageArray, first: int, found: _Measured) -> None:
        """Find the shifts of frames, whether they are pictures, and what they say of their fields."""
        matcher, look, band_pass = (
            *(self._matcher(), self._looker()),
            BandPass(self._config, self._movie.info.shape),
        )
        row = np.zeros(band_pass.shape[1] + 3, np.float32)
        for k, frame in enumerate(frames):
            image = self.repair(frame)
            filtered = band_pass(image)
            dy, dx, found.quality[k], found.inside[k] = self._find(matcher, filtered, first + k)
            found.shifts[k] = self.factor * dy, self.factor * dx
            found.looks[k] = look(image)
            self._inspect(dy, matcher, found, k)
            if not self.rigid:
                registered = Registered(filtered, matcher.moved, dy, dx, matcher.gain, matcher.weight)
                found.bends[k] = self._bends.measure(registered, self._template, row)

    def _warp(self, frames: ImageArray, shifts: FloatArray, fields: FloatArray, words: WordArray) -> None:
        """Fill the rows of the store from shifts and fields."""
        row = np.zeros(frames.shape[2] + 3, np.float32)
        moved = np.empty(frames.shape[1:], np.float32)
        for i, frame in enumerate(frames):
            image = self.repair(frame)
            dy, dx = (float(value) for value in shifts[i])
            if self.rigid:
                warp.translate(image, dy, dx, row, moved)
            else:
                warp_field(image, dy, dx, fields[i], row, moved)
            sums.to_words(moved.reshape(-1), float(SCALE), words[i])


def hot_pixels(frames: NDArray[np.generic]) -> BoolArray:
    """Return the pixels that stand out of their 3 x 3 neighbours in the mean of raw frames, (H, W) bool."""
    mean = frames.mean(0, dtype=np.float32)
    return np.asarray(mean - cv2.medianBlur(mean, 3) > _HOT_COUNTS)


def _judged(quality: FrameQuality, found: _Measured, k: int) -> int:
    return quality.judge(*found.seen(k), lambda: found.strange[k])


def _parts(n: int) -> list[slice]:
    """Return shares of n frames, one per thread."""
    cuts = np.linspace(0, n, THREADS + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(cuts.tolist())]


def _between(shifts: FloatArray, ok: BoolArray) -> FloatArray:
    """Return shifts (T, 2) with those of bad frames interpolated; 0 where no frame is good."""
    bad, good = np.flatnonzero(~ok), np.flatnonzero(ok)
    out = shifts.copy()
    for axis in range(2):
        out[bad, axis] = np.interp(bad, good, shifts[good, axis]) if len(good) else 0
    return out
