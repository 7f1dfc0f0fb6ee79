"""Folders of the V3 program: uncompressed DIB videos upside down, rows of all cameras in one file."""

import struct

import av
import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie


@pytest.fixture
def pixels():
    return np.random.default_rng(9).integers(0, 256, (45, 24, 30), dtype=np.uint8)


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def write_dib(path, frames, bits):
    """Write an AVI as Windows does for FOURCC 'DIB ': rows from the bottom, padded to 4 bytes, 24 or 8 bits."""
    n, (height, width) = len(frames), frames[0].shape
    size = (width * bits // 8 + 3) // 4 * 4 * height
    main = struct.pack("<14I", 50000, 0, 0, 0x10, n, 0, 1, size, width, height, 0, 0, 0, 0)
    stream = struct.pack(
        "<4s4sIIIIIIIIII4h", b"vids", b"DIB ", 0, 0, 0, 1, 20, 0, n, size, 0, 0, 0, 0, width, height
    )
    colours = b"".join(bytes((k, k, k, 0)) for k in range(256)) if bits == 8 else b""
    form = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, size, 0, 0, len(colours) // 4, 0)
    header = chunk(b"avih", main) + chunk(
        b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form + colours)
    )
    movie, index = b"movi", b""
    for image in frames:
        rows = np.zeros((height, size // height), np.uint8)
        rows[:, : width * bits // 8] = np.repeat(image[::-1], bits // 8, axis=1)
        index += b"00db" + struct.pack("<III", 0x10, len(movie), size)
        movie += chunk(b"00db", rows.tobytes())
    body = chunk(b"LIST", b"hdrl" + header) + chunk(b"LIST", movie) + chunk(b"idx1", index)
    path.write_bytes(chunk(b"RIFF", b"AVI " + body))


def record(folder, pixels, bits=24, behaviour=2, first_ms=None, encoding="utf-8", per_file=20, lost_at=None):
    """Write a recording at 20 fps beside a behaviour camera that is `behaviour` times slower."""
    for number, start in enumerate(range(0, len(pixels), per_file), 1):
        write_dib(folder / f"msCam{number}.avi", pixels[start : start + per_file], bits)
    rows = [(1, n + 1, 50 * n + 3 + 100 * (lost_at is not None and n >= lost_at)) for n in range(len(pixels))]
    rows += [(0, n + 1, 50 * behaviour * n) for n in range(len(pixels) // behaviour)]
    rows.sort(key=lambda row: row[2])
    lines = ["camNum\tframeNum\tsysClock\tbuffer"]
    for camera, number, ms in rows:
        ms = first_ms if first_ms is not None and number == 1 else ms
        lines.append(f"{camera}\t{number}\t{ms}\t1")
    text = "\r\n".join(lines) + "\r\n"
    (folder / "timestamp.dat").write_bytes(text.encode(encoding))
    notes = "animal\texcitation\tmsCamExposure\trecordLength\r\nm7\t10\t255\t3600\r\n"
    notes += "\r\nelapsedTime\tNote\r\n5\tfed\r\n"
    (folder / "settings_and_notes.dat").write_bytes(notes.encode(encoding))


@pytest.mark.parametrize("bits", [24, 8])
def test_a_folder_is_read_as_one_movie(tmp_path, pixels, bits):
    record(tmp_path, pixels, bits)
    movie = open_movie(str(tmp_path))
    assert [f.name for f in movie.info.files] == ["msCam1.avi", "msCam2.avi", "msCam3.avi"]
    assert movie.info.fps == pytest.approx(20)
    assert movie.info.um_per_px is None
    assert movie.info.warnings == ()
    assert movie.info.meta["animal"] == "m7"
    assert np.array_equal(movie.read(0, 45), pixels)
    assert np.array_equal(movie.read(38, 42), pixels[38:42])
    assert np.allclose(movie.times_s, np.arange(45) / 20)
    assert movie.gap.sum() == 0
    movie.close()


def test_the_videos_of_this_test_are_whole(tmp_path, pixels):
    record(tmp_path, pixels)
    with av.open(str(tmp_path / "msCam1.avi")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert np.array_equal(frames, pixels[:20])


def test_ten_files_are_in_the_order_of_their_numbers(tmp_path, pixels):
    record(tmp_path, pixels, per_file=4)
    movie = open_movie(str(tmp_path))
    assert np.array_equal(movie.read(0, 45), pixels)
    movie.close()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("first_ms", [-1_800_000_000, 429_496_729])
def test_every_encoding_is_read_and_a_wild_first_stamp_put_right(tmp_path, pixels, encoding, first_ms):
    record(tmp_path, pixels, first_ms=first_ms, encoding=encoding)
    movie = open_movie(str(tmp_path))
    assert movie.info.fps == pytest.approx(20)
    assert np.allclose(movie.times_s, np.arange(45) / 20)
    assert movie.gap.sum() == 0
    assert "the first time stamp is" in movie.info.warnings[0]
    movie.close()


def test_lost_frames_are_found_by_the_clock(tmp_path, pixels):
    record(tmp_path, pixels, lost_at=30)
    movie = open_movie(str(tmp_path))
    assert np.flatnonzero(movie.gap).tolist() == [30]
    assert movie.gap[30] == 2
    movie.close()


def test_cameras_with_as_many_frames_cannot_be_told_apart_and_it_is_said(tmp_path, pixels):
    record(tmp_path, pixels, behaviour=1)
    movie = open_movie(str(tmp_path))
    assert "cameras 0 and 1 of timestamp.dat both have 45 frames" in movie.info.warnings[0]
    movie.close()


def test_a_video_that_was_cut_off_still_finds_its_camera(tmp_path, pixels):
    record(tmp_path, pixels)
    whole = (tmp_path / "msCam3.avi").read_bytes()
    (tmp_path / "msCam3.avi").write_bytes(whole[: len(whole) // 2])
    movie = open_movie(str(tmp_path))
    n = movie.info.n_frames
    assert 40 < n < 45
    assert movie.info.fps == pytest.approx(20)
    assert np.array_equal(movie.read(0, n), pixels[:n])
    movie.close()


def test_without_stamps_the_rate_is_asked_for(tmp_path, pixels):
    record(tmp_path, pixels)
    (tmp_path / "timestamp.dat").unlink()
    movie = open_movie(str(tmp_path))
    assert movie.info.fps is None
    assert "--fps" in movie.info.warnings[0]
    movie.close()


def test_holes_and_damaged_stamps_are_named(tmp_path, pixels):
    record(tmp_path, pixels)
    (tmp_path / "timestamp.dat").write_text("camNum\tsysClock\n1\t0\n")
    with pytest.raises(SourceError, match="'frameNum' was expected"):
        open_movie(str(tmp_path))
    (tmp_path / "msCam2.avi").unlink()
    with pytest.raises(SourceError, match=r"msCam2\.avi was expected.*msCam3\.avi follows msCam1\.avi"):
        open_movie(str(tmp_path))
    (tmp_path / "msCam1.avi").unlink()
    with pytest.raises(SourceError, match=r"msCam1\.avi was expected.*first file is msCam3\.avi"):
        open_movie(str(tmp_path))


def test_a_recording_deeper_in_a_folder_is_named(tmp_path, pixels):
    (tmp_path / "5_17_2019" / "H10_M30_S5").mkdir(parents=True)
    record(tmp_path / "5_17_2019" / "H10_M30_S5", pixels)
    with pytest.raises(SourceError, match=r"deeper in it: .*H10_M30_S5"):
        open_movie(str(tmp_path))
