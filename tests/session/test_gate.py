"""Recording by a trigger input: which frames, what is said of it, and that traces go on throughout."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.config import from_toml
from streamscope.errors import ConfigError
from streamscope.session.gate import TriggerGate
from streamscope.session.plan import make_live_plan
from streamscope.session.runner import run_session
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.recording import recorded_frames
from streamscope.storage.session_folder import open_session
from streamscope.storage.summary import summarise
from streamscope.testing.fake_engine import fake_engine
from streamscope.types import Frame
from streamscope_drivers.replay import open_movie
from tests.session.live_devices import SHAPE, Until, use_model

IMAGE = np.zeros((2, 2), np.uint8)


def passed(levels, number=0, gaps=()):
    """Return what the gate lets through for these levels of the input, and what it told."""
    told = []
    gate = TriggerGate(number, lambda *event: told.append(event))
    gaps = dict(gaps)
    kept = []
    for n, level in enumerate(levels):
        meta = {} if level is None else {"inputs": level << number}
        wanted = gate.passed(Frame(n, IMAGE, 10 * n, n / 20, gaps.get(n, 0), None, meta))
        if wanted is not None:
            kept.append((wanted.index, wanted.gap))
    return gate, kept, [(name, frame, fields["on"], fields["t_ns"]) for name, frame, fields in told]


@pytest.mark.parametrize("number", [0, 1])
def test_frames_are_recorded_from_the_rising_edge_up_to_the_falling_one(number):
    gate, kept, told = passed([0, 0, 1, 1, 1, 0, 0, 1, 0], number, {1: 2, 3: 1, 6: 4})
    assert kept == [(2, 4), (3, 1), (4, 0), (7, 6)]  # what came or was lost meanwhile counts as missing
    assert told == [("recording", n, on, 10 * n) for n, on in ((2, True), (5, False), (7, True), (8, False))]
    assert gate.facts()["on_trigger"] == {
        "input": number,
        "stretches": [[2, 5], [7, 8]],
        "frames_outside": 5,
    }


def test_an_input_that_is_high_from_the_start_has_to_fall_first():
    gate, kept, _ = passed([1, 1, 1])
    assert kept == []
    assert gate.waiting == "not recording: waiting for trigger input 0 to fall and rise"
    gate, kept, _ = passed([1, 0])
    assert gate.waiting == "not recording: waiting for trigger input 0 to rise"
    gate, kept, _ = passed([1, 0, 1])
    assert kept == [(2, 2)]
    assert gate.waiting == ""


def test_a_frame_whose_inputs_could_not_be_read_changes_nothing():
    assert [n for n, _ in passed([0, None, 1, None, 1, None, 0, None])[1]] == [2, 3, 4, 5]


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    return use_model(monkeypatch)


def plan(tmp_path, refit=False, **given):
    given = {"cell_diameter": "8px", "out": str(tmp_path / "out"), "wire.bind": "127.0.0.1:0", **given}
    given |= {"device.led": 30.0, "fps": 30.0}
    return make_live_plan("miniscope:v4", "0", from_toml(None, given), refit=refit)


def test_a_session_records_what_the_trigger_wants_and_has_traces_of_every_frame(made, tmp_path):
    levels = {}

    def act(endpoint):
        model = made[0][1]
        now = model._number
        levels.update({now + 10: True, now + 40: False, now + 60: True, now + 75: False})
        model.trigger_at = levels

    outcome = run_session(plan(tmp_path, record_on_trigger=0), Until(120, 30, act), fake_engine())
    session = open_session(outcome.folder)
    frames = recorded_frames(session)
    rise, fall, again, end = levels
    number = {sent.crc: sent.number for sent in made[0][1].sent}
    movie = open_movie(str(outcome.folder))
    seen = [number[zlib.crc32(image)] for image in movie.read(0, movie.info.n_frames)]
    np.testing.assert_allclose(movie.times_s, (np.array(seen) - seen[0]) * 0.033, atol=0.02)
    movie.close()
    assert set(seen) <= {*range(rise, fall), *range(again, end)}
    assert len(seen) > 20  # a busy machine may lose some
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        events = [e for e in journal.events() if e.kind in ("input", "recording")]
        assert np.count_nonzero(journal.frames().epoch >= 0) == outcome.n_frames > len(seen) + 60
    edges = {e.frame: e.fields["level"] for e in events if e.kind == "input"}
    told = {e.frame: e.fields["on"] for e in events if e.kind == "recording"}
    assert edges == told
    assert list(told.values()) == [True, False, True, False]
    first, after, second, last = told
    np.testing.assert_array_equal(frames, [*range(first, after), *range(second, last)])
    noted = outcome.recording
    assert noted["complete"]
    assert noted["on_trigger"]["stretches"] == [[first, after], [second, last]]
    assert noted["on_trigger"]["frames_outside"] == outcome.n_frames - len(frames)
    assert summarise(session).recording.not_recorded == 0
    screen = " ".join(CliRunner().invoke(app, ["inspect", str(outcome.folder)]).output.split())
    assert f"trigger input 0, frames {first} to {after - 1}, {second} to {last - 1}; " in screen
    assert session.find_source().own  # for a refit
    assert made[0][1].light == 0


def test_a_trigger_that_never_comes_leaves_traces_and_an_empty_recording(made, tmp_path):
    outcome = run_session(plan(tmp_path, refit=True, record_on_trigger=0), Until(60), fake_engine())
    assert outcome.recording["n_frames"] == 0
    assert outcome.refit_status is None
    assert outcome.result.is_file()
    assert "waiting for trigger input 0 to rise" in outcome.health.message


def test_an_input_that_cannot_be_read_is_refused_with_the_light_off(made, tmp_path, monkeypatch):
    monkeypatch.setattr("streamscope_drivers.miniscope.senses.Embedded.inputs", 1)
    with pytest.raises(ConfigError, match="expected an input that can be read: there are 1 on this device"):
        plan(tmp_path, record_on_trigger=1)
    ((_, model),) = made
    assert model.light == 0
    assert model._camera is None
