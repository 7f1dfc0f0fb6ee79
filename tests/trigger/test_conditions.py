"""When each kind of condition holds, and each kind of signal has which value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.trigger.controls import RandomTimes, Shams, YokedTimes, uniform
from streamscope.trigger.engine import ARM, DISARM, MARK, Command
from streamscope.trigger.expression import parse
from streamscope.trigger.settings import Control
from streamscope.types import BLOCKED, DRY, REAL, SHAM, Shift
from tests.trigger.sights import FPS, frame, outcomes, run, triggers

HIGH = {"kind": "above", "signal": "target", "level": 4}


def fired(traces, conditions, when="x", **changes):
    """Return the frames on which a rule with this condition fires."""
    engine = triggers(conditions=conditions, rules={"r": {"when": when, "refractory_s": 0}}, **changes)
    return [d.frame for d in run(engine, traces) if d.outcome == REAL]


def test_above_with_hysteresis_fires_again_only_after_the_release():
    trace = [0, 5, 3, 5, 1, 5, 0]
    assert fired(trace, {"x": {**HIGH, "release": 2}}) == [1, 5]
    assert fired(trace, {"x": HIGH}) == [1, 3, 5]
    assert fired([-v for v in trace], {"x": {**HIGH, "kind": "below", "level": -4, "release": -2}}) == [1, 5]


def test_a_condition_that_has_to_last_fires_once_it_has():
    assert fired([0, 5, 5, 0, 5, 5, 5, 5], {"x": {**HIGH, "for_s": 0.1}}) == [6]


def test_a_rise_is_a_slope_over_its_time():
    rise = {"kind": "rise", "signal": "target", "per_s": 10, "over_s": 0.1}
    assert fired([0, 0.4, 0.8, 1.2, 2.0, 3.0, 3.0, 3.0], {"x": rise}) == [4]  # 1.2 in 0.1 s
    assert (
        fired([9, 8, 7, 6, 6, 6], {"x": {**rise, "per_s": -10}}) == []
    )  # falls from the start: no onset is known
    assert fired([9, 9, 9, 8, 7, 6], {"x": {**rise, "per_s": -10}}) == [3]


def test_a_sequence_is_one_after_the_other_in_time():
    conditions = {
        "a": {"kind": "above", "signal": "first", "level": 4},
        "b": {"kind": "above", "signal": "then", "level": 4},
        "x": {"kind": "sequence", "first": "a", "then": "b", "within_s": 0.1},
    }
    signals = {"first": {"kind": "cell", "id": 1}, "then": {"kind": "cell", "id": 2}}
    a, b, none = [5, 0, 0], [0, 5, 0], [0, 0, 0]
    assert fired([none, a, none, b], conditions, signals=signals) == [3]
    assert fired([none, a, none, none, b], conditions, signals=signals) == []
    assert fired([none, b, a, none], conditions, signals=signals) == []
    assert fired([none, a, b, none, b], conditions, signals=signals) == [2]  # each first counts once


def test_a_schedule_is_true_at_its_times():
    every = {"kind": "schedule", "every_s": 0.5, "from_s": 0.25, "until_s": 1.5, "during_s": 0.1}
    assert fired([0] * 40, {"x": every}) == [5, 15, 25]
    assert fired([0] * 40, {"x": {"kind": "schedule", "at_s": [0.5, 1.0], "during_s": 0.1}}) == [10, 20]


def test_what_is_not_known_is_neither_true_nor_false():
    conditions = {"x": HIGH, "gone": {**HIGH, "signal": "other"}}
    signals = {"target": {"kind": "cell", "id": 1}, "other": {"kind": "cell", "id": 77}}
    given = {"conditions": conditions, "signals": signals}
    assert fired([0, 5], when="x and gone", **given) == []
    assert fired([0, 5], when="not gone", **given) == []
    assert fired([0, 5], when="x or gone", **given) == []  # was it true before? nobody knows
    assert fired([0, 5], when="x and not (gone and not gone)", **given) == []


names = st.sampled_from(["a", "b", "c"])
texts = st.recursive(
    names,
    lambda inner: st.one_of(
        inner.map(lambda t: f"not ({t})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
    ),
)


@given(texts, st.fixed_dictionaries({n: st.sampled_from([True, False, None]) for n in "abc"}))
def test_an_expression_is_what_python_says_wherever_nothing_unknown_could_change_it(text, truth):
    found = parse(text).evaluate(truth)
    unknown = [name for name, value in truth.items() if value is None]
    worlds = [truth | dict(zip(unknown, case, strict=True)) for case in np.ndindex(*[2] * len(unknown))]
    results = {bool(eval(text, {}, {k: bool(v) for k, v in world.items()})) for world in worlds}
    if found is not None:
        assert results == {found}
    elif not unknown:
        pytest.fail("everything is known")


@pytest.mark.parametrize(
    "text", ["", "a and", "(a", "a b", "a)", "not", "a & b", "and a", "a " + "or a " * 200]
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(ValueError, match=r"condition|expected|closed|name|words"):
        parse(text)


def last(signal, frames, **given):
    """Return the value that the last frame's decision logs: a rule that fires on anything."""
    anything = {"low": {"kind": "above", "signal": "target", "level": -1e9}}
    engine = triggers(
        signals={"target": signal},
        conditions=anything,
        rules={"r": {"when": "low", "fires": "while", "refractory_s": 0}},
    )
    decisions = []
    for k, row in enumerate(frames):
        if k in given.get("marks", ()):
            engine.command(Command(MARK, text="tone"))
        options = {name: given[name][k] for name in ("shift", "s") if name in given}
        turned = given["orientation"][k] if "orientation" in given else None
        decisions = engine.decide(frame(k, row, **options), turned)
    return decisions[0].value if decisions else math.nan


