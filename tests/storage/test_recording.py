"""A session's own recording: the same pixels and stamps again, from good ends and from bad ones."""

from __future__ import annotations

import errno
import subprocess
import sys
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamscope.config import EngineConfig, SessionConfig
from streamscope.errors import StorageError
from streamscope.storage import avi, room
from streamscope.storage.avi import Ffv1Avi, GrayAvi
from streamscope.storage.recording import Recording, finish_recording, recorded_frames
from streamscope.storage.session_folder import SessionFolder, create_session, open_session
from streamscope.types import Frame, MovieInfo
from streamscope_drivers.replay import open_movie

N, SHAPE = 20, (31, 37)  # an odd number of pixels: each chunk is padded
FPS = 29.97
STARTED = datetime(2026, 5, 1, 14, 30, 5, tzinfo=UTC)
IMAGES = np.random.default_rng(3).integers(0, 256, (N, *SHAPE)).astype(np.uint8)
TIMES_S = np.arange(N) / FPS + 0.25 * (np.arange(N) >= 7)
GAPS = np.where(np.arange(N) == 7, 4, 0)


def frame(n: int, gap: int | None = None, hw: int | None = None) -> Frame:
    return Frame(n, IMAGES[n], 0, float(TIMES_S[n]), int(GAPS[n]) if gap is None else gap, hw)


def make(root: Path, shape: tuple[int, int] = SHAPE, device: str = "My V4 Miniscope") -> SessionFolder:
    file = root / "movie.npy"
    np.save(file, IMAGES)
    info = MovieInfo(str(file), (file,), shape, N, FPS, device=device)
    engine = EngineConfig(cell_diameter_px=8.0, fps=FPS, decay_s=0.6, um_per_px=1.655)
    return create_session(root / "out", SessionConfig(fps=FPS), engine, info, STARTED, device=device)


def begin(
    session: SessionFolder, frames_per_file: int = 8, compression: str = "GREY", **meta: object
) -> Recording:
    info = MovieInfo("movie.npy", (), SHAPE, N, FPS, device="My V4 Miniscope", meta=meta)
    return Recording(session, info, FPS, 1.655, frames_per_file, compression)


@pytest.fixture
def session(tmp_path: Path) -> SessionFolder:
    return make(tmp_path)


def recorded(
    session: SessionFolder, numbers: range | list[int] = range(N), stopped: str = ""
) -> SessionFolder:
    made = begin(session)
    for n in numbers:
        made.append(frame(n))
    made.commit()
    made.close()
    return finish_recording(session, made, N, stopped)


@pytest.mark.parametrize("compression", ["GREY", "FFV1"])
def test_a_recording_is_read_back_with_the_same_pixels_times_gaps_and_counters(
    session: SessionFolder, compression: str
):
    made = begin(
        session,
        compression=compression,
        deviceName="old name",
        deviceType="Miniscope_V4_BNO",
        gain="High",
        framesPerFile=3,
    )
    for n in range(N):
        made.append(frame(n, hw=(65530 + n) % 65536), waiting=n)
    made.close()
    movie = open_movie(str(session.folder))  # the session folder, as any Miniscope tool would open it
    np.testing.assert_array_equal(movie.read(0, N), IMAGES)
    np.testing.assert_allclose(movie.times_s, TIMES_S - TIMES_S[0], rtol=0, atol=2e-9)
    np.testing.assert_array_equal(movie.gap, GAPS)
    np.testing.assert_array_equal(movie.hw, (65530 + np.arange(N)) % 65536)
    info = movie.info
    assert (info.fps, info.um_per_px, info.device) == (FPS, 1.655, "My V4 Miniscope")
    assert [w.partition(" are missing")[0] for w in info.warnings] == [f"{GAPS.sum()} frames"]
    assert [file.name for file in info.files] == ["0.avi", "1.avi", "2.avi"]
    assert (info.meta["gain"], info.meta["framesPerFile"], info.meta["compression"]) == (
        "High",
        8,
        compression,
    )
    movie.close()


