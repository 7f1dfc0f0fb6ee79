"""What the benchmarks share: percentiles, who measured what where, memory, and the control loop."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}


def percentiles(values_ms: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return p50, p95, p99, p99.9 and the maximum of durations in ms, and how many there were."""
    values = np.asarray(values_ms, np.float64)
    if not len(values):
        return {"n": 0}
    out = {name: round(float(np.percentile(values, q)), 3) for name, q in PERCENTILES.items()}
    return out | {"max": round(float(values.max()), 3), "n": len(values)}


def provenance() -> dict[str, Any]:
    """Return commit, machine and library versions, for the head of a JSON file."""
    libraries = ("numpy", "scipy", "numba", "opencv-python-headless", "pyzmq", "av")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "libraries": {name: version(name) for name in libraries},
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def memory_mb(pid: int) -> tuple[float, float] | None:
    """Return the resident memory of a process with its children, and the part that is not a mapped file, MB.

    A movie that is mapped counts as resident as far as the system likes to keep it; only the second number can
    show a leak. What a process shares with its children (frames on their way to the learner) counts once on Linux,
    their libraries each time. None where neither /proc nor psutil tells.
    """
    if Path("/proc").is_dir():
        found = [used for one in [pid, *_children(pid)] if (used := _memory_of(one)) is not None]
        if not found:
            return None
        resident, anonymous, shared = zip(*found, strict=True)
        once = max(shared)
        return sum(resident) - sum(shared) + once, sum(anonymous) + once
    try:
        import psutil  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return None
    try:
        process = psutil.Process(pid)
        rss = sum(float(one.memory_info().rss) for one in [process, *process.children()]) / 2**20
    except psutil.Error:
        return None
    return rss, rss


def _children(pid: int) -> list[int]:
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in file.read_text(encoding="utf-8").split()]
        except OSError:  # that thread has just ended
            continue
    return found


def _memory_of(pid: int) -> tuple[float, float, float] | None:
    """Return what is resident, anonymous, and shared memory, MB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        lines = [line.split() for line in text.splitlines() if line.endswith(" kB")]
        found = {name: int(kilobytes) / 1024 for name, kilobytes, _ in lines}
        return found["VmRSS:"], found["RssAnon:"], found["RssShmem:"]
    except (OSError, KeyError):
        return None


@dataclass
class MemoryLog:
    """Samples the resident memory of some processes once a second, in a thread, until it is stopped."""

    pids: dict[str, int]
    period_s: float = 1.0
    samples: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)  # s, MB, MB

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> MemoryLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        start = time.monotonic()
        while not self._stop.wait(self.period_s):
            for name, pid in self.pids.items():
                used = memory_mb(pid)
                if used is not None:
                    self.samples.setdefault(name, []).append((time.monotonic() - start, *used))

    def summary(self, settled_s: float) -> dict[str, Any]:
        """Return per process: the largest resident memory, and how the private part of it went.

        The slope is that of a straight line through the samples after `settled_s`.
        """
        out = {}
        for name, samples in self.samples.items():
            at, resident, private = np.array(samples).T
            settled = at >= min(settled_s, at[-1])
            line = np.polyfit(at[settled], private[settled], 1) if settled.sum() > 2 else [np.nan]
            thin = samples[:: max(1, len(samples) // 200)]
            out[name] = {
                "resident_max_mb": round(float(resident.max()), 1),
                "private_settled_mb": round(float(private[settled][0]), 1),
                "private_end_mb": round(float(private[-1]), 1),
                "private_mb_per_min": round(float(line[0]) * 60, 2),
                "samples_s_resident_private_mb": [[round(x, 1) for x in sample] for sample in thin],
            }
        return out


def control_loop(work_ms: float, period_s: float, seconds: float) -> dict[str, Any]:
    """Measure what the machine itself does to a loop that only computes for `work_ms` every period.

    One core is kept busy by a second process meanwhile, as the learner does in a session. Whatever tail shows
    here is the machine's and not StreamScope's.

    Returns
    -------
    dict
        Percentiles of due -> done in ms, how many were done later than one period after, and the work.
    """
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        rounds = _rounds_for(work_ms)
        start = time.monotonic_ns() + 100_000_000
        ages = []
        for n in range(round(seconds / period_s)):
            due = start + round(n * period_s * 1e9)
            while (left := due - time.monotonic_ns()) > 0:
                time.sleep(left / 1e9)
            _work(rounds)
            ages.append((time.monotonic_ns() - due) / 1e6)
    finally:
        busy.kill()
        busy.wait()
    late = sum(age > 1e3 * period_s for age in ages)
    return {"work_ms": round(work_ms, 3), "due_to_done_ms": percentiles(ages), "late": late}


def _work(rounds: int) -> float:
    x = 1.0
    for _ in range(rounds):
        x = x * 0.999 + 0.001
    return x


def _rounds_for(work_ms: float) -> int:
    """Return how many rounds of `_work` take `work_ms` here when nobody interferes."""
    rounds, times = 100_000, []
    for _ in range(20):
        start = time.perf_counter()
        _work(rounds)
        times.append(time.perf_counter() - start)
    return max(1, round(rounds * work_ms / 1e3 / float(np.median(times))))
