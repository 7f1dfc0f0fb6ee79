"""The movie binned in space and time, without its mean: what seeds and the ring are found in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamscope.core.background import RingGeometry, bin_down
from streamscope.core.kernels import sums
from streamscope.offline.store import SCALE, FrameStore, Scratch, WordArray
from streamscope.types import FloatArray, LongArray

_BIN_S = 0.2
_MOST_BINS = 6000  # in time; longer sessions get longer bins


@dataclass(frozen=True, slots=True)
class Survey:
    """Block means of the session in bins of time, on disk."""

    geometry: RingGeometry
    n_frames: int  # frames per bin of time
    length: int  # bins of time
    mean_image: FloatArray  # (P,) mean over all frames
    mean_bins: FloatArray  # (P',) block means of mean_image
    scratch: Scratch

    @staticmethod
    def of(store: FrameStore, geometry: RingGeometry, fps: float) -> Survey:
        """Read the store once."""
        n = max(1, round(_BIN_S * fps), -(-store.n_frames // _MOST_BINS))
        scratch = Scratch(store.n_frames // n, geometry.n_bins, np.float32)
        total = np.zeros(store.n_columns)
        left = np.zeros((0, geometry.n_bins), np.float32)
        row = 0
        for start, stop in store.spans():
            frames = store.read(start, stop)
            sums.add_moments(frames, 1.0 / SCALE, total)
            bins = np.concatenate([left, bin_frames(frames, geometry)])
            whole = len(bins) // n
            scratch.write(row, bins[: whole * n].reshape(whole, n, geometry.n_bins).mean(1))
            row += whole
            left = bins[whole * n :]
        mean = (total / max(store.n_frames, 1)).astype(np.float32)
        mean_bins = np.empty(geometry.grid, np.float32)
        bin_down(mean.reshape(store.shape), geometry.step, mean_bins)
        return Survey(geometry, n, row, mean, mean_bins.reshape(-1), scratch)

    def band(self, first: int, last: int, rows: LongArray | None = None) -> FloatArray:
        """Return blocks first..last minus their mean, of all bins of time or the chosen, (T', n) float32."""
        out: FloatArray = self.scratch.columns(first, last, rows)
        out -= self.mean_bins[first:last]
        return out

    def binned(self, C: FloatArray, rows: LongArray | None = None) -> FloatArray:
        """Return traces (K, T) in the same bins of time, mean 0, (K, T')."""
        out = C[:, : self.length * self.n_frames].reshape(len(C), self.length, self.n_frames).mean(2)
        out -= out.mean(1, keepdims=True)
        return out if rows is None else np.ascontiguousarray(out[:, rows])


def bin_frames(frames: WordArray, geometry: RingGeometry) -> FloatArray:
    """Return the block means (n, P') of stored frames (n, P), grey levels."""
    out = np.empty((len(frames), geometry.n_bins), np.float32)
    sums.bin_words(frames, geometry.shape, geometry.step, 1.0 / SCALE, out)
    return out
