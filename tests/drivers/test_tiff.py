"""TIFF movies: plain, ImageJ, OME, Big, in one file and in folders of many."""

import subprocess
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import tifffile

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie


@pytest.fixture
def pixels():
    return np.random.default_rng(5).integers(0, 256, (40, 24, 32), dtype=np.uint8)


def same(movie, pixels):
    assert movie.info.n_frames == len(pixels)
    assert movie.info.shape == pixels.shape[1:]
    assert np.array_equal(movie.read(0, len(pixels)), pixels)
    for n in (len(pixels) - 1, 2, 17, 16, 30):
        assert np.array_equal(movie.read(n, n + 1)[0], pixels[n])
    movie.close()
    assert np.array_equal(movie.read(3, 5), pixels[3:5])
    movie.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": None},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True, "byteorder": ">"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "truncate": True},
        {"compression": "zlib", "metadata": None},
        {"compression": "zlib", "tile": (16, 16)},
        {"rowsperstrip": 7, "metadata": None},
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
    ],
    ids=str,
)
def test_files_of_many_pages_are_read_in_any_order(tmp_path, pixels, options):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    movie = open_movie(str(tmp_path / "a.tif"))
    assert movie.info.fps is None
    assert movie.info.um_per_px is None
    same(movie, pixels)


def test_a_file_of_opencv_is_read(tmp_path, pixels):
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), list(pixels), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    same(open_movie(str(tmp_path / "a.tif")), pixels)


@pytest.mark.skipif(sys.platform != "linux", reason="holes in files are not free everywhere")
def test_an_imagej_file_above_4_gb_is_one_page_and_raw_pictures(tmp_path):
    """ImageJ writes one page and all frames behind it when offsets no longer fit; most of this one is a hole."""
    path, shape, at = tmp_path / "a.tif", (70_000, 256, 256), 68_000
    some = np.random.default_rng(1).integers(0, 256, (2, 256, 256), dtype=np.uint8)
    said = {"axes": "TYX", "fps": 20.0}
    tifffile.imwrite(path, shape=shape, dtype=np.uint8, imagej=True, truncate=True, metadata=said)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
        start = tif.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start + at * some[0].size)
        file.write(some.tobytes())
    assert path.stat().st_size > 1 << 32
    movie = open_movie(str(path))
    assert movie.info.n_frames == shape[0]
    assert movie.info.fps == 20.0
    assert np.array_equal(movie.read(at, at + 2), some)
    assert not movie.read(at - 1, at).any()
    assert not movie.read(at + 2, at + 3).any()
    assert not movie.read(shape[0] - 2, shape[0]).any()
    movie.close()
    path.unlink()


def test_imagej_says_pixel_size_and_rate(tmp_path, pixels):
    said = {"axes": "TYX", "unit": "um", "finterval": 0.05}
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata=said, resolution=(1 / 1.65, 1 / 1.65))
    movie = open_movie(str(tmp_path / "a.tif"))
    assert movie.info.fps == pytest.approx(20)
    assert movie.info.um_per_px == pytest.approx(1.65, rel=1e-4)
    movie.close()
    movie = open_movie(str(tmp_path / "a.tif"), fps=10, um_per_px=2.0)
    assert (movie.info.fps, movie.info.um_per_px) == (10, 2.0)
    movie.close()


def test_pixels_that_are_not_square_have_no_size(tmp_path, pixels):
    said = {"axes": "TYX", "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata=said, resolution=(1 / 1.65, 1 / 2.0))
    movie = open_movie(str(tmp_path / "a.tif"))
    assert movie.info.um_per_px is None
    movie.close()


def test_ome_says_pixel_size_rate_and_when_each_frame_was_taken(tmp_path, pixels):
    said = {
        "axes": "TYX",
        "PhysicalSizeX": 800,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.8,
        "TimeIncrement": 50,
        "TimeIncrementUnit": "ms",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=said)
    movie = open_movie(str(tmp_path / "a.ome.tif"))
    assert movie.info.fps == pytest.approx(20)
    assert movie.info.um_per_px == pytest.approx(0.8)
    movie.close()
    taken = 3.0 + np.arange(40) * 0.05
    taken[20:] += 0.1
    said["Plane"] = {"DeltaT": taken.tolist(), "DeltaTUnit": ["s"] * 40}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=said)
    movie = open_movie(str(tmp_path / "a.ome.tif"))
    assert np.allclose(movie.times_s, taken - 3.0)
    assert movie.gap[20] == 2
    movie.close()


