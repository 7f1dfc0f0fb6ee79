"""Triggers: the rules of a session, from the cells of an epoch and the results of frames to decisions.

Everything that a decision depends on comes in through `adopt`, `command` and `decide`. Written down in their order
and given to a second instance, they bring about the same decisions, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamscope.errors import ConfigError
from streamscope.trigger.cells import CHANGES, Cells, CellTable
from streamscope.trigger.conditions import Conditions
from streamscope.trigger.controls import RandomTimes, Shams, YokedTimes, draws
from streamscope.trigger.expression import Truth, parse
from streamscope.trigger.gate import Gate
from streamscope.trigger.settings import LevelCondition, Rule, Rules, conditions_of, signals_of, with_levels
from streamscope.trigger.signals import CellValue, Quaternion, Sight, Signals
from streamscope.types import (
    BLOCKED,
    DRY,
    FLAG_BAD_MOTION,
    FLAG_LATE,
    REAL,
    SHAM,
    ComponentEvent,
    Decision,
    FrameResult,
)

ARMED, DISARMED, BOUND, STOPPED = "armed", "disarmed", "bound", "emergency_stop"  # kinds of Said
ARM, DISARM, STOP, MARK = "arm", "disarm", "emergency_stop", "mark"  # kinds of Command


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What rules need to know of a session."""

    fps: float
    cell_diameter_px: float
    paced: bool  # or at full speed, where no frame can be late


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody asks of the rules while a session goes on."""

    kind: str  # ARM, DISARM, STOP, MARK
    rule: str = ""  # empty: all, to disarm
    cells: tuple[tuple[str, int], ...] = ()  # signal (empty if there is only one) and id
    levels: tuple[
        tuple[str, float], ...
    ] = ()  # condition (empty if there is only one) and its level from now on
    dry: bool = False  # arm it, but write nothing
    text: str = ""  # of a mark; or who asks, and why


@dataclass(frozen=True, slots=True)
class Said:
    """Something that happened to a rule."""

    kind: str
    frame: int
    fields: Mapping[str, Any]


@dataclass
class _State:
    """One rule as it stands."""

    name: str
    rule: Rule
    digest: str
    signals: tuple[str, ...]
    shams: Shams
    times: RandomTimes | YokedTimes | None
    armed: bool = False
    dry: bool = False
    why: str = "not armed"  # it is not armed
    truth: Truth = None  # on the frame before
    fired: float = -math.inf  # s
    blocked: str = ""  # why the present episode was blocked last
    counts: dict[str, int] = field(default_factory=dict)  # decisions by outcome


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
        self.rules = rules
        self.seed = rules.seed
        self._around = circumstances
        self._cells = Cells()
        self._signals = Signals(rules, circumstances.cell_diameter_px)
        self._conditions = Conditions(rules)
        self._gate = Gate(rules.limits, rules.rules)
        self._states = {name: self._state(name, rule) for name, rule in rules.rules.items()}
        self._said: list[Said] = []
        self._marks: list[str] = []
        self.values: Mapping[str, float] = {}  # of every signal, on the last frame
        self._n = 0
        self._t = 0.0
        self._frame = -1
        self._late = 0
        self._stopped = False

    @property
    def armed(self) -> bool:
        """Return whether any rule is."""
        return any(state.armed for state in self._states.values())

    @property
    def watches_orientation(self) -> bool:
        """Return whether `decide` needs the orientation of the head."""
        return any(signal.kind == "orientation" for signal in self.rules.signals.values())

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return how each rule stands, in plain values."""
        return {
            name: {
                "armed": state.armed,
                "dry": state.dry,
                "why": "" if state.armed else state.why,
                "cells": self._bound(state),
                "levels": self._levels(state),
                "counts": dict(state.counts),
                "hash": state.digest,
            }
            for name, state in self._states.items()
        }

    def said(self) -> list[Said]:
        """Return, once, what happened since the last call."""
        said, self._said = self._said, []
        return said

    def adopt(self, table: CellTable) -> None:
        """Take over the cells of an epoch, before the first frame on it; disarm where one is not what it was."""
        changes = self._cells.adopt(table)
        self._signals.adopt(self._cells, changes)
        for change in changes:
            if change.kind in CHANGES:
                self._lose(change)
        self._bind()

    def command(self, command: Command) -> dict[str, Any]:
        """Do what is asked, before the next frame, and return what came of it.

        Raises
        ------
        ConfigError
            If it cannot be done; nothing has changed then.
        """
        match command.kind:
            case "arm":
                return self._arm(command)
            case "disarm":
                return self._disarm(command)
            case "emergency_stop":
                self._stopped = True
                self._disarm_all(command.text or "emergency stop")
                self._say(STOPPED, by=command.text)
                return {}
            case "mark":
                self._marks.append(command.text)
                return {}
        raise ConfigError(f"{command.kind!r} is no command; expected {ARM}, {DISARM}, {STOP} or {MARK}")

    def decide(self, result: FrameResult, orientation: Quaternion | None = None) -> list[Decision]:
        """Return the decisions on a frame; called once for each, in order."""
        late = self._watch(result)
        marks, self._marks = self._marks, []
        values = self.values = self._signals.values(Sight(result, self._t, self._cells, orientation, marks))
        truth = self._conditions.update(self._t, result.gap > 0, values)
        here = late or self._unfit(result)
        decisions = []
        for state in self._states.values():
            decision = self._one(state, result, values, truth, here)
            if decision is not None:
                decisions.append(decision)
        return decisions

    def _state(self, name: str, rule: Rule) -> _State:
        return _State(
            name,
            rule,
            rule_hash(self.rules, name),
            signals_of(self.rules, rule),
            Shams(rule.control, self.seed, name),
            draws(rule.control, self.seed, name),
        )

    def _watch(self, result: FrameResult) -> str:
        """Follow the clock, and disarm everything when frames are missing, old or late; return why, if so."""
        limits, before, first = self.rules.limits, self._t, self._frame < 0
        elapsed = float(result.time_s) - before
        if not math.isfinite(elapsed):
            elapsed = 0.0 if first else (1 + result.gap) / self._around.fps
        self._t = before + max(0.0, elapsed)
        self._frame = result.index
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
            self._disarm_all(reason)
        return reason

    @staticmethod
    def _unfit(result: FrameResult) -> str:
        if result.gap:
            return "first frame after a gap"
        return "registration not trusted" if result.flags & FLAG_BAD_MOTION else ""

    def _one(
        self,
        state: _State,
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

    def _wanted(self, state: _State, truth: Mapping[str, Truth]) -> bool:
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

    def _refusal(self, state: _State, here: str) -> str:
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
        self, state: _State, result: FrameResult, values: Mapping[str, float], outcome: str, reason: str
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

    def _arm(self, command: Command) -> dict[str, Any]:
        state = self._states.get(command.rule)
        if state is None:
            known = ", ".join(self._states)
            raise ConfigError(f"no rule is called {command.rule!r}, expected one of: {known}")
        if self._stopped:
            raise ConfigError("an emergency stop came before; start a new session to arm rules again")
        signals = {name: s for name, s in self._signals.cells.items() if name in state.signals}
        found = self._named(state, signals, command.cells)
        self._set_levels(state, command.levels)  # last of what can be refused
        for name, signal in signals.items():
            signal.bound, signal.lost = found[name], False
        state.armed, state.dry, state.why = True, command.dry, ""
        if state.times is not None:
            state.times.armed(self._t)
        fields = {"rule": state.name, "cells": self._bound(state), "levels": self._levels(state)}
        fields |= {"dry": command.dry, "by": command.text, "hash": state.digest}
        self._say(ARMED, **fields)
        return fields

    def _levels(self, state: _State) -> dict[str, float]:
        """Return the level of each condition of a rule that has one."""
        used = ((name, self.rules.conditions[name]) for name in conditions_of(self.rules, state.rule))
        return {name: c.level for name, c in used if isinstance(c, LevelCondition)}

    def _set_levels(self, state: _State, given: Sequence[tuple[str, float]]) -> None:
        """Give conditions of a rule other levels; where a condition ends moves with it."""
        own = self._levels(state)
        levels: dict[str, float] = {}
        for name, level in given:
            target = name or (next(iter(own)) if len(own) == 1 else "")
            if target not in own or not math.isfinite(level):
                known = (
                    ", ".join(f"--level {name}=NUMBER" for name in own) or "none: no condition has a level"
                )
                raise ConfigError(f"rule {state.name} has no level {name or 'alone'} to be set; give {known}")
            for other in self._states.values():
                if (
                    other.armed
                    and other is not state
                    and target in self._levels(other)
                    and own[target] != level
                ):
                    raise ConfigError(f"rule {other.name} is armed and uses {target} too; disarm it first")
            levels[target] = level
        if not levels:
            return
        self.rules = with_levels(self.rules, levels)
        self._conditions.follow(self.rules)
        for each in self._states.values():
            each.digest = rule_hash(self.rules, each.name)

    def _named(
        self, state: _State, signals: Mapping[str, CellValue], given: Sequence[tuple[str, int]]
    ) -> dict[str, int | None]:
        """Return the cell of each signal of a rule: as the rules file names it, or as it is named now."""
        open_ = [name for name, signal in signals.items() if signal.named_at_run_time]
        named: dict[str, int] = {}
        for name, cell in given:
            target = name or (open_[0] if len(open_) == 1 else "")
            if target not in open_:
                wanted = (
                    ", ".join(f"--cell {name}=ID" for name in open_) or "no --cell: the rules file names it"
                )
                raise ConfigError(
                    f"rule {state.name} has no cell {name or 'that'} to be named; give {wanted}"
                )
            if cell not in self._cells.row:
                raise ConfigError(
                    f"cell {cell} is not confirmed, expected one that is; "
                    f"there are {len(self._cells.row)}: {_some(self._cells.row)}"
                )
            named[target] = cell
        for name in open_:
            bound = signals[name].bound
            if (
                name not in named
                and bound is not None
                and bound in self._cells.row
                and not signals[name].lost
            ):
                named[name] = bound  # as it was when it was armed before
            if name not in named:
                raise ConfigError(f"rule {state.name} needs a cell for {name}; give --cell {name}=ID")
            self._not_taken(state, name, bound, named[name])
        return {
            name: named[name] if name in named else self._found_again(signal)
            for name, signal in signals.items()
        }

    def _not_taken(self, state: _State, signal: str, bound: int | None, cell: int) -> None:
        for other in self._states.values():
            if other.armed and other is not state and signal in other.signals and bound != cell:
                raise ConfigError(
                    f"rule {other.name} is armed and watches {signal} as cell {bound}; disarm it first"
                )

    def _found_again(self, signal: CellValue) -> int | None:
        if signal.bound is not None and signal.bound in self._cells.row:
            return signal.bound
        return signal.find(self._cells)

    def _disarm(self, command: Command) -> dict[str, Any]:
        if command.rule and command.rule not in self._states:
            raise ConfigError(
                f"no rule is called {command.rule!r}, expected one of: {', '.join(self._states)}"
            )
        names = [command.rule] if command.rule else list(self._states)
        disarmed = [name for name in names if self._states[name].armed]
        for name in disarmed:
            self._put_down(self._states[name], command.text or "asked to")
        return {"rules": disarmed}

    def _disarm_all(self, reason: str) -> None:
        for state in self._states.values():
            if state.armed:
                self._put_down(state, reason)

    def _put_down(self, state: _State, reason: str) -> None:
        state.armed, state.why = False, reason
        self._say(DISARMED, rule=state.name, reason=reason)

    def _lose(self, change: ComponentEvent) -> None:
        """Disarm the rules that watch a cell which is not what it was; none of them looks at another instead."""
        concerned = {change.id, change.into} - {None}
        for name, signal in self._signals.by_name.items():
            if not concerned & set(signal.watches()):
                continue
            for state in self._states.values():
                if state.armed and name in state.signals:
                    self._put_down(state, _told(change))
            if isinstance(signal, CellValue):
                signal.bound, signal.lost = None, True

    def _bind(self) -> None:
        """Bind the signals whose cell has just been confirmed."""
        for name, signal in self._signals.cells.items():
            if signal.bound is None and not signal.lost and not signal.named_at_run_time:
                signal.bound = signal.find(self._cells)
                if signal.bound is not None:
                    self._say(BOUND, signal=name, cell=signal.bound)

    def _bound(self, state: _State) -> dict[str, int | None]:
        return {name: s.bound for name, s in self._signals.cells.items() if name in state.signals}

    def _say(self, kind: str, **fields: Any) -> None:
        self._said.append(Said(kind, self._frame + 1, fields))


def rule_hash(rules: Rules, name: str) -> str:
    """Return 16 hexadecimal digits that change with anything that a rule's decisions depend on."""
    rule = rules.rules[name]
    used = {c: rules.conditions[c].model_dump(mode="json") for c in conditions_of(rules, rule)}
    signals = {s.removesuffix(" mirrored") for s in signals_of(rules, rule)}
    whole = {
        "name": name,
        "rule": rule.model_dump(mode="json"),
        "conditions": used,
        "signals": {s: rules.signals[s].model_dump(mode="json") for s in signals},
        "limits": rules.limits.model_dump(mode="json"),
        "dry_run": rules.dry_run,
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def _told(change: ComponentEvent) -> str:
    if change.kind == "merged":
        return f"cell {change.id} was merged into {change.into}"
    if change.kind == "rescaled":
        factor = "" if change.factor is None else f" by {change.factor:.3g}"
        return f"cell {change.id} was rescaled{factor}"
    return f"cell {change.id} was {change.kind}"


def _some(ids: Mapping[int, int]) -> str:
    listed = sorted(ids)
    return ", ".join(map(str, listed[:10])) + (" ..." if len(listed) > 10 else "")
