"""Whole sessions with real sockets and files, and an engine of a few lines."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.errors import ConfigError, StreamScopeError, WireError
from streamscope.offline.export import export_session
from streamscope.session.machine import State
from streamscope.session.observer import Observer
from streamscope.session.plan import make_plan
from streamscope.session.runner import JOIN_S, Session, run_session
from streamscope.storage.journal import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import FakeInfer, FakeLearner, fake_engine
from streamscope.types import Health, SeedReport
from streamscope.wire.client import Subscriber

N, SHAPE = 200, (96, 96)
SEEDED = SeedReport(True, "m1/day1", 0.97, 0.5, 91, 5.0, -3.0, 1.5, (1, 7), (9,))

# Receives until the session says goodbye, and keeps everything of the traces.
LISTENER = """
import sys
import numpy as np
from streamscope import Subscriber

rows, arrays = [], {}
with Subscriber(sys.argv[1], ("traces/", "events/"), timeout_s=20) as subscriber:
    print("ready", flush=True)
    for message in subscriber:
        if message.topic == "events/":
            if message.name == "drained":
                for name in ("ids", "c_lag", "s_lag"):
                    arrays["tail_" + name] = message.arrays[name]
            continue
        rows.append((message.frame, message.seq, message.missed, message.epoch, message.t_publish_ns))
        for name in ("ids", "y", "c", "s", "c_lag", "s_lag"):
            arrays[f"{name}_{message.frame}"] = getattr(message, name)
    known = np.array(sorted(subscriber.components), np.int64)
np.savez(sys.argv[2], rows=np.array(rows, np.int64), known=known, **arrays)
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "movie.npy"
    images = np.random.default_rng(8).integers(0, 255, (N, *SHAPE)).astype(np.uint8)
    np.save(path, images)
    return path


@pytest.fixture(autouse=True)
def no_waiting_for_subscribers(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)


@pytest.fixture
def plan(recording, tmp_path):
    def make(speed=None, refit=False, freeze_after=None, **given):
        given = {"cell_diameter": "8px", "fps": 20.0, "out": str(tmp_path / "out"), **given}
        config = from_toml(None, {"wire.bind": "127.0.0.1:0", **given})
        return make_plan(str(recording), config, speed, refit=refit, freeze_after=freeze_after)

    return make


class Watch(Observer):
    """Notes what it hears, and may act on a state or a frame."""

    def __init__(self, on_frame=None):
        self.endpoints = None
        self.bound_ns = 0
        self.folder = None
        self.states = []
        self.seen: list[Health] = []
        self.on_frame = on_frame

    def bound(self, endpoints):
        self.endpoints = endpoints
        self.bound_ns = time.monotonic_ns()

    def started(self, folder):
        self.folder = folder

    def state(self, state):
        self.states.append(state)

    def health(self, health):
        self.seen.append(health)
        if self.on_frame is not None:
            self.on_frame(health)


def published(file):
    with np.load(file) as data:
        return dict(data)


def test_a_subscriber_in_another_process_gets_every_frame_once_and_export_is_what_it_got(plan, tmp_path):
    watch, script = Watch(), tmp_path / "listener.py"
    script.write_text(LISTENER, encoding="utf-8")
    heard = tmp_path / "heard.npz"
    listener = []

    def wait_for_the_listener(progress):
        command = [sys.executable, str(script), watch.endpoints.data, str(heard)]
        listener.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert listener[0].stdout.readline().strip() == "ready"

    outcome = run_session(plan(speed=10.0), watch, fake_engine(warm_up=wait_for_the_listener))
    _, _ = listener[0].communicate(timeout=20)
    assert listener[0].returncode == 0
    got = published(heard)
    rows = got["rows"]
    np.testing.assert_array_equal(rows[:, 0], np.arange(N))
    np.testing.assert_array_equal(rows[:, 1], np.arange(N))
    assert not rows[:, 2].any()

    export_session(outcome.folder, tmp_path / "live.npz", "live", everything=True)
    live = published(tmp_path / "live.npz")
    assert len(live["ids"]) == outcome.health.cells + outcome.health.provisional > 5
    assert set(live["ids"]) <= set(got["known"])
    for row, (number, first) in enumerate(zip(live["ids"], live["avail"], strict=True)):
        place = [int(np.flatnonzero(got[f"ids_{t}"] == number)[0]) for t in range(first, N)]
        for key, name in (("C_raw", "y"), ("C_causal", "c"), ("S_causal", "s")):
            sent = np.array([got[f"{name}_{t}"][p] for t, p in zip(range(first, N), place, strict=True)])
            assert live[key][row, first:].tobytes() == sent.tobytes()
            assert np.isnan(live[key][row, :first]).all()
        late = [got[f"c_lag_{t}"][p] for t, p in zip(range(first + 2, N), place[2:], strict=True)]
        tail = got["tail_c_lag"][:, list(got["tail_ids"]).index(number)]
        sent = np.concatenate([np.array(late, np.float32), tail.astype(np.float32)])
        assert live["C"][row, first:].tobytes() == sent.tobytes()