@pytest.mark.parametrize("name", ["{}.tif", "mouse_{:04d}.tif", "a-{:03d}.ome.tiff"])
def test_a_folder_of_single_pictures_is_sorted_by_number(tmp_path, pixels, name):
    for n, image in enumerate(pixels):
        tifffile.imwrite(tmp_path / name.format(n + 3), image)
    (tmp_path / "notes.txt").write_text("hello")
    movie = open_movie(str(tmp_path), fps=20)
    assert movie.info.warnings == ()
    assert movie.gap.sum() == 0
    same(movie, pixels)


def test_numbers_that_are_missing_between_single_pictures_are_lost_frames(tmp_path, pixels):
    for n, image in enumerate(pixels):
        tifffile.imwrite(tmp_path / f"a_{n + 3 * (n >= 30)}.tif", image)
    movie = open_movie(str(tmp_path), fps=20)
    assert movie.gap[30] == 3
    assert movie.gap.sum() == 3
    assert movie.times_s[30] == pytest.approx(33 / 20)
    assert "3 frames are missing, first before frame 30" in movie.info.warnings[0]
    same(movie, pixels)


def test_pieces_of_many_pages_are_one_movie(tmp_path, pixels):
    for name, part in (("x.tif", pixels[:15]), ("x-001.tif", pixels[15:30]), ("x-002.tif", pixels[30:])):
        tifffile.imwrite(tmp_path / name, part)
    movie = open_movie(str(tmp_path), fps=20)
    assert [f.name for f in movie.info.files] == ["x.tif", "x-001.tif", "x-002.tif"]
    same(movie, pixels)


def test_a_piece_that_is_missing_or_cut_off_in_the_middle_is_refused(tmp_path, pixels):
    for n in (0, 1, 2):
        tifffile.imwrite(tmp_path / f"x-{n}.tif", pixels[:15])
    whole = (tmp_path / "x-1.tif").read_bytes()
    (tmp_path / "x-1.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"x-1\.tif"):
        open_movie(str(tmp_path))
    (tmp_path / "x-1.tif").unlink()
    tifffile.imwrite(tmp_path / "x-3.tif", pixels[:15])
    with pytest.raises(SourceError, match="from number 0 to 2"):
        open_movie(str(tmp_path))


def test_an_imagej_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, truncate=True)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) - 24 * 32 * 10 - 5])
    movie = open_movie(str(tmp_path / "a.tif"), fps=20)
    assert movie.info.n_frames == 29
    assert np.array_equal(movie.read(0, 29), pixels[:29])
    assert "29 of its 40 frames are there" in movie.info.warnings[0]
    movie.close()


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((5, 8, 8, 3), np.uint8), {"photometric": "rgb"}, "in colour; save one channel"),
        (np.zeros((3, 8, 8), np.uint8), {"imagej": True, "metadata": {"axes": "CYX"}}, "in colour"),
        (np.zeros((5, 3, 8, 8), np.uint8), {"imagej": True, "metadata": {"axes": "TZYX"}}, "one plane"),
        (np.zeros((5, 8, 8), np.float32), {}, "float32"),
        (np.zeros((5, 8, 8), np.int16), {}, "int16"),
        (np.zeros((5, 8, 8), np.uint8), {"photometric": "miniswhite"}, "negative"),
        (np.zeros((8, 8), np.uint8), {}, "at least 2 frames"),
    ],
)
def test_what_is_no_gray_movie_is_refused(tmp_path, array, options, message):
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    with pytest.raises(SourceError, match=message):
        open_movie(str(tmp_path / "a.tif"), fps=20)


def test_a_codec_of_another_package_is_named(tmp_path, pixels):
    if find_spec("imagecodecs") is not None:
        pytest.skip("imagecodecs is installed")
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), list(pixels), [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    with pytest.raises(SourceError, match="pip install imagecodecs"):
        open_movie(str(tmp_path / "a.tif"), fps=20)


def test_damaged_files_and_mixed_folders_are_named(tmp_path, pixels):
    (tmp_path / "a.tif").write_bytes(b"II*\x00" + bytes(40))
    with pytest.raises(SourceError, match=r"a\.tif"):
        open_movie(str(tmp_path / "a.tif"))
    (tmp_path / "a.tif").unlink()
    tifffile.imwrite(tmp_path / "a_0.tif", pixels)
    tifffile.imwrite(tmp_path / "b_0.tif", pixels)
    with pytest.raises(SourceError, match=r"'a' and others 'b'"):
        open_movie(str(tmp_path))
    (tmp_path / "b_0.tif").unlink()
    tifffile.imwrite(tmp_path / "a_1.tif", pixels[:, :10])
    with pytest.raises(SourceError, match=r"a_1\.tif is \(10, 32\).*\(24, 32\)"):
        open_movie(str(tmp_path))


def test_a_recording_of_another_kind_does_not_import_tifffile():
    code = "import sys, streamscope_drivers.replay; sys.exit('tifffile' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
