"""`streamscope import-config`: user configurations of Miniscope-DAQ-QT, old and new, become settings of ours."""

from __future__ import annotations

import json
import tomllib

import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.config import SessionConfig, from_toml
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import fake_engine
from tests.cli.test_live import Ends
from tests.session.live_devices import use_model

run = CliRunner()

PLACES = {
    "dataDirectory": "D:/Data",
    "directoryStructure": ["researcherName", "experimentName", "animalName", "date", "time"],
    "researcherName": "Dr_M",
    "experimentName": "Linear Track",
    "animalName": "mouse 7",
}
# The form of 2019: lists, names inside, rates and gains as text.
OLD = PLACES | {
    "recordLengthinSeconds": 30,
    "behaviorTracker_Not_Implemented": {"type": "HSV"},
    "devices": {
        "miniscopes": [
            {
                "deviceName": "Scope 1",
                "deviceType": "Miniscope_V3",
                "imageRegistration": "Off",
                "streamHeadOrientation": False,
                "deviceID": 1,
                "compressionOptions": ["MJPG", "FFV1"],
                "compression": "FFV1",
                "framesPerFile": 1000,
                "windowScale": 0.75,
                "gain": "Low",
                "ewl": 50,
                "led0": 30,
                "frameRate": "30FPS",
            }
        ],
        "cameras": [
            {"deviceName": "BehavCam 0", "deviceType": "WebCam", "deviceID": 0, "compression": "MJPG"}
        ],
    },
}
# The form since 2020: tables by name; numbers, fine steps and a part of the picture in the newest.
NEW = PLACES | {
    "$schema": "https://...",
    "configVersion": 1,
    "COMMENT_any": "ignored",
    "recordLengthInSeconds": 0,
    "commutator": {"enabled": True, "port": "COM3"},
    "traceDisplay": {"enabled": True},
    "devices": {
        "COMMENT_miniscopes": "ignored",
        "miniscopes": {
            "My V4 Miniscope": {
                "COMMENT": "ignored",
                "deviceType": "Miniscope_V4_BNO",
                "deviceID": 2,
                "headOrientation": {"enabled": True, "filterBadData": True},
                "compression": "GREY",
                "framesPerFile": 1000,
                "lut": "Green",
                "gain": 3.5,
                "frameRate": 25,
                "led0": 51,
                "led0FineSteps": True,
                "ewl": -20,
                "ROI": {"leftEdge": 4, "topEdge": 8, "width": 64, "height": 48},
            },
            "Second": {
                "deviceType": "Miniscope_V4_2C",
                "deviceID": 3,
                "gain": "High",
                "frameRate": "30FPS",
                "led1": 5,
            },
        },
        "cameras": {
            "Cam": {"deviceType": "WebCam-1280x720", "deviceID": 0},
            "Box": {"deviceType": "Minicam-Mono-XGA", "deviceID": 4},
        },
    },
}


def imported(tmp_path, contents, *words):
    file, out = tmp_path / "user.json", tmp_path / "rig.toml"
    file.write_text(json.dumps(contents), encoding="utf-8")
    out.unlink(missing_ok=True)
    result = run.invoke(app, ["import-config", str(file), "--out", str(out), *words])
    assert result.exit_code == 0, result.output
    return from_toml(out), result.stderr, out


def test_a_configuration_of_2019_is_read(tmp_path):
    config, said, _ = imported(tmp_path, OLD)
    device = config.device
    assert (device.type, device.index, device.name) == ("miniscope:v3", "1", "Scope 1")
    assert (config.fps, device.gain, device.led, device.focus) == (30.0, "low", 30.0, None)
    assert (config.subject, config.researcher, config.study) == (
        "mouse 7",
        "Dr_M",
        "Linear Track",
    )
    assert (config.out, config.compression) == ("D:/Data/Dr_M/Linear Track", "FFV1")
    for note in (
        "ewl 50 of Scope 1: v3 has no setting focus",
        "recordLengthinSeconds 30: end the session yourself, with Ctrl-C",
        "windowScale: windows of that program",
    ):
        assert note in said
    assert "directoryStructure" not in said  # ours has the same folders


def test_a_configuration_of_today_is_read(tmp_path):
    config, said, out = imported(tmp_path, NEW)
    device = config.device
    assert (device.type, device.index, device.name) == ("miniscope:v4-bno", "2", "My V4 Miniscope")
    assert (config.fps, device.gain, device.led, device.focus) == (25.0, "high", 20.0, -20.0)
    assert device.roi == (4, 8, 64, 48)
    if "cameras" in SessionConfig.model_fields:
        assert config.cameras == ("Cam=webcam:0@1280x720",)
    for note in (
        'miniscope Second: each is a session of its own; import it with --miniscope "Second"',
        "camera Box (Minicam-Mono-XGA): it is not recorded",
        "commutator: there is none here",
    ):
        assert note in said
        assert f"# Not carried over: {note}" in out.read_text(encoding="utf-8")
    assert "COMMENT" not in said

    config, said, _ = imported(tmp_path, NEW, "--miniscope", "Second")
    assert (config.device.type, config.device.index, config.device.led2) == ("miniscope:v4-2c", "3", 5.0)


