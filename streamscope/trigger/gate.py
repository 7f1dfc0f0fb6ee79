"""The gate below the rules: what may be written at most, whatever a rule wants."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from streamscope.trigger.settings import Limits, Rule

MINUTE_S = 60.0
_EPS_S = 1e-9


@dataclass(frozen=True, slots=True)
class Bounds:
    """The caps that hold for one rule, or for one output."""

    pulses_per_minute: int
    min_gap_s: float
    max_width_ms: float
    max_duty: float
    session_total: int

    @staticmethod
    def of_output(limits: Limits) -> Bounds:
        """Return the caps for an output, over all rules that act on it."""
        return Bounds(**{name: getattr(limits, name) for name in Bounds.__slots__})

    @staticmethod
    def of_rule(limits: Limits, rule: Rule) -> Bounds:
        """Return the caps for one rule: its own, or those of an output."""
        own = {name: getattr(rule.limits, name) for name in Bounds.__slots__}
        return Bounds(**{k: getattr(limits, k) if v is None else v for k, v in own.items()})


class Meter:
    """Counts pulses against one set of caps.

    Parameters
    ----------
    bounds : Bounds
    whose : str
        For the reason of a refusal.
    """

    def __init__(self, bounds: Bounds, whose: str) -> None:
        self._bounds = bounds
        self._whose = whose
        self._recent: deque[tuple[float, float]] = deque()  # start and width, s, of the last minute
        self._end = float("-inf")  # of the last pulse, s
        self.total = 0

    def refuses(self, t: float, width_s: float) -> str:
        """Return why a pulse at `t` may not be, empty if it may."""
        b = self._bounds
        while self._recent and self._recent[0][0] <= t - MINUTE_S:
            self._recent.popleft()
        if width_s * 1000 > b.max_width_ms + _EPS_S:
            return f"max_width_ms of {self._whose}"
        if self.total >= b.session_total:
            return f"session_total of {self._whose}"
        if t < self._end + b.min_gap_s - _EPS_S:
            return f"min_gap_s of {self._whose}"
        if len(self._recent) >= b.pulses_per_minute:
            return f"pulses_per_minute of {self._whose}"
        if sum(width for _, width in self._recent) + width_s > b.max_duty * MINUTE_S + _EPS_S:
            return f"max_duty of {self._whose}"
        return ""

    def count(self, t: float, width_s: float) -> None:
        """Take a pulse into account."""
        self._recent.append((t, width_s))
        self._end = max(self._end, t + width_s)
        self.total += 1


class Gate:
    """The caps of every rule and every output, and the blanking after a pulse.

    An output has its caps over all rules that act on it. Only pulses that were let go are known here.

    Parameters
    ----------
    limits : Limits
        For each output, and for rules that have none of their own.
    rules : dict of str to Rule
    """

    def __init__(self, limits: Limits, rules: dict[str, Rule]) -> None:
        self._limits = limits
        self._own = {name: Meter(Bounds.of_rule(limits, rule), name) for name, rule in rules.items()}
        names = {output for rule in rules.values() for output in rule.outputs}
        outputs = {name: Meter(Bounds.of_output(limits), f"output {name}") for name in sorted(names)}
        self._meters = {
            name: (self._own[name], *(outputs[output] for output in rule.outputs))
            for name, rule in rules.items()
        }
        self._blank_until = float("-inf")

    def refuses(self, rule: str, t: float, width_s: float) -> str:
        """Return why a pulse of a rule may not be now, empty if it may."""
        if t < self._limits.first_s:
            return "first_s"
        if t < self._blank_until - _EPS_S:
            return "blanking_s"
        return next(filter(None, (meter.refuses(t, width_s) for meter in self._meters[rule])), "")

    def count(self, rule: str, t: float, width_s: float) -> None:
        """Take a pulse into account: one that is written, or a sham or dry one in its place."""
        for meter in self._meters[rule]:
            meter.count(t, width_s)
        if self._limits.blanking_s:
            self._blank_until = max(self._blank_until, t + width_s + self._limits.blanking_s)
