"""Folders as Miniscope-DAQ-QT-Software writes them."""

import json

import numpy as np
import pytest
import tifffile

from streamscope.errors import SourceError
from streamscope.testing.daq_qt import DaqSettings, write_recording
from streamscope_drivers.replay import Replay, open_movie
from streamscope_drivers.timebase import lost_frames, since_first
from streamscope_drivers.video_writer import GrayVideoWriter


@pytest.fixture
def pixels():
    return np.random.default_rng(8).integers(0, 256, (45, 32, 48), dtype=np.uint8)


def record(folder, pixels, fps=20, **options):
    options = {"frames_per_file": 20, **options}
    return write_recording(folder, pixels, fps, settings=DaqSettings(**options))


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("codec", ["rawvideo", "ffv1"])
def test_a_session_folder_is_read_as_one_movie(tmp_path, pixels, codec):
    device = record(tmp_path, pixels, codec=codec, device="My V4 Miniscope")
    assert sorted(f.name for f in device.glob("*.avi")) == ["0.avi", "1.avi", "2.avi"]
    for folder in (tmp_path, device):
        movie = open_movie(str(folder))
        assert movie.info.n_frames == 45
        assert movie.info.shape == (32, 48)
        assert movie.info.fps == 20
        assert movie.info.um_per_px == 1.65
        assert movie.info.device == "My V4 Miniscope"
        assert movie.info.warnings == ()
        assert np.array_equal(movie.read(0, 45), pixels)
        movie.close()


def test_any_order_of_reading_gives_the_same_frames(tmp_path, pixels):
    record(tmp_path, pixels, codec="ffv1")
    movie = open_movie(str(tmp_path))
    for start in (44, 3, 21, 19, 20, 0, 38, 5):
        stop = min(start + 3, 45)
        assert np.array_equal(movie.read(start, stop), pixels[start:stop])
    movie.close()


def test_files_are_sorted_by_number(tmp_path, pixels):
    device = record(tmp_path, pixels[:36], frames_per_file=3)
    movie = open_movie(str(device))
    assert [f.name for f in movie.info.files][9:] == ["9.avi", "10.avi", "11.avi"]
    assert np.array_equal(movie.read(0, 36), pixels[:36])
    movie.close()


def test_times_begin_at_zero_and_losses_come_from_the_counter(tmp_path, pixels):
    record(tmp_path, pixels, lost_before={10: 3, 30: 1}, first_counter=65530, first_stamp_ms=-40)
    movie = open_movie(str(tmp_path))
    gap = np.zeros(45, int)
    gap[[10, 30]] = 3, 1
    assert np.array_equal(movie.gap, gap)
    assert movie.times_s[0] == 0
    assert movie.times_s[10] == pytest.approx(13 / 20)
    assert movie.hw[0] == 65530
    assert movie.hw[20] == (65530 + 23) % 65536
    frames = list(Replay(movie, speed=None).frames(lambda: False))
    assert [(f.gap, f.hw) for f in frames[9:11]] == [(0, 3), (3, 7)]
    assert frames[10].time_s == pytest.approx(13 / 20)
    movie.close()


def test_the_users_rate_replaces_rate_and_times_but_not_the_losses(tmp_path, pixels):
    record(tmp_path, pixels, lost_before={10: 3})
    movie = open_movie(str(tmp_path), fps=10, um_per_px=0.9)
    assert movie.info.fps == 10
    assert movie.info.um_per_px == 0.9
    assert movie.times_s[20] == pytest.approx(2.0)
    assert movie.gap[10] == 3
    movie.close()


def test_without_a_counter_long_intervals_are_losses():
    times = np.arange(20) * 0.05
    times[7:] += 0.1  # two frames lost
    times[12] += 0.04  # one frame came late, the next in time
    gap = lost_frames(times, None)
    assert gap[7] == 2
    assert gap.sum() == 2


def test_a_counter_that_was_read_early_rebased_or_not_at_all_is_no_loss():
    times = np.arange(30) * 0.05
    counter = np.arange(30) + 2
    counter[0] = 41_000  # rebased after the first frame
    counter[8] += 1  # read when the next frame was in already
    counter[15] = -1  # could not be read
    counter[20:] += 5  # lost
    gap = lost_frames(times, counter)
    assert gap[20] == 5
    assert gap.sum() == 5