def test_other_folders_are_kept_as_far_as_ours_allow_it_and_said(tmp_path):
    own = OLD | {"directoryStructure": ["animalID", "date", "time"], "animalID": "ID42"}
    config, said, _ = imported(tmp_path, own)
    assert (config.subject, config.out) == ("ID42", "D:/Data")
    assert "directoryStructure" not in said
    own = OLD | {"directoryStructure": ["animalName", "date", "time", "extra"], "dataDirectory": "./Data"}
    config, said, _ = imported(tmp_path, own)
    assert (config.subject, config.out) == ("mouse 7", "./Data/extraMissing")
    assert "sessions are in ./Data/extraMissing/SUBJECT/DATE/TIME" in said
    assert "dataDirectory ./Data was relative to that program's folder" in said


def test_values_that_the_scope_does_not_have_and_types_that_are_not_known_are_listed(tmp_path):
    scope = {"deviceType": "MiniLFM", "deviceID": 1, "frameRate": "10FPS"}
    config, said, _ = imported(tmp_path, OLD | {"devices": {"miniscopes": {"M": scope}}})
    assert (config.device.type, config.device.index) == (None, "1")
    assert "deviceType MiniLFM of M: not known here; give --device" in said
    scope = {"deviceType": "Miniscope_V4", "frameRate": "60FPS", "gain": "Huge", "led0": "bright", "other": 1}
    scope["compression"] = "XVID"
    config, said, _ = imported(tmp_path, OLD | {"devices": {"miniscopes": {"M": scope}}})
    assert (config.fps, config.device.gain, config.device.led) == (None, None, None)
    for note in (
        "frameRate 60FPS of M: fps is 60.0, expected one of 10, 15",
        "gain Huge of M: gain is huge",
        "led0 of M is 'bright'",
        "other: not known here",
        "compression XVID of M: recordings are GREY (none) or FFV1 (lossless)",
    ):
        assert note in said


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("{", (), "is not JSON"),
        ('{"a": 1}', (), "has no table devices, expected a user configuration of Miniscope-DAQ-QT"),
        ('{"devices": {"miniscopes": {}}}', (), "has the miniscopes none, expected at least one"),
        (json.dumps(NEW), ("--miniscope", "X"), "has the miniscopes My V4 Miniscope, Second, expected X"),
    ],
)
def test_another_file_is_refused_in_one_sentence(tmp_path, text, words, message):
    file = tmp_path / "user.json"
    file.write_text(text, encoding="utf-8")
    result = run.invoke(app, ["import-config", str(file), *words])
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]


def test_without_out_the_file_is_printed_and_an_existing_one_is_never_overwritten(tmp_path):
    _, _, out = imported(tmp_path, OLD)
    result = run.invoke(app, ["import-config", str(tmp_path / "user.json")])
    assert tomllib.loads(result.stdout) == tomllib.loads(out.read_text(encoding="utf-8"))
    result = run.invoke(app, ["import-config", str(tmp_path / "user.json"), "--out", str(out)])
    assert result.exit_code == 2
    assert "exists already" in result.stderr


def test_what_was_imported_runs_live(tmp_path, monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    monkeypatch.setattr("streamscope.session.runner.real_engine", lambda bits: fake_engine(Ends))
    made = use_model(monkeypatch)
    scope = NEW["devices"]["miniscopes"]["My V4 Miniscope"]
    contents = NEW | {
        "devices": {"miniscopes": {"My V4 Miniscope": scope}},
        "dataDirectory": str(tmp_path / "Data"),
    }
    _, _, out = imported(tmp_path, contents)
    words = ["--cell-diameter", "8px", "--bind", "127.0.0.1:0", "--no-refit"]
    result = run.invoke(app, ["live", "--config", str(out), *words])
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "Data" / "Dr_M" / "Linear Track").glob("mouse_7/*/*")
    session = open_session(folder)
    assert (session.metadata["researcherName"], session.metadata["experimentName"]) == (
        "Dr_M",
        "Linear Track",
    )
    device = json.loads((folder / "My_V4_Miniscope" / "metaData.json").read_text(encoding="utf-8"))
    assert (device["deviceName"], device["deviceType"]) == ("My V4 Miniscope", "Miniscope_V4_BNO")
    assert device["ROI"] == {"leftEdge": 4, "topEdge": 8, "width": 64, "height": 48}
    assert (device["led0"], device["gain"], device["ewl"]) == (20.0, "High", -20.0)
    assert session.shape == (48, 64)
    assert made[0][1].light == 0


def test_live_without_a_device_says_so(tmp_path):
    result = run.invoke(app, ["live", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "no device was named, expected --device or device.type" in result.stderr
