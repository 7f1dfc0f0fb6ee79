"""Merging of pieces of one cell, and the verdict on each component with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import nnls

from streamscope.core.aperture import border_distance
from streamscope.offline.project import matrix
from streamscope.offline.reshape import boxed
from streamscope.offline.temporal import Activity, event_contrast
from streamscope.types import BoolArray, DoubleArray, FloatArray, Footprints, LongArray

_SMALLEST, _LARGEST = 0.4, 8.0  # area above 20 % of the peak, times pi l^2 / 4
_REACH_OF_SUM = 1.3  # of the parts of a sum, cell diameters
_LONGEST = 2.0  # axis ratio
_LEAST_ROUND, _LEAST_ROUND_SMOOTH = 0.7, 0.85  # least correlation with a round spot: as it is, or blurred
_BLUR = 0.1  # cell diameters
_SPOT_SDS = np.linspace(0.12, 0.7, 16)  # of the spots that are tried, cell diameters
_EDGE, _OUTERMOST = 0.5, 0.25  # distance of the centre from the border, cell diameters
_CLEAR = 2.0  # times the least contrast: beyond doubt
_NEAR = 1.4  # reach of a cell's pieces, cell diameters
_TOUCH = 0.2  # overlap (cosine) of a component with those that it may be the sum of
_SUM, _SHARE = 0.9, 0.1  # of its energy that they explain, and that each of at least two of them does
_LEFTOVER = 0.25  # of the contrast of the neighbour: what moved light leaves is weaker
_OWN = 0.7  # a piece keeps less than this share of its event contrast without its neighbour's trace


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where and how large the components are."""

    centre: DoubleArray  # (K, 2) y, x of the centroid, px
    area: DoubleArray  # (K,) px above 20 % of the peak
    axis_ratio: DoubleArray  # (K,) long over short axis

    @staticmethod
    def of(footprints: Footprints) -> Geometry:
        """Measure every footprint."""
        centre, area, ratio = np.zeros((footprints.n, 2)), np.zeros(footprints.n), np.ones(footprints.n)
        for k in range(footprints.n):
            image, top, left, _ = boxed(footprints, k, 0)
            core = np.where(image > 0.2 * image.max(), image, 0).astype(np.float64)
            y, x = np.nonzero(core)
            w = core[y, x] / core.sum()
            my, mx = w @ y, w @ x
            spread = np.cov(np.stack([y, x]), aweights=w, ddof=0) if len(y) > 1 else np.eye(2)
            axes = np.linalg.eigvalsh(spread + np.eye(2) / 12)  # a pixel has a size
            centre[k] = my + top, mx + left
            area[k], ratio[k] = len(y), float(np.sqrt(axes[1] / axes[0]))
        return Geometry(centre, area, ratio)


def correlation(C: FloatArray) -> DoubleArray:
    """Return the correlations of traces, (K, K); 0 for a silent one."""
    x = C - C.mean(1, keepdims=True)
    norm = np.sqrt((x * x).sum(1, dtype=np.float64))
    x = x / np.where(norm > 0, norm, 1)[:, None]
    return np.asarray(x @ x.T, np.float64)


def same_cell(footprints: Footprints, C: FloatArray, diameter_px: float) -> BoolArray:
    """Return which pairs are pieces of one cell, (K, K) bool: they overlap, or lie close, and do the same."""
    A = matrix(footprints)
    overlap = np.asarray((A.T @ A).toarray())
    r = correlation(C)
    where = Geometry.of(footprints).centre
    distance = np.hypot(*(where[:, None] - where[None]).transpose(2, 0, 1))
    pieces = (overlap > 0.7) & (r > 0.8)
    pieces |= (distance < 1.3 * diameter_px) & (overlap > 0.05) & (r > 0.75)
    np.fill_diagonal(pieces, False)
    return pieces


def merge_plan(footprints: Footprints, C: FloatArray, diameter_px: float) -> LongArray:
    """Return for each component the one it goes into, (K,); itself if it stays.

    The weaker goes into the stronger, unless both are comparable and together too large for one cell.
    """
    into = np.arange(footprints.n)
    if footprints.n < 2:
        return into
    pieces = same_cell(footprints, C, diameter_px)
    area = Geometry.of(footprints).area
    energy = strength(C)
    largest = 2.5 * float(np.median(area))
    for k in np.argsort(-energy, kind="stable"):
        if into[k] != k:
            continue
        for j in np.flatnonzero(pieces[k] & (into == np.arange(len(into)))):
            twins = area[k] + area[j] > largest and energy[j] > 0.5 * energy[k]
            if energy[j] <= energy[k] and not twins:
                into[j] = k
    return into


def sums_of_others(
    footprints: Footprints, activity: Activity, span: int, diameter_px: float, min_contrast: float
) -> dict[int, LongArray]:
    """Return the components whose traces are the sum of those of overlapping ones, and which these are.

    Two cells that were active together when they were found make one component. When each is found by itself later,
    the three share the light: the first one's trace is a sum of the others', and nothing of its own is left in it.
    """
    C, where = activity.C.astype(np.float64), Geometry.of(footprints).centre
    A = matrix(footprints)
    overlap = np.asarray((A.T @ A).toarray())
    energy = np.maximum((C * C).sum(1), 1e-12)
    out: dict[int, LongArray] = {}
    left = np.ones(len(C), bool)

    def explained(k: int) -> tuple[float, LongArray]:
        """Return the share of the energy of k that its neighbours explain, 0 if something else is in it."""
        near = np.hypot(*(where - where[k]).T) < _REACH_OF_SUM * diameter_px
        others = np.flatnonzero(left & near & (overlap[k] > _TOUCH))
        others = others[others != k]
        if len(others) < 2:
            return 0.0, others
        weights, rest = nnls(C[others].T, C[k])
        parts = others[weights**2 * energy[others] > _SHARE * energy[k]]
        own = np.asarray(activity.C_raw[k] - weights @ C[others], np.float32)
        if len(parts) < 2 or event_contrast(own[None], activity.sn[k : k + 1], span)[0] >= min_contrast:
            return 0.0, others
        return 1 - rest**2 / float(energy[k]), parts

    found = {k: explained(k) for k in range(len(C))}
    while found:
        best = max(found, key=lambda k: found[k][0])
        share, parts = found.pop(best)
        if share < _SUM:
            break
        out[best], left[best] = parts, False
        found |= {k: explained(k) for k in np.flatnonzero(left & (overlap[best] > _TOUCH)).tolist()}
    return out


