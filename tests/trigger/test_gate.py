"""Whatever rules want, and whatever frames come: the caps hold, and the same inputs give the same decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamscope.errors import ConfigError
from streamscope.trigger.engine import ARM, DISARM, STOP, Circumstances, Command, Triggers
from streamscope.types import BLOCKED, FLAG_BAD_MOTION, FLAG_LATE, REAL, ComponentEvent
from tests.trigger.sights import FPS, frame, rules, run, table, triggers

CAPS = {
    "first_s": 1.0,
    "min_gap_s": 0.2,
    "pulses_per_minute": 20,
    "max_duty": 0.05,
    "session_total": 40,
    "blanking_s": 0.3,
    "max_width_ms": 200,
}

frames_and_commands = st.lists(
    st.tuples(
        st.sampled_from(["frame"] * 12 + ["arm a", "arm b", "disarm", "epoch", "merged", "stop"]),
        st.integers(0, 8),  # c of the first cell
        st.sampled_from([0] * 20 + [FLAG_LATE, FLAG_BAD_MOTION]),
        st.sampled_from([0] * 20 + [1, 30]),  # gap
        st.sampled_from([5.0] * 20 + [250.0]),  # age, ms
    ),
    min_size=20,
    max_size=200,
)


def story_rules():
    return rules(
        limits=CAPS,
        conditions={
            "high": {"kind": "above", "signal": "target", "level": 4, "release": 2},
            "low": {"kind": "below", "signal": "target", "level": 2, "for_s": 0.1},
        },
        rules={
            "a": {
                "when": "high",
                "fires": "while",
                "refractory_s": 0.1,
                "width_ms": 100,
                "control": {"sham": 0.3},
            },
            "b": {"when": "low", "refractory_s": 0, "width_ms": 30, "limits": {"pulses_per_minute": 5}},
        },
    )


def played(story):
    """Return decisions, what was said, and what the rules are told, in order."""
    engine = Triggers(story_rules(), Circumstances(FPS, 10.0, paced=True))
    engine.adopt(table([1, 2, 3]))
    index, t, decisions, said = 0, 0.0, [], []
    for what, value, flags, gap, age_ms in story:
        if what == "frame":
            t += (1 + gap) / FPS
            decisions += engine.decide(frame(index, [value, 0, 0], t=t, flags=flags, gap=gap, age_ms=age_ms))
            index += 1
        elif what == "stop" and index % 5:
            continue  # else hardly any story would be long
        elif what == "stop":
            engine.command(Command(STOP, text="hand"))
        elif what == "epoch":
            engine.adopt(table([1, 2, 3], epoch=index))
        elif what == "merged":
            engine.adopt(table([1, 2], changes=[ComponentEvent("merged", 3, 0, into=1)]))
        else:
            try:
                engine.command(Command(*what.split()) if " " in what else Command(DISARM))
            except ConfigError as error:
                said.append(str(error))
        said += engine.said()
    return decisions, said


@settings(max_examples=20)
@given(frames_and_commands)
def test_no_story_passes_the_caps_and_each_tells_itself_again_bit_for_bit(story):
    decisions, said = played(story)
    again, said_again = played(story)
    assert repr(decisions) == repr(again)
    assert repr(said) == repr(said_again)
    let_go = [d for d in decisions if d.outcome != BLOCKED]
    times = np.array([d.time_s for d in let_go])
    widths = np.array([d.width_ms / 1000 for d in let_go])
    assert len(let_go) <= CAPS["session_total"]
    assert (times >= CAPS["first_s"]).all()
    assert (np.diff(times) >= widths[:-1] + CAPS["blanking_s"] - 1e-6).all()
    for k, t in enumerate(times):
        minute = (times > t - 60) & (np.arange(len(times)) <= k)
        assert minute.sum() <= CAPS["pulses_per_minute"]
        assert widths[minute].sum() <= CAPS["max_duty"] * 60 + 1e-6
        own = minute & np.array([d.rule == "b" for d in let_go])
        assert own.sum() <= 5
    assert [d.number for d in decisions] == list(range(len(decisions)))
    assert all(d.reason for d in decisions if d.outcome != REAL)


def one_reason(traces, **changes):
    """Return the reasons for which a rule that fires on every frame above 4 is blocked."""
    engine = triggers(**changes)
    return [d.reason for d in run(engine, traces) if d.outcome == BLOCKED]


def test_each_cap_blocks_and_says_which():
    pulses = [0, 5] * 40
    open_ = {"first_s": 0, "min_gap_s": 0, "max_duty": 1}
    assert one_reason(pulses, limits=open_) == ["pulses_per_minute of reward"] * 10
    assert one_reason(pulses, limits={**open_, "session_total": 3})[0] == "session_total of reward"
    assert (
        one_reason(pulses, limits={**open_, "first_s": 0.25})
        == ["first_s"] * 2 + ["pulses_per_minute of reward"] * 8
    )
    assert "min_gap_s of reward" in one_reason(pulses, limits={**open_, "min_gap_s": 0.2})
    assert "blanking_s" in one_reason(pulses, limits={**open_, "blanking_s": 0.2})
    assert (
        one_reason(pulses, limits={**open_, "max_duty": 0.001}, rules__reward={"width_ms": 30})[0]
        == "max_duty of reward"
    )
    own = one_reason(
        pulses, limits={**open_, "session_total": 5}, rules__reward={"limits": {"session_total": 4}}
    )
    assert own[0] == "session_total of reward"
    assert len(own) == 36


def test_an_output_has_its_caps_over_all_rules_that_act_on_it():
    names = ("a", "b", "elsewhere")
    acting = {name: {"when": "high", "refractory_s": 0, "outputs": ["laser"]} for name in names}
    acting["elsewhere"]["outputs"] = ["tone"]
    engine = triggers(
        rules=acting,
        outputs={"laser": "fake:", "tone": "fake:"},
        limits={"first_s": 0, "min_gap_s": 0, "max_duty": 1, "session_total": 3},
    )
    decisions = run(engine, [0, 5, 0, 0, 5, 0])
    assert [(d.rule, d.reason) for d in decisions] == [
        ("a", ""),
        ("b", "min_gap_s of output laser"),
        ("elsewhere", ""),
    ] * 2
    engine.command(Command(DISARM, "a"))
    decisions = run(engine, [5, 0, 0, 5, 0], start=6)
    assert [(d.rule, d.reason) for d in decisions if d.rule == "b"] == [
        ("b", ""),
        ("b", "session_total of output laser"),
    ]


def test_nothing_is_armed_at_the_start():
    engine = triggers(arm=False)
    assert [d.reason for d in run(engine, [0, 5])] == ["disarmed: not armed"]
    assert not engine.armed
    engine.command(Command(ARM, "reward"))
    assert [d.outcome for d in run(engine, [0, 5], start=2)] == [REAL]


def disarmed_by(**given):
    engine = triggers()
    run(engine, [0, 0])
    engine.said()
    decisions = run(engine, [5], start=2, **given)
    assert [d.outcome for d in decisions] == [BLOCKED]
    assert not engine.armed
    (said,) = engine.said()
    assert (said.kind, said.frame) == ("disarmed", 2)
    assert run(engine, [0, 5], start=3)[0].outcome == BLOCKED  # and stays so
    return said.fields["reason"]


def test_a_stale_frame_a_pause_and_overload_disarm():
    assert disarmed_by(age_ms=101.0) == "stale: the frame is 101.0 ms old"
    assert disarmed_by(t=1.2) == "no frame for 1.150 s"
    engine = triggers()
    run(engine, [0] * 4, flags=FLAG_LATE)
    assert engine.armed
    run(engine, [0], start=4, flags=FLAG_LATE)
    assert engine.said()[-1].fields["reason"] == "overload: 5 late frames in a row"


def test_at_full_speed_no_frame_is_stale():
    engine = triggers(paced=False)
    assert [d.outcome for d in run(engine, [0, 5], age_ms=500.0, flags=FLAG_LATE)] == [REAL]


def test_a_frame_after_a_gap_or_badly_registered_makes_no_pulse_but_disarms_nothing():
    engine = triggers()
    run(engine, [0])
    assert run(engine, [5], start=1, gap=2)[0].reason == "first frame after a gap"
    run(engine, [0], start=2)
    assert run(engine, [5], start=3, flags=FLAG_BAD_MOTION)[0].reason == "registration not trusted"
    assert engine.armed


def test_after_an_emergency_stop_nothing_can_be_armed():
    engine = triggers()
    engine.command(Command(STOP, text="hand"))
    assert [said.kind for said in engine.said()][-2:] == ["disarmed", "emergency_stop"]
    with pytest.raises(ConfigError, match="emergency stop"):
        engine.command(Command(ARM, "reward"))
    assert not engine.armed
