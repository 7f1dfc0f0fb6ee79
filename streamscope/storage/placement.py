"""Putting values from messages into matrices, at the frames that they describe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamscope.storage.live import LiveTraces
from streamscope.types import FloatArray, IdArray, LongArray, Tail


def empty_traces(n_ids: int, n_frames: int) -> LiveTraces:
    """Return traces of which nothing is known yet: NaN, (K, n) each."""
    return LiveTraces(*(np.full((n_ids, n_frames), np.nan, np.float32) for _ in range(5)))


def place_rows(
    out: LiveTraces,
    ids: IdArray,
    avail: LongArray,
    start: int,
    rows: Sequence[tuple[int, bytes]],
    listed: IdArray,
    lag: int,
) -> None:
    """Write the rows of some frames that carried the same ids.

    Parameters
    ----------
    out : LiveTraces
        (K, n) matrices whose first column is frame `start`; filled.
    ids, avail : ndarray, shape (K,)
        Row by row, the id and the first frame that carried it. Delayed values that describe earlier frames
        are left out: they were never on the wire when those frames were.
    rows : sequence of (frame, bytes)
        Packed y, c, s, c_lag, s_lag of each frame.
    listed : ndarray
        The ids that these rows carry, in their order.
    lag : int
        Delay of c_lag and s_lag, frames.
    """
    to, source = _matches(ids, listed)
    if not len(to):
        return
    at = np.array([frame for frame, _ in rows]) - start
    packed = np.frombuffer(b"".join([blob for _, blob in rows]), "<f4").reshape(len(rows), 5, len(listed))
    values = packed[:, :, source]
    for matrix, part in ((out.C_raw, 0), (out.C_causal, 1), (out.S_causal, 2)):
        _put(matrix, values[:, part], to, at)
    for matrix, part in ((out.C, 3), (out.S, 4)):
        _put(matrix, _from_birth(values[:, part], at - lag, avail[to] - start), to, at - lag)


def place_tail(out: LiveTraces, ids: IdArray, avail: LongArray, start: int, tail: Tail) -> None:
    """Write the delayed values that were given out at drain; parameters as for `place_rows`."""
    to, source = _matches(ids, tail.ids)
    at = tail.first_frame + np.arange(len(tail.c_lag)) - start
    for matrix, values in ((out.C, tail.c_lag), (out.S, tail.s_lag)):
        _put(matrix, _from_birth(values[:, source], at, avail[to] - start), to, at)


def _matches(ids: IdArray, listed: IdArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where the listed ids stand in `ids`, and where those stand in the list."""
    _, to, source = np.intersect1d(ids, listed, assume_unique=True, return_indices=True)
    return to, source


def _put(matrix: FloatArray, values: FloatArray, to: NDArray[np.intp], at: LongArray) -> None:
    """Write values (n, k) to rows `to` and columns `at`; columns outside the matrix are another part's."""
    inside = (at >= 0) & (at < matrix.shape[1])
    matrix[np.ix_(to, at[inside])] = values[inside].T


def _from_birth(values: FloatArray, at: LongArray, avail: LongArray) -> FloatArray:
    return np.where(at[:, None] >= avail[None, :], values, np.float32(np.nan))
