"""Recordings with more than 8 bits stay as they are, in every format that holds them."""

import av
import h5py
import numpy as np
import pytest
import tifffile

from streamscope.errors import SourceError
from streamscope_drivers.replay import Replay, open_movie


def frames(largest, dtype="<u2"):
    """Return noise up to `largest`, which is reached in every frame."""
    pixels = np.random.default_rng(11).integers(0, largest, (40, 24, 32)).astype(dtype)
    pixels[:, 3, 4] = largest
    return pixels


def numpy_file(path, pixels):
    np.save(path / "a.npy", pixels)
    return str(path / "a.npy")


def hdf5(path, pixels):
    with h5py.File(path / "a.h5", "w") as file:
        file["movie"] = pixels
    return f"{path}/a.h5:/movie"


def tiff(path, pixels):
    tifffile.imwrite(path / "a.tif", pixels, imagej=True, byteorder=">")
    return str(path / "a.tif")


def tiff_compressed(path, pixels):
    tifffile.imwrite(path / "a.tif", pixels, compression="zlib", metadata=None)
    return str(path / "a.tif")


def zarr_store(path, pixels):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(path / "a.zarr", shape=pixels.shape, dtype=pixels.dtype, chunks=(16, 24, 32))
    array[:] = pixels
    return str(path / "a.zarr")


def nwb(path, pixels):
    with h5py.File(path / "a.nwb", "w") as file:  # tests of the format itself are in test_nwb.py
        file.attrs["nwb_version"] = "2.11.0"
        series = file.create_group("acquisition/OnePhotonSeries")
        series.attrs["neurodata_type"] = "OnePhotonSeries"
        series["data"], series["dimension"] = pixels.transpose(0, 2, 1), [32, 24]
    return str(path / "a.nwb")


def ffv1(path, pixels):
    with av.open(str(path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.height, stream.width, stream.pix_fmt = 24, 32, "gray16le"
        for image in pixels.astype("<u2"):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray16le")))
        container.mux(stream.encode())
    return str(path / "a.mkv")


@pytest.mark.parametrize("write", [numpy_file, hdf5, tiff, tiff_compressed, zarr_store, nwb, ffv1])
@pytest.mark.parametrize(("largest", "bits"), [(200, 9), (1000, 10), (3871, 12), (65535, 16)])
def test_pixels_keep_their_values_and_their_depth_is_measured(tmp_path, write, largest, bits):
    pixels = frames(largest)
    movie = open_movie(write(tmp_path, pixels), fps=20)
    assert (movie.info.bits, movie.info.saturation) == (bits, 2**bits - 1)
    assert f"taken to have {bits} bits" in movie.info.warnings[-1]
    assert movie.read(0, 40).dtype == np.uint16
    assert np.array_equal(movie.read(0, 40), pixels)
    assert np.array_equal(movie.read(33, 35), pixels[33:35])
    first = next(iter(Replay(movie, speed=None).frames(lambda: False)))
    assert first.image.dtype == np.uint16
    assert np.array_equal(first.image, pixels[0])
    movie.close()


def test_the_other_byte_order_is_read_in_this_machines(tmp_path):
    pixels = frames(3871, ">u2")
    for write in (numpy_file, hdf5):
        movie = open_movie(write(tmp_path, pixels), fps=20)
        assert movie.read(0, 1).dtype == np.dtype(np.uint16)
        assert np.array_equal(movie.read(0, 40), pixels)
        movie.close()


def test_8_bits_are_not_measured(tmp_path):
    movie = open_movie(numpy_file(tmp_path, frames(200, np.uint8)), fps=20)
    assert (movie.info.bits, movie.info.saturation, movie.info.warnings) == (8, 255, ())


def test_a_folder_of_mixed_depths_is_refused(tmp_path):
    for n, dtype in enumerate((np.uint16, np.uint8)):
        tifffile.imwrite(tmp_path / f"a_{n}.tif", frames(200, dtype))
    with pytest.raises(SourceError, match=r"is .*uint8, but .*uint16"):
        open_movie(str(tmp_path), fps=20)
