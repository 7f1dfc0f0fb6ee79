"""How long a frame takes from when it was due until another process has its traces.

Replays a movie in real time through the real session: journal, learning, one subscriber in a process of its
own, and a second one that has stalled and never reads. Beside it, before and after, a control loop that only
computes for as long as the session's median frame: what its tail shows is the machine's own.

    python tools/bench_latency.py                       # simulated, 608x608, 30 fps, 60 s
    python tools/bench_latency.py --source movie.h5:/movie --um-per-px 1.655 --seconds 180 --json out.json
    python tools/bench_latency.py --record              # with every frame written to the disk as well
    python tools/bench_latency.py --record --device     # from a model of a V4 through the whole driver

All times are of the monotonic clock, which processes of one machine share (Linux, Windows, macOS).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket as socketlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from measuring import MemoryLog, control_loop, percentiles, provenance
from streamscope.config import SessionConfig, WireConfig
from streamscope.wire.client import Subscriber
from streamscope.wire.schema import TracesMessage

SETTLE_S = 10.0  # the start is reported apart: caches fill, the first cells are found
PILOT_S = 15.0  # a short session that tells the first control loop how long to compute
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Job:
    """What is replayed, and how."""

    source: str
    fps: float
    um_per_px: float | None
    cell_diameter: str
    seconds: float
    record: bool = False
    device: bool = (
        False  # the pictures come from a model of a V4, through its driver; `source` is an .npy file
    )

    @property
    def n_frames(self) -> int:
        """Return the number of frames to replay."""
        return round(self.seconds * self.fps)


def session_process(job: Job, bind: str, out: str, pipe: Connection) -> None:
    """Run the session and send how it ended."""
    # Imported here: the subscriber's process, whose memory is measured too, needs none of it.
    from streamscope.session.plan import make_plan
    from streamscope.session.refitting import FirstFrames
    from streamscope.session.runner import run_session

    config = SessionConfig(
        out=out,
        fps=job.fps,
        um_per_px=job.um_per_px,
        cell_diameter=job.cell_diameter,
        subject="benchmark",
        wire=WireConfig(bind=bind),
    )
    if job.device:
        from model_device import device_plan

        plan = device_plan(job.source, config, job.n_frames, job.record)
    else:
        plan = make_plan(job.source, config, speed=1.0, refit=False)
        whole = plan.movie
        assert whole is not None  # it is a replay
        loop = -(-job.n_frames // whole.info.n_frames)
        movie = FirstFrames(whole, job.n_frames) if loop == 1 else whole
        plan = replace(plan, movie=movie, loop=loop, record=job.record)
    outcome = run_session(plan)
    recording = outcome.recording or {}
    health = outcome.health
    pipe.send(
        {
            "shape": list(plan.info.shape),
            "n_frames": outcome.n_frames,
            "lost": None if health is None else health.lost,
            "cells": None if health is None else health.cells,
            "provisional": None if health is None else health.provisional,
            "epoch": None if health is None else health.epoch,
            "recorded": recording.get("n_frames"),
            "not_recorded": recording.get("not_recorded"),
        }
    )


def subscriber_process(endpoint: str, pipe: Connection, file: str) -> None:
    """Receive and decode every message until the session closes; write one row per frame."""
    rows = []
    pipe.send("started")
    with Subscriber(
        endpoint, timeout_s=600, connect_timeout_s=600
    ) as subscriber:  # compiling may take a while
        for message in subscriber:
            now_ns = time.monotonic_ns()
            if isinstance(message, TracesMessage):
                times = (message.t_capture_ns, message.t_result_ns, message.t_publish_ns, now_ns)
                rows.append((message.frame, *times, len(message.ids), message.gap, message.flags))
    np.save(file, np.array(rows, np.int64))


def stalled_process(endpoint: str, pipe: Connection) -> None:
    """Subscribe to everything and read nothing."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe(b"")
        socket.connect(endpoint)
        pipe.send("started")
        time.sleep(24 * 3600)


def run(job: Job, folder: Path) -> dict[str, Any]:
    """Return what one session measured."""
    rows_file = folder / "rows.npy"
    rows_file.unlink(missing_ok=True)
    bind = f"127.0.0.1:{_free_port()}"
    reader = _started(subscriber_process, f"tcp://{bind}", str(rows_file))
    stalled = _started(stalled_process, f"tcp://{bind}")
    ours, theirs = SPAWN.Pipe()
    session = SPAWN.Process(target=session_process, args=(job, bind, str(folder), theirs), name="session")
    session.start()
    theirs.close()  # so that recv ends with EOFError when the other process dies
    with MemoryLog({"session": session.pid or 0, "subscriber": reader.pid or 0}) as memory:
        outcome = ours.recv()
        reader.join(30)
    session.join(60)
    stalled.terminate()
    if session.exitcode != 0 or not rows_file.exists():
        sys.exit(f"bench_latency: the session ended with exit code {session.exitcode}; see above")
    rows = np.load(rows_file).reshape(-1, 8)
    measured: dict[str, Any] = outcome | _latency(rows, job, outcome["n_frames"])
    return measured | {"memory": memory.summary(SETTLE_S)}


