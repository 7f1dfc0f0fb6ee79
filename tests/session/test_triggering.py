"""Rules in the pipeline: decided and written before a result leaves, kept in the journal, and replayed from it."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from streamscope.config import EngineConfig, from_toml
from streamscope.errors import ConfigError, SourceError, WireError
from streamscope.session.acting import Outputs, open_outputs
from streamscope.session.lanes import Adopted, LockstepLearning, Pipeline
from streamscope.session.observer import Observer
from streamscope.session.outputs import Note, Published
from streamscope.session.plan import make_plan
from streamscope.session.queue import BoundedQueue
from streamscope.session.replaying import replay_decisions, simulate
from streamscope.session.rules import check_pace, session_rules, yoked_times
from streamscope.session.runner import run_session
from streamscope.session.triggering import (
    Answered,
    Decided,
    Happened,
    Triggering,
    arm_command,
    command_after,
    disarm_command,
)
from streamscope.session.writing import write_records
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.session_folder import SessionFolder, open_session
from streamscope.testing.fake_engine import FakeInfer, FakeLearner, fake_engine
from streamscope.testing.fake_output import OPEN, FakeOutput
from streamscope.trigger.engine import ARM, Circumstances, Command
from streamscope.trigger.reading import checked
from streamscope.types import BLOCKED, REAL, ComponentEvent, Decision, Frame, FrameResult, OutputReport
from streamscope.wire.client import Subscriber
from streamscope.wire.schema import Arm, Disarm, TriggerMessage

SHAPE, N, FPS = (24, 32), 200, 20.0
OPEN_LIMITS = {"first_s": 0.5, "min_gap_s": 0.1, "pulses_per_minute": 600, "max_duty": 1, "max_age_ms": 10000}
RULES = {
    "seed": 11,
    "limits": OPEN_LIMITS,
    "outputs": {"laser": "fake:", "lamp": "fake:slow"},
    "listeners": {"log": "fake:slow"},
    "signals": {
        "one": {"kind": "cell"},
        "some": {"kind": "ensemble", "unit": "z", "baseline_s": [0, 4]},
        "motion": {"kind": "motion", "measure": "shift"},
        "head": {"kind": "orientation"},
    },
    "conditions": {
        "bright": {"kind": "above", "signal": "one", "level": 150, "release": 100},
        "many": {"kind": "above", "signal": "some", "level": 0.5},
        "still": {"kind": "below", "signal": "motion", "level": 9},
        "left": {"kind": "above", "signal": "head", "level": 0},
    },
    "rules": {
        "reward": {
            "when": "bright and still",
            "outputs": ["laser"],
            "refractory_s": 0.2,
            "control": {"sham": 0.25},
        },
        "group": {"when": "many and not left", "outputs": ["lamp"], "fires": "while", "refractory_s": 0.5},
        "chance": {"control": {"kind": "random", "mean_interval_s": 0.7}, "outputs": ["laser"]},
    },
}


class LosesACell(FakeLearner):
    """Retires cell 1 in its seventh epoch."""

    def learn(self, aligned, result):
        epoch = super().learn(aligned, result)
        if epoch is None or epoch.number < 7:
            return epoch
        events = (
            epoch.events if epoch.number > 7 else (*epoch.events, ComponentEvent("retired", 1, epoch.frame))
        )
        keep = np.arange(1, epoch.n)
        return replace(
            epoch,
            ids=epoch.ids[1:],
            status=epoch.status[1:],
            snr=epoch.snr[1:],
            footprints=epoch.footprints.select(keep),
            events=events,
        )


class Collector:
    def __init__(self):
        self.items = []

    def put(self, item):
        self.items.append(item)
        return True

    def close(self):
        pass


def frames(n=N):
    rng = np.random.default_rng(4)
    for i in range(n):
        turned = np.array([1.0, 0, 0, 0.3 * np.sin(i / 9)])
        turned /= np.linalg.norm(turned)
        meta = {"orientation_ok": i % 50 != 7, "orientation": tuple(turned.tolist())}
        image = rng.integers(0, 255, SHAPE).astype(np.uint8)
        yield Frame(i, image, round(i * 1e9 / FPS), i / FPS, gap=2 * (i == 77), meta=meta)


def outputs():
    fakes = {name: FakeOutput(spec, name, lambda report: None) for name, spec in RULES["outputs"].items()}
    return fakes, Outputs(fakes, {"log": FakeOutput("fake:", "log", lambda report: None)})


def pipeline(commands, rules=None):
    """Return what the pipeline gives out when it is asked this before these frames, and the outputs."""
    fakes, out = outputs()
    triggering = Triggering(checked(rules or RULES, "rules"), Circumstances(FPS, 8.0, True), out, lambda: 5)

    class Asks(FakeInfer):
        def __call__(self, frame, aligned):
            for command in commands.get(frame.index, ()):
                triggering.note(command)
            return super().__call__(frame, aligned)

    learning, collector, queue = (
        LockstepLearning(LosesACell(None, SHAPE), SHAPE),
        Collector(),
        BoundedQueue(N),
    )
    for frame in frames():
        queue.put(frame)
    queue.close()
    thread = threading.Thread(target=learning.run)
    thread.start()
    Pipeline(Asks(None, SHAPE), queue, learning, [collector], None, lambda: 0, rules=triggering).run()
    thread.join(10)
    return collector.items, fakes


COMMANDS = {
    60: [Command(ARM, "reward", (("", 1),), (("bright", 140.5),), text="me")],
    70: [Command(ARM, "group"), Command(ARM, "chance")],
    90: [Command("mark", text="tone")],
    120: [Command("disarm", "chance")],
    160: [Command(ARM, "reward", (("one", 3),))],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A pipeline's output, and the session folder with its journal."""
    items, fakes = pipeline(COMMANDS)
    folder = tmp_path_factory.mktemp("session")
    source = {"shape": list(SHAPE)}
    engine = EngineConfig(cell_diameter_px=8, fps=FPS, decay_s=0.6).model_dump(mode="json")
    session = SessionFolder(folder, {"streamscope": {"source": source, "engine": engine}})
    journal = Journal(session.journal)
    for item in items:
        if isinstance(item, FrameResult):
            write_records(journal, [Published(item, 1)])
        elif isinstance(item, Happened):
            write_records(journal, [Note(item.kind, item.frame, item.fields)])
        elif not isinstance(item, Answered):
            write_records(journal, [item])
    journal.close()
    return items, fakes, session


