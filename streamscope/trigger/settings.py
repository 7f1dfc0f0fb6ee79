"""What a rules file may say: signals, conditions on them, rules, limits, controls. Checked by pydantic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from streamscope.config import Settings
from streamscope.trigger.expression import RESERVED, parse

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e6)]
Window: TypeAlias = tuple[Seconds, Seconds]
Cell: TypeAlias = Annotated[int, Field(ge=1, lt=2**32)]
MIRROR: dict[str, Literal["any", "all"]] = {"any": "all", "all": "any"}
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


def _rising(window: Window | None) -> Window | None:
    if window is not None and not window[0] < window[1]:
        raise ValueError("its end should come after its beginning, s")
    return window


class OnTraces(Settings):
    """Which trace a signal takes, and in which unit."""

    trace: Literal["y", "c", "s", "c_lag", "s_lag"] = Field("c", description="trace that is watched")
    unit: Literal["sn", "z"] = Field("sn", description="noise units, or z over `baseline_s`")
    baseline_s: Window | None = Field(None, description="from and until when in the session z is taken, s")

    _baseline_rises = field_validator("baseline_s")(_rising)

    @model_validator(mode="after")
    def _z_has_a_baseline(self) -> OnTraces:
        if (self.unit == "z") != (self.baseline_s is not None):
            raise ValueError("unit z and baseline_s go together: give both or neither")
        return self


class CellSignal(OnTraces):
    """One cell: by id, at a place, under a mask, of a seed; with none of them it is named when the rule is armed."""

    kind: Literal["cell"]
    id: Cell | None = Field(None, description="the cell")
    seeded: Cell | None = Field(None, description="its id in the session that this one is seeded with")
    at: tuple[Number, Number] | None = Field(None, description="y, x in the reference frame, px")
    within_px: float | None = Field(None, gt=0, description="how far its centre may be; half a cell diameter")
    mask: str | None = Field(None, description="boolean .npy (H, W); the cell that it covers best")
    mask_pixels: tuple[int, ...] | None = Field(
        None, description="pixels of the mask, filled when it is read"
    )

    @model_validator(mode="after")
    def _is_named_once(self) -> CellSignal:
        if sum(value is not None for value in (self.id, self.seeded, self.at, self.mask)) > 1:
            raise ValueError("a cell is named once: by id, seeded, at or mask")
        return self


class EnsembleSignal(OnTraces):
    """Several cells."""

    kind: Literal["ensemble"]
    cells: tuple[Cell, ...] | Literal["all"] = Field("all", description="ids, or all that are confirmed")
    combine: Literal["mean", "sum", "any", "all"] = Field("mean", description="how they become one value")
    weights: tuple[Number, ...] | None = Field(None, description="one for each of `cells`; with mean or sum")
    top: int | None = Field(None, ge=1, le=1000, description="the so many best of them")
    by: Literal["snr", "mean", "peak", "rate"] = Field("snr", description="measure of the best")
    at_s: Seconds | None = Field(None, description="when in the session the best are chosen, s")

    @model_validator(mode="after")
    def _fits(self) -> EnsembleSignal:
        if (self.top is None) != (self.at_s is None):
            raise ValueError("top and at_s go together: how many, and when they are chosen")
        if self.weights is not None and (self.cells == "all" or len(self.weights) != len(self.cells)):
            raise ValueError("weights need cells, one weight for each")
        if self.weights is not None and (self.top is not None or self.combine in ("any", "all")):
            raise ValueError("weights go with combine mean or sum, and without top")
        if self.cells != "all" and len(set(self.cells)) != len(self.cells):
            raise ValueError("a cell may be named once")
        return self


class DecoderSignal(OnTraces):
    """A linear or logistic decoder: bias + sum of weight times trace, or its probability."""

    kind: Literal["decoder"]
    file: str | None = Field(None, description=".json or .csv with the weights; fills what follows")
    link: Literal["linear", "logistic"] = Field("linear", description="value itself, or probability")
    bias: Number = Field(0.0, description="added to the sum")
    cells: tuple[Cell, ...] = Field((), description="ids")
    weights: tuple[Number, ...] = Field((), description="one for each of `cells`")

    @model_validator(mode="after")
    def _fits(self) -> DecoderSignal:
        if len(self.cells) != len(self.weights) or len(set(self.cells)) != len(self.cells):
            raise ValueError("a decoder has one weight for each of its cells")
        if not self.cells and self.file is None:
            raise ValueError("a decoder needs file, or cells and weights")
        return self


class RateSignal(Settings):
    """Events per cell and second, over all confirmed cells."""

    kind: Literal["rate"]
    window_s: float = Field(1.0, gt=0, le=600, description="over so long, s")


class OrientationSignal(Settings):
    """How the head is held."""

    kind: Literal["orientation"]
    measure: Literal["yaw", "pitch", "roll", "turn"] = Field(
        "yaw", description="degrees; turn: degrees per s"
    )


class MotionSignal(Settings):
    """How the brain moves under the scope."""

    kind: Literal["motion"]
    measure: Literal["quality", "shift", "speed"] = Field("quality", description="-1..1; px; px per s")


class MarkSignal(Settings):
    """1 from the frame of a mark for `hold_s`, else 0."""

    kind: Literal["mark"]
    text: str = Field(min_length=1, max_length=200, description="text of the mark, e.g. of: streamscope mark")
    hold_s: Seconds = Field(0.0, description="0: the one frame")


Signal: TypeAlias = Annotated[
    CellSignal | EnsembleSignal | DecoderSignal | RateSignal | OrientationSignal | MotionSignal | MarkSignal,
    Field(discriminator="kind"),
]


class Lasting(Settings):
    """A condition, which may have to last."""

    for_s: Seconds = Field(0.0, description="true only once it has held for so long, s")


class LevelCondition(Lasting):
    """A signal is above, or below, a level; once true it stays so until it passes `release`."""

    kind: Literal["above", "below"]
    signal: str
    level: Number = Field(description="in the signal's unit")
    release: Number | None = Field(None, description="hysteresis: where it ends; the level if not given")

    @model_validator(mode="after")
    def _hysteresis_is_on_its_side(self) -> LevelCondition:
        side = 1 if self.kind == "above" else -1
        if self.release is not None and side * (self.level - self.release) < 0:
            raise ValueError(f"release of {self.kind} should not be beyond the level {self.level:g}")
        return self


class RiseCondition(Lasting):
    """A signal rises by at least `per_s` units a second over `over_s` (falls, if negative)."""

    kind: Literal["rise"]
    signal: str
    per_s: Number
    over_s: float = Field(gt=0, le=60, description="s")


class SequenceCondition(Lasting):
    """`then` becomes true within so long after `first` became true; true for that one frame."""

    kind: Literal["sequence"]
    first: str
    then: str
    within_s: float = Field(gt=0, le=3600, description="s")


class ScheduleCondition(Lasting):
    """True at set times of the session: `during_s` long, at each of `at_s`, or every `every_s` from `from_s` on."""

    kind: Literal["schedule"]
    at_s: tuple[Seconds, ...] = ()
    every_s: float | None = Field(None, gt=0)
    from_s: Seconds = 0.0
    until_s: Seconds | None = None
    during_s: float = Field(gt=0, description="s")

    @model_validator(mode="after")
    def _says_when(self) -> ScheduleCondition:
        if bool(self.at_s) == (self.every_s is not None):
            raise ValueError("a schedule has either at_s or every_s")
        return self


class BothCondition(Lasting):
    """Other conditions, put together with and, or, not and brackets."""

    kind: Literal["when"]
    when: str

    @field_validator("when")
    @classmethod
    def _parses(cls, text: str) -> str:
        parse(text)
        return text


Condition: TypeAlias = Annotated[
    LevelCondition | RiseCondition | SequenceCondition | ScheduleCondition | BothCondition,
    Field(discriminator="kind"),
]


class Caps(Settings):
    """What one rule may do at most; what is not given is that of [limits]."""

    pulses_per_minute: int | None = Field(None, ge=1, le=6000)
    min_gap_s: Seconds | None = None
    max_width_ms: float | None = Field(None, gt=0, le=60000)
    max_duty: float | None = Field(None, gt=0, le=1)
    session_total: int | None = Field(None, ge=0, le=10**6)


class Limits(Settings):
    """What each output gets at most from all rules that act on it, and each rule; and what disarms them all."""

    pulses_per_minute: int = Field(30, ge=1, le=6000, description="in any 60 s")
    min_gap_s: Seconds = Field(0.5, description="from the end of a pulse to the next, s")
    max_width_ms: float = Field(1000.0, gt=0, le=60000, description="of a pulse, ms")
    max_duty: float = Field(0.2, gt=0, le=1, description="share of any 60 s that pulses may take")
    session_total: int = Field(500, ge=0, le=10**6, description="pulses in a session")
    first_s: Seconds = Field(10.0, description="nothing so early in a session, s")
    blanking_s: Seconds = Field(0.0, description="nothing of any rule for so long after a pulse, s")
    max_age_ms: float = Field(100.0, gt=0, le=10000, description="a frame older than this disarms, ms")
    max_gap_s: float = Field(1.0, gt=0, le=3600, description="a longer time without a frame disarms, s")
    late_frames: int = Field(5, ge=1, le=10000, description="so many late frames in a row disarm")


class Control(Settings):
    """What draws the pulses of a rule, and how many of them are left out as sham."""

    kind: Literal["rule", "random", "yoked"] = Field(
        "rule", description="its condition, chance, or a session"
    )
    sham: float = Field(
        0.0, ge=0, le=1, description="share of the pulses that are left out and noted as sham"
    )
    block: int = Field(10, ge=1, le=1000, description="the share is kept in every so many decisions")
    mean_interval_s: float | None = Field(None, gt=0, le=86400, description="random: mean interval, s")
    session: str | None = Field(None, description="yoked: folder of the session whose pulses are repeated")
    rule: str | None = Field(None, description="yoked: which rule there; the same name if not given")
    times_s: tuple[Seconds, ...] | None = Field(
        None, description="yoked: since arming, filled when it is read"
    )

    @model_validator(mode="after")
    def _fits(self) -> Control:
        if (self.kind == "random") != (self.mean_interval_s is not None):
            raise ValueError("random and mean_interval_s go together")
        if (self.kind == "yoked") != (self.session is not None or self.times_s is not None):
            raise ValueError("yoked and session go together")
        return self


class Rule(Settings):
    """When a pulse is wanted, and which."""

    when: str | None = Field(None, description="conditions, with and, or, not and brackets")
    fires: Literal["onset", "while"] = Field("onset", description="when it becomes true, or while it is")
    refractory_s: Seconds = Field(1.0, description="not again for so long after a pulse of this rule, s")
    windows_s: tuple[Window, ...] = Field((), description="only within these times of the session, s")
    width_ms: float = Field(10.0, gt=0, le=60000, description="of the pulse, ms")
    outputs: tuple[str, ...] = Field((), description="which outputs act on it")
    dry_run: bool = Field(False, description="decided and noted, but nothing is written")
    control: Control = Control()
    limits: Caps = Caps()

    @field_validator("windows_s")
    @classmethod
    def _windows_rise(cls, windows: tuple[Window, ...]) -> tuple[Window, ...]:
        for window in windows:
            _rising(window)
        return windows

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        if (self.when is None) == (self.control.kind == "rule"):
            raise ValueError("a rule has a condition `when`, unless its control is random or yoked")
        if self.when is not None:
            parse(self.when)
        return self


class Rules(Settings):
    """A rules file."""

    version: Literal[1] = Field(1, description="of this format")
    seed: int | None = Field(None, ge=0, lt=2**63, description="of the random numbers; drawn if not given")
    dry_run: bool = Field(False, description="as dry_run of every rule")
    limits: Limits = Limits()
    outputs: dict[str, str] = Field(default_factory=dict, description="name = what acts, e.g. serial:COM3")
    listeners: dict[str, str] = Field(default_factory=dict, description="name = who is told everything")
    signals: dict[str, Signal] = Field(default_factory=dict)
    conditions: dict[str, Condition] = Field(default_factory=dict)
    rules: dict[str, Rule] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_fit(self) -> Rules:
        for kind in ("outputs", "listeners", "signals", "conditions", "rules"):
            for name in getattr(self, kind):
                if not NAME.fullmatch(name) or name in RESERVED:
                    raise ValueError(
                        f"the name {name!r} in {kind} should be letters, digits and _, at most 40"
                    )
        if set(self.outputs) & set(self.listeners):
            raise ValueError("an output and a listener have the same name; rename one")
        order_of_conditions(self)
        for name, rule in self.rules.items():
            for used in parse(rule.when).names() if rule.when else ():
                _known(used, self.conditions, f"rule {name}", "condition")
            for output in rule.outputs:
                _known(output, self.outputs, f"rule {name}", "output")
            widest = min(rule.limits.max_width_ms or self.limits.max_width_ms, self.limits.max_width_ms)
            if rule.width_ms > widest:
                raise ValueError(
                    f"rule {name} asks for {rule.width_ms:g} ms, above its max_width_ms {widest:g}"
                )
        return self


def order_of_conditions(rules: Rules) -> list[str]:
    """Return the names of all conditions, each after those that it is made of; ValueError if one is unknown."""
    order: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise ValueError(f"condition {name} is made of itself ({' -> '.join((*trail, name))})")
        if name in order:
            return
        condition = rules.conditions[name]
        for part in parts_of(condition):
            _known(part, rules.conditions, f"condition {name}", "condition")
            visit(part, (*trail, name))
        signal = getattr(condition, "signal", None)
        if signal is not None:
            _known(signal, rules.signals, f"condition {name}", "signal")
        order.append(name)

    for name in rules.conditions:
        visit(name, ())
    return order


def parts_of(condition: Condition) -> tuple[str, ...]:
    """Return the names of the conditions that a condition is made of."""
    if isinstance(condition, SequenceCondition):
        return (condition.first, condition.then)
    if isinstance(condition, BothCondition):
        return parse(condition.when).names()
    return ()


def signal_of(rules: Rules, condition: Condition) -> str | None:
    """Return the name of the signal that a condition looks at; below any cell is about the smallest value."""
    name: str | None = getattr(condition, "signal", None)
    if name is None or condition.kind != "below":
        return name
    signal = rules.signals[name]
    return mirrored(name) if isinstance(signal, EnsembleSignal) and signal.combine in MIRROR else name


def mirrored(name: str) -> str:
    """Return the name of an ensemble's smallest value where it is its largest, and the other way round."""
    return f"{name} mirrored"