def test_stamps_are_those_of_miniscope_software_and_one_column_of_ours(session: SessionFolder):
    made = begin(session)
    made.append(Frame(0, IMAGES[0], 0, 0.0))
    made.append(Frame(1, IMAGES[1], 0, 0.05, hw=42), waiting=3)
    made.append(Frame(4, IMAGES[2], 0, 0.2000001, gap=2))
    made.close()
    rows = (made.folder / "timeStamps.csv").read_text(encoding="utf-8").splitlines()
    assert rows == [
        "Frame Number,Time Stamp (ms),Buffer Index,DAQ Frame Number,Frames Missing",
        *("0,0,0,-1,0", "1,50,3,42,0", "4,200.0001,0,-1,2"),
    ]


@pytest.mark.parametrize("kind", [GrayAvi, Ffv1Avi])
@pytest.mark.parametrize("closed", [True, False])
def test_opencv_reads_a_file_with_and_without_its_end(tmp_path: Path, closed: bool, kind: type[GrayAvi]):
    file = kind(tmp_path / "0.avi", SHAPE, FPS)
    for image in IMAGES:
        file.write(image)
    (file.close if closed else file.commit)()
    video = cv2.VideoCapture(str(tmp_path / "0.avi"))
    video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == N
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS)
    for image in IMAGES:
        found, pixels = video.read()
        assert found
        np.testing.assert_array_equal(pixels.reshape(SHAPE), image)
    video.release()
    if not closed:
        file.close()


def test_any_length_of_a_file_that_was_cut_off_gives_its_whole_frames(tmp_path: Path):
    file = GrayAvi(tmp_path / "whole.avi", SHAPE, FPS)
    for image in IMAGES:
        file.write(image)
    content = (tmp_path / "whole.avi").read_bytes()
    file.close()
    chunk = (len(content) - avi._HEADER.size) // N
    for extra in (0, 3, 8, chunk - 2):
        path = tmp_path / f"{extra}.avi"
        path.write_bytes(content[: avi._HEADER.size + 5 * chunk + extra])
        movie = open_movie(str(path), fps=FPS)
        assert movie.info.n_frames == 5
        np.testing.assert_array_equal(movie.read(0, 5), IMAGES[:5])
        movie.close()


def test_a_compressed_file_that_was_cut_off_gives_its_whole_frames(tmp_path: Path):
    file = Ffv1Avi(tmp_path / "whole.avi", SHAPE, FPS)
    ends = [file._end]
    for image in IMAGES:
        file.write(image)
        ends.append(file._end)
    content = (tmp_path / "whole.avi").read_bytes()
    file.close()
    for n, extra in ((5, 0), (5, 9), (7, ends[8] - ends[7] - 3)):
        path = tmp_path / f"{n}_{extra}.avi"
        path.write_bytes(content[: ends[n] + extra])
        movie = open_movie(str(path), fps=FPS)
        assert movie.info.n_frames == n
        np.testing.assert_array_equal(movie.read(0, n), IMAGES[:n])
        movie.close()


KILLED = """
import os, sys
from pathlib import Path
from tests_recording import begin, frame, open_session
made = begin(open_session(Path(sys.argv[1])))
for n in range(13):
    made.append(frame(n))
os._exit(9)
"""


def test_a_killed_program_leaves_every_frame_that_it_wrote(session: SessionFolder, tmp_path: Path):
    helper = tmp_path / "tests_recording.py"
    helper.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{KILLED}"
    done = subprocess.run([sys.executable, "-c", code, str(session.folder)], timeout=60, check=False)
    assert done.returncode == 9
    session = open_session(session.folder)
    np.testing.assert_array_equal(recorded_frames(session), np.arange(13))
    Path(session.folder / session.ours["source"]["path"]).unlink()
    found = session.find_source()
    assert found.own
    movie = open_movie(found.spec)
    np.testing.assert_array_equal(movie.read(0, 13), IMAGES[:13])
    np.testing.assert_array_equal(movie.gap, GAPS[:13])
    movie.close()


class SmallDisk(FileIO):
    """A file on a disk that has no room for more than so many bytes."""

    room = 0

    def write(self, data):
        size = min(len(data), SmallDisk.room)
        if size == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        SmallDisk.room -= size
        return super().write(memoryview(data)[:size])