def _started(body: Callable[..., None], endpoint: str, *arguments: str) -> SpawnProcess:
    """Return a process that listens at `endpoint`, started and ready before the session is."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=body, args=(endpoint, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # see `run`
    ours.recv()
    return process


def _free_port() -> int:
    """Return a port that was free a moment ago, as were probably the two above it."""
    with socketlib.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) - 2


def _latency(rows: np.ndarray, job: Job, n_frames: int) -> dict[str, Any]:
    frame, due, result, publish, received, cells, _, flags = rows.T
    settled = frame >= SETTLE_S * job.fps
    period_ms = 1e3 / job.fps
    stages = {
        "due_to_result_ms": result - due,
        "result_to_publish_ms": publish - result,
        "publish_to_received_ms": received - publish,
        "due_to_publish_ms": publish - due,
        "due_to_received_ms": received - due,
    }
    return {
        "received": len(frame),
        "in_order_and_once": bool((np.diff(frame) == 1).all()) and len(frame) > 0 and int(frame[0]) == 0,
        "missing": int(n_frames - len(np.unique(frame))),
        "k": {"median": float(np.median(cells)), "end": int(cells[-1])},
        "late_after_settling": int((stages["due_to_publish_ms"][settled] / 1e6 > period_ms).sum()),
        "late_at_start": int((stages["due_to_publish_ms"][~settled] / 1e6 > period_ms).sum()),
        "flags_seen": int(np.bitwise_or.reduce(flags)),
        "settled": {name: percentiles(ns[settled] / 1e6) for name, ns in stages.items()},
        "start": {name: percentiles(ns[~settled] / 1e6) for name, ns in stages.items()},
    }


def main() -> None:
    """Measure, print the figures and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", help="recording to replay; simulated when not given")
    parser.add_argument("--fps", type=float, default=30.0, help="frames per second")
    parser.add_argument("--size", type=int, default=608, help="side of the simulated frames, px")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measured session")
    parser.add_argument("--um-per-px", type=float, default=None)
    parser.add_argument("--cell-diameter", default=None, help="13um or 8px")
    parser.add_argument("--record", action="store_true", help="write every frame to the disk as well")
    parser.add_argument(
        "--device", action="store_true", help="see the movie through a model of a V4 and its driver"
    )
    parser.add_argument("--control-seconds", type=float, default=30.0, help="length of each control loop")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # for the session's process, as the command line does
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        try:
            report = measure(options, Path(name))
        except EOFError:
            sys.exit("bench_latency: the session ended before it had begun; see above")
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    show(report)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return everything that was measured, as it goes into the JSON."""
    from movies import UM_PER_PX, as_npy, simulated

    made = options.source is None
    source = simulated(options.size, options.fps, options.seconds, folder) if made else options.source
    um_per_px = UM_PER_PX if made else options.um_per_px
    diameter = options.cell_diameter or ("13um" if um_per_px else None)
    if diameter is None:
        sys.exit("bench_latency: give --cell-diameter in px, or --um-per-px")
    if options.device:
        source = as_npy(source, folder)
    job = Job(source, options.fps, um_per_px, diameter, options.seconds, options.record, options.device)
    period_s = 1 / options.fps
    head = provenance()
    pilot = run(replace(job, seconds=min(PILOT_S, options.seconds)), folder)
    guess_ms = pilot["settled"]["due_to_publish_ms"].get("p50") or pilot["start"]["due_to_publish_ms"]["p50"]
    before = control_loop(guess_ms, period_s, options.control_seconds)
    session = run(job, folder)
    median_ms = session["settled"]["due_to_publish_ms"]["p50"]
    after = control_loop(median_ms, period_s, options.control_seconds)
    shown = f"simulated {options.size}x{options.size}" if made else Path(source).name
    return head | {
        "benchmark": "latency",
        "source": shown,
        "fps": options.fps,
        "seconds": options.seconds,
        "cell_diameter": diameter,
        "record": options.record,
        "device": options.device,
        "session": session,
        "control_before": before,
        "control_after": after,
    }


def show(report: dict[str, Any]) -> None:
    """Print the figures for people."""
    session = report["session"]
    print(f"{report['source']}, {report['fps']:g} fps, {report['seconds']:g} s, {report['cpu']}")
    print(f"{'ms':24}{'p50':>9}{'p95':>9}{'p99':>9}{'p99.9':>9}{'max':>9}")
    rows = list(session["settled"].items())
    rows += [(f"control {when}", report[f"control_{when}"]["due_to_done_ms"]) for when in ("before", "after")]
    for name, p in rows:
        print(
            f"{name:24}"
            + "".join(f"{p.get(key, np.nan):9.2f}" for key in ("p50", "p95", "p99", "p99_9", "max"))
        )
    print(
        f"frames {session['received']}, missing {session['missing']}, lost {session['lost']}, "
        f"late after the first {SETTLE_S:g} s {session['late_after_settling']} "
        f"(control loops {report['control_before']['late']} and {report['control_after']['late']}), "
        f"K {session['k']['end']}"
    )
    if report["record"]:
        print(f"recorded {session['recorded']} frames, {session['not_recorded']} not recorded")
    for name, m in session["memory"].items():
        print(
            f"{name}: at most {m['resident_max_mb']} MB resident; "
            f"private {m['private_settled_mb']} MB settled, {m['private_end_mb']} at the end, "
            f"{m['private_mb_per_min']} a minute"
        )


if __name__ == "__main__":
    main()