def test_whoever_joins_in_the_middle_can_name_every_id_it_sees(plan):
    unknown, frames = [], []

    def listen(endpoint):
        with Subscriber(endpoint, ("traces/",), timeout_s=20) as subscriber:
            for message in subscriber:
                frames.append(message.frame)
                unknown.extend(i for i in message.ids.tolist() if i not in subscriber.components)

    listener = []

    def join(health):
        if health.frame >= 40 and not listener:
            listener.append(threading.Thread(target=listen, args=(watch.endpoints.data,)))
            listener[0].start()

    watch = Watch(join)
    run_session(plan(speed=5.0), watch, fake_engine())
    listener[0].join(20)
    assert frames == list(range(frames[0], N))
    assert 40 <= frames[0] < 150
    assert unknown == []


def test_two_runs_at_full_speed_give_the_same_bytes(plan, tmp_path):
    exports = []
    for k in range(2):
        outcome = run_session(plan(), None, fake_engine())
        export_session(outcome.folder, tmp_path / f"{k}.npz", "live", everything=True)
        exports.append((tmp_path / f"{k}.npz").read_bytes())
    assert exports[0] == exports[1]


def changes_after(folder, frame):
    """Return the frames after `frame` at which anything but the static background became another."""
    with JournalReader(folder / "journal.sqlite", SHAPE) as journal:
        epochs = [(e, journal.epoch_arrays(e.number)) for e in journal.epochs()]
    held = None
    changed = []
    for epoch, arrays in epochs:
        table = {k: v.tobytes() for k, v in arrays.items() if k not in ("number", "b0_64ths")}
        if held is not None and epoch.adopted_frame > frame and table != held:
            changed.append(epoch.adopted_frame)
        held = table
    return changed


def test_a_planned_freeze_is_in_the_journal_with_its_frame_and_holds_from_it(plan):
    outcome = run_session(plan(freeze_after="5s"), None, fake_engine())
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        events = [(e.kind, e.frame, dict(e.fields)) for e in journal.events() if e.kind == "frozen"]
        assert len([e for e in journal.epochs() if e.adopted_frame > 100]) >= 4
    assert events == [("frozen", 100, {"cells": 4})]
    assert changes_after(outcome.folder, 0)
    assert changes_after(outcome.folder, 100) == []
    assert outcome.health.message == "frozen from frame 100 on"


def test_a_client_freezes_thaws_and_marks_and_is_told_the_frame(plan):
    said, heard = {}, []

    def client(endpoint):
        with Subscriber(endpoint, ("events/",), timeout_s=20) as subscriber:
            said["freeze"] = subscriber.ask("freeze")["frame"]
            said["again"] = subscriber.ask("freeze")["frame"]
            said["thaw"] = subscriber.ask("thaw")["frame"]
            said["mark"] = subscriber.ask("mark", text="tone on")["frame"]
            heard.extend((m.name, m.frame) for m in subscriber if m.name in ("frozen", "thawed", "mark"))

    def join(health):
        if health.frame >= 40 and not clients:
            clients.append(threading.Thread(target=client, args=(watch.endpoints.data,)))
            clients[0].start()

    clients, watch = [], Watch(join)
    outcome = run_session(plan(speed=5.0), watch, fake_engine())
    clients[0].join(20)
    assert 40 <= said["freeze"] == said["again"] <= said["thaw"] < N
    assert heard == [("frozen", said["freeze"]), ("thawed", said["thaw"]), ("mark", said["mark"])]
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        events = [e for e in journal.events() if e.kind in ("frozen", "thawed", "mark")]
    assert [(e.kind, e.frame) for e in events] == heard
    assert events[-1].fields["text"] == "tone on"


