"""Whether each condition holds on each frame: true, false, or not known."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from streamscope.trigger import settings
from streamscope.trigger.expression import Truth, parse


@dataclass
class Moment:
    """One frame, as conditions see it."""

    t: float  # s
    broken: bool  # frames are missing before it: nothing is known to have lasted
    values: Mapping[str, float]  # of the signals
    truth: dict[str, Truth] = field(default_factory=dict)  # of the conditions so far


class Lasting:
    """Turns what holds now into what has held for long enough."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._since: float | None = None

    def __call__(self, now: Truth, moment: Moment) -> Truth:
        """Return the truth of a condition that has to last."""
        if not now:
            self._since = None
            return now
        if self._since is None or moment.broken:
            self._since = moment.t
        return moment.t - self._since >= self._for_s - 1e-9


class Condition:
    """A condition with its memory; `update` is called once for every frame."""

    def __init__(self, config: settings.Lasting) -> None:
        self._lasting = Lasting(config.for_s)

    def update(self, moment: Moment) -> Truth:
        """Return whether it holds on this frame."""
        return self._lasting(self._now(moment), moment)

    def _now(self, moment: Moment) -> Truth:
        raise NotImplementedError


class Level(Condition):
    """Above or below a level, with hysteresis."""

    def __init__(self, config: settings.LevelCondition) -> None:
        super().__init__(config)
        self._c = config
        self._side = 1 if config.kind == "above" else -1
        self._on = False

    def _now(self, moment: Moment) -> Truth:
        c, value = self._c, moment.values[self._c.signal]
        if math.isnan(value):
            self._on = False
            return None
        bound = c.release if self._on and c.release is not None else c.level
        self._on = self._side * (value - bound) > 0
        return self._on


class Rise(Condition):
    """A signal rises, or falls, fast enough."""

    def __init__(self, config: settings.RiseCondition) -> None:
        super().__init__(config)
        self._c = config
        self._past: deque[tuple[float, float]] = deque()

    def _now(self, moment: Moment) -> Truth:
        value = moment.values[self._c.signal]
        if math.isnan(value) or moment.broken:
            self._past.clear()
        if math.isnan(value):
            return None
        self._past.append((moment.t, value))
        since = moment.t - self._c.over_s + 1e-9
        while len(self._past) > 1 and self._past[1][0] <= since:
            self._past.popleft()
        then, before = self._past[0]
        if then > since or moment.t <= then:
            return None
        slope = (value - before) / (moment.t - then)
        return slope >= self._c.per_s if self._c.per_s >= 0 else slope <= self._c.per_s


class Sequence(Condition):
    """One condition begins within a time after another began."""

    def __init__(self, config: settings.SequenceCondition) -> None:
        super().__init__(config)
        self._c = config
        self._began: float | None = None
        self._before: tuple[Truth, Truth] = (None, None)

    def _now(self, moment: Moment) -> Truth:
        first, then = moment.truth[self._c.first], moment.truth[self._c.then]
        was_first, was_then = self._before
        self._before = (first, then)
        if moment.broken:
            self._began = None
        happened = (
            then is True
            and was_then is False
            and self._began is not None
            and moment.t - self._began <= self._c.within_s + 1e-9
        )
        if happened:
            self._began = None  # each first counts once
        if first is True and was_first is False:
            self._began = moment.t
        return happened


class Schedule(Condition):
    """Set times of the session."""

    def __init__(self, config: settings.ScheduleCondition) -> None:
        super().__init__(config)
        self._c = config

    def _now(self, moment: Moment) -> Truth:
        c, t = self._c, moment.t
        if t < c.from_s or (c.until_s is not None and t >= c.until_s):
            return False
        if c.every_s is not None:
            return math.fmod(t - c.from_s, c.every_s) < c.during_s
        return any(at <= t < at + c.during_s for at in c.at_s)


class Both(Condition):
    """Others, put together."""

    def __init__(self, config: settings.BothCondition) -> None:
        super().__init__(config)
        self._expression = parse(config.when)

    def _now(self, moment: Moment) -> Truth:
        return self._expression.evaluate(moment.truth)


class Conditions:
    """All conditions of a rules file, evaluated in an order in which each comes after its parts."""

    def __init__(self, rules: settings.Rules) -> None:
        self._all = {name: self._made(rules, name) for name in settings.order_of_conditions(rules)}

    def update(self, t: float, broken: bool, values: Mapping[str, float]) -> Mapping[str, Truth]:
        """Return the truth of every condition on this frame."""
        moment = Moment(t, broken, values)
        for name, condition in self._all.items():
            moment.truth[name] = condition.update(moment)
        return moment.truth

    def renew(self, rules: settings.Rules, signals: Collection[str], conditions: Collection[str]) -> None:
        """Begin anew with these conditions, with all on these signals, and with all that are made of them."""
        affected: set[str] = set()
        for name in self._all:
            config = rules.conditions[name]
            on = settings.signal_of(rules, config)
            if name in conditions or on in signals or affected & set(settings.parts_of(config)):
                affected.add(name)
                self._all[name] = self._made(rules, name)

    @staticmethod
    def _made(rules: settings.Rules, name: str) -> Condition:
        config = rules.conditions[name]
        signal = settings.signal_of(rules, config)
        return _make(config if signal is None else config.model_copy(update={"signal": signal}))


def _make(config: settings.Condition) -> Condition:
    match config:
        case settings.LevelCondition():
            return Level(config)
        case settings.RiseCondition():
            return Rise(config)
        case settings.SequenceCondition():
            return Sequence(config)
        case settings.ScheduleCondition():
            return Schedule(config)
        case settings.BothCondition():
            return Both(config)