def test_ensembles_and_decoders_are_exact_sums():
    row = [[1.5, 2.5, 5.0]]
    assert last({"kind": "ensemble"}, row) == 3.0
    assert last({"kind": "ensemble", "combine": "any"}, row) == 5.0
    assert last({"kind": "ensemble", "combine": "all", "cells": [2, 3]}, row) == 2.5
    assert last({"kind": "ensemble", "combine": "sum", "cells": [1, 3], "weights": [2, -1]}, row) == -2.0
    assert math.isnan(last({"kind": "ensemble", "cells": [1, 9]}, row))
    decoder = {"kind": "decoder", "cells": [1, 2], "weights": [2.0, -1.0], "bias": 0.5}
    assert last(decoder, row) == 1.0
    assert last({**decoder, "link": "logistic"}, row) == pytest.approx(1 / (1 + math.exp(-1)))


def test_below_any_cell_is_about_the_smallest_and_below_all_about_the_largest():
    low = {"x": {"kind": "below", "signal": "target", "level": 1}}
    rows = [[5, 5, 5], [0, 5, 5], [0, 0, 0]]
    assert fired(rows, low, signals={"target": {"kind": "ensemble", "combine": "any"}}) == [1]
    assert fired(rows, low, signals={"target": {"kind": "ensemble", "combine": "all"}}) == [2]


def test_the_rate_counts_events_per_cell_and_second():
    rate = {"kind": "rate", "window_s": 0.5}
    s = [[1, 0, 0] if k % 5 == 0 else [0, 0, 0] for k in range(31)]
    assert last(rate, [[0, 0, 0]] * 31, s=s) == pytest.approx(2 / 3 / 0.5)
    assert math.isnan(last(rate, [[0, 0, 0]] * 9, s=s))


