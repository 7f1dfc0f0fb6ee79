"""Movies in zarr stores of both versions."""

import subprocess
import sys

import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie

zarr = pytest.importorskip("zarr", reason="zarr is not installed")


@pytest.fixture
def pixels():
    return np.random.default_rng(6).integers(0, 256, (40, 24, 32), dtype=np.uint8)


def write(path, pixels, version=3, chunks=(16, 12, 32), **options):
    array = zarr.create_array(
        path, shape=pixels.shape, dtype=pixels.dtype, chunks=chunks, zarr_format=version, **options
    )
    array[:] = pixels
    return array


def same(movie, pixels):
    assert movie.info.n_frames == len(pixels)
    assert movie.info.shape == pixels.shape[1:]
    assert np.array_equal(movie.read(0, len(pixels)), pixels)
    for n in (len(pixels) - 1, 2, 17, 16, 30):
        assert np.array_equal(movie.read(n, n + 1)[0], pixels[n])
    assert np.array_equal(movie.read(10, 35), pixels[10:35])
    movie.close()
    assert np.array_equal(movie.read(15, 17), pixels[15:17])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("chunks", [(16, 12, 32), (1, 24, 32), (40, 24, 32)])
def test_an_array_is_read_in_any_order(tmp_path, pixels, version, chunks):
    write(tmp_path / "movie.zarr", pixels, version, chunks)
    same(open_movie(str(tmp_path / "movie.zarr"), fps=20), pixels)


def test_shards_are_read(tmp_path, pixels):
    write(tmp_path / "movie.zarr", pixels, chunks=(4, 24, 32), shards=(20, 24, 32))
    same(open_movie(str(tmp_path / "movie.zarr"), fps=20), pixels)


def test_a_store_of_minian_has_one_movie_beside_its_coordinates(tmp_path, pixels):
    group = zarr.open_group(tmp_path / "varr.zarr", mode="w", zarr_format=2)
    varr = group.create_array("varr", shape=pixels.shape, dtype=pixels.dtype, chunks=(10, 24, 32))
    varr[:] = pixels
    varr.attrs["_ARRAY_DIMENSIONS"] = ["frame", "height", "width"]
    for name, n in zip(("frame", "height", "width"), pixels.shape, strict=True):
        group.create_array(name, shape=(n,), dtype=np.int64)[:] = np.arange(n)
    zarr.consolidate_metadata(tmp_path / "varr.zarr")
    movie = open_movie(str(tmp_path / "varr.zarr"))
    assert movie.info.source == f"{tmp_path}/varr.zarr:/varr"
    assert movie.info.fps is None
    assert movie.info.warnings == ()
    same(movie, pixels)
    again = open_movie(movie.info.source, fps=20)
    same(again, pixels)
    same(open_movie(str(tmp_path / "varr.zarr" / "varr"), fps=20), pixels)


def test_attributes_say_rate_and_pixel_size_and_the_user_wins(tmp_path, pixels):
    array = write(tmp_path / "movie.zarr", pixels)
    array.attrs.update({"fps": 20, "um_per_px": 1.65})
    info = open_movie(str(tmp_path / "movie.zarr")).info
    assert (info.fps, info.um_per_px) == (20, 1.65)
    info = open_movie(str(tmp_path / "movie.zarr"), fps=10, um_per_px=2.0).info
    assert (info.fps, info.um_per_px) == (10, 2.0)


def test_chunks_that_are_not_there_are_said(tmp_path, pixels):
    write(tmp_path / "movie.zarr", pixels, version=2, chunks=(20, 24, 32))
    (tmp_path / "movie.zarr" / "1.0.0").unlink()
    movie = open_movie(str(tmp_path / "movie.zarr"), fps=20)
    assert "1 of 2 chunks" in movie.info.warnings[0]


def test_a_damaged_chunk_is_named(tmp_path, pixels):
    write(tmp_path / "movie.zarr", pixels, version=2, chunks=(10, 24, 32))
    (tmp_path / "movie.zarr" / "1.0.0").write_bytes(b"nonsense")
    movie = open_movie(str(tmp_path / "movie.zarr"), fps=20)
    assert np.array_equal(movie.read(0, 10), pixels[:10])
    with pytest.raises(SourceError, match=r"frames 10\.\.20 .*chunk is damaged"):
        movie.read(15, 16)
    (tmp_path / "movie.zarr" / "3.0.0").write_bytes(b"nonsense")
    with pytest.raises(SourceError, match=r"frames 30\.\.40 .*chunk is damaged"):
        open_movie(str(tmp_path / "movie.zarr"), fps=20)


def test_names_are_asked_for_and_checked(tmp_path, pixels):
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for name in ("raw/a", "raw/b"):
        group.create_array(name, shape=pixels.shape, dtype=pixels.dtype)[:] = pixels
    with pytest.raises(SourceError, match=r"must be named \(it holds raw/a, raw/b\).*g\.zarr:/raw/a"):
        open_movie(str(tmp_path / "g.zarr"))
    with pytest.raises(SourceError, match=r"array /c was expected.*raw/a, raw/b"):
        open_movie(str(tmp_path / "g.zarr:/c"))
    same(open_movie(str(tmp_path / "g.zarr:/raw/b"), fps=20), pixels)
    write(tmp_path / "a.zarr", pixels)
    with pytest.raises(SourceError, match="leave out the colon"):
        open_movie(str(tmp_path / "a.zarr:/c"))


@pytest.mark.parametrize(
    ("array", "names", "message"),
    [
        (np.zeros((5, 8, 8), np.float32), None, "float32"),
        (np.zeros((8, 8), np.uint8), None, "three dimensions"),
        (np.zeros((1, 8, 8), np.uint8), None, "at least 2 frames"),
        (np.zeros((8, 9, 10), np.uint8), ("height", "width", "frame"), "begins with its frames"),
    ],
)
def test_what_is_no_gray_movie_is_refused(tmp_path, array, names, message):
    write(tmp_path / "movie.zarr", array, chunks=array.shape, dimension_names=names)
    with pytest.raises(SourceError, match=message):
        open_movie(str(tmp_path / "movie.zarr"), fps=20)


def test_a_store_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(SourceError, match="pip install 'zarr>=3'"):
        open_movie(str(tmp_path))


def test_a_damaged_store_is_named(tmp_path):
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(SourceError, match="a zarr store was expected"):
        open_movie(str(tmp_path))


def test_a_recording_of_another_kind_does_not_import_zarr():
    code = "import sys, streamscope_drivers.replay; sys.exit('zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