class SeededLearner(FakeLearner):
    """Tells with its first epoch what became of a seed."""

    def learn(self, aligned, result):
        epoch = super().learn(aligned, result)
        return replace(epoch, seeding=SEEDED) if epoch is not None and epoch.number == 1 else epoch


def test_what_became_of_a_seed_is_told_once_on_the_wire_in_the_journal_and_to_people(plan, monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.5)
    watch, told = Watch(), []

    def listen():
        with Subscriber(watch.endpoints.data, ("events/",), timeout_s=20) as subscriber:
            told.extend(message for message in subscriber if message.name == "seed")

    watch.bound, bound = lambda endpoints: (bound(endpoints), thread.start()), watch.bound
    thread = threading.Thread(target=listen)
    run_session(plan(12.0), watch, fake_engine(learner=SeededLearner))
    thread.join(20)
    with JournalReader(open_session(watch.folder).journal, SHAPE) as journal:
        (event,) = [event for event in journal.events() if event.kind == "seed"]
    (message,) = told
    assert message.fields == event.fields == SEEDED.fields()
    assert message.frame == event.frame
    assert SEEDED.text() in {health.message for health in watch.seen}


def test_freezing_before_the_first_frame_is_refused(plan):
    refused = []

    def ask(progress):
        with Subscriber(watch.endpoints.data, ("events/",)) as subscriber:
            with pytest.raises(WireError, match="the session is idle, expected running") as caught:
                subscriber.ask("freeze")
            refused.append(caught.value)

    watch = Watch()
    run_session(plan(), watch, fake_engine(warm_up=ask))
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("text", "frame"), [("5s", 100), ("120", 120), (" 7.55S ", 151), ("50", 50), ("199", 199)]
)
def test_the_moment_of_freezing_is_given_in_seconds_or_frames(plan, text, frame):
    assert plan(freeze_after=text).freeze_at == frame


@pytest.mark.parametrize("text", ["soon", "5 m", "s", "nans", "infs", "12.5", ""])
def test_another_moment_of_freezing_is_refused(plan, text):
    with pytest.raises(ConfigError, match="expected seconds or a number of frames; give"):
        plan(freeze_after=text)


@pytest.mark.parametrize("text", ["0", "1s", "49", "200", "60s", "-5s"])
def test_a_moment_without_cells_or_after_the_end_is_refused(plan, text):
    with pytest.raises(ConfigError, match=r"expected one from 50 .* to 199 \(the last one\)"):
        plan(freeze_after=text)


def test_a_session_goes_through_its_states_and_leaves_one_folder(plan, tmp_path):
    watch = Watch()
    outcome = run_session(plan(), watch, fake_engine())
    assert watch.states == [State.RUNNING, State.DRAINING, State.DONE]
    assert outcome.folder == watch.folder
    assert outcome.result.is_file()
    assert outcome.n_frames == N == outcome.health.frame + 1
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        assert journal.closed
        assert journal.n_frames == N
        assert [e.adopted_frame for e in journal.epochs()] == [e.learned_frame + 5 for e in journal.epochs()]


