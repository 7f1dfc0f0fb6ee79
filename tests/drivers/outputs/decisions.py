"""Decisions to write, and a place where reports go."""

from __future__ import annotations

import math
import time

from streamscope.types import Decision, OutputReport


def decision(number: int = 0, **changes: object) -> Decision:
    """Return a decision that was made now."""
    now_ns = time.perf_counter_ns()
    values = {
        "number": number,
        "rule": "licks",
        "frame": 100 + number,
        "time_s": 5.0,
        "outcome": "real",
        "reason": "",
        "control": "rule",
        "width_ms": 5.0,
        "value": 4.5,
        "inputs": (("cell", 4.5), ("head", math.nan)),
        "outputs": ("laser",),
        "rule_hash": "0123456789abcdef",
        "seed": 7,
        "t_capture_ns": now_ns - 8_000_000,
        "t_decision_ns": now_ns,
    }
    return Decision(**(values | changes))  # type: ignore[arg-type]


class Reports(list[OutputReport]):
    """What an output told; waits for it."""

    def until(self, n: int, seconds: float = 10.0) -> list[OutputReport]:
        """Return the reports on decisions once there are `n`."""
        return self.wait(lambda: [r for r in self if r.number >= 0], n, seconds)

    def troubles(self, n: int, seconds: float = 10.0) -> list[str]:
        """Return what was told of troubles once there are `n` of them."""
        return [r.trouble for r in self.wait(lambda: [r for r in self if r.number < 0], n, seconds)]

    def wait(self, chosen, n: int, seconds: float) -> list[OutputReport]:
        deadline = time.monotonic() + seconds
        while len(chosen()) < n:
            assert time.monotonic() < deadline, list(self)
            time.sleep(0.002)
        return chosen()
