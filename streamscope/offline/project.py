"""Traces of a whole session by least squares, with the ring background folded in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from streamscope.core.background import RingGeometry, SparseRows, bin_footprints, fold, ring_rows
from streamscope.core.kernels import sums
from streamscope.offline.store import SCALE, THREADS, FrameStore
from streamscope.offline.survey import bin_frames
from streamscope.types import DoubleArray, FloatArray, Footprints

_TWIN_RIDGE = 1e-4  # of a footprint's energy: twins must not make the system singular
_SOLVE_FRAMES = 4096


@dataclass(frozen=True, slots=True)
class Background:
    """The ring model of a session."""

    geometry: RingGeometry
    W: FloatArray  # (P', n)
    mean_image: FloatArray  # (P,)
    mean_bins: FloatArray  # (P',)


def project(store: FrameStore, footprints: Footprints, background: Background) -> FloatArray:
    """Return u (K, T): footprints times frames, with mean and ring background taken out.

    Row k depends on footprint k alone and linearly, so merging or dropping components needs no second reading.
    """
    n = footprints.n
    out = np.zeros((n, store.n_frames), np.float32)
    if n == 0:
        return out
    V = ring_rows(fold(footprints, background.geometry), background.W, background.geometry)
    shifted = np.zeros(n, np.float32)
    V.dot(background.mean_bins, shifted)
    offset = (matrix(footprints).T @ background.mean_image - shifted).astype(np.float32)

    def one(span: tuple[int, int]) -> None:
        start, stop = span
        frames = store.read(start, stop)
        u = np.empty((n, stop - start), np.float32)
        sums.project_words(frames, footprints.indptr, footprints.pixels, footprints.weights, 1.0 / SCALE, u)
        sums.project_bins(V.indptr, V.bins, V.values, bin_frames(frames, background.geometry), u)
        out[:, start:stop] = u - offset[:, None]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, store.spans()))
    return out


def demix(u: FloatArray, footprints: Footprints, background: Background) -> FloatArray:
    """Return the signed traces (K, T): the solution of M c = u, overlaps and ring removed at once.

    Not in the threads of `project`: LAPACK solves that run at the same time gave wrong numbers now and then.
    """
    out = np.empty_like(u)
    if footprints.n == 0:
        return out
    V = ring_rows(fold(footprints, background.geometry), background.W, background.geometry)
    factor = scipy.linalg.lu_factor(system(footprints, V, background.geometry))
    for start in range(0, u.shape[1], _SOLVE_FRAMES):
        part = slice(start, start + _SOLVE_FRAMES)
        out[:, part] = scipy.linalg.lu_solve(factor, u[:, part])
    return out


def system(footprints: Footprints, V: SparseRows, geometry: RingGeometry) -> DoubleArray:
    """Return M = A' A - V D A (K, K), with a trace of ridge."""
    A = matrix(footprints)
    VDA = rows_matrix(V) @ rows_matrix(bin_footprints(footprints, geometry)).T
    M = np.asarray((A.T @ A - VDA).toarray(), np.float64)
    return np.asarray(M + _TWIN_RIDGE * np.eye(len(M)))


def matrix(footprints: Footprints) -> sp.csc_matrix:
    """Return A (P, K) as a scipy matrix."""
    n_pixels = footprints.shape[0] * footprints.shape[1]
    parts = (footprints.weights, footprints.pixels, footprints.indptr)
    return sp.csc_matrix(parts, (n_pixels, footprints.n))


def mixed(footprints: Footprints, mix: sp.csr_matrix) -> Footprints:
    """Return the footprints A mix' (K', one row of `mix` (K', K) each)."""
    A = (matrix(footprints) @ mix.T).tocsc()
    A.sort_indices()
    return Footprints(
        footprints.shape,
        A.indptr.astype(np.int64),
        A.indices.astype(np.int32),
        np.asarray(A.data, np.float32),
    )


def rows_matrix(rows: SparseRows) -> sp.csr_matrix:
    """Return sparse rows (K, P') as a scipy matrix."""
    return sp.csr_matrix((rows.values, rows.bins, rows.indptr), (len(rows.indptr) - 1, rows.n_bins))
