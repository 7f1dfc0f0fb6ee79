"""What each stage of the frame path costs, and what the learner costs beside it, in CPU time of one thread.

Infers and learns a simulated movie frame by frame, as a replay at full speed does, without session or sockets.
CPU time hardly depends on what else the machine does, so it is the figure to compare before and after a change.

    python tools/bench_stages.py --size 608 --seconds 20 --json out.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from measuring import percentiles, provenance
from movies import UM_PER_PX, simulated
from streamscope.config import SessionConfig, engine_config
from streamscope.core.deconvolve import Deconvolver
from streamscope.core.epoch import Epoch
from streamscope.core.infer import Infer
from streamscope.core.learn import Learner
from streamscope.core.motion import Motion
from streamscope.core.preprocess import Preprocess
from streamscope.core.readout import Readout
from streamscope.core.warmup import warm_up_infer, warm_up_learner
from streamscope.types import FloatArray, Frame, FrameResult

STAGES: dict[str, tuple[type, str]] = {
    "preprocess": (Preprocess, "update"),
    "motion": (Motion, "update"),
    "align_and_read_out": (Readout, "__call__"),
    "deconvolve": (Deconvolver, "push"),
}


class Stopwatch:
    """CPU time of calls by name, ms, one list entry per call."""

    def __init__(self) -> None:
        self.times: defaultdict[str, list[float]] = defaultdict(list)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` with its time noted."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time_ns()
            result = call(*arguments, **options)
            self.times[name].append((time.thread_time_ns() - start) / 1e6)
            return result

        return timed


def measure(movie: np.ndarray, fps: float) -> dict[str, Any]:
    """Return percentiles by stage, and how many cells were known at the end."""
    config = engine_config(SessionConfig(fps=fps, um_per_px=UM_PER_PX), movie.shape[1:], fps, UM_PER_PX)
    infer, learner = Infer(config, movie.shape[1:]), Learner(config, movie.shape[1:])
    watch = Stopwatch()
    for name, (owner, method) in STAGES.items():
        setattr(owner, method, watch.around(name, getattr(owner, method)))
    frame_of = watch.around("frame", infer)
    consume = watch.around("learner", learner.consume)
    waiting: deque[tuple[FloatArray, FrameResult]] = deque()
    aligned = np.zeros((learner.lag_frames + 1, *movie.shape[1:]), np.float32)
    cells, epochs = 0, 0
    for n, image in enumerate(movie):
        if len(waiting) >= learner.lag_frames:
            epoch: Epoch | None = consume(*waiting.popleft())
            if epoch is not None:
                watch.around("adopt", infer.adopt)(epoch)
                cells, epochs = len(epoch.ids), epochs + 1
        buffer = aligned[n % len(aligned)]
        result = frame_of(Frame(n, np.asarray(image), 0, n / fps), buffer)
        waiting.append((buffer, result))
    return {
        "stages_ms": {name: percentiles(times) for name, times in watch.times.items()},
        "learner_mean_ms": round(float(np.mean(watch.times["learner"])), 3),
        "cells_at_the_end": cells,
        "epochs": epochs,
    }


def main() -> None:
    """Measure, print the figures and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=608, help="side of the simulated frames, px")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the movie")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    for warm_up in (warm_up_infer, warm_up_learner):
        warm_up(lambda *_: None)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        path = simulated(options.size, options.fps, options.seconds, Path(name))
        measured = measure(np.load(path, mmap_mode="r"), options.fps)
    head = {"benchmark": "stages", "size": options.size, "fps": options.fps, "seconds": options.seconds}
    report = provenance() | head | measured
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{options.size}x{options.size}, {report['cells_at_the_end']} cells, {report['epochs']} epochs")
    print(f"{'CPU ms':20}{'calls':>8}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for stage, p in report["stages_ms"].items():
        print(f"{stage:20}{p['n']:8}" + "".join(f"{p[key]:9.2f}" for key in ("p50", "p95", "p99", "max")))
    print(f"learner, mean over all frames: {report['learner_mean_ms']:.2f} ms")


if __name__ == "__main__":
    main()
