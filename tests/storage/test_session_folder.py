"""A session's folder: named, never overwritten, never half made, and able to find its recording again."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamscope.config import EngineConfig, SessionConfig
from streamscope.errors import StorageError
from streamscope.storage import session_folder
from streamscope.storage.session_folder import SessionFolder, create_session, open_session, safe_name
from streamscope.testing.fake_session import SHAPE
from streamscope.types import MovieInfo

ENGINE = EngineConfig(cell_diameter_px=8.0, fps=20.0, decay_s=0.6)
STARTED = datetime(2026, 5, 1, 14, 30, 5, tzinfo=UTC)


def test_the_folder_is_named_by_subject_day_and_time(session: SessionFolder, tmp_path: Path):
    assert session.folder == tmp_path / "out" / "mouse_1" / "2026_05_01" / "14_30_05"


def test_metadata_has_the_keys_of_miniscope_daq(session: SessionFolder):
    metadata = json.loads((session.folder / "metaData.json").read_text(encoding="utf-8"))
    assert metadata["animalName"] == "mouse 1"
    assert metadata["recordingStartTime"] == {
        **{"year": 2026, "month": 5, "day": 1, "hour": 14, "minute": 30, "second": 5, "msec": 250},
        "msecSinceEpoch": 1777645805250,
    }
    assert (metadata["miniscopes"], metadata["cameras"]) == ([], [])
    assert {"researcherName", "experimentName", "baseDirectory"} <= metadata.keys()


def test_a_session_read_back_knows_its_settings_shape_and_recording(
    session: SessionFolder, recording: MovieInfo
):
    again = open_session(session.folder)
    assert again.engine.fps == 20.0
    assert again.engine.um_per_px == 1.65
    assert again.shape == SHAPE
    assert again.ours["config"]["subject"] == "mouse 1"
    assert again.find_source().spec == recording.source
    (file,) = again.ours["source"]["files"]
    assert file["path"] == "../../../../data/movie.h5"
    assert file["size"] == 10240


def test_a_second_session_in_the_same_second_gets_a_folder_of_its_own(
    session: SessionFolder, tmp_path: Path, recording: MovieInfo
):
    config = SessionConfig(subject="mouse 1")
    names = [create_session(tmp_path / "out", config, ENGINE, recording, STARTED).folder.name for _ in "ab"]
    assert names == ["14_30_05_2", "14_30_05_3"]


def test_a_session_moved_together_with_its_recording_still_finds_it(session: SessionFolder, tmp_path: Path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(tmp_path / "out", moved / "out")
    shutil.move(tmp_path / "data", moved / "data")
    again = open_session(moved / "out" / "mouse_1" / "2026_05_01" / "14_30_05")
    assert again.find_source().spec == f"{moved / 'data' / 'movie.h5'}:/movie"


def test_a_recording_that_is_gone_is_named(session: SessionFolder, recording: MovieInfo):
    recording.files[0].unlink()
    with pytest.raises(StorageError, match=r"not at .*movie\.h5; put it back"):
        session.find_source()


def test_a_recording_that_was_changed_is_refused(session: SessionFolder, recording: MovieInfo):
    content = bytearray(recording.files[0].read_bytes())
    content[-1] ^= 1
    recording.files[0].write_bytes(content)
    with pytest.raises(StorageError, match="is not the file that this session was made from"):
        session.find_source()


def test_a_synthetic_recording_needs_no_file(tmp_path: Path):
    info = MovieInfo("synthetic:demo", (), SHAPE, 60, 20.0)
    made = create_session(tmp_path, SessionConfig(), ENGINE, info, STARTED)
    assert open_session(made.folder).find_source().spec == "synthetic:demo"


def test_a_root_that_is_a_file_is_one_clear_sentence(tmp_path: Path, recording: MovieInfo):
    root = tmp_path / "taken"
    root.write_text("")
    with pytest.raises(StorageError, match=r"no session folder can be made under .*--out"):
        create_session(root, SessionConfig(), ENGINE, recording, STARTED)


def test_nothing_is_left_when_the_metadata_cannot_be_written(
    tmp_path: Path, recording: MovieInfo, monkeypatch: pytest.MonkeyPatch
):
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session_folder, "_write_json", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        create_session(tmp_path / "new" / "root", SessionConfig(), ENGINE, recording, STARTED)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("mouse1", "mouse1"),
        ("a/b\\c:d", "a_b_c_d"),
        ("../../etc", "_.._etc"),
        (" M 7 ", "M_7"),
        ("Mäuse-3", "Mäuse-3"),
        ("end.", "end"),
    ],
)
def test_names_become_safe_folder_names(name: str, safe: str):
    assert safe_name(name) == safe


@pytest.mark.parametrize("name", ["", "..", "  ", "///", "con", "NUL.txt", "com1"])
def test_names_that_cannot_be_folders_are_refused(name: str):
    with pytest.raises(StorageError, match="cannot be the name of a folder"):
        safe_name(name)


def test_a_folder_that_is_no_session_says_so(tmp_path: Path):
    with pytest.raises(StorageError, match="is not a StreamScope session"):
        open_session(tmp_path)
    with pytest.raises(StorageError, match="there is no folder"):
        open_session(tmp_path / "nowhere")


def test_a_recording_of_miniscope_daq_is_no_session(tmp_path: Path):
    (tmp_path / "metaData.json").write_text('{"animalName": "m1", "miniscopes": ["Miniscope"]}')
    with pytest.raises(StorageError, match=r"no metaData\.json that StreamScope wrote"):
        open_session(tmp_path)
