"""Footprints of a whole session from sums over its frames, the background taken out by linearity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from streamscope.core.background import bin_footprints, fold, ring_rows
from streamscope.core.kernels import seeds, sums
from streamscope.offline.project import Background
from streamscope.offline.store import SCALE, THREADS, FrameStore
from streamscope.offline.survey import bin_frames
from streamscope.types import DoubleArray, FloatArray, Footprints, IntArray, LongArray

_SWEEPS = 8
_REACH = 1.25  # of a mask from its centre, cell diameters
_FLOOR = 0.03  # of the peak


def reshape(
    store: FrameStore, footprints: Footprints, C: FloatArray, background: Background, diameter_px: float
) -> Footprints:
    """Return footprints fitted to the frames, the traces C (K, T) given.

    Unit norm; a component that would be left empty keeps its footprint.
    """
    if footprints.n == 0:
        return footprints
    masks = grown_masks(footprints, diameter_px)
    geometry = background.geometry
    folded = fold(masks, geometry)
    ring = ring_rows(folded, background.W, geometry)
    CY, CX = _products(store, masks, ring.indptr, ring.bins, C, background)
    centred = C - C.mean(1, keepdims=True)
    CC = (centred @ centred.T).astype(np.float64)
    binned = bin_footprints(footprints, geometry)
    sums.subtract_background(
        masks.indptr,
        masks.pixels,
        masks.shape[1],
        geometry.step,
        geometry.grid,
        folded.indptr,
        folded.bins,
        ring.indptr,
        ring.bins,
        CX,
        binned.indptr,
        binned.bins,
        binned.values,
        CC,
        background.W,
        geometry.neighbours,
        CY,
    )
    weights = masks.weights.astype(np.float64)
    sums.shape_sweeps(masks.indptr, masks.pixels, CY, CC, _SWEEPS, layers(masks), weights)
    return cleaned(
        Footprints(masks.shape, masks.indptr, masks.pixels, weights.astype(np.float32)), footprints
    )


def _products(
    store: FrameStore,
    masks: Footprints,
    ring_indptr: LongArray,
    ring_bins: IntArray,
    C: FloatArray,
    background: Background,
) -> tuple[DoubleArray, DoubleArray]:
    """Return sum_t (C - mean C) y at the masks' pixels and at the blocks of their rings."""

    def one(span: tuple[int, int]) -> tuple[DoubleArray, DoubleArray]:
        frames = store.read(*span)
        part = np.ascontiguousarray(C[:, span[0] : span[1]])
        cy, cx = np.zeros(len(masks.pixels)), np.zeros(len(ring_bins))
        sums.add_products(frames, masks.indptr, masks.pixels, part, 1.0 / SCALE, cy)
        bins = bin_frames(frames, background.geometry)
        sums.add_products(bins, ring_indptr, ring_bins, part, 1.0, cx)
        return cy, cx

    CY, CX = np.zeros(len(masks.pixels)), np.zeros(len(ring_bins))
    with ThreadPoolExecutor(THREADS) as pool:
        for cy, cx in pool.map(one, store.spans()):  # in order: the same sums every time
            CY += cy
            CX += cx
    total = C.sum(1, dtype=np.float64)
    CY -= np.repeat(total, np.diff(masks.indptr)) * background.mean_image[masks.pixels]
    CX -= np.repeat(total, np.diff(ring_indptr)) * background.mean_bins[ring_bins]
    return CY, CX


def grown_masks(footprints: Footprints, diameter_px: float) -> Footprints:
    """Return each footprint on its support grown by a quarter diameter, cut at 1.25 diameters from the centre."""
    grow = max(2, round(diameter_px / 4))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    height, width = footprints.shape
    columns = []
    for k in range(footprints.n):
        image, top, left, (cy, cx) = boxed(footprints, k, grow)
        mask = cv2.dilate((image > 0).astype(np.uint8), kernel)
        y, x = np.nonzero(mask)
        near = np.hypot(y + top - cy, x + left - cx) <= _REACH * diameter_px
        inside = (y + top >= 0) & (y + top < height) & (x + left >= 0) & (x + left < width)
        y, x = y[near & inside], x[near & inside]
        columns.append((((y + top) * width + x + left).astype(np.int32), image[y, x]))
    return Footprints.from_columns(footprints.shape, columns)


def boxed(footprints: Footprints, k: int, margin: int) -> tuple[FloatArray, int, int, tuple[float, float]]:
    """Return footprint `k` in a box of its own: image, top, left (may be negative) and centroid (y, x), px."""
    pixels, weights = footprints.column(k)
    y, x = np.divmod(pixels, footprints.shape[1])
    top, left = int(y.min()) - margin, int(x.min()) - margin
    image = np.zeros((int(y.max()) - top + margin + 1, int(x.max()) - left + margin + 1), np.float32)
    image[y - top, x - left] = weights
    mass = weights.astype(np.float64)
    total = max(float(mass.sum()), 1e-12)
    return image, top, left, (float(mass @ y) / total, float(mass @ x) / total)


def layers(masks: Footprints) -> IntArray:
    """Return, per layer, which entry of which mask lies at each pixel, (n, P) int32, -1 for none."""
    n_pixels = masks.shape[0] * masks.shape[1]
    order = np.argsort(masks.pixels, kind="stable")
    at = masks.pixels[order]
    first = np.searchsorted(at, at)
    rank = np.arange(len(at)) - first
    out = np.full((int(rank.max(initial=0)) + 1, n_pixels), -1, np.int32)
    out[rank, at] = order
    return out


def cleaned(footprints: Footprints, before: Footprints) -> Footprints:
    """Return footprints without faint and detached pixels, unit norm; where nothing is left, the one before."""
    columns = []
    for k in range(footprints.n):
        part = _clean(footprints, k) if len(footprints.column(k)[0]) else None
        columns.append(before.column(k) if part is None else part)
    return Footprints.from_columns(footprints.shape, columns)


def _clean(footprints: Footprints, k: int) -> tuple[IntArray, FloatArray] | None:
    image, top, left, _ = boxed(footprints, k, 1)
    smooth = np.asarray(cv2.GaussianBlur(image, (3, 3), 0.8), np.float32)
    at = divmod(int(smooth.argmax()), smooth.shape[1])
    seeds.keep_connected(smooth, _FLOOR * float(smooth.max()), *at)
    image[smooth == 0] = 0
    if not image.max() > 0:
        return None
    y, x = np.nonzero(image > _FLOOR * image.max())
    weights = image[y, x]
    pixels = ((y + top) * footprints.shape[1] + x + left).astype(np.int32)
    return pixels, np.asarray(weights / np.linalg.norm(weights), np.float32)