def strength(C: FloatArray) -> DoubleArray:
    """Return the root of the energy of each trace, (K,)."""
    return np.asarray(np.sqrt((C.astype(np.float64) ** 2).sum(1)))


def verdicts(
    footprints: Footprints,
    activity: Activity,
    span: int,
    diameter_px: float,
    min_contrast: float,
    disc: tuple[float, float, float] | None = None,
) -> list[str]:
    """Return why each component is rejected, one sentence each; empty for the accepted.

    `span` is the decay in frames; for `min_contrast` see `temporal.event_contrast`; `disc` is what a lens shows.
    """
    where = Geometry.of(footprints)
    A = matrix(footprints)
    overlap = np.asarray((A.T @ A).toarray(), np.float64)
    full = np.pi * diameter_px**2 / 4
    edges = border_distance(where.centre, footprints.shape, disc)
    out = []
    for k in range(footprints.n):
        edge = edges[k]
        area, ratio = where.area[k], where.axis_ratio[k]
        alike = roundness(footprints, k, diameter_px)
        smooth = roundness(footprints, k, diameter_px, _BLUR) if alike < _LEAST_ROUND else 1.0
        if activity.contrast[k] < min_contrast:
            out.append(
                f"its largest event rises {activity.contrast[k]:.1f} times the noise, under {min_contrast:g}"
            )
        elif area < _SMALLEST * full:
            out.append(f"its area of {area:.0f} px is under {_SMALLEST:g} times that of a cell")
        elif area > _LARGEST * full:
            out.append(f"its area of {area:.0f} px is over {_LARGEST:g} times that of a cell")
        elif ratio > _LONGEST:
            out.append(f"its long axis is {ratio:.1f} times the short one, over {_LONGEST:g}")
        elif smooth < _LEAST_ROUND_SMOOTH:
            out.append(f"its shape is not that of one cell (correlation {alike:.2f} with a round spot)")
        elif edge < _OUTERMOST * diameter_px:
            out.append(f"its centre is {edge:.1f} px from the border, under a quarter of a cell")
        elif edge < _EDGE * diameter_px and activity.contrast[k] < _CLEAR * min_contrast:
            out.append(
                f"its centre is {edge:.1f} px from the border, under half a cell, and its largest event rises "
                f"{activity.contrast[k]:.1f} times the noise, under {_CLEAR * min_contrast:g}"
            )
        else:
            out.append(_piece_of(k, where, overlap, activity, span, diameter_px, min_contrast))
    return out


def _piece_of(
    k: int,
    where: Geometry,
    overlap: DoubleArray,
    activity: Activity,
    span: int,
    diameter_px: float,
    min_contrast: float,
) -> str:
    """Return of which stronger neighbour component `k` is a piece, in words; empty if of none.

    A cell that is often active together with its neighbour keeps events of its own when the neighbour's trace is
    taken out; a piece does not. What a bent or moved bright cell leaves beside itself has events of its own, but
    lies on the cell, is much weaker and active with it. Where the events left without the neighbour are clear,
    and it is not that weak, it is a cell, however the two share their light.
    """
    C, own, contrast = activity.C, activity.C_raw[k], activity.contrast
    power = (C * C).sum(1, dtype=np.float64)
    distance = np.hypot(*(where.centre - where.centre[k]).T)
    near = np.flatnonzero((distance < _NEAR * diameter_px) & (power > power[k]))
    for j in near:
        r = float(correlation(np.stack([C[k], C[j]]))[0, 1])
        leftover = overlap[k, j] > 0.4 and r > 0.4 and contrast[k] < 0.5 * contrast[j]
        if not leftover and r <= 0.6:
            continue
        rest = own - float(own @ C[j]) / float(power[j]) * C[j]
        left = event_contrast(rest[None], activity.sn[k : k + 1], span)[0]
        if left >= _CLEAR * min_contrast and contrast[k] >= _LEFTOVER * contrast[j]:
            continue
        if leftover or left < _OWN * contrast[k]:
            return (
                f"a stronger component {distance[j]:.1f} px away is active with it (r {r:.2f}): a piece of it"
            )
    return ""


def roundness(footprints: Footprints, k: int, diameter_px: float, blur: float = 0.0) -> float:
    """Return the correlation of a footprint with the round Gaussian spot that suits it best.

    With a `blur`, cell diameters, the noise of the footprints of dim cells counts less: it is no shape.
    """
    image, _, _, _ = boxed(footprints, k, int(diameter_px))
    if blur > 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * diameter_px), np.float32)
    core = np.where(image > 0.2 * image.max(), image, 0).astype(np.float64)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    cy, cx = (core * y).sum() / core.sum(), (core * x).sum() / core.sum()
    squared = (y - cy) ** 2 + (x - cx) ** 2
    disc = squared <= (1.25 * diameter_px) ** 2
    spots = np.exp(-squared[disc] / (2 * (diameter_px * _SPOT_SDS[:, None]) ** 2))
    return float(np.corrcoef(image[disc], spots)[0, 1:].max())