def test_stamps_that_go_back_are_repaired_and_named():
    times, warnings = since_first(np.array([-30.0, 20, 70, 10, 60, 110]))
    assert np.allclose(times, [0, 0.05, 0.1, 0.15, 0.2, 0.25])
    assert "go back 1 times, first at frame 3" in warnings[0]


@pytest.mark.parametrize("rate", [20, "20", "20FPS"])
def test_frame_rate_is_understood_in_every_form(tmp_path, pixels, rate):
    record(tmp_path, pixels, extra={"frameRate": rate})
    movie = open_movie(str(tmp_path))
    assert movie.info.fps == 20
    movie.close()


def test_stamps_win_over_a_nominal_rate_that_they_contradict(tmp_path, pixels):
    record(tmp_path, pixels, fps=20, extra={"frameRate": "30FPS"})
    movie = open_movie(str(tmp_path))
    assert movie.info.fps == pytest.approx(20, rel=0.01)
    assert "say 30 fps, but the time stamps say 20.0" in movie.info.warnings[0]
    movie.close()


def test_without_metadata_the_rate_is_measured_and_the_pixel_size_unknown(tmp_path, pixels):
    device = record(tmp_path, pixels)
    (device / "metaData.json").unlink()
    movie = open_movie(str(device))
    assert movie.info.fps == pytest.approx(20, rel=0.01)
    assert movie.info.um_per_px is None
    movie.close()


def test_without_stamps_frames_are_evenly_spaced_at_the_nominal_rate(tmp_path, pixels):
    device = record(tmp_path, pixels)
    (device / "timeStamps.csv").unlink()
    movie = open_movie(str(tmp_path))
    assert movie.info.fps == 20
    assert movie.times_s[-1] == pytest.approx(44 / 20)
    assert "no timeStamps.csv" in movie.info.warnings[0]
    movie.close()


def test_pixel_size_of_an_unknown_device_is_not_guessed(tmp_path, pixels):
    record(tmp_path, pixels, device_type="Miniscope_V3")
    movie = open_movie(str(tmp_path))
    assert movie.info.um_per_px is None
    movie.close()


@pytest.mark.parametrize(
    ("ending", "frames"), [(b"45,2", 45), (b"45,2238,0,8", 45), (b"45,2238,0,86\r\n", 45)]
)
def test_a_cut_off_or_surplus_last_line_is_left_out(tmp_path, pixels, ending, frames):
    device = record(tmp_path, pixels)
    edit(device / "timeStamps.csv", lambda old: old + ending)
    movie = open_movie(str(tmp_path))
    assert movie.info.n_frames == frames
    assert len(movie.info.warnings) == 1
    assert "timeStamps.csv" in movie.info.warnings[0]
    movie.close()


def test_fewer_stamps_than_frames_end_the_movie_at_the_last_stamp(tmp_path, pixels):
    device = record(tmp_path, pixels)
    edit(device / "timeStamps.csv", lambda old: b"\n".join(old.split(b"\n")[:31]) + b"\n")
    movie = open_movie(str(tmp_path))
    assert movie.info.n_frames == 30
    assert len(movie.times_s) == len(movie.gap) == len(movie.hw) == 30
    assert "has 30 frames and the video 45: the first 30 are used" in movie.info.warnings[0]
    movie.close()


