"""Which rules are armed, on which cells and at which levels; and what disarms them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamscope.errors import ConfigError
from streamscope.trigger.cells import CHANGES, Cells
from streamscope.trigger.conditions import Conditions
from streamscope.trigger.controls import RandomTimes, Shams, YokedTimes, draws
from streamscope.trigger.expression import Truth
from streamscope.trigger.settings import LevelCondition, Rule, Rules, conditions_of, signals_of, with_levels
from streamscope.trigger.signals import CellValue, Signals
from streamscope.types import ComponentEvent

ARMED, DISARMED, BOUND, STOPPED = "armed", "disarmed", "bound", "emergency_stop"  # kinds of Said
ARM, DISARM, STOP, MARK = "arm", "disarm", "emergency_stop", "mark"  # kinds of Command


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
    frame: int  # the first for which it holds
    fields: Mapping[str, Any]


@dataclass
class RuleState:
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


class Arming:
    """The rules of a session, armed and disarmed.

    Parameters
    ----------
    rules : Rules
    seed : int
        Of what the rules draw.
    cells : Cells
        The confirmed cells; somebody else keeps them.
    signals, conditions : Signals, Conditions
        What is bound to cells, and what has levels.
    """

    def __init__(
        self, rules: Rules, seed: int, cells: Cells, signals: Signals, conditions: Conditions
    ) -> None:
        self.rules = rules
        self._cells, self._signals, self._conditions = cells, signals, conditions
        self.states = {name: self._state(name, rule, seed) for name, rule in rules.rules.items()}
        self.frame = 0  # the first for which what happens now holds
        self._said: list[Said] = []
        self._stopped = False

    @property
    def armed(self) -> bool:
        """Return whether any rule is."""
        return any(state.armed for state in self.states.values())

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
            for name, state in self.states.items()
        }

    def said(self) -> list[Said]:
        """Return, once, what happened since the last call."""
        said, self._said = self._said, []
        return said

    def follow(self, changes: Sequence[ComponentEvent]) -> None:
        """Disarm the rules whose cell is not what it was, and bind signals whose cell has just been confirmed."""
        for change in changes:
            if change.kind in CHANGES:
                self._lose(change)
        for name, signal in self._signals.cells.items():
            if signal.bound is None and not signal.lost and not signal.named_at_run_time:
                signal.bound = signal.find(self._cells)
                if signal.bound is not None:
                    self._say(BOUND, signal=name, cell=signal.bound)

    def arm(self, command: Command, t: float) -> dict[str, Any]:
        """Arm a rule at `t`, s, and return what it was armed with.

        The next frame is looked at and no more: what becomes true because a cell or a level was named is no onset.

        Raises
        ------
        ConfigError
            If it cannot be armed so; nothing has changed then.
        """
        state = self._of(command.rule)
        if self._stopped:
            raise ConfigError("an emergency stop came before; start a new session to arm rules again")
        signals = {name: s for name, s in self._signals.cells.items() if name in state.signals}
        found = self._named(state, signals, command.cells)
        levels = self._wanted_levels(state, command.levels)  # last of what can be refused
        self._renew({name for name in signals if signals[name].bound != found[name]}, levels)
        for name, signal in signals.items():
            signal.bound, signal.lost = found[name], False
        state.armed, state.dry, state.why = True, command.dry, ""
        state.truth, state.blocked = None, ""
        if state.times is not None:
            state.times.armed(t)
        fields: dict[str, Any] = {
            "rule": state.name,
            "cells": self._bound(state),
            "levels": self._levels(state),
        }
        fields |= {"dry": command.dry, "by": command.text, "hash": state.digest}
        self._say(ARMED, **fields)
        return fields

    def disarm(self, rule: str, reason: str) -> list[str]:
        """Disarm a rule, or all of them if it is empty, and return which were armed."""
        states = [self._of(rule)] if rule else list(self.states.values())
        armed = [state for state in states if state.armed]
        for state in armed:
            state.armed, state.why = False, reason
            self._say(DISARMED, rule=state.name, reason=reason)
        return [state.name for state in armed]

    def stop(self, by: str) -> None:
        """Disarm all rules, and never arm one again."""
        self._stopped = True
        self.disarm("", f"emergency stop by {by}" if by else "emergency stop")
        self._say(STOPPED, by=by)

    def _state(self, name: str, rule: Rule, seed: int) -> RuleState:
        return RuleState(
            name,
            rule,
            rule_hash(self.rules, name),
            signals_of(self.rules, rule),
            Shams(rule.control, seed, name),
            draws(rule.control, seed, name),
        )

    def _of(self, rule: str) -> RuleState:
        if rule not in self.states:
            raise ConfigError(f"no rule is called {rule!r}, expected one of: {', '.join(self.states)}")
        return self.states[rule]

    def _lose(self, change: ComponentEvent) -> None:
        """Disarm the rules that watch a cell which is not what it was; none of them looks at another instead."""
        concerned = {change.id, change.into} - {None}
        for name, signal in self._signals.by_name.items():
            if not concerned & set(signal.watches()):
                continue
            for state in self.states.values():
                if state.armed and name in state.signals:
                    self.disarm(state.name, _told(change))
            if isinstance(signal, CellValue):
                signal.bound, signal.lost = None, True

    def _named(
        self, state: RuleState, signals: Mapping[str, CellValue], given: Sequence[tuple[str, int]]
    ) -> dict[str, int | None]:
        """Return the cell of each signal of a rule: as the rules file names it, or as it is named now."""
        open_ = [name for name, signal in signals.items() if signal.named_at_run_time]
        named: dict[str, int] = {}
        for name, cell in given:
            target = name or (open_[0] if len(open_) == 1 else "")
            if target not in open_:
                wanted = (
                    ", ".join(f"--cell {signal}=ID" for signal in open_)
                    or "none: the rules file names its cells"
                )
                what = f"open cell {name}" if name else "one open cell"
                raise ConfigError(f"rule {state.name} has no {what}; give {wanted}")
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

    def _not_taken(self, state: RuleState, signal: str, bound: int | None, cell: int) -> None:
        for other in self.states.values():
            if other.armed and other is not state and signal in other.signals and bound != cell:
                raise ConfigError(
                    f"rule {other.name} is armed and watches {signal} as cell {bound}; disarm it first"
                )

    def _found_again(self, signal: CellValue) -> int | None:
        if signal.bound is not None and signal.bound in self._cells.row:
            return signal.bound
        return signal.find(self._cells)

    def _levels(self, state: RuleState) -> dict[str, float]:
        """Return the level of each condition of a rule that has one."""
        used = ((name, self.rules.conditions[name]) for name in conditions_of(self.rules, state.rule))
        return {name: c.level for name, c in used if isinstance(c, LevelCondition)}

    def _wanted_levels(self, state: RuleState, given: Sequence[tuple[str, float]]) -> dict[str, float]:
        """Return the levels that conditions of a rule are to have, of those that change."""
        own = self._levels(state)
        levels: dict[str, float] = {}
        for name, level in given:
            target = name or (next(iter(own)) if len(own) == 1 else "")
            if target not in own or not math.isfinite(level):
                wanted = (
                    ", ".join(f"--level {condition}=NUMBER" for condition in own) or "none: it has no level"
                )
                what = f"level {name} that could be {level}" if name else "one level"
                raise ConfigError(f"rule {state.name} has no {what}; give {wanted}")
            if own[target] == level:
                continue
            for other in self.states.values():
                if other.armed and other is not state and target in self._levels(other):
                    raise ConfigError(f"rule {other.name} is armed and uses {target} too; disarm it first")
            levels[target] = level
        return levels

    def _renew(self, signals: set[str], levels: Mapping[str, float]) -> None:
        """Let conditions forget what they saw of other cells, or against other levels."""
        self.rules = with_levels(self.rules, levels)
        self._conditions.renew(self.rules, signals, levels)
        if levels:
            for state in self.states.values():
                state.digest = rule_hash(self.rules, state.name)

    def _bound(self, state: RuleState) -> dict[str, int | None]:
        return {name: s.bound for name, s in self._signals.cells.items() if name in state.signals}

    def _say(self, kind: str, **fields: Any) -> None:
        self._said.append(Said(kind, self.frame, fields))


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
