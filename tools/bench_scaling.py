"""How the cost of a frame grows with cells and with pixels, in CPU time, with a plot.

Each point is a simulated movie that is inferred and learned frame by frame in one thread, as a replay at full speed
does; the figure is the mean over the second half, in which most cells are known.

    python tools/bench_scaling.py --cells 100 200 400 800 1500 --sizes 152 304 608 --png growth.png
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from measuring import provenance
from movies import UM_PER_PX, simulated
from streamscope.config import SessionConfig, engine_config
from streamscope.core.epoch import Epoch
from streamscope.core.infer import Infer
from streamscope.core.learn import Learner
from streamscope.core.warmup import warm_up_infer, warm_up_learner
from streamscope.types import Frame

SIZE = 608  # px, for all numbers of cells
DENSITY = 400  # cells in a field of 608x608, for all sizes


def cost_of(path: str, fps: float) -> dict[str, Any]:
    """Return the mean CPU time per frame of frame path and learner, ms, and how many cells were known."""
    movie = np.load(path, mmap_mode="r")
    shape = movie.shape[1:]
    config = engine_config(SessionConfig(fps=fps, um_per_px=UM_PER_PX), shape, fps, UM_PER_PX)
    infer, learner = Infer(config, shape), Learner(config, shape)
    aligned = np.zeros(shape, np.float32)
    epochs: deque[Epoch] = deque()
    spent = np.zeros((len(movie), 3))  # s at the start, after the frame path, after the learner
    for n, image in enumerate(movie):
        if epochs and epochs[0].frame + learner.lag_frames <= n:
            infer.adopt(epochs.popleft())
        spent[n, 0] = time.thread_time()
        result = infer(Frame(n, np.asarray(image), 0, n / fps), aligned)
        spent[n, 1] = time.thread_time()
        epoch = learner.consume(aligned, result)
        spent[n, 2] = time.thread_time()
        if epoch is not None:
            epochs.append(epoch)
    frame_ms, learner_ms = 1000 * np.diff(spent[len(movie) // 2 :], axis=1).mean(0)
    return {
        "known": learner.model.n,
        "frame_path_ms": round(float(frame_ms), 3),
        "learner_ms": round(float(learner_ms), 3),
    }


def measure(
    cells: list[int], sizes: list[int], fps: float, seconds: float
) -> dict[str, list[dict[str, Any]]]:
    """Return one row for each number of cells at one size, and for each size at one density of cells."""
    runs = {
        "cells": [(SIZE, n) for n in cells],
        "pixels": [(size, round(DENSITY * (size / SIZE) ** 2)) for size in sizes],
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name, points in runs.items():
            for size, n in points:
                row = {"size": size, "cells": n} | cost_of(
                    simulated(size, fps, seconds, Path(folder), n), fps
                )
                rows[name].append(row)
                print(
                    f"{size}x{size}, {n} cells, {row['known']} known: frame path {row['frame_path_ms']:.2f} ms, "
                    f"learner {row['learner_ms']:.2f} ms",
                    flush=True,
                )
    return rows


def draw(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Plot the costs; the dashed line is proportional growth from the last point."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    kinds = ((rows["cells"], "known", "known components at 608x608"), (rows["pixels"], "size", "megapixels"))
    for place, (some, key, label) in enumerate(kinds):
        axes = figure.add_subplot(1, 2, place + 1)
        x = np.array([row[key] for row in some], float)
        x = x if key == "known" else x**2 / 1e6
        total = np.array([row["frame_path_ms"] + row["learner_ms"] for row in some])
        axes.plot(x, total, "o-", label="both")
        axes.plot(x, [row["learner_ms"] for row in some], "o-", label="learner")
        axes.plot(x, [row["frame_path_ms"] for row in some], "o-", label="frame path")
        axes.plot([0, x[-1]], [0, total[-1]], "k--", lw=0.8, label="proportional")
        axes.set(xlabel=label, ylabel="CPU time per frame, ms", xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print the figures, write the JSON and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, nargs="*", default=[100, 200, 400, 800, 1500])
    parser.add_argument("--sizes", type=int, nargs="*", default=[152, 304, 608], help="sides of frames, px")
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each movie")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--png", type=Path, help="plot to write")
    options = parser.parse_args()
    for warm_up in (warm_up_infer, warm_up_learner):
        warm_up(lambda *_: None)
    rows = measure(options.cells, options.sizes, options.fps, options.seconds)
    if options.json:
        report = provenance() | {"benchmark": "scaling", "fps": options.fps, "seconds": options.seconds}
        options.json.write_text(json.dumps(report | rows, indent=1) + "\n", encoding="utf-8")
    if options.png and all(rows.values()):
        draw(rows, options.png)


if __name__ == "__main__":
    main()
