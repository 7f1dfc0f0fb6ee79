"""What an output says of itself: how much it wrote and dropped, how long that took, what is wrong."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from streamscope.types import Decision, OutputReport

_KEPT = 4096  # delays that percentiles are taken of


class Account:
    """Counts of one output; any thread may use it.

    Parameters
    ----------
    spec, name : str
        As the user gave it, and its name in the session.
    tell : callable
        Takes the reports.
    """

    def __init__(self, spec: str, name: str, tell: Callable[[OutputReport], None]) -> None:
        self.spec, self.name = spec, name
        self._tell = tell
        self._lock = threading.Lock()
        self._written = self._acknowledged = self._dropped = 0
        self._trouble = ""
        self._delays_ns: deque[int] = deque(maxlen=_KEPT)
        self._answers_ns: deque[int] = deque(maxlen=_KEPT)

    def wrote(self, decision: Decision, t_written_ns: int, t_acknowledged_ns: int = 0) -> None:
        """Count and report one decision that was written; times monotonic, ns, 0 for an answer that is not known."""
        with self._lock:
            self._written += 1
            self._delays_ns.append(t_written_ns - decision.t_decision_ns)
            if t_acknowledged_ns:
                self._acknowledged += 1
                self._answers_ns.append(t_acknowledged_ns - decision.t_decision_ns)
            trouble = self._trouble
        self._tell(OutputReport(self.name, decision.number, t_written_ns, t_acknowledged_ns, trouble))

    def dropped(self, trouble: str = "") -> bool:
        """Count one decision that was not taken, say why if that is news, and return False."""
        with self._lock:
            self._dropped += 1
        if trouble:
            self.trouble(trouble)
        return False

    def trouble(self, text: str) -> None:
        """Say what is wrong, once; empty: nothing any more."""
        with self._lock:
            if text == self._trouble:
                return
            self._trouble = text
        self._tell(OutputReport(self.name, -1, trouble=text))

    def describe(self) -> dict[str, Any]:
        """Return everything as plain values."""
        with self._lock:
            return {
                "spec": self.spec,
                "written": self._written,
                "acknowledged": self._acknowledged,
                "dropped": self._dropped,
                "trouble": self._trouble,
                "latency_ms": percentiles(self._delays_ns),
                "answer_ms": percentiles(self._answers_ns),
            }


def percentiles(delays_ns: deque[int]) -> dict[str, float]:
    """Return p50, p95, p99 and max in ms; nothing of nothing."""
    ordered = sorted(delays_ns)
    if not ordered:
        return {}
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        name: ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)] / 1e6
        for name, part in at.items()
    }


def plain(decision: Decision) -> dict[str, Any]:
    """Return a decision as values that JSON can say: what is not a number is None."""
    return {name: _plain(value) for name, value in decision.fields().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return value
