"""The demo's picture: footprints over the correlation image, and twelve traces against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from streamscope.cli.comparison import Comparison, Found
from streamscope.testing.synth import Truth
from streamscope.types import FloatArray, Footprints

COLOURS = {"truth": "0.55", "live": "#0072b2", "refit": "#d55e00", "missed": "#f0e442"}  # Okabe and Ito
N_TRACES = 12
CONTOUR = 0.35  # of a footprint's maximum
SMOOTH_PX = 1.0
WINDOW_PX = 3  # margin around a footprint when its contour is drawn


def draw(comparison: Comparison, path: Path) -> None:
    """Write the picture as PNG.

    Parameters
    ----------
    comparison : Comparison
        With a correlation image.
    path : Path
        File to write.
    """
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif", "axes.titlesize": 10}):
        figure = Figure(figsize=(15, 7.2), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
        _draw_field(left, comparison)
        _draw_traces(right, comparison)
        figure.suptitle(_title(comparison), fontsize=11)
        figure.savefig(path)


def _title(comparison: Comparison) -> str:
    """Return one line of scores for each of live and refit."""
    return "\n".join(
        f"{found.name}: {found.score.n_components} cells, precision {found.score.precision:.2f}, "
        f"recall {found.score.recall:.2f} of {found.score.n_targets}, "
        f"median trace correlation {found.score.trace_correlation:.3f}, "
        f"motion error {found.score.motion_rms_px:.2f} px"
        for found in comparison.found
    )


def _draw_field(axes: Any, comparison: Comparison) -> None:
    image = comparison.correlation_image
    assert image is not None
    low, high = np.percentile(image, [1, 99.7])
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    for found in comparison.found:
        for k in range(found.footprints.n):
            style = {"colors": COLOURS[found.name], "linewidths": 1.3 if found.name == "live" else 0.8}
            _contour(axes, found.footprints, k, **style)
    _mark_missed(axes, comparison)
    lines = [Line2D([], [], color=COLOURS[found.name], label=found.name) for found in comparison.found]
    lines.append(
        Line2D([], [], color=COLOURS["missed"], marker="x", linestyle="", label="missed by the refit")
    )
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False)
    axes.set(title="footprints over the correlation image", xticks=[], yticks=[])
    _scale_bar(axes, comparison)


def _scale_bar(axes: Any, comparison: Comparison) -> None:
    """Draw a bar of 100 µm, or of 50 px where the size of a pixel is not known."""
    height, width = comparison.truth.footprints.shape
    length_px, text = 50.0, "50 px"
    if comparison.um_per_px is not None:
        length_px, text = 100.0 / comparison.um_per_px, "100 µm"
    x, y = 0.96 * width, 0.96 * height
    axes.plot([x - length_px, x], [y, y], color="white", linewidth=3, solid_capstyle="butt")
    axes.text(
        x - length_px / 2, y - 0.012 * height, text, color="white", ha="center", va="bottom", fontsize=8
    )


def _contour(axes: Any, footprints: Footprints, k: int, **style: Any) -> None:
    """Draw the outline of one footprint, on a small window around it."""
    pixels, weights = footprints.column(k)
    if not len(pixels) or weights.max() <= 0:
        return
    y, x = np.divmod(pixels, footprints.shape[1])
    top, left = y.min() - WINDOW_PX, x.min() - WINDOW_PX
    patch = np.zeros((np.ptp(y) + 2 * WINDOW_PX + 1, np.ptp(x) + 2 * WINDOW_PX + 1))
    patch[y - top, x - left] = weights
    patch = cv2.GaussianBlur(patch, (0, 0), SMOOTH_PX)  # one outline instead of many specks
    patch = np.asarray(patch) / patch.max()
    axes.contour(np.arange(patch.shape[1]) + left, np.arange(patch.shape[0]) + top, patch, [CONTOUR], **style)


def _mark_missed(axes: Any, comparison: Comparison) -> None:
    last = comparison.found[-1].score
    missed = comparison.truth.target.copy()
    missed[last.pairs[:, 1]] = False
    dy, dx = last.offset_px  # truth is drawn where the estimate's reference frame has it
    y, x = comparison.truth.centres[missed].T
    axes.plot(x - dx, y - dy, "x", color=COLOURS["missed"], markersize=5)


def _draw_traces(axes: Any, comparison: Comparison) -> None:
    cells = _shown(comparison.truth, comparison.found)
    end_s = comparison.truth.F.shape[1] / comparison.fps
    for row, j in enumerate(cells):
        base = len(cells) - 1 - row
        _draw_cell(axes, comparison, j, base)
        r = " / ".join(_rounded(_correlation(found, j)) for found in comparison.found)
        axes.text(end_s * 1.01, base + 0.2, r, va="center", fontsize=8)
    names = ("truth", *(found.name for found in comparison.found))
    lines = [Line2D([], [], color=COLOURS[name], label=name) for name in names]
    lines.append(Line2D([], [], color=COLOURS["live"], marker="|", linestyle="", label="first live value"))
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=4, frameon=False)
    correlations = " / ".join(found.name for found in comparison.found)
    axes.set(
        title=f"{len(cells)} cells, bright to dim, scaled to the truth; on the right the correlation {correlations}",
        xlabel="time, s",
        yticks=[],
        xlim=(0, end_s),
        ylim=(-0.3, len(cells) + 0.1),
    )
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_cell(axes: Any, comparison: Comparison, j: int, base: float) -> None:
    """Draw what is true and what was found of one cell, between `base` and `base` + 0.9."""
    F = comparison.truth.F[j]
    low, span = float(F.min()), float(np.ptp(F)) or 1.0
    seconds = np.arange(len(F)) / comparison.fps
    axes.plot(seconds, base + 0.85 * (F - low) / span, color=COLOURS["truth"], linewidth=2.6)
    for found in reversed(comparison.found):  # live on top
        trace = _scaled(found, j, comparison.truth)
        shown = base + np.clip(0.85 * (trace - low) / span, -0.25, 1.1)
        axes.plot(seconds[: len(shown)], shown, color=COLOURS[found.name], linewidth=0.9)
    live = comparison.found[0]
    first_s = live.avail[_component(live, j)] / comparison.fps
    axes.plot([first_s], [base], "|", color=COLOURS["live"], markersize=8)


def _rounded(correlation: float) -> str:
    return f"{correlation:.2f}" if np.isfinite(correlation) else "silent"


def _shown(truth: Truth, found: tuple[Found, ...]) -> list[int]:
    """Return true cells that every way found, evenly spread from the brightest to the dimmest."""
    common = set(found[0].score.pairs[:, 1].tolist())
    for other in found[1:]:
        common &= set(other.score.pairs[:, 1].tolist())
    bright_first = sorted(common, key=lambda j: -float(truth.snr[j]))
    chosen = np.linspace(0, len(bright_first) - 1, min(N_TRACES, len(bright_first))).round().astype(int)
    return [bright_first[i] for i in chosen]


def _row(found: Found, j: int) -> int:
    return int(np.flatnonzero(found.score.pairs[:, 1] == j)[0])


def _component(found: Found, j: int) -> int:
    return int(found.score.pairs[_row(found, j), 0])


def _correlation(found: Found, j: int) -> float:
    return float(found.score.correlations[_row(found, j)])


def _scaled(found: Found, j: int, truth: Truth) -> FloatArray:
    """Return the trace of true cell j, fitted to the truth by a factor and an offset; NaN before it was there."""
    trace = found.C[_component(found, j)].astype(float)
    n = min(len(trace), truth.F.shape[1])
    known = np.isfinite(trace[:n])
    if np.count_nonzero(known) < 2 or np.ptp(trace[:n][known]) == 0:
        return np.full(n, np.nan, np.float32)
    factor, offset = np.polyfit(trace[:n][known], truth.F[j, :n][known], 1)
    return np.asarray(factor * trace[:n] + offset, np.float32)
