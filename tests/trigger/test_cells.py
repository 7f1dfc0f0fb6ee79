"""Which cell a rule watches, and that it never watches another in its place."""

from __future__ import annotations

import math

import pytest

from streamscope.errors import ConfigError
from streamscope.trigger.cells import Cells
from streamscope.trigger.engine import ARM, Command
from streamscope.types import BLOCKED, REAL, ComponentEvent
from tests.trigger.sights import frame, run, table, triggers

CHANGES = [
    (ComponentEvent("merged", 1, 0, into=2), [2, 3], "cell 1 was merged into 2"),
    (ComponentEvent("merged", 3, 0, into=1), [1, 2], "cell 3 was merged into 1"),
    (ComponentEvent("retired", 1, 0), [2, 3], "cell 1 was retired"),
    (ComponentEvent("rescaled", 1, 0, factor=0.5), [1, 2, 3], "cell 1 was rescaled by 0.5"),
    (None, [2, 3], "cell 1 was retired"),  # gone without a word
]
NAMED = {
    "by id": {"kind": "cell", "id": 1},
    "seeded": {"kind": "cell", "seeded": 1},
    "at a place": {"kind": "cell", "at": [0, 1.2], "within_px": 2},
    "ensemble": {"kind": "ensemble", "cells": [1, 2]},
    "decoder": {"kind": "decoder", "cells": [1, 2], "weights": [1, 1]},
}


