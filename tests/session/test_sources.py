"""A session finds the recording that it was made from again, whatever form it has."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile

from streamscope.errors import StorageError
from streamscope.session.registry import open_movie
from streamscope.storage.source_record import describe_source, locate_source

PIXELS = np.random.default_rng(12).integers(0, 256, (130, 16, 24), dtype=np.uint8)


def tiff(folder):
    tifffile.imwrite(folder / "movie.tif", PIXELS)
    return str(folder / "movie.tif")


def tiffs(folder):
    (folder / "movie").mkdir()
    for n, image in enumerate(PIXELS):
        tifffile.imwrite(folder / "movie" / f"{n}.tif", image)
    return str(folder / "movie")


def nwb(folder):
    with h5py.File(folder / "movie.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.11.0"
        series = file.create_group("acquisition/OnePhotonSeries")
        series.attrs["neurodata_type"] = "OnePhotonSeries"
        series["data"], series["dimension"] = PIXELS.transpose(0, 2, 1), [24, 16]
    return str(folder / "movie.nwb")


def zarr_group(folder):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(folder / "movie.zarr", mode="w")
    group.create_array("varr", shape=PIXELS.shape, dtype=PIXELS.dtype, chunks=(50, 16, 24))[:] = PIXELS
    return str(folder / "movie.zarr")


@pytest.mark.parametrize("write", [tiff, tiffs, nwb, zarr_group])
def test_a_recording_that_moved_with_its_session_is_found_again(tmp_path, write):
    (tmp_path / "there" / "session").mkdir(parents=True)
    movie = open_movie(write(tmp_path / "there"), fps=20)
    record = json.loads(json.dumps(describe_source(movie.info, tmp_path / "there" / "session")))
    movie.close()
    assert len(record["files"]) <= 100  # a folder of many files is known again by some of them
    assert record["bits"] == 8
    (tmp_path / "there").rename(tmp_path / "here")
    again = open_movie(locate_source(record, tmp_path / "here" / "session"), fps=20)
    assert np.array_equal(again.read(0, len(PIXELS)), PIXELS)
    assert replace(again.info, source="", files=()) == replace(movie.info, source="", files=())
    again.close()


def test_a_folder_whose_first_file_was_changed_is_not_taken(tmp_path):
    movie = open_movie(tiffs(tmp_path), fps=20)
    record = describe_source(movie.info, tmp_path)
    movie.close()
    tifffile.imwrite(tmp_path / "movie" / "0.tif", PIXELS[1])
    with pytest.raises(StorageError, match="is not the file that this session was made from"):
        locate_source(record, tmp_path)