@pytest.mark.parametrize("codec", ["rawvideo", "ffv1"])
def test_a_last_file_that_was_cut_off_is_read_as_far_as_whole_frames_go(tmp_path, pixels, codec):
    device = record(tmp_path, pixels, codec=codec)
    edit(device / "1.avi", lambda old: old)
    (device / "2.avi").unlink()
    edit(device / "1.avi", lambda old: old[: len(old) * 3 // 5])
    movie = open_movie(str(tmp_path))
    n = movie.info.n_frames
    assert 23 <= n <= 38
    assert np.array_equal(movie.read(0, n), pixels[:n])
    assert np.array_equal(movie.read(n - 1, n), pixels[n - 1 : n])
    assert np.array_equal(movie.read(21, 23), pixels[21:23])
    assert f"the first {n} are used" in movie.info.warnings[0]
    movie.close()


@pytest.mark.parametrize("header", [True, False])
def test_a_last_file_without_frames_is_left_out(tmp_path, pixels, header):
    device = record(tmp_path, pixels[:40])
    whole = (device / "1.avi").read_bytes()
    (device / "2.avi").write_bytes(whole[: whole.find(b"movi") + 4] if header else b"")
    movie = open_movie(str(device))
    assert movie.info.n_frames == 40
    assert "2.avi" in movie.info.warnings[0]
    movie.close()


def test_the_miniscope_is_chosen_among_cameras(tmp_path, pixels):
    record(tmp_path, pixels)
    record(tmp_path, pixels[::-1], device="BehavCam 2", device_type="WebCam")
    meta = {"miniscopes": ["Miniscope"], "cameras": ["BehavCam 2"]}
    (tmp_path / "metaData.json").write_text(json.dumps(meta))
    movie = open_movie(str(tmp_path))
    assert np.array_equal(movie.read(0, 2), pixels[:2])
    movie.close()
    (tmp_path / "metaData.json").unlink()
    by_type = open_movie(str(tmp_path))
    assert np.array_equal(by_type.read(0, 2), pixels[:2])
    by_type.close()


def test_pictures_and_tables_that_somebody_saved_beside_a_recording_are_left_alone(tmp_path, pixels):
    device = record(tmp_path, pixels)
    for folder in (tmp_path, device):
        tifffile.imwrite(folder / "mean.tif", pixels[0])
        (folder / "mean.csv").write_text("FrameNumber,HardwareTime\n1,2\n")
        movie = open_movie(str(folder))
        assert np.array_equal(movie.read(0, 45), pixels)
        movie.close()


def test_two_miniscopes_are_not_chosen_between(tmp_path, pixels):
    record(tmp_path, pixels)
    record(tmp_path, pixels, device="Second")
    (tmp_path / "metaData.json").unlink()
    with pytest.raises(SourceError, match=r"one miniscope was expected.*Miniscope.*Second.*name the folder"):
        open_movie(str(tmp_path))


def test_folders_without_a_recording_say_what_they_hold(tmp_path, pixels):
    with pytest.raises(SourceError, match="empty; check the path"):
        open_movie(str(tmp_path))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SourceError, match="holds no movie"):
        open_movie(str(tmp_path))
    with GrayVideoWriter(tmp_path / "film.avi", (32, 48)) as video:
        video.write(pixels[0])
    with pytest.raises(SourceError, match=r"film\.avi; name one of these files"):
        open_movie(str(tmp_path))
    record(tmp_path / "mouse" / "2024_05_17" / "10_30_00", pixels)
    with pytest.raises(SourceError, match=r"deeper in it: .*10_30_00"):
        open_movie(str(tmp_path))


def test_a_hole_in_the_numbers_is_refused(tmp_path, pixels):
    device = record(tmp_path, pixels)
    (device / "1.avi").unlink()
    with pytest.raises(SourceError, match=r"1\.avi was expected.*2\.avi follows 0\.avi"):
        open_movie(str(tmp_path))
    (device / "0.avi").unlink()
    with pytest.raises(SourceError, match=r"0\.avi was expected.*first file is 2\.avi"):
        open_movie(str(tmp_path))


def test_a_file_with_frames_of_another_size_is_refused(tmp_path, pixels):
    device = record(tmp_path, pixels[:40])
    with GrayVideoWriter(device / "2.avi", (30, 48)) as video:
        video.write(pixels[0, :30])
    with pytest.raises(SourceError, match=r"30x48 px, but 0\.avi has 32x48.*resolution changed"):
        open_movie(str(tmp_path))


def test_one_frame_and_no_stamp_are_no_movie(tmp_path, pixels):
    device = record(tmp_path, pixels[:1])
    with pytest.raises(SourceError, match="at least 2 frames"):
        open_movie(str(tmp_path))
    edit(device / "timeStamps.csv", lambda old: old.split(b"\n")[0] + b"\n")
    with pytest.raises(SourceError, match="holds none"):
        open_movie(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("metaData.json", b"{broken", "JSON.*repair it"),
        ("metaData.json", b"[1]", "JSON object was expected.*list"),
        ("timeStamps.csv", b"a,b\n1,2\n", r"Time Stamp \(ms\).*'a,b'"),
        ("timeStamps.csv", b"", "'empty'"),
        ("timeStamps.csv", b"Frame Number,Time Stamp (ms)\n0,0\n1,x\n2,100\n", "line 3 .*'1,x'"),
        ("timeStamps.csv", b"Frame Number,Time Stamp (ms)\n0,0\n1,nan\n2,100\n", "line 3 .*not finite"),
    ],
)
def test_damaged_side_files_are_named(tmp_path, pixels, name, contents, message):
    device = record(tmp_path, pixels)
    (device / name).write_bytes(contents)
    with pytest.raises(SourceError, match=message):
        open_movie(str(tmp_path))