def test_frame_0_leaves_a_second_or_more_after_the_bind(plan, monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", JOIN_S)
    watch = Watch()
    outcome = run_session(plan(), watch, fake_engine())
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        assert journal.frames().t_publish_ns[0] - watch.bound_ns >= 1e9


def stopping(plan_, stops, at=40, engine=None):
    """Run a session and stop it `stops` times once frame `at` is out, as Ctrl-C does."""
    session = None

    def stop(health):
        if health.frame >= at and health.state == "running":
            for _ in range(stops):
                session.stop()

    watch = Watch(stop)
    session = Session(plan_, watch, engine or fake_engine())
    return watch, _run(session)


def _run(session):
    import asyncio

    with asyncio.Runner() as runner:
        return runner.run(session.run())


def test_one_stop_drains_and_keeps_what_was_played(plan, monkeypatch):
    refitted = []

    def refit(folder, movie, progress):
        refitted.append(folder.result.is_file())
        progress("traces", 0.5)
        return RefitStandIn()

    class RefitStandIn:
        status = ("accepted", "rejected")

    monkeypatch.setattr("streamscope.session.runner.refit_session", refit)
    watch, outcome = stopping(plan(speed=5.0, refit=True), 1)
    assert watch.states == [State.RUNNING, State.DRAINING, State.REFITTING, State.DONE]
    assert 40 <= outcome.n_frames < N
    assert outcome.refit_status == ("accepted", "rejected")
    assert refitted == [True]
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        assert journal.n_frames == outcome.n_frames
        assert journal.closed
        assert len(journal.tails()) == 1


def test_a_second_stop_leaves_out_the_refit(plan):
    watch, outcome = stopping(plan(speed=5.0, refit=True), 2)
    assert watch.states == [State.RUNNING, State.DRAINING, State.DONE]
    assert outcome.refit_status is None
    assert outcome.result.is_file()


def test_a_stop_during_the_refit_gives_it_up_and_keeps_the_live_part(plan, monkeypatch):
    sessions = []

    def refit(folder, movie, progress):
        sessions[0].stop()
        for k in range(2000):
            progress("endless", k / 2000)
            threading.Event().wait(0.005)
        raise AssertionError("the refit was not given up")

    monkeypatch.setattr("streamscope.session.runner.refit_session", refit)
    watch = Watch()
    sessions.append(Session(plan(refit=True), watch, fake_engine()))
    outcome = _run(sessions[0])
    assert watch.states[-2:] == [State.REFITTING, State.DONE]
    assert outcome.refit_status is None
    assert outcome.result.is_file()


def test_a_stop_before_the_first_frame_writes_nothing(plan, tmp_path):
    def stop_while_compiling(progress):
        session.stop()
        for k in range(2000):
            progress("kernel", k, 2000)
            threading.Event().wait(0.005)
        raise AssertionError("compiling was not given up")

    session = Session(plan(), Watch(), fake_engine(warm_up=stop_while_compiling))
    outcome = _run(session)
    assert outcome.folder is None
    assert not (tmp_path / "out").exists()


class FailingInfer(FakeInfer):
    def __call__(self, frame, aligned):
        if frame.index == 60:
            raise ZeroDivisionError("on purpose")
        return super().__call__(frame, aligned)


class FailingLearner(FakeLearner):
    def learn(self, aligned, result):
        if result.index == 60:
            raise ZeroDivisionError("on purpose")
        return super().learn(aligned, result)


@pytest.mark.parametrize("speed", [None, 20.0])
@pytest.mark.parametrize(
    ("lane", "parts"), [("pipeline", {"infer": FailingInfer}), ("learner", {"learner": FailingLearner})]
)
def test_a_lane_that_fails_ends_the_session_in_one_sentence_and_keeps_the_files(plan, lane, parts, speed):
    watch = Watch()
    with pytest.raises(StreamScopeError, match=f"its {lane} failed: ZeroDivisionError: on purpose") as caught:
        run_session(plan(speed), watch, fake_engine(**parts))
    assert "\n" not in str(caught.value)
    assert watch.states[-1] is State.FAILED
    session = open_session(watch.folder)
    assert session.result.is_file()
    assert "on purpose" in (watch.folder / "error.txt").read_text(encoding="utf-8")
    with JournalReader(session.journal, SHAPE) as journal:
        assert journal.n_frames >= 60


def test_a_journal_that_cannot_be_written_ends_the_session(plan, monkeypatch):
    def full(journal, records):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streamscope.session.writing.write_records", full)
    with pytest.raises(StreamScopeError, match="its writer failed: OSError"):
        run_session(plan(), Watch(), fake_engine())


def test_a_refit_that_fails_leaves_the_live_part_and_says_how_to_try_again(plan, monkeypatch):
    def refit(folder, movie, progress):
        raise MemoryError("on purpose")

    monkeypatch.setattr("streamscope.session.runner.refit_session", refit)
    watch = Watch()
    with pytest.raises(StreamScopeError, match="try again with: streamscope refit"):
        run_session(plan(refit=True), watch, fake_engine())
    assert open_session(watch.folder).result.is_file()


def test_a_port_in_use_is_found_before_anything_is_written(plan, tmp_path):
    taken = []

    def run_another(progress):
        port = watch.endpoints.data.rpartition(":")[2]
        with pytest.raises(WireError, match="in use") as caught:
            run_session(plan(**{"wire.bind": f"127.0.0.1:{port}"}), Watch(), fake_engine())
        taken.append(caught.value)
        assert not (tmp_path / "out").exists()

    watch = Watch()
    run_session(plan(), watch, fake_engine(warm_up=run_another))
    assert len(taken) == 1
