"""The commands: help, settings, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import tifffile
import zmq
from typer.testing import CliRunner

from streamscope._version import __version__
from streamscope.cli.main import COMMANDS, app
from streamscope.config import SessionConfig, as_toml_dict, setting_names
from streamscope.testing.fake_engine import fake_engine

run = CliRunner()


def invoke(*words):
    return run.invoke(app, [str(word) for word in words])


@pytest.fixture(autouse=True)
def small_engine(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.real_engine", lambda bits: fake_engine())
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.npy"
    np.save(path, np.random.default_rng(2).integers(0, 255, (60, 96, 96)).astype(np.uint8))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"Example: streamscope {command}" in " ".join(result.output.split())


def test_the_version_is_told():
    assert invoke("--version").output.strip() == f"streamscope {__version__}"


def test_help_and_version_do_not_load_the_numbers():
    code = (
        "import sys; from streamscope.cli.main import app; "
        "app(['--version'], standalone_mode=False); print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split()[-2:] == ["False", "False"]


def test_config_shows_every_setting():
    shown = invoke("config").output
    assert [name for name in setting_names() if name not in shown] == []


def test_the_settings_file_to_start_from_holds_the_defaults(tmp_path):
    text = invoke("config", "--toml").output
    assert tomllib.loads(text) == as_toml_dict(SessionConfig())
    path = tmp_path / "session.toml"
    path.write_text(text.replace('subject = "subject"', 'subject = "mouse 1"'), encoding="utf-8")
    assert "mouse 1" in invoke("config", "--config", path).output


def test_replay_says_what_came_out_and_where(movie, tmp_path):
    out = tmp_path / "out"
    result = invoke(
        "replay",
        movie,
        *("--speed", "max", "--fps", 20, "--cell-diameter", "8px", "--bind", "127.0.0.1:0"),
        *("--out", out, "--subject", "mouse 7", "--no-refit"),
    )
    assert result.exit_code == 0, result.output
    (session,) = out.glob("mouse_7/*/*/session.h5")
    assert f"result   {session}" in result.stdout
    assert "frames   60, lost 0" in result.stdout
    assert "stream   tcp://127.0.0.1:" in result.stderr


def test_the_cell_diameter_is_measured_if_it_is_asked_for(tmp_path):
    words = with_config(tmp_path, "cell_diameter = 'auto'\nsubject = 'm1'\n[wire]\nbind = '127.0.0.1:0'\n")
    out = tmp_path / "out"
    result = invoke("replay", "synthetic:tiny", "--speed", "max", "--out", out, "--no-refit", *words)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    told = lines[lines.index("estimating the cell diameter") + 1]
    px, um = map(
        float, re.match(r"cells    ([\d.]+) px \((\d+) um\), confidence \d\.\d\d, from", told).groups()
    )
    assert px == pytest.approx(13 / 1.655, rel=0.15)
    assert um == pytest.approx(px * 1.655, abs=0.5)
    (session,) = out.glob("m1/*/*")
    ours = json.loads((session / "metaData.json").read_text(encoding="utf-8"))["streamscope"]
    assert ours["config"]["cell_diameter"] == "auto"
    assert ours["engine"]["cell_diameter_px"] == ours["estimates"]["cell_diameter"]["diameter_px"] == px
    assert ours["estimates"]["cell_diameter"]["n_sites"] >= 8
    assert f"cell diameter {px} px (measured, confidence" in invoke("inspect", session).output


def test_a_recording_can_be_played_more_than_once(movie, tmp_path):
    result = invoke(
        "replay",
        movie,
        *("--speed", "max", "--fps", 20, "--cell-diameter", "8px", "--bind", "127.0.0.1:0"),
        *("--out", tmp_path / "out", "--loop", 3, "--no-refit"),
    )
    assert "frames   180, lost 0" in result.stdout
    (session,) = (tmp_path / "out").glob("*/*/*")
    assert "180 of 180" in invoke("inspect", session).stdout


def with_config(tmp_path, text):
    path = tmp_path / "session.toml"
    path.write_text(text, encoding="utf-8")
    return ["--config", path]


def folder(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


def one_frame(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((1, 96, 96), np.uint8))
    return tmp_path / "one.npy"


def in_colour(tmp_path):
    np.save(tmp_path / "colour.npy", np.zeros((20, 96, 96, 3), np.uint8))
    return tmp_path / "colour.npy"


def not_a_movie(tmp_path):
    (tmp_path / "movie.avi").write_bytes(b"RIFF, but nothing that anybody could decode" * 10)
    return tmp_path / "movie.avi"


GOOD = ("--fps", 20, "--cell-diameter", "8px", "--bind", "127.0.0.1:0", "--speed", "max")


def of_floats(folder):
    np.save(folder / "floats.npy", np.zeros((30, 96, 96), np.float32))
    return folder / "floats.npy"


def of_12_bits(folder):
    np.save(folder / "deep.npy", np.full((30, 96, 96), 4000, np.uint16))
    return folder / "deep.npy"


def tiff_in_colour(folder):
    tifffile.imwrite(folder / "colour.tif", np.zeros((30, 96, 96, 3), np.uint8), photometric="rgb")
    return folder / "colour.tif"


def cut_off_tiff(folder):
    tifffile.imwrite(folder / "cut.tif", np.zeros((30, 96, 96), np.uint8), compression="zlib", metadata=None)
    (folder / "cut.tif").write_bytes((folder / "cut.tif").read_bytes()[:60])
    return folder / "cut.tif"


BAD = {
    "missing": (lambda t, m: [t / "nothing", *GOOD], "nothing is there"),
    "empty folder": (lambda t, m: [folder(t), *GOOD], "empty"),
    "one frame": (lambda t, m: [one_frame(t), *GOOD], "2"),
    "colour": (lambda t, m: [in_colour(t), *GOOD], "colour.npy"),
    "floating point": (lambda t, m: [of_floats(t), *GOOD], "convert it to uint8 or uint16"),
    "more bits to record": (lambda t, m: [of_12_bits(t), *GOOD, "--record"], "leave out --record"),
    "TIFF in colour": (lambda t, m: [tiff_in_colour(t), *GOOD], "save one channel"),
    "cut off TIFF": (lambda t, m: [cut_off_tiff(t), *GOOD], "copied completely"),
    "no codec": (lambda t, m: [not_a_movie(t), *GOOD], "movie.avi"),
    "unknown simulation": (lambda t, m: ["synthetic:enormous", *GOOD], "known are"),
    "unknown key": (
        lambda t, m: [m, *GOOD, *with_config(t, "[motion]\nmax_shif_px = 3\n")],
        "did you mean motion.max_shift_px?",
    ),
    "impossible value": (
        lambda t, m: [m, *GOOD, *with_config(t, "[wire]\nstatus_hz = 0\n")],
        "wire.status_hz is 0",
    ),
    "no settings file": (lambda t, m: [m, *GOOD, "--config", t / "none.toml"], "streamscope config --toml"),
    "diameter of nothing": (lambda t, m: [m, *GOOD, "--cell-diameter", "big"], "cell diameter 'big'"),
    "diameter too large": (lambda t, m: [m, *GOOD, "--cell-diameter", "90px"], "between 4 and 24 px"),
    "diameter that cannot be told": (
        lambda t, m: [m, *GOOD, "--cell-diameter", "auto"],
        "the cell diameter cannot be told from this recording: it has 60 frames, expected at least 126; "
        "give --cell-diameter",
    ),
    "diameter to be measured, no frame rate": (
        lambda t, m: [m, "--cell-diameter", "auto", "--bind", "127.0.0.1:0"],
        "--fps",
    ),
    "diameter in um": (lambda t, m: [m, *GOOD, "--cell-diameter", "13um"], "--um-per-px"),
    "no frame rate": (lambda t, m: [m, "--cell-diameter", "8px", "--bind", "127.0.0.1:0"], "--fps"),
    "speed": (lambda t, m: [m, *GOOD, "--speed", "fast"], "--speed is 'fast'"),
    "loop": (lambda t, m: [m, *GOOD, "--loop", 0], "--loop is 0"),
    "freeze when": (lambda t, m: [m, *GOOD, "--freeze-after", "late"], "give e.g. 60s or 1200"),
    "freeze too late": (lambda t, m: [m, *GOOD, "--freeze-after", "60s"], "expected one from 50"),
    "no room to record": (lambda t, m: [m, *GOOD, "--record", "--loop", 10**9], "or leave out --record"),
    "indicator": (lambda t, m: [m, *GOOD, "--indicator", "GCaMP99"], "GCaMP99"),
    "address": (lambda t, m: [m, *GOOD, "--bind", "here"], "HOST:PORT"),
    "other machines": (lambda t, m: [m, *GOOD, "--bind", "0.0.0.0:5570"], "0.0.0.0"),
    "subject": (lambda t, m: [m, *GOOD, "--subject", "..."], "subject"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(case, movie, tmp_path):
    words, says = BAD[case]
    out = tmp_path / "out"
    result = invoke("replay", *words(tmp_path, movie), "--out", out, "--no-refit")
    assert_one_sentence(result, says)
    assert not out.exists()


def assert_one_sentence(result, says):
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    expected = ("stream ", "note ", "estimating ")
    lines = [line for line in result.stderr.splitlines() if not line.startswith(expected)]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("streamscope: ")
    assert "Traceback" not in result.output


def test_a_port_in_use_is_said_and_leaves_nothing(movie, tmp_path):
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1", max_port=60_000)
        words = ["replay", movie, *GOOD, "--bind", f"127.0.0.1:{port}", "--out", tmp_path / "out"]
        assert_one_sentence(invoke(*words), "in use")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(movie, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder", encoding="utf-8")
    result = invoke("replay", movie, *GOOD, "--out", in_the_way / "out")
    assert_one_sentence(result, "it is not a folder); give another folder with --out")
    assert in_the_way.read_text(encoding="utf-8") == "not a folder"


@pytest.mark.parametrize("command", ["refit", "inspect"])
def test_a_folder_that_is_no_session_is_said(command, tmp_path):
    result = invoke(command, tmp_path)
    assert_one_sentence(result, "not a StreamScope session")


def test_a_fault_of_the_program_is_one_sentence_too_with_the_details_in_a_file(movie, tmp_path, monkeypatch):
    def broken(progress):
        raise TypeError("on purpose")

    monkeypatch.setattr("streamscope.session.runner.real_engine", lambda bits: fake_engine(warm_up=broken))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = invoke("replay", movie, *GOOD, "--out", tmp_path / "out")
    assert result.exit_code == 1
    (details,) = tmp_path.glob("streamscope-error-*.txt")
    assert f"TypeError: on purpose); please report it with the details in {details}" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in details.read_text(encoding="utf-8")
    assert not (tmp_path / "out").exists()
