"""The demo: its recording, its comparison, its picture."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from streamscope.cli import demo as demo_module
from streamscope.cli.comparison import Comparison, Found
from streamscope.cli.demo import make_recording, tell
from streamscope.cli.main import app
from streamscope.cli.picture import draw
from streamscope.session.registry import open_movie
from streamscope.testing.score import score
from streamscope.testing.synth import PRESETS, Scene

TINY = replace(PRESETS["tiny"], n_frames=40)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(demo_module, "_config", lambda size: TINY)


def files_in(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_recording_is_a_miniscope_folder_that_is_made_once(tiny, tmp_path):
    folder = make_recording(tmp_path, 96)
    movie = open_movie(str(folder))
    assert (movie.info.n_frames, movie.info.shape, movie.info.um_per_px) == (
        40,
        (96, 96),
        pytest.approx(1.65, abs=0.1),
    )
    np.testing.assert_array_equal(movie.read(7, 8)[0], Scene(TINY).frame(7))
    movie.close()
    before = files_in(folder)
    assert make_recording(tmp_path, 96) == folder
    assert files_in(folder) == before


def test_a_demo_that_is_stopped_while_it_writes_leaves_nothing(tiny, tmp_path, monkeypatch):
    def stop(scene, index):
        if index == 10:
            raise KeyboardInterrupt
        return np.zeros((96, 96), np.uint8)

    monkeypatch.setattr(Scene, "frame", stop)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out"), "--size", "128"])
    assert result.exit_code == 130
    assert not list(tmp_path.rglob("*.avi"))


@pytest.fixture(scope="module")
def comparison():
    truth = Scene(PRESETS["tiny"]).truth
    found = []
    for name, keep in (
        ("live", np.flatnonzero(truth.target)[:-2]),
        ("refit", np.flatnonzero(truth.target)[:-1]),
    ):
        footprints, C = truth.footprints.select(keep), truth.F[keep].copy()
        avail = np.full(len(keep), 30 if name == "live" else 0)
        C[:, : avail[0]] = np.nan
        found.append(Found(name, footprints, C, avail, score(truth, footprints, C, truth.shifts, avail)))
    image = truth.footprints.dense().max(2)
    return Comparison(truth, 20.0, 1.655, tuple(found), image)


def test_the_picture_shows_live_refit_and_truth_in_their_colours(comparison, tmp_path):
    draw(comparison, tmp_path / "demo.png")
    picture = cv2.imread(str(tmp_path / "demo.png"))
    assert picture.shape[0] > 800
    assert picture.shape[1] > 1600
    for red, green, blue in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0xF0, 0xE4, 0x42)):
        near = np.abs(picture.astype(int) - [blue, green, red]).max(2) < 20
        assert near.sum() > 20


def test_the_comparison_is_told_for_live_and_refit(comparison, capsys):
    tell(comparison)
    said = capsys.readouterr().out
    assert re.search(r"live\s+\d+\s+1\.000", said)
    assert re.search(r"refit\s+\d+\s+1\.000", said)


@pytest.mark.slow
def test_the_demo_does_the_whole_job(tmp_path):
    words = ["demo", "--size", "200", "--speed", "max", "--out", str(tmp_path), "--bind", "127.0.0.1:0"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    (picture,) = tmp_path.glob("demo/*/*/demo.png")
    assert f"picture  {picture}" in result.output
    for name in ("live", "refit"):
        precision, recall = re.search(rf"{name}\s+\d+\s+([\d.]+)\s+([\d.]+) of", result.output).groups()
        assert float(precision) > 0.8
        assert float(recall) > 0.5
