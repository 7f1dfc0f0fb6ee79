"""Registration of a whole session to one fixed template, with a field or without, and the store of its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.kernels import sums, warp
from streamscope.core.kernels.field import warp_field
from streamscope.core.motion import BandPass, Matcher, Motion, Template
from streamscope.core.piecewise import Registered
from streamscope.offline.bends import Bends
from streamscope.offline.store import SCALE, THREADS, FrameStore, WordArray
from streamscope.types import BoolArray, ByteArray, DoubleArray, FloatArray, LongArray, Movie

_N_TEMPLATE = 300  # frames that the template is made of
_HOT_COUNTS = 10.0  # grey levels above the median of the neighbours
_TRUST = 0.9  # of the usual quality: a live shift that fits so well needs no search
_FIELD_TRUST = 0.4  # of the usual quality: a frame that fits worse says nothing of its field


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
        self.hot = hot_pixels(frames)
        self._band_pass = BandPass(config, shape)
        self.factor = self._band_pass.factor
        self._hints = shifts
        first = self._first_shifts(frames) if shifts is None else shifts[sample]
        self._template = self._template_of([self._moved(*one) for one in zip(frames, first, strict=True)])
        self._bends = Bends(config, self._band_pass.shape, self.factor)
        self.rigid = not self._bends.settle(self._registered(frames, first), self._template)
        if not self.rigid:
            self._sharpen(frames, first)
        self._usual = self._usual_quality(frames, first)

    def _first_shifts(self, frames: ByteArray) -> FloatArray:
        rigid = self._config.motion.model_copy(update={"piecewise": "off"})
        motion = Motion(self._config.model_copy(update={"motion": rigid}), self._movie.info.shape)
        found = [motion.update(self.repair(frame)) for frame in frames]
        return np.array([(s.dy, s.dx) for s in found], np.float32)

    def _template_of(self, images: list[FloatArray]) -> Template:
        moved = np.stack(images)
        template = Template(moved.mean(0))
        energy = max(float((template.mean**2).sum()), 1e-9)
        template.variance[:] = 0
        for image in moved:
            gain = max(float((image * template.mean).sum()) / energy, 0.05)
            template.variance += np.square(image / gain - template.mean) / len(moved)
        template.refresh()
        return template

    def _registered(self, frames: ByteArray, shifts: FloatArray) -> Iterator[Registered]:
        """Yield the sample as the rigid step leaves it; the next one takes the place of `moved`."""
        matcher = self._matcher()
        for frame, (dy, dx) in zip(frames, shifts / self.factor, strict=True):
            filtered = self._band_pass(self.repair(frame))
            dy, dx, _ = matcher.refine(filtered, self._template, float(dy), float(dx))
            yield Registered(filtered, matcher.moved, dy, dx, matcher.gain)

    def _sharpen(self, frames: ByteArray, shifts: FloatArray) -> None:
        """Make the template again, of frames whose bends are undone."""
        row = np.zeros(self._band_pass.shape[1] + 3, np.float32)
        images = []
        for frame in self._registered(frames, shifts):
            self._bends.measure(frame, self._template, row)
            images.append(frame.moved.copy())
        self._template = self._template_of(images)
        self._bends.settle(self._registered(frames, shifts), self._template)

    def _usual_quality(self, frames: ByteArray, shifts: FloatArray) -> float:
        """Return the median agreement of the frames that the template was made of."""
        matcher = self._matcher()
        found = [
            matcher.refine(self._band_pass(self.repair(frame)), self._template, *self._small(shift))
            for frame, shift in zip(frames[::5], shifts[::5], strict=True)
        ]
        return float(np.median([quality for _, _, quality in found]))

    def _small(self, shift: FloatArray) -> tuple[float, float]:
        """Return a shift (2,) at the size of the filtered frames; float32 would compile kernels anew."""
        return float(shift[0]) / self.factor, float(shift[1]) / self.factor

    def _matcher(self) -> Matcher:
        return Matcher(self._band_pass.shape, self._config.motion.max_shift_px / self.factor)

    def _moved(self, frame: ByteArray, shift: FloatArray) -> FloatArray:
        filtered = self._band_pass(self.repair(frame))
        dy, dx = (float(value) / self.factor for value in shift)
        out = np.empty_like(filtered)
        warp.translate(filtered, dy, dx, np.zeros(filtered.shape[1] + 3, np.float32), out)
        return out

    def repair(self, frame: ByteArray) -> ByteArray:
        """Return a copy of a frame with its hot pixels replaced by the median of their neighbours."""
        image = frame.copy()
        if self.hot.any():
            image[self.hot] = cv2.medianBlur(frame, 3)[self.hot]
        return image

    def run(
        self, store: FrameStore, progress: Callable[[float], None] | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Fill the store; return shifts (T, 2), qualities (T,) and fields (T, gy, gx, 2), float32."""
        n_frames = self._movie.info.n_frames
        shifts, quality = np.zeros((n_frames, 2), np.float32), np.zeros(n_frames, np.float32)
        fields = np.zeros((n_frames, *self._bends.grid, 2), np.float32)
        with ThreadPoolExecutor(THREADS) as pool:
            for start, stop in store.spans():
                frames = self._movie.read(start, stop)
                here = slice(start, stop)
                words = np.empty((stop - start, frames[0].size), np.uint16)
                measured = np.zeros((stop - start, 0 if self.rigid else self._bends.n_values))
                cuts = np.linspace(0, stop - start, THREADS + 1).astype(int)
                parts = [slice(a, b) for a, b in pairwise(cuts)]
                found = (frames, np.arange(start, stop), shifts[here], quality[here], measured)
                list(pool.map(lambda part, all_=found: self._register(*(a[part] for a in all_)), parts))
                if not self.rigid:
                    fields[here] = self._bends.smooth(measured, quality[here] > _FIELD_TRUST * self._usual)
                made = (frames, shifts[here], fields[here], words)
                list(pool.map(lambda part, all_=made: self._warp(*(a[part] for a in all_)), parts))
                store.write(start, words)
                if progress is not None:
                    progress(stop / n_frames)
        return shifts, quality, fields

    def _find(self, matcher: Matcher, filtered: FloatArray, t: int) -> tuple[float, float, float]:
        """Return shift and quality of frame `t`: near its live shift, or anywhere if that does not fit."""
        if self._hints is not None:
            dy, dx = self._small(self._hints[t])
            found = matcher.refine(filtered, self._template, dy, dx)
            near = abs(found[0] - dy) < 1 and abs(found[1] - dx) < 1
            if near and found[2] > _TRUST * self._usual:
                return found
        dy, dx, _ = matcher.coarse(filtered, self._template)
        return matcher.refine(filtered, self._template, dy, dx)

    def _register(
        self,
        frames: ByteArray,
        times: LongArray,
        shifts: FloatArray,
        quality: FloatArray,
        measured: DoubleArray,
    ) -> None:
        """Find the shifts of frames, and what they say of their fields."""
        matcher, band_pass = self._matcher(), BandPass(self._config, self._movie.info.shape)
        row = np.zeros(band_pass.shape[1] + 3, np.float32)
        for i, frame in enumerate(frames):
            filtered = band_pass(self.repair(frame))
            dy, dx, quality[i] = self._find(matcher, filtered, int(times[i]))
            shifts[i] = self.factor * dy, self.factor * dx
            if not self.rigid:
                registered = Registered(filtered, matcher.moved, dy, dx, matcher.gain)
                measured[i] = self._bends.measure(registered, self._template, row)

    def _warp(self, frames: ByteArray, shifts: FloatArray, fields: FloatArray, words: WordArray) -> None:
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


def hot_pixels(frames: ByteArray) -> BoolArray:
    """Return the pixels that stand out of their 3 x 3 neighbours in the mean of raw frames, (H, W) bool."""
    mean = frames.mean(0, dtype=np.float32)
    return np.asarray(mean - cv2.medianBlur(mean, 3) > _HOT_COUNTS)
