"""Registration of a whole session to one fixed template, and the store of registered frames."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.kernels import sums, warp
from streamscope.core.motion import BandPass, Matcher, Motion, Template
from streamscope.offline.store import SCALE, THREADS, FrameStore, WordArray
from streamscope.types import BoolArray, ByteArray, FloatArray, Movie

_N_TEMPLATE = 300  # frames that the template is made of
_HOT_COUNTS = 10.0  # grey levels above the median of the neighbours
_TRUST = 0.9  # of the usual quality: a live shift that fits so well needs no search


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
        self._template = self._make_template(frames, first)
        self._usual = self._usual_quality(frames, first)

    def _first_shifts(self, frames: ByteArray) -> FloatArray:
        motion = Motion(self._config, self._movie.info.shape)
        found = [motion.update(self.repair(frame)) for frame in frames]
        return np.array([(s.dy, s.dx) for s in found], np.float32)

    def _make_template(self, frames: ByteArray, shifts: FloatArray) -> Template:
        moved = np.stack(
            [self._moved(frame, *self._small(shift)) for frame, shift in zip(frames, shifts, strict=True)]
        )
        template = Template(moved.mean(0))
        energy = max(float((template.mean**2).sum()), 1e-9)
        template.variance[:] = 0
        for image in moved:
            gain = max(float((image * template.mean).sum()) / energy, 0.05)
            template.variance += np.square(image / gain - template.mean) / len(moved)
        template.refresh()
        return template

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

    def _moved(self, frame: ByteArray, dy: float, dx: float) -> FloatArray:
        filtered = self._band_pass(self.repair(frame))
        out = np.empty_like(filtered)
        warp.translate(filtered, dy, dx, np.zeros(filtered.shape[1] + 3, np.float32), out)
        return out

    def repair(self, frame: ByteArray) -> FloatArray:
        """Return a frame as float32 with its hot pixels replaced by the median of their neighbours."""
        image = frame.astype(np.float32)
        if self.hot.any():
            image[self.hot] = cv2.medianBlur(frame, 3)[self.hot]
        return image

    def run(
        self, store: FrameStore, progress: Callable[[float], None] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Fill the store; return shifts (T, 2) and qualities (T,), float32."""
        n_frames = self._movie.info.n_frames
        shifts, quality = np.zeros((n_frames, 2), np.float32), np.zeros(n_frames, np.float32)
        with ThreadPoolExecutor(THREADS) as pool:
            for start, stop in store.spans():
                frames = self._movie.read(start, stop)
                words = np.empty((stop - start, frames[0].size), np.uint16)
                cuts = np.linspace(0, stop - start, THREADS + 1).astype(int)
                parts = [slice(a, b) for a, b in pairwise(cuts)]
                list(
                    pool.map(
                        lambda part, f=frames, w=words, s=start: self._align(
                            f[part], s + part.start, shifts[s:][part], quality[s:][part], w[part]
                        ),
                        parts,
                    )
                )
                store.write(start, words)
                if progress is not None:
                    progress(stop / n_frames)
        return shifts, quality

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

    def _align(
        self, frames: ByteArray, start: int, shifts: FloatArray, quality: FloatArray, words: WordArray
    ) -> None:
        factor = self.factor
        matcher = self._matcher()
        row = np.zeros(frames.shape[2] + 3, np.float32)
        moved = np.empty(frames.shape[1:], np.float32)
        for i, frame in enumerate(frames):
            image = self.repair(frame)
            filtered = self._band_pass(image)
            dy, dx, quality[i] = self._find(matcher, filtered, start + i)
            shifts[i] = factor * dy, factor * dx
            warp.translate(image, factor * dy, factor * dx, row, moved)
            sums.to_words(moved.reshape(-1), float(SCALE), words[i])


def hot_pixels(frames: ByteArray) -> BoolArray:
    """Return the pixels that stand out of their 3 x 3 neighbours in the mean of raw frames, (H, W) bool."""
    mean = frames.mean(0, dtype=np.float32)
    return np.asarray(mean - cv2.medianBlur(mean, 3) > _HOT_COUNTS)
