"""When the frames that a refit learns from were taken, and what is said of those that it left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamscope.types import BoolArray, FloatArray, IntArray, LongArray


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a session: n good ones that the store holds, of T."""

    ok: BoolArray  # (T,)
    times: LongArray  # (T,) frame periods

    @classmethod
    def of(cls, gap: IntArray, ok: BoolArray) -> Timeline:
        """Return the timeline of a recording with `gap` (T,) frames missing before each frame."""
        return cls(ok, np.cumsum(np.asarray(gap, np.int64) + 1))

    @property
    def elapsed(self) -> IntArray | None:
        """Return the frame periods since the good frame before, (n,), or None if all are 1."""
        elapsed = np.diff(self.times[self.ok], prepend=self.times[self.ok][:1] - 1).astype(np.int32)
        return None if np.all(elapsed == 1) else elapsed

    def spread(self, values: FloatArray, fill: float) -> FloatArray:
        """Return values (K, n) of the good frames in their places, (K, T), and `fill` in those left out."""
        if self.ok.all():
            return values
        out = np.full((len(values), len(self.ok)), fill, np.float32)
        out[:, self.ok] = values
        return out

    def decayed(self, C: FloatArray, g: float) -> FloatArray:
        """Return denoised traces (K, n) in their places, (K, T), that decay through the frames left out.

        Before the first good frame they are 0.
        """
        out = self.spread(C, 0)
        last = np.maximum.accumulate(np.where(self.ok, np.arange(len(self.ok)), -1))
        bad = np.flatnonzero(~self.ok & (last >= 0))
        since = self.times[bad] - self.times[last[bad]]
        out[:, bad] = out[:, last[bad]] * np.power(g, since).astype(np.float32)
        return out
