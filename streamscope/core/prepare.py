"""What is done to frames before the engine sees them: cut to a part of the field, means of pixels and of frames.

The engine knows prepared frames only, live and in the refit; a recording has the frames as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.config import Preparation
from streamscope.core.kernels import binning
from streamscope.core.preprocess import Substitutes
from streamscope.types import DoubleArray, Frame, ImageArray, IntArray, LongArray, MovieInfo

BINNED_BITS = 16  # of a mean: fractions of a count stay


def prepared_info(info: MovieInfo, plan: Preparation) -> MovieInfo:
    """Return what is known of frames once they are prepared; `n_frames` is left as it is.

    um per px and fps are those of the means.
    """
    fps = None if info.fps is None else info.fps / plan.bin_frames
    um_per_px = None if info.um_per_px is None else info.um_per_px * plan.bin
    bits = BINNED_BITS if plan.averages else info.bits
    return replace(info, shape=plan.shape(info.shape), fps=fps, um_per_px=um_per_px, bits=bits)


class Preparer:
    """Prepares images of one shape; of several frames it keeps the sum.

    Parameters
    ----------
    plan : Preparation
        What to do.
    shape : tuple of int
        (H, W) of the frames as they come, px.
    bits : int
        Of their pixels.
    """

    def __init__(self, plan: Preparation, shape: tuple[int, int], bits: int) -> None:
        y0, y1, x0, x1 = plan.window(shape)
        self._cut = np.s_[y0:y1, x0:x1]
        self._side, self._averages = plan.bin, plan.averages
        blank = np.zeros(shape, np.bool_)
        for top, bottom, left, right in plan.blank:
            blank[top:bottom, left:right] = True
        self._blank = Substitutes.of(blank)
        self._per_count = 2.0 ** (BINNED_BITS - bits)
        self._total = np.zeros(plan.shape(shape), np.int32)  # 100 frames of 8 x 8 px of 16 bits fit
        self._line = np.zeros(x1 - x0, np.int32)
        self._n = 0

    def add(self, image: ImageArray) -> None:
        """Let one more frame (H, W) into the mean."""
        image = self._usable(image)
        binning.add_blocks(np.ascontiguousarray(image[self._cut]), self._side, self._line, self._total)
        self._n += 1

    def mean(self) -> ImageArray:
        """Return the mean of the frames since the last call, (h, w) uint16 of 16 bits."""
        out = np.empty(self._total.shape, np.uint16)
        binning.scale(self._total, np.float32(self._per_count / (self._n * self._side**2)), out)
        self._total[:] = 0
        self._n = 0
        return out

    def one(self, image: ImageArray) -> ImageArray:
        """Return what one frame (H, W) is once it is prepared; it may share memory with it."""
        if self._averages:
            self.add(image)
            return self.mean()
        return self._usable(image)[self._cut]

    def _usable(self, image: ImageArray) -> ImageArray:
        """Return a frame whose blank pixels have the values of their neighbours."""
        if not self._blank.mask.any():
            return image
        image = image.copy()
        self._blank.fill(image)
        return image


@dataclass(frozen=True, slots=True)
class Groups:
    """Which frames make up each mean: those of one stretch of `size` places of the camera's clock, lost ones counted.

    A loss between two frames never puts them into one mean, and means are evenly spaced in time.
    """

    first: LongArray  # (n + 1,) first frame of each group, and the number of frames
    gap: IntArray  # (n,) groups without any frame before each

    @staticmethod
    def of(gap: NDArray[np.integer[Any]], size: int) -> Groups:
        """Return the groups of frames with so many missing before each, (T,)."""
        place = np.cumsum(1 + gap.astype(np.int64)) - 1 - (int(gap[0]) if len(gap) else 0)
        slot = place // size
        first = np.flatnonzero(np.diff(slot, prepend=-1))
        lost = np.diff(slot[first], prepend=-1) - 1
        return Groups(np.append(first, len(gap)).astype(np.int64), lost.astype(np.int32))

    @property
    def n(self) -> int:
        """Return the number of groups."""
        return len(self.gap)

    def means(self, values: DoubleArray) -> DoubleArray:
        """Return the mean over each group of a value per frame (T,), (n,)."""
        total = np.add.reduceat(values, self.first[:-1]) if self.n else values
        return np.asarray(total / np.diff(self.first), np.float64)


def prepared_frames(frames: Iterable[Frame], preparer: Preparer, size: int) -> Iterator[Frame]:
    """Yield frames as they are prepared, `size` of them, as `Groups` has them, in one.

    A mean has the counter and what came with its first frame, is due with its last, and its time is their mean.
    """
    if size == 1:
        for frame in frames:
            yield replace(frame, image=preparer.one(frame.image))
        return
    group: list[Frame] = []  # without their images
    place = slot = index = gap = 0
    last = -1
    for frame in frames:
        place += 1 + frame.gap if index or group else 0
        slot = place // size
        if group and slot != last:
            yield _mean_frame(group, preparer.mean(), index, gap)
            index, group = index + 1, []
        if not group:
            gap, last = slot - last - 1, slot
        preparer.add(frame.image)
        group.append(replace(frame, image=_NO_IMAGE))
        if place % size == size - 1:  # complete: nobody waits for the next frame
            yield _mean_frame(group, preparer.mean(), index, gap)
            index, group = index + 1, []
    if group:
        yield _mean_frame(group, preparer.mean(), index, gap)


_NO_IMAGE = np.zeros((0, 0), np.uint8)


def _mean_frame(group: list[Frame], image: ImageArray, index: int, gap: int) -> Frame:
    first, last = group[0], group[-1]
    time_s = sum(frame.time_s for frame in group) / len(group)
    return replace(first, index=index, image=image, t_capture_ns=last.t_capture_ns, time_s=time_s, gap=gap)
