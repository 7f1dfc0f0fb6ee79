"""Recordings of Open Ephys' program, of Bonsai's UCLAMiniscope and of PoMiDAQ: videos with text files beside them."""

import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie
from streamscope_drivers.video_writer import GrayVideoWriter

OPEN_EPHYS = "FrameNumber,HardwareTime,Quaternion_X,Quaternion_Y,Quaternion_Z,Quaternion_W"
OPEN_EPHYS += ",DigitalIn0,DigitalIn1,Timestamp"
BONSAI = "FrameNumber,ReceiveTimestamp_ms,HardwareTimestamp_ms,qw,qx,qy,qz,Input0,Input1"
LEGACY = "FrameNumber,ReceiveTimestamp_ms,qw,qx,qy,qz,Input"
OLDER = "FrameNumber,TimeStamp_ms"


@pytest.fixture
def pixels():
    return np.random.default_rng(10).integers(0, 256, (45, 24, 32), dtype=np.uint8)


def video(path, pixels, codec="ffv1"):
    with GrayVideoWriter(path, pixels.shape[1:], codec, 20) as writer:
        for image in pixels:
            writer.write(image)


def lost(n, at=30, missing=3):
    """Return the numbers of frames of which some were lost."""
    return np.arange(n) + missing * (np.arange(n) >= at)


def same(movie, pixels, hw_from=None):
    assert movie.info.n_frames == len(pixels)
    assert np.array_equal(movie.read(0, len(pixels)), pixels)
    assert np.array_equal(movie.read(18, 22), pixels[18:22])
    assert movie.info.fps == pytest.approx(20, rel=0.01)
    assert np.allclose(movie.times_s, lost(len(pixels)) / 20, atol=0.003)
    assert np.flatnonzero(movie.gap).tolist() == [30]
    assert movie.gap[30] == 3
    if hw_from is not None:
        assert np.array_equal(movie.hw, hw_from + lost(len(pixels)))
    movie.close()


def write_open_ephys(folder, pixels, codec="rawvideo", settings=True):
    video(folder / "mouse_3.avi", pixels, codec)
    lines = [OPEN_EPHYS]
    for n in lost(len(pixels)):
        lines.append(
            f"{118 + n},{3861 + 50 * n},0.02,0.08,0.14,0.85,False,True,2026-07-30T14:59:24.08238-04:00"
        )
    (folder / "mouse_3.csv").write_text("\r\n".join(lines) + "\r\n")
    (folder / "mouse_3.log").write_text("Timestamp,FrameNumber,Level,Message\r\n")
    if settings:
        (folder / "mouse_3.yml").write_text("Hardware:\n  FrameRate: Fps20\n  SensorGain: Low\n")


@pytest.mark.parametrize("codec", ["rawvideo", "ffv1"])
@pytest.mark.parametrize("settings", [True, False])
def test_a_recording_of_open_ephys_has_its_clock_and_counter_in_a_csv(tmp_path, pixels, codec, settings):
    write_open_ephys(tmp_path, pixels, codec, settings)
    for spec in (tmp_path / "mouse_3.avi", tmp_path):
        movie = open_movie(str(spec))
        assert (
            "3 frames are missing in 1 places, first before frame 30, says the frame counter"
            in (movie.info.warnings[0])
        )
        same(movie, pixels, 118)


def test_a_csv_of_something_else_beside_a_video_is_left_alone(tmp_path, pixels):
    video(tmp_path / "a.mkv", pixels)
    (tmp_path / "a.csv").write_text("linked_list,frame_num,timestamp\n1,2,3\n")
    (tmp_path / "a_timestamps.csv").write_text("when\n1\n")
    movie = open_movie(str(tmp_path / "a.mkv"))
    assert movie.info.fps == pytest.approx(20)
    assert movie.gap.sum() == 0
    movie.close()