def of(items, kind):
    return [item for item in items if isinstance(item, kind)]


def test_a_decision_leaves_before_the_result_of_its_frame_and_the_fast_output_had_it(ran):
    items, fakes, _ = ran
    decisions = [d.decision for d in of(items, Decided)]
    assert {d.rule for d in decisions} == {"reward", "group", "chance"}
    for at, item in enumerate(items):
        if isinstance(item, Decided):
            follows = next(i for i in items[at:] if isinstance(i, FrameResult))
            assert follows.index == item.decision.frame
    real = [d for d in decisions if d.outcome == REAL and "laser" in d.outputs]
    assert len(real) > 5
    assert fakes["laser"].decisions == real
    assert fakes["lamp"].decisions == []  # slow: the loop's
    assert {d.t_decision_ns for d in decisions} == {5}


def test_a_session_tells_what_happened_to_its_rules(ran):
    items, fakes, _ = ran
    happened = [(h.kind, h.frame, h.fields.get("rule"), h.fields.get("reason")) for h in of(items, Happened)]
    assert ("armed", 60, "reward", None) in happened
    assert ("mark", 90, None, None) in happened
    (lost,) = [h for h in happened if h[0] == "disarmed" and h[2] == "reward"]
    assert lost[3] == "cell 1 was retired"
    adopted = [a.frame for a in of(items, Adopted) if any(e.kind == "retired" for e in a.epoch.events)]
    assert [lost[1]] == adopted
    assert fakes["laser"].heard[:61] == [False] * 60 + [True]
    assert fakes["laser"].heard[-1] is False  # at the end
    assert len(fakes["laser"].heard) == N + 1


def test_every_decision_comes_out_of_the_journal_again_bit_for_bit(ran):
    items, _, session = ran
    comparison = replay_decisions(session)
    assert len(comparison.made) == len(of(items, Decided)) > 30
    assert repr(list(comparison.made)) == repr([d.decision for d in of(items, Decided)])  # NaN is not itself
    assert comparison.first_difference is None
    assert comparison.n_frames == N