def test_motion_orientation_and_marks():
    nothing = [[0, 0, 0]] * 3
    shifts = [Shift(0, 0), Shift(3, 4), Shift(3, 4.5, 0.7)]
    assert last({"kind": "motion", "measure": "shift"}, nothing[:2], shift=shifts) == 5.0
    assert last({"kind": "motion", "measure": "speed"}, nothing, shift=shifts) == pytest.approx(0.5 * FPS)
    assert last({"kind": "motion"}, nothing, shift=shifts) == 0.7
    half = math.sqrt(0.5)
    q = [(1.0, 0.0, 0.0, 0.0), (half, 0.0, 0.0, half), (half, half, 0.0, 0.0)]
    assert last({"kind": "orientation"}, nothing[:2], orientation=q) == pytest.approx(90)
    assert last({"kind": "orientation", "measure": "turn"}, nothing[:2], orientation=q) == pytest.approx(
        90 * FPS
    )
    assert last({"kind": "orientation", "measure": "roll"}, nothing, orientation=q) == pytest.approx(90)
    assert math.isnan(last({"kind": "orientation"}, nothing, orientation=[None] * 3))
    mark = {"kind": "mark", "text": "tone", "hold_s": 0.1}
    assert [last(mark, nothing[:n], marks=(1,)) for n in (1, 2, 3)] == [0.0, 1.0, 1.0]


def test_shams_keep_their_share_in_every_block_and_depend_on_the_seed_alone():
    for share in (0.0, 0.25, 0.5, 1.0):
        drawn = [Shams(Control(sham=share, block=8), 5, "r") for _ in range(2)]
        first, second = ([s.next() for _ in range(80)] for s in drawn)
        assert first == second
        assert [sum(first[k : k + 8]) for k in range(0, 80, 8)] == [round(8 * share)] * 10
    other = Shams(Control(sham=0.5, block=8), 6, "r")
    assert [other.next() for _ in range(80)] != first
    thirds = Shams(Control(sham=1 / 3, block=4), 5, "r")
    assert sum(thirds.next() for _ in range(120)) == 40
    assert 0 <= uniform(1, "x") < 1


def test_random_times_have_their_mean_and_yoked_times_are_those_of_the_other_session():
    random = RandomTimes(2.0, 3, "r")
    assert not random.due(1e9)  # not armed
    random.armed(0.0)
    n = sum(random.due(t / 20) for t in range(20 * 4000))
    assert n == pytest.approx(2000, rel=0.06)
    yoked = YokedTimes((0.5, 0.1, 3.0))
    yoked.armed(10.0)
    assert [t for t in (10.0, 10.1, 10.2, 10.5, 12.9, 13.0, 14.0) if yoked.due(t)] == [10.1, 10.5, 13.0]


def test_dry_sham_and_windows_are_noted_as_what_they_are():
    pulses = [0, 5] * 4
    assert {d.outcome for d in run(triggers(dry_run=True), pulses)} == {DRY}
    assert {d.outcome for d in run(triggers(rules__reward={"control": {"sham": 1.0}}), pulses)} == {SHAM}
    windows = run(triggers(rules__reward={"windows_s": [[0.1, 0.2]]}), pulses)
    assert [o for _, o, _ in outcomes(windows)] == [BLOCKED, REAL, BLOCKED, BLOCKED]
    engine = triggers(arm=False)
    engine.command(Command(ARM, "reward", dry=True))
    assert outcomes(run(engine, [0, 5]))[0][1:] == (DRY, "dry control")
    engine.command(Command(DISARM, text="enough"))
    assert outcomes(run(engine, [0, 5], start=2))[0][1:] == (BLOCKED, "disarmed: enough")


def test_a_rule_that_fires_while_it_holds_is_limited_by_its_refractory_time():
    engine = triggers(rules__reward={"fires": "while", "refractory_s": 0.2})
    decisions = run(engine, [0] + [5] * 10)
    assert [d.frame for d in decisions if d.outcome == REAL] == [1, 5, 9]
    assert [d.frame for d in decisions if d.outcome == BLOCKED] == [2, 6, 10]  # said once each time
