"""Pictures of a session for people: local correlations without the background."""

from __future__ import annotations

import numpy as np

from streamscope.core.background import apply_ring, bin_footprints, by_offset, spread_up
from streamscope.core.kernels import sums
from streamscope.offline.project import Background, rows_matrix
from streamscope.offline.store import SCALE, FrameStore
from streamscope.offline.survey import bin_frames
from streamscope.types import DoubleArray, FloatArray, Footprints

_N_FRAMES = 300


def correlation_image(
    store: FrameStore, footprints: Footprints, C: FloatArray, background: Background
) -> FloatArray:
    """Return each pixel's mean correlation with its right and lower neighbours, (H, W) float32.

    Taken over about 300 means of three frames, spread over the session, from which mean and ring background are
    subtracted; cells stay. 0 where there are no frames.
    """
    geometry, shape = background.geometry, store.shape
    if store.n_frames == 0:
        return np.zeros(shape, np.float32)
    DA = rows_matrix(bin_footprints(footprints, geometry))
    centred = C - C.mean(1, keepdims=True)
    z, low = np.empty(shape, np.float32), np.empty(geometry.grid, np.float32)
    ring, moments = by_offset(background.W), np.zeros((4, *shape))
    span = min(3, store.n_frames)
    starts = np.unique(np.linspace(0, store.n_frames - span, _N_FRAMES).astype(int))
    for t in starts:
        frames = store.read(int(t), int(t) + span)
        bins = bin_frames(frames, geometry).mean(0) - background.mean_bins
        x = np.asarray(bins - centred[:, t : t + span].mean(1) @ DA, np.float32)
        apply_ring(ring, geometry, x[None], low.reshape(1, -1))
        spread_up(low, geometry.step, z)
        image = frames.mean(0, dtype=np.float32) / SCALE - background.mean_image
        sums.add_neighbour_moments((image.reshape(shape) - z).astype(np.float32), moments)
    return _correlation(moments, len(starts))


def _correlation(moments: DoubleArray, n: int) -> FloatArray:
    mean, square, right, down = (m / n for m in moments)
    sd = np.sqrt(np.maximum(square - mean**2, 1e-12))
    out = np.zeros(mean.shape)
    out[:, :-1] += (right[:, :-1] - mean[:, :-1] * mean[:, 1:]) / (sd[:, :-1] * sd[:, 1:])
    out[:-1] += (down[:-1] - mean[:-1] * mean[1:]) / (sd[:-1] * sd[1:])
    out[:-1, :-1] /= 2
    return out.astype(np.float32)