def test_a_changed_bit_is_found(ran):
    _, _, session = ran
    comparison = replay_decisions(session)
    value = float(np.nextafter(comparison.made[7].inputs[0][1], np.inf))
    other = replace(comparison.made[7], inputs=((comparison.made[7].inputs[0][0], value),))
    changed = replace(comparison, made=(*comparison.made[:7], other, *comparison.made[8:]))
    assert changed.first_difference == 7
    assert replace(comparison, made=comparison.made[:-1]).first_difference == len(comparison.made) - 1


def test_other_rules_can_be_tried_on_what_was(ran):
    _, _, session = ran
    rules = {**RULES, "rules": {"reward": RULES["rules"]["reward"]}}
    low = {**rules["conditions"], "bright": {"kind": "above", "signal": "one", "level": 100}}
    first = simulate(session, checked(rules, "new"), [("one", 2)], arm_at_s=3.0)
    more = simulate(session, checked({**rules, "conditions": low}, "new"), [("one", 2)], arm_at_s=3.0)
    let_go = [[d for d in decisions if d.outcome != BLOCKED] for decisions in (first, more)]
    assert 0 < len(let_go[0]) < len(let_go[1])
    assert min(d.time_s for d in let_go[0]) >= 3.0
    assert len({d.rule_hash for d in first + more}) == 2


def test_another_session_can_be_yoked_to_the_pulses_of_a_rule(ran, tmp_path):
    items, _, session = ran
    real = [
        d.decision for d in of(items, Decided) if d.decision.rule == "chance" and d.decision.outcome == REAL
    ]
    (session.folder / "metaData.json").write_text(_metadata(session))
    times = yoked_times(session.folder, "chance")
    assert times == tuple(d.time_s - 69 / FPS for d in real)
    yoked = {**RULES, "rules": {"again": {"control": {"kind": "yoked", "times_s": times, "session": "x"}}}}
    again = [d.decision for d in of(pipeline({70: [Command(ARM, "again")]}, yoked)[0], Decided)]
    assert [d.frame for d in again] == [d.frame for d in real]


def _metadata(session):
    import json

    ours = {"version": "", "config": {}, **session.metadata["streamscope"]}
    return json.dumps({"streamscope": ours})


def test_an_emergency_stop_lowers_the_lines_before_any_frame_comes():
    fakes, out = outputs()
    triggering = Triggering(checked(RULES, "rules"), Circumstances(FPS, 8.0, True), out)
    triggering.ask(disarm_command(Disarm(emergency=True)))
    assert fakes["laser"].heard == [False]
    out.alive(True)
    assert fakes["laser"].heard[-1] is False
    out.write_fast(Decision(0, "a", 0, 0.0, REAL, "", "rule", 1.0, 0.0, (), ("laser",), "", 0, 0))
    assert fakes["laser"].decisions == []


def test_an_output_gets_real_decisions_of_its_rules_and_a_listener_all():
    fakes, out = outputs()
    log = FakeOutput("fake:slow", "log", lambda report: None)
    out = Outputs(fakes, {"log": log})
    real = Decision(0, "a", 0, 0.0, REAL, "", "rule", 1.0, 0.0, (), ("lamp",), "", 0, 0)
    for decision in (
        real,
        replace(real, outcome="sham"),
        replace(real, outputs=()),
        replace(real, outcome=BLOCKED),
    ):
        out.write_fast(decision)
        out.write_slow(decision)
    assert (len(fakes["laser"].decisions), len(fakes["lamp"].decisions), len(log.decisions)) == (0, 1, 4)


def test_what_waits_when_the_session_ends_is_refused():
    triggering = Triggering(checked(RULES, "rules"), Circumstances(FPS, 8.0, True), outputs()[1])
    reply = triggering.ask(Command(ARM, "group"))
    (answered,) = of(triggering.end(), Answered)
    assert answered.reply is reply
    assert "ended" in str(answered.outcome)
    with pytest.raises(WireError, match="ending"):
        triggering.ask(Command(ARM, "group"))


def test_requests_are_commands_to_the_rules():
    arm = Arm("reward", {"": 3}, {"high": 2.0}, dry=True, by="me")
    assert arm_command(arm) == Command(ARM, "reward", (("", 3),), (("high", 2.0),), True, "me")
    assert disarm_command(Disarm()) == Command("disarm", text="disarmed by a client")
    assert disarm_command(Disarm("reward", emergency=True, by="me")) == Command("emergency_stop", text="me")