def write_bonsai(folder, pixels, header, names=("video.mkv",), mark=True):
    folder.mkdir(exist_ok=True)
    size = -(-len(pixels) // len(names))
    for k, name in enumerate(names):
        video(folder / name, pixels[k * size : (k + 1) * size])
    lines = [header]
    for n in lost(len(pixels)):
        row = {
            "FrameNumber": 65_500 + n,
            "ReceiveTimestamp_ms": 50 * n + 7,
            "HardwareTimestamp_ms": 900 + 50 * n,
        }
        row["TimeStamp_ms"] = row["ReceiveTimestamp_ms"]
        lines.append(",".join(str(row.get(name, "0")) for name in header.split(",")))
    text = "\r\n".join(lines) + "\r\n"
    (folder / "timestamps.csv").write_text(text, encoding="utf-8-sig" if mark else "utf-8", newline="")


@pytest.mark.parametrize("header", [BONSAI, LEGACY, OLDER])
@pytest.mark.parametrize("names", [("video.mkv",), ("0.mkv", "1.mkv", "2.mkv")])
@pytest.mark.parametrize("mark", [True, False])
def test_a_folder_of_bonsai_is_read_as_one_movie(tmp_path, pixels, header, names, mark):
    write_bonsai(tmp_path, pixels, header, names, mark)
    movie = open_movie(str(tmp_path))
    assert [f.name for f in movie.info.files] == list(names)
    same(movie, pixels, 65_500)


def test_a_hardware_clock_that_stands_still_gives_way_to_that_of_the_computer(tmp_path, pixels):
    write_bonsai(tmp_path, pixels, BONSAI)
    path = tmp_path / "timestamps.csv"
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = [line.split(",") for line in lines[1:]]
    path.write_text("\n".join([lines[0], *(",".join([*r[:2], "0", *r[3:]]) for r in rows)]) + "\n")
    same(open_movie(str(tmp_path)), pixels, 65_500)


def test_bonsai_folders_are_found_deeper_and_their_damage_is_named(tmp_path, pixels):
    write_bonsai(tmp_path / "Miniscope", pixels, BONSAI, ("0.mkv", "1.mkv", "2.mkv"))
    with pytest.raises(SourceError, match=r"deeper in it: .*Miniscope"):
        open_movie(str(tmp_path))
    (tmp_path / "Miniscope" / "1.mkv").unlink()
    with pytest.raises(SourceError, match=r"1\.mkv was expected"):
        open_movie(str(tmp_path / "Miniscope"))
    write_bonsai(tmp_path / "Other", pixels, "a,b")
    with pytest.raises(SourceError, match="'HardwareTimestamp_ms' was expected"):
        open_movie(str(tmp_path / "Other"))


def write_pomidaq(folder, pixels, parts=(slice(None),)):
    numbers = lost(len(pixels))
    for k, part in enumerate(parts, 1):
        name = "scope" if len(parts) == 1 else f"scope_{k}"
        video(folder / f"{name}.mkv", pixels[part])
        rows = [f"{n}; {1000 + 50 * number}" for n, number in enumerate(numbers[part], 1)]
        (folder / f"{name}_timestamps.csv").write_text("\n".join(["frame; timestamp", *rows]) + "\n")
    (folder / "scope_orientation.csv").write_text("Time [ms];qw;qx;qy;qz\n1000;1;0;0;0\n")


def test_a_video_of_pomidaq_has_its_stamps_beside_it(tmp_path, pixels):
    write_pomidaq(tmp_path, pixels)
    for spec in (tmp_path / "scope.mkv", tmp_path):
        same(open_movie(str(spec)), pixels)


def test_slices_of_pomidaq_are_one_movie(tmp_path, pixels):
    write_pomidaq(tmp_path, pixels, (slice(0, 20), slice(20, 40), slice(40, 45)))
    same(open_movie(str(tmp_path)), pixels)
    part = open_movie(str(tmp_path / "scope_2.mkv"))
    assert np.array_equal(part.read(0, 20), pixels[20:40])
    assert part.gap[10] == 3
    part.close()


def test_a_slice_with_fewer_stamps_than_frames_does_not_move_the_next(tmp_path, pixels):
    write_pomidaq(tmp_path, pixels, (slice(0, 20), slice(20, 40), slice(40, 45)))
    path = tmp_path / "scope_1_timestamps.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    movie = open_movie(str(tmp_path))
    assert movie.info.n_frames == 43
    assert np.array_equal(movie.read(16, 22), pixels[[16, 17, 20, 21, 22, 23]])
    assert movie.times_s[18] == pytest.approx(1.0)
    assert movie.gap[18] == 2
    assert "scope_1_timestamps.csv has 18 frames and the video 20" in movie.info.warnings[0]
    movie.close()


def test_a_missing_slice_is_named(tmp_path, pixels):
    write_pomidaq(tmp_path, pixels, (slice(0, 20), slice(20, 40), slice(40, 45)))
    (tmp_path / "scope_2.mkv").unlink()
    with pytest.raises(SourceError, match=r"scope_2\.mkv was expected.*scope_3\.mkv follows scope_1\.mkv"):
        open_movie(str(tmp_path))
