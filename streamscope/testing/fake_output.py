"""Outputs that note what they are given, for tests and for trying rules without hardware."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamscope.clock import clock_ns
from streamscope.types import Decision, Output, OutputReport

OPEN: dict[str, FakeOutput] = {}  # by name, the last one that was opened


class FakeOutput:
    """Takes everything, at once; `fake:slow` in the loop's thread, `fake:full` never."""

    def __init__(self, spec: str, name: str, tell: Callable[[OutputReport], None]) -> None:
        self.spec, self.name, self._tell = spec, name, tell
        self.kind = spec.partition(":")[2]
        self.decisions: list[Decision] = []
        self.heard: list[bool] = []
        self.closed = False
        OPEN[name] = self

    @property
    def fast(self) -> bool:
        """Return whether it is written in the pipeline thread."""
        return self.kind != "slow"

    def write(self, decision: Decision) -> bool:
        """Note a decision."""
        if self.kind == "full":
            return False
        self.decisions.append(decision)
        self._tell(OutputReport(self.name, decision.number, clock_ns()))
        return True

    def alive(self, armed: bool) -> None:
        """Note a sign of life."""
        self.heard.append(armed)

    def describe(self) -> Mapping[str, Any]:
        """Return what was taken."""
        return {
            "spec": self.spec,
            "written": len(self.decisions),
            "dropped": 0,
            "trouble": "",
            "latency_ms": {},
        }

    def close(self) -> None:
        """Take no more."""
        self.closed = True


def open_output(spec: str, name: str, tell: Callable[[OutputReport], None]) -> Output:
    """Return an open output."""
    return FakeOutput(spec, name, tell)