def test_a_device_that_comes_back_disarms_and_its_inputs_are_marks():
    assert command_after("device", {"what": "reconnected"}) == Command("disarm", text="device reconnected")
    assert command_after("device", {"what": "duplicate"}) is None
    assert command_after("input", {"input": 1, "level": 0, "t_ns": 5}) == Command("mark", text="input1=0")
    assert command_after("setting", {}) is None


def test_outputs_that_cannot_be_used_are_refused_before_a_session(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        '[outputs]\nlaser = "none:1"\n[conditions.always]\nkind = "schedule"\nevery_s = 1\nduring_s = 0.5\n'
        '[rules.a]\nwhen = "always"\noutputs = ["laser"]\n'
    )
    with pytest.raises(SourceError, match="no driver is called 'none', expected one of"):
        session_rules(path)
    dry = session_rules(path, dry_run=True)
    assert dry.seed is not None
    assert open_outputs(dry, lambda report: None).describe() == {}
    assert session_rules(path, {"laser": "fake:"}).outputs == {"laser": "fake:"}


def test_what_acts_is_not_driven_faster_than_the_caps_count():
    real = checked({**RULES, "outputs": {"laser": "serial:COM3", "lamp": "fake:"}}, "rules")
    for speed in (None, 2.0):
        with pytest.raises(ConfigError, match="the output laser acts, expected 1x or slower"):
            check_pace(real, speed)
    check_pace(real, 1.0)
    check_pace(real.model_copy(update={"dry_run": True}), None)
    check_pace(checked(RULES, "rules"), None)


class Watch(Observer):
    def __init__(self, begin):
        self.begin, self.endpoint = begin, None

    def bound(self, endpoints):
        self.endpoint = endpoints.data

    def started(self, folder):
        threading.Thread(target=self.begin, args=(self.endpoint,), daemon=True).start()


def test_a_whole_session_is_armed_from_outside_and_its_decisions_are_published_and_kept(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.3)
    images = np.random.default_rng(8).integers(0, 255, (N, 64, 64)).astype(np.uint8)
    np.save(tmp_path / "movie.npy", images)
    config = from_toml(
        None, {"wire.bind": "127.0.0.1:0", "cell_diameter": "8px", "fps": 40.0, "out": str(tmp_path / "out")}
    )
    heard, replies, done = [], [], threading.Event()

    def use(endpoint):
        with Subscriber(endpoint, ("triggers/", "events/", "traces/"), timeout_s=20) as session:
            for message in session:
                heard.append(message)
                if getattr(message, "frame", 0) == 60 and message.topic == "traces/":
                    replies.append(session.ask("arm", rule="reward", cells={"one": 1}, text="test"))
                    replies.append(session.ask("mark", text="tone"))
                    try:
                        session.ask("arm", rule="nothing")
                    except WireError as error:
                        replies.append(str(error))
        done.set()

    rules = checked({**RULES, "limits": {**OPEN_LIMITS, "first_s": 0}}, "rules")
    plan = make_plan(str(tmp_path / "movie.npy"), config, 4.0, refit=False, rules=rules)
    outcome = run_session(plan, Watch(use), fake_engine())
    assert done.wait(10)
    decisions = [m.decision for m in heard if isinstance(m, TriggerMessage)]
    assert replies[0]["cells"] == {"one": 1}
    assert replies[1]["frame"] >= replies[0]["frame"]
    assert "no rule is called 'nothing'" in replies[2]
    real = [d for d in decisions if d.outcome == REAL and d.rule == "reward"]
    assert real
    assert real[0].frame >= replies[0]["frame"]
    names = [m.name for m in heard if m.topic == "events/"]
    assert {"armed", "mark"} <= set(names)
    log = JournalReader(open_session(outcome.folder).journal).trigger_log()
    first = decisions[0].number
    assert repr(list(log.decisions[first:])) == repr(decisions)
    laser = [d.number for d in log.decisions if d.outcome == REAL and "laser" in d.outputs]
    assert [r.number for r in log.outputs if r.output == "laser"] == laser
    assert [r.number for r in log.outputs if r.output == "log"] == [d.number for d in log.decisions]
    assert all(isinstance(r, OutputReport) and r.t_written_ns > 0 for r in log.outputs)
    assert OPEN["laser"].closed
    assert replay_decisions(open_session(outcome.folder)).first_difference is None