def test_a_full_disk_is_one_clear_sentence_and_what_was_written_stays(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(avi, "FileIO", SmallDisk)
    SmallDisk.room = 224 + 5 * 1156 + 700  # header, five frames, a part of the sixth
    made = begin(session)
    for n in range(5):
        made.append(frame(n))
    with pytest.raises(StorageError, match=r"Miniscope cannot be written \(No space left on device\); check"):
        made.append(frame(5))
    with pytest.raises(StorageError, match="No space left"):
        made.close()
    made.close()  # again is no error
    movie = open_movie(str(made.folder))
    np.testing.assert_array_equal(movie.read(0, movie.info.n_frames), IMAGES[:5])
    assert movie.info.warnings == ()
    movie.close()


def test_a_recording_ends_while_there_is_still_room_for_the_results(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
):
    made = begin(session)
    made.append(frame(0))
    assert made.commit().bytes_per_s > FPS * SHAPE[0] * SHAPE[1]
    monkeypatch.setattr(room, "free_bytes", lambda folder: 499_000_000)
    with pytest.raises(StorageError, match="has 499 MB free, expected at least 500 MB, which are left to"):
        made.commit()
    made.close()


def test_a_whole_recording_comes_before_the_original_and_does_without_it(session: SessionFolder):
    finished = recorded(session)
    noted = open_session(session.folder).recording
    assert noted == finished.recording
    assert noted is not None
    assert (noted["complete"], noted["n_frames"], noted["not_recorded"]) == (True, N, 0)
    device = session.folder / "My_V4_Miniscope"
    assert finished.find_source().spec == str(device)
    Path(session.folder / session.ours["source"]["path"]).unlink()
    assert finished.find_source().own
    (device / "1.avi").unlink()
    with pytest.raises(StorageError, match=r"not at .*1\.avi; put it back"):
        finished.find_source()


def test_a_changed_recording_gives_way_to_the_original(session: SessionFolder):
    finished = recorded(session)
    with (session.folder / "My_V4_Miniscope" / "timeStamps.csv").open("a") as file:
        file.write("20,1000,0,-1,0\n")
    found = finished.find_source()
    assert not found.own
    assert found.spec.endswith("movie.npy")


def test_a_recording_that_lacks_frames_comes_after_the_original(session: SessionFolder):
    numbers = [0, 1, 2, 5, 6, 7, 8]
    finished = recorded(session, numbers, "the disk is full")
    assert finished.recording is not None
    assert (finished.recording["complete"], finished.recording["not_recorded"]) == (False, N - 7)
    assert not finished.find_source().own
    Path(session.folder / session.ours["source"]["path"]).unlink()
    assert finished.find_source().own
    np.testing.assert_array_equal(recorded_frames(finished), numbers)


def test_a_frame_of_another_size_or_type_is_refused_and_a_view_is_taken(session: SessionFolder):
    made = begin(session)
    made.append(Frame(0, np.asfortranarray(IMAGES[0]), 0))
    for image in (IMAGES[0][:, 1:], IMAGES[0].astype(np.uint16)):
        with pytest.raises(StorageError, match=r"frame 1 is .* expected \(31, 37\) of uint8"):
            made.append(Frame(1, image, 0))
    made.append(Frame(1, IMAGES[1], 0))
    made.close()
    movie = open_movie(str(made.folder))
    np.testing.assert_array_equal(movie.read(0, 2), IMAGES[:2])
    movie.close()


def test_half_a_row_of_time_stamps_is_no_frame(session: SessionFolder):
    finished = recorded(session, [0, 1, 2])
    with (session.folder / "My_V4_Miniscope" / "timeStamps.csv").open("a") as file:
        file.write("3,10")
    np.testing.assert_array_equal(recorded_frames(finished), [0, 1, 2])


def test_a_file_is_kept_small_enough_for_old_readers(tmp_path: Path):
    session = make(tmp_path, (1944, 2592))
    info = MovieInfo("movie.npy", (), (1944, 2592), N, FPS)
    made = Recording(session, info, FPS)
    made.close()
    text = (made.folder / "metaData.json").read_text(encoding="utf-8")
    assert '"framesPerFile": 377' in text


def test_a_session_without_a_recording_says_so(tmp_path: Path):
    file = tmp_path / "movie.npy"
    np.save(file, IMAGES)
    info = MovieInfo(str(file), (file,), SHAPE, N, FPS)
    engine = EngineConfig(cell_diameter_px=8.0, fps=FPS, decay_s=0.6)
    plain = create_session(tmp_path / "out", SessionConfig(), engine, info, STARTED)
    assert plain.recording is None
    with pytest.raises(StorageError, match="was not recorded"):
        recorded_frames(plain)
