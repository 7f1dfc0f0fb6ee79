"""`streamscope live` and `streamscope devices`, with a model of the firmware in place of a scope."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import FakeInfer, fake_engine
from tests.session.live_devices import use_model

run = CliRunner()


class Ends(FakeInfer):
    """The user, or the system, wants the program to end while it runs."""

    number = signal.SIGINT

    def __call__(self, frame, aligned):
        if frame.index == 60:
            signal.raise_signal(self.number)
        return super().__call__(frame, aligned)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    monkeypatch.setattr("streamscope.session.runner.real_engine", lambda bits: fake_engine(Ends))
    return use_model(monkeypatch)


def live(*words):
    given = ["--device", "miniscope:v4", "--cell-diameter", "8px", "--bind", "127.0.0.1:0", "--no-refit"]
    return run.invoke(app, ["live", *given, *words])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_session_ends_well_by_signal_and_is_recorded(made, tmp_path, monkeypatch, number):
    monkeypatch.setattr(Ends, "number", number)
    result = live("--out", str(tmp_path), "--subject", "m1", "--led", "20", "--fps", "30", "--gain", "high")
    assert result.exit_code == 0, result.output
    assert "device   96x96 px at" in result.stderr
    assert "recorded" in result.stdout
    ((_, model),) = made
    assert model.light == 0
    (folder,) = tmp_path.glob("m1/*/*")
    session = open_session(folder)
    assert session.recording["complete"]
    assert session.ours["source"]["live"]
    assert session.metadata["miniscopes"] == ["Miniscope"]
    assert session.ours["config"]["device"]["led"] == 20.0


def test_no_record_writes_no_frames(made, tmp_path):
    result = live("--out", str(tmp_path), "--no-record")
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.rglob("*.avi"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "camera:v4"], "no driver is called 'camera', expected one of miniscope"),
        (["--device", "miniscope:v5"], "no device is of type 'v5', expected one of v4, v4-bno"),
        (["--index", "first"], "--index is 'first', expected the number of a camera, or model"),
        (["--fps", "22"], "fps is 22.0, expected one of 10, 15, 20, 25, 30 Hz"),
        (["--gain", "11"], "gain is 11, expected one of low, medium, high"),
        (["--index", "97"], "camera 97"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(tmp_path, words, message):
    result = live("--out", str(tmp_path), *words)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("streamscope: ")
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_devices_lists_cameras_and_types():
    result = run.invoke(app, ["devices"])
    assert result.exit_code == 0
    assert "camera" in result.stdout
    assert "miniscope:v4-bno" in result.stdout
    assert "--index model" in result.stdout


def test_the_doctor_writes_a_report_also_where_nothing_connects(monkeypatch, tmp_path):
    monkeypatch.setattr("streamscope.session.registry.examine_device", lambda *_: ["rate 20 Hz"])
    place = tmp_path / "report.txt"
    result = run.invoke(app, ["doctor", "--device", "miniscope:v4", "--report", str(place)])
    assert result.exit_code == 0
    assert place.read_text().splitlines()[1:] == ["rate 20 Hz"]
    monkeypatch.undo()
    result = run.invoke(app, ["doctor", "--device", "miniscope:v4", "--index", "97", "--report", str(place)])
    assert result.exit_code == 2
    assert "problem            " in place.read_text()
    assert "camera 97" in result.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_dry_run_with_the_real_engine_finds_cells_and_ends_by_signal(tmp_path, name):
    if sys.platform == "win32":
        pytest.skip("a child process cannot be sent this signal on Windows")
    words = ["live", "--device", "miniscope:v4", "--index", "model", "--led", "30", "--bind", "127.0.0.1:0"]
    command = [sys.executable, "-m", "streamscope.cli", *words, "--out", str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith("frame ") and int(line.split()[1].rstrip(":")) > 200:
            break
    child.send_signal(getattr(signal, name))
    out, _ = child.communicate(timeout=240)
    assert child.returncode == 0
    assert "recorded" in out
    assert "cells accepted" in out
