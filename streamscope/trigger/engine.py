"""Triggers: the rules of a session, from the cells of an epoch and the results of frames to decisions.

Everything that a decision depends on comes in through `adopt`, `command` and `decide`. Written down in their order
and given to a second instance, they bring about the same decisions, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamscope.errors import ConfigError
from streamscope.trigger.arming import ARM, DISARM, MARK, STOP, Arming, Command, RuleState, Said
from streamscope.trigger.cells import Cells, CellTable
from streamscope.trigger.conditions import Conditions
from streamscope.trigger.expression import Truth, parse
from streamscope.trigger.gate import Gate
from streamscope.trigger.settings import Rules
from streamscope.trigger.signals import Quaternion, Sight, Signals
from streamscope.types import BLOCKED, DRY, FLAG_BAD_MOTION, FLAG_LATE, REAL, SHAM, Decision, FrameResult

__all__ = ["ARM", "DISARM", "MARK", "STOP", "Circumstances", "Command", "Said", "Triggers"]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What rules need to know of a session."""

    fps: float
    cell_diameter_px: float
    paced: bool  # or at full speed, where no frame can be late


class Triggers:
    """Decides, frame by frame.

    Parameters
    ----------
    rules : Rules
        With masks, decoders, yoked times and a seed.
    circumstances : Circumstances
    """

    def __init__(self, rules: Rules, circumstances: Circumstances) -> None:
        if rules.seed is None:
            raise ConfigError("rules need a seed before they decide; draw one")
        self.seed = rules.seed
        self._around = circumstances
        self._cells = Cells()
        self._signals = Signals(rules, circumstances.cell_diameter_px)
        self._conditions = Conditions(rules)
        self._gate = Gate(rules.limits, rules.rules)
        self._arming = Arming(rules, rules.seed, self._cells, self._signals, self._conditions)
        self._marks: list[str] = []
        self.values: Mapping[str, float] = {}  # of every signal, on the last frame
        self._n = 0
        self._t = 0.0
        self._frame = -1
        self._late = 0

    @property
    def armed(self) -> bool:
        """Return whether any rule is."""
        return self._arming.armed

    @property
    def watches_orientation(self) -> bool:
        """Return whether `decide` needs the orientation of the head."""
        return any(signal.kind == "orientation" for signal in self.rules.signals.values())

    @property
    def rules(self) -> Rules:
        """Return the rules, with the levels that they have now."""
        return self._arming.rules

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return how each rule stands, in plain values."""
        return self._arming.describe()

    def said(self) -> list[Said]:
        """Return, once, what happened since the last call."""
        return self._arming.said()

    def adopt(self, table: CellTable) -> None:
        """Take over the cells of an epoch, before the first frame on it; disarm where one is not what it was."""
        changes = self._cells.adopt(table)
        self._signals.adopt(self._cells, changes)
        self._arming.follow(changes)

    def command(self, command: Command) -> dict[str, Any]:
        """Do what is asked, before the next frame, and return what came of it.

        Raises
        ------
        ConfigError
            If it cannot be done; nothing has changed then.
        """
        match command.kind:
            case "arm":
                return self._arming.arm(command, self._t)
            case "disarm":
                return {"rules": self._arming.disarm(command.rule, command.text or "asked to")}
            case "emergency_stop":
                self._arming.stop(command.text)
                return {}
            case "mark":
                self._marks.append(command.text)
                return {}
        raise ConfigError(f"{command.kind!r} is no command; expected {ARM}, {DISARM}, {STOP} or {MARK}")

    def decide(self, result: FrameResult, orientation: Quaternion | None = None) -> list[Decision]:
        """Return the decisions on a frame; called once for each, in order."""
        self._watch(result)
        marks, self._marks = self._marks, []
        values = self.values = self._signals.values(Sight(result, self._t, self._cells, orientation, marks))
        truth = self._conditions.update(self._t, result.gap > 0, values)
        here = self._unfit(result)
        decisions = []
        for state in self._arming.states.values():
            decision = self._one(state, result, values, truth, here)
            if decision is not None:
                decisions.append(decision)
        return decisions

    def _watch(self, result: FrameResult) -> None:
        """Follow the clock, and disarm everything when frames are missing, old or late."""
        limits, before, first = self.rules.limits, self._t, self._frame < 0
        elapsed = float(result.time_s) - before
        if not math.isfinite(elapsed):
            elapsed = 0.0 if first else (1 + result.gap) / self._around.fps
        self._t = before + max(0.0, elapsed)
        self._frame = self._arming.frame = result.index
        self._late = self._late + 1 if result.flags & FLAG_LATE else 0
        age_ms = (result.t_result_ns - result.t_capture_ns) / 1e6
        reason = ""
        if not first and elapsed > limits.max_gap_s:
            reason = f"no frame for {elapsed:.3f} s"
        elif self._around.paced and age_ms > limits.max_age_ms:
            reason = f"stale: the frame is {age_ms:.1f} ms old"
        elif self._around.paced and self._late >= limits.late_frames:
            reason = f"overload: {self._late} late frames in a row"
        if reason:
            self._arming.disarm("", reason)
        self._arming.frame = result.index + 1

    @staticmethod
    def _unfit(result: FrameResult) -> str:
        if result.gap:
            return "first frame after a gap"
        return "registration not trusted" if result.flags & FLAG_BAD_MOTION else ""

    def _one(
        self,
        state: RuleState,
        result: FrameResult,
        values: Mapping[str, float],
        truth: Mapping[str, Truth],
        here: str,
    ) -> Decision | None:
        if not self._wanted(state, truth):
            return None
        reason = self._refusal(state, here)
        if reason:
            if reason == state.blocked:
                return None  # said once an episode
            state.blocked = reason
            return self._decision(state, result, values, BLOCKED, reason)
        state.blocked = ""
        state.fired = self._t
        self._gate.count(state.name, self._t, state.rule.width_ms / 1000)
        sham = state.shams.next()
        dry = state.dry or state.rule.dry_run or self.rules.dry_run
        outcome = SHAM if sham else DRY if dry else REAL
        return self._decision(state, result, values, outcome, "" if outcome == REAL else f"{outcome} control")

    def _wanted(self, state: RuleState, truth: Mapping[str, Truth]) -> bool:
        """Return whether the rule, or its control, asks for a pulse on this frame."""
        if state.times is not None:
            state.blocked = ""
            return state.times.due(self._t)
        now, before = parse(state.rule.when or "").evaluate(truth), state.truth
        state.truth = now
        begins = now is True and before is False  # after what is not known, nobody knows when it began
        if begins or not now:
            state.blocked = ""
        return begins if state.rule.fires == "onset" else now is True

    def _refusal(self, state: RuleState, here: str) -> str:
        rule = state.rule
        if not state.armed:
            return f"disarmed: {state.why}"
        if here:
            return here
        if rule.windows_s and not any(a <= self._t < b for a, b in rule.windows_s):
            return "outside windows_s"
        if self._t < state.fired + rule.refractory_s - 1e-9:
            return "refractory_s"
        return self._gate.refuses(state.name, self._t, rule.width_ms / 1000)

    def _decision(
        self, state: RuleState, result: FrameResult, values: Mapping[str, float], outcome: str, reason: str
    ) -> Decision:
        inputs = tuple((name, values[name]) for name in state.signals)
        state.counts[outcome] = state.counts.get(outcome, 0) + 1
        self._n += 1
        return Decision(
            number=self._n - 1,
            rule=state.name,
            frame=result.index,
            time_s=self._t,
            outcome=outcome,
            reason=reason,
            control=state.rule.control.kind,
            width_ms=state.rule.width_ms,
            value=inputs[0][1] if inputs else math.nan,
            inputs=inputs,
            outputs=state.rule.outputs,
            rule_hash=state.digest,
            seed=self.seed,
            t_capture_ns=result.t_capture_ns,
        )
