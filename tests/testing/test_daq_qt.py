"""Simulated recordings in the layout of Miniscope-DAQ-QT."""

import json

import numpy as np
import pytest

from streamscope.testing.daq_qt import DaqSettings, write_recording
from streamscope.testing.synth import PRESETS, Scene, Truth
from streamscope_drivers.replay import open_movie


@pytest.fixture(scope="module")
def scene():
    return Scene(PRESETS["tiny"])


def write(folder, scene, n_frames=50):
    frames = (scene.frame(n) for n in range(n_frames))
    return write_recording(folder, frames, 20.0, scene.truth, DaqSettings(frames_per_file=30))


def test_a_simulated_recording_is_replayed_with_its_truth_beside_it(tmp_path, scene):
    write(tmp_path, scene)
    movie = open_movie(str(tmp_path))
    assert movie.info.fps == 20
    assert np.array_equal(movie.read(0, 50), scene.frames(0, 50))
    movie.close()
    with np.load(tmp_path / "truth.npz") as stored:
        truth = Truth.from_arrays(stored)
    assert np.array_equal(truth.target, scene.truth.target)
    assert truth.footprints.n == scene.truth.footprints.n


def test_layout_and_keys_are_those_of_the_original(tmp_path, scene):
    device = write(tmp_path, scene)
    assert sorted(p.name for p in device.iterdir()) == ["0.avi", "1.avi", "metaData.json", "timeStamps.csv"]
    session = json.loads((tmp_path / "metaData.json").read_text())
    assert session["miniscopes"] == ["Miniscope"]
    assert session["recordingStartTime"]["msecSinceEpoch"] == 1715941800000
    settings = json.loads((device / "metaData.json").read_text())
    assert settings["frameRate"] == "20FPS"
    assert settings["compression"] == "GREY"
    lines = (device / "timeStamps.csv").read_text().splitlines()
    assert lines[:3] == [
        "Frame Number,Time Stamp (ms),Buffer Index,DAQ Frame Number",
        "0,-12,0,41",
        "1,38,0,42",
    ]
    assert len(lines) == 51


def test_two_recordings_of_the_same_frames_are_equal(tmp_path, scene):
    first, second = write(tmp_path / "a", scene), write(tmp_path / "b", scene)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