def with_levels(rules: Rules, levels: Mapping[str, float]) -> Rules:
    """Return rules whose conditions have other levels; where a condition ends moves with it."""
    conditions = dict(rules.conditions)
    for name, level in levels.items():
        condition = conditions[name]
        if isinstance(condition, LevelCondition):
            release = None if condition.release is None else condition.release + (level - condition.level)
            conditions[name] = condition.model_copy(update={"level": level, "release": release})
    return rules.model_copy(update={"conditions": conditions})


def conditions_of(rules: Rules, rule: Rule) -> tuple[str, ...]:
    """Return the names of the conditions that a rule is made of, each after its parts."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for part in parts_of(rules.conditions[name]):
            visit(part)
        found[name] = None

    for name in parse(rule.when).names() if rule.when else ():
        visit(name)
    return tuple(found)


def signals_of(rules: Rules, rule: Rule) -> tuple[str, ...]:
    """Return the names of the signals that a rule watches, in order of appearance."""
    found = (signal_of(rules, rules.conditions[name]) for name in conditions_of(rules, rule))
    return tuple(dict.fromkeys(signal for signal in found if signal is not None))


def _known(name: str, known: Mapping[str, Any], where: str, what: str) -> None:
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ValueError(f"{where} uses the {what} {name!r}, which is not there; there are: {listed}")