@pytest.mark.parametrize("signal", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize(
    ("change", "left", "reason"), CHANGES, ids=[c[2] + str(c[0] is None) for c in CHANGES]
)
def test_a_change_of_its_cell_disarms_a_rule_with_an_event(signal, change, left, reason):
    engine = triggers(signals={"target": signal})
    run(engine, [0])
    assert engine.armed
    engine.said()
    engine.adopt(table(left, changes=[] if change is None else [change], epoch=2))
    assert not engine.armed
    said = engine.said()
    assert [(s.kind, s.fields) for s in said] == [("disarmed", {"rule": "reward", "reason": reason})]
    decisions = engine.decide(frame(1, [9] * len(left), ids=left))
    assert [d.outcome for d in decisions if d.outcome != BLOCKED] == []
    engine.adopt(table([*left, 9], epoch=3))  # another cell at another place
    assert engine.describe()["reward"]["cells"] in ({}, {"target": None})


def test_changes_of_other_cells_disarm_nothing():
    engine = triggers()
    engine.adopt(table([1, 2], changes=[ComponentEvent("retired", 3, 0)]))
    engine.adopt(table([1, 2, 4], status=[1, 1, 0]))
    engine.adopt(table([1, 2], changes=[ComponentEvent("merged", 4, 0, into=1)]))  # it was provisional
    assert engine.armed


def test_a_cell_at_a_place_is_bound_once_it_is_confirmed_and_stays_bound():
    engine = triggers(ids=(), signals={"target": {"kind": "cell", "at": [0, 5], "within_px": 3}})
    engine.adopt(table([4], status=[0]))
    assert engine.describe()["reward"]["cells"] == {"target": None}
    engine.adopt(table([4], status=[1]))
    assert engine.describe()["reward"]["cells"] == {"target": 4}
    assert [(s.kind, s.fields) for s in engine.said()][-1] == ("bound", {"signal": "target", "cell": 4})
    engine.adopt(table([4, 5]))  # nearer, but too late
    assert engine.describe()["reward"]["cells"] == {"target": 4}
    assert [d.outcome for k, c in enumerate([0, 5]) for d in engine.decide(frame(k, [c, 0], ids=[4, 5]))] == [
        REAL
    ]


def test_the_cell_under_a_mask_is_the_one_that_agrees_best():
    cells = Cells()
    cells.adopt(table([3, 7, 9]))
    assert cells.under([7]) == 7
    assert cells.under([7, 8, 10]) == 7
    assert cells.under(list(range(7, 40))) is None  # a pixel of so many
    assert cells.near(0.0, 8.1, 5.0) == 9
    assert cells.near(5.0, 8.1, 4.0) is None


def test_a_cell_is_named_when_a_rule_is_armed():
    engine = triggers(arm=False, signals={"target": {"kind": "cell"}})
    for cells, told in [
        ((), "needs a cell"),
        ((("", 8),), "not confirmed"),
        ((("other", 1),), "has no open cell other"),
    ]:
        with pytest.raises(ConfigError, match=told):
            engine.command(Command(ARM, "reward", cells))
    assert not engine.armed
    assert engine.command(Command(ARM, "reward", (("", 2),)))["cells"] == {"target": 2}
    assert [d.outcome for d in run(engine, [[9, 0, 0], [9, 5, 0]])] == [REAL]
    engine.adopt(table([1, 3], changes=[ComponentEvent("retired", 2, 0)]))
    with pytest.raises(ConfigError, match="needs a cell"):
        engine.command(Command(ARM, "reward"))


def test_arming_one_rule_never_gives_another_armed_one_a_new_cell():
    both = {"a": {"when": "high"}, "b": {"when": "high"}}
    engine = triggers(arm=False, signals={"target": {"kind": "cell"}}, rules=both)
    engine.command(Command(ARM, "a", (("target", 1),)))
    with pytest.raises(ConfigError, match="rule a is armed and watches target as cell 1"):
        engine.command(Command(ARM, "b", (("target", 2),)))
    engine.command(Command(ARM, "b", (("target", 1),)))


def test_levels_are_set_when_a_rule_is_armed_and_change_its_hash():
    both = {"a": {"when": "high", "refractory_s": 0}, "b": {"when": "high", "refractory_s": 0}}
    engine = triggers(arm=False, rules=both)
    before = engine.describe()["a"]["hash"]
    reply = engine.command(Command(ARM, "a", levels=(("", 6.0),)))
    assert reply["levels"] == {"high": 6.0}
    assert reply["hash"] == engine.describe()["a"]["hash"] != before
    decisions = run(engine, [0, 5, 7, 4.5, 7, 3.5, 7])  # it ends at 4 now
    assert [d.frame for d in decisions if d.outcome == REAL] == [2, 6]
    with pytest.raises(ConfigError, match="rule a is armed and uses high too"):
        engine.command(Command(ARM, "b", levels=(("high", 3.0),)))
    for wrong in (("low", 1.0), ("high", math.inf)):
        with pytest.raises(ConfigError, match="--level high=NUMBER"):
            engine.command(Command(ARM, "a", levels=(wrong,)))
    assert engine.describe()["a"]["levels"] == {"high": 6.0}


def test_the_best_cells_are_chosen_once_by_the_measure_at_its_time():
    def chosen(by, rows, t=0.2):
        signal = {"kind": "ensemble", "top": 1, "by": by, "at_s": t, "combine": "mean"}
        engine = triggers(signals={"target": signal})
        for k, row in enumerate(rows):
            engine.decide(frame(k, row, s=[0, row[1] > 2, row[2] > 4]))
        return engine._signals.by_name["target"].chosen

    rows = [[1, 3, 0]] * 3 + [[1, 0, 8]] + [[1, 99, 0]] * 2  # the last two come after 0.2 s
    assert chosen("mean", rows) == (2,)
    assert chosen("peak", rows) == (3,)
    assert chosen("rate", rows) == (2,)
    assert chosen("snr", rows) == (3,)


def test_z_is_taken_over_the_stated_window_and_survives_new_epochs():
    signal = {"kind": "cell", "id": 1, "unit": "z", "baseline_s": [0, 2]}
    engine = triggers(signals={"target": signal})
    values = [1.0, 3.0] * 20
    run(engine, values[:10])
    engine.adopt(table([2, 1, 3], epoch=2))  # another order
    for k, value in enumerate(values[10:], start=10):
        engine.decide(frame(k, [0, value, 0], ids=[2, 1, 3]))
        assert math.isnan(engine._signals.by_name["target"].value(_sight(engine, k, value)))
    (decision,) = engine.decide(frame(40, [0, 8.0, 0], ids=[2, 1, 3])) or [None] * 1
    assert decision is None  # what went before was not known, so this is no onset
    (decision,) = engine.decide(frame(41, [0, 0.0, 0], ids=[2, 1, 3])) + engine.decide(
        frame(42, [0, 8.0, 0], ids=[2, 1, 3])
    )
    assert decision.value == pytest.approx((8 - 2) / 1)


def _sight(engine, k, value):
    from streamscope.trigger.signals import Sight

    return Sight(frame(k, [0, value, 0], ids=[2, 1, 3]), k / 20, engine._cells)


def test_naming_a_cell_or_a_level_makes_no_onset():
    engine = triggers(arm=False, signals={"target": {"kind": "cell"}})
    engine.command(Command(ARM, "reward", (("", 1),)))
    assert run(engine, [[0, 9, 0]] * 3) == []
    engine.command(Command(ARM, "reward", (("", 2),)))  # it is high already
    assert run(engine, [[0, 9, 0]] * 3, start=3) == []
    assert [d.outcome for d in run(engine, [[0, 0, 0], [0, 9, 0]], start=6)] == [REAL]
    run(engine, [[0, 3, 0]] * 2, start=8)
    engine.command(Command(ARM, "reward", levels=(("high", 2.5),)))
    assert run(engine, [[0, 3, 0]] * 3, start=10) == []


def test_what_lasted_on_another_cell_has_not_lasted():
    long = {"kind": "above", "signal": "target", "level": 4, "for_s": 0.2}
    engine = triggers(
        arm=False,
        signals={"target": {"kind": "cell"}},
        conditions={"high": long, "same": {"kind": "when", "when": "high", "for_s": 0.1}},
        rules={"reward": {"when": "same", "fires": "while", "refractory_s": 0}},
    )
    engine.command(Command(ARM, "reward", (("", 1),)))
    assert [d.frame for d in run(engine, [[9, 9, 0]] * 8) if d.outcome == REAL] == [6, 7]
    engine.command(Command(ARM, "reward", (("", 2),)))
    assert [d.frame for d in run(engine, [[9, 9, 0]] * 8, start=8) if d.outcome == REAL] == [14, 15]
