"""Image series in NWB files, written by pynwb."""

import subprocess
import sys
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie
from streamscope_drivers.video_writer import GrayVideoWriter

pynwb = pytest.importorskip("pynwb", reason="pynwb is not installed")
pytestmark = pytest.mark.slow  # with pandas, which pynwb needs, the installation takes a third longer

SIZE = {"grid_spacing": [1.65, 1.65], "grid_spacing_unit": "micrometers"}


@pytest.fixture
def pixels():
    return np.random.default_rng(7).integers(0, 256, (40, 24, 32), dtype=np.uint8)


def write(path, *series, plane=SIZE, rate=20.0):
    """Write a file with image series, each a dictionary of their arguments, and return its name."""
    from pynwb.ophys import OnePhotonSeries, OpticalChannel

    file = pynwb.NWBFile("a test", "id", datetime(2024, 5, 17, tzinfo=UTC))
    imaging = file.create_imaging_plane(
        name="ImagingPlane",
        optical_channel=OpticalChannel(name="green", description="green", emission_lambda=525.0),
        description="CA1",
        device=file.create_device("Miniscope"),
        excitation_lambda=470.0,
        indicator="GCaMP6f",
        location="CA1",
        imaging_rate=rate,
        **plane,
    )
    for n, one in enumerate(series):
        named = {"name": f"OnePhotonSeries{n or ''}", "imaging_plane": imaging, "unit": "n.a."}
        file.add_acquisition(OnePhotonSeries(**named, **one))
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return str(path)


def xy(pixels):
    """Return frames as NWB defines them, (frame, x, y)."""
    return np.ascontiguousarray(pixels.transpose(0, 2, 1))


def same(movie, pixels):
    assert movie.info.n_frames == len(pixels)
    assert movie.info.shape == pixels.shape[1:]
    assert np.array_equal(movie.read(0, len(pixels)), pixels)
    for n in (len(pixels) - 1, 2, 17):
        assert np.array_equal(movie.read(n, n + 1)[0], pixels[n])
    movie.close()


def test_a_series_is_read_with_rate_and_pixel_size(tmp_path, pixels):
    path = write(tmp_path / "a.nwb", {"data": xy(pixels), "rate": 30.0, "dimension": [32, 24]})
    movie = open_movie(path)
    assert movie.info.source == f"{path}:/acquisition/OnePhotonSeries"
    assert movie.info.fps == 30.0
    assert movie.info.um_per_px == pytest.approx(1.65)
    assert movie.info.warnings == ()
    assert movie.times_s[3] == pytest.approx(0.1)
    same(movie, pixels)
    same(open_movie(movie.info.source), pixels)


def test_time_stamps_give_times_and_losses(tmp_path, pixels):
    stamps = 1000.0 + np.arange(40) / 20
    stamps[25:] += 3 / 20
    path = write(tmp_path / "a.nwb", {"data": xy(pixels), "timestamps": stamps, "dimension": [32, 24]})
    movie = open_movie(path)
    assert movie.info.fps == 20
    assert np.allclose(movie.times_s, stamps - 1000)
    assert movie.gap[25] == 3
    movie.close()
    movie = open_movie(path, fps=10, um_per_px=2.0)
    assert (movie.info.fps, movie.info.um_per_px) == (10, 2.0)
    movie.close()


def test_rows_and_columns_are_told_apart_by_dimension(tmp_path, pixels):
    path = write(tmp_path / "a.nwb", {"data": pixels, "rate": 20.0, "dimension": [32, 24]})
    movie = open_movie(path)
    assert movie.info.warnings == ()
    same(movie, pixels)


def test_without_dimension_the_axes_are_those_of_nwb_and_data_can_be_named(tmp_path, pixels):
    path = write(tmp_path / "a.nwb", {"data": xy(pixels), "rate": 20.0})
    movie = open_movie(path)
    assert "taken as (frame, x, y)" in movie.info.warnings[0]
    same(movie, pixels)
    path = write(tmp_path / "b.nwb", {"data": pixels, "timestamps": 5 + np.arange(40) / 20})
    movie = open_movie(f"{path}:/acquisition/OnePhotonSeries/data")
    assert movie.info.fps == 20
    assert movie.info.warnings == ()
    same(movie, pixels)
    same(open_movie(movie.info.source), pixels)


def test_compressed_data_are_read(tmp_path, pixels):
    data = pynwb.H5DataIO(xy(pixels), compression="gzip", chunks=(7, 32, 24))
    same(open_movie(write(tmp_path / "a.nwb", {"data": data, "rate": 20.0})), pixels)


@pytest.mark.parametrize("starts", [[0, 25], [0, 0]])
def test_external_files_are_found_beside_the_nwb_file(tmp_path, pixels, starts):
    (tmp_path / "scope").mkdir()
    for n, part in enumerate((pixels[:25], pixels[25:])):
        with GrayVideoWriter(tmp_path / "scope" / f"{n}.avi", (24, 32), "ffv1") as video:
            for image in part:
                video.write(image)
    external = {
        "external_file": ["scope/0.avi", "scope/1.avi"],
        "starting_frame": starts,
        "format": "external",
        "timestamps": np.arange(40) / 20,
        "dimension": [32, 24],
    }
    path = write(tmp_path / "a.nwb", external)
    movie = open_movie(path)
    assert movie.info.fps == 20
    assert movie.info.um_per_px == pytest.approx(1.65)
    assert [f.name for f in movie.info.files] == ["a.nwb", "0.avi", "1.avi"]
    assert len(movie.info.warnings) == (starts[1] == 0)
    same(movie, pixels)
    (tmp_path / "scope" / "1.avi").unlink()
    with pytest.raises(SourceError, match=r"scope.1\.avi, but there is no such file"):
        open_movie(path)


def test_with_several_series_one_is_named(tmp_path, pixels):
    path = write(
        tmp_path / "a.nwb", {"data": xy(pixels), "rate": 20.0}, {"data": xy(255 - pixels), "rate": 20.0}
    )
    with pytest.raises(
        SourceError, match=r"/acquisition/OnePhotonSeries, /acquisition/OnePhotonSeries1; write"
    ):
        open_movie(path)
    same(open_movie(f"{path}:/acquisition/OnePhotonSeries1"), 255 - pixels)


@pytest.mark.parametrize(
    ("plane", "um"),
    [
        ({}, None),
        ({"grid_spacing": [2e-6, 2e-6], "grid_spacing_unit": "meters"}, 2.0),
        ({"grid_spacing": [2.0, 1.0], "grid_spacing_unit": "micrometers"}, None),
        ({"grid_spacing": [1.0, 1.0], "grid_spacing_unit": "furlongs"}, None),
    ],
)
def test_pixel_sizes_of_every_unit_are_understood_or_left_open(tmp_path, pixels, plane, um):
    movie = open_movie(write(tmp_path / "a.nwb", {"data": xy(pixels), "rate": 20.0}, plane=plane))
    assert movie.info.um_per_px == (um and pytest.approx(um))
    movie.close()


def test_what_is_no_gray_movie_is_refused(tmp_path, pixels):
    with pytest.raises(SourceError, match="float64"):
        open_movie(write(tmp_path / "a.nwb", {"data": pixels.astype(float), "rate": 20.0}))
    with pytest.raises(SourceError, match=r"one OnePhotonSeries was expected.*no series of images"):
        open_movie(write(tmp_path / "b.nwb"))
    with pytest.raises(SourceError, match=r"dataset /acquisition/other was expected"):
        open_movie(f"{tmp_path}/a.nwb:/acquisition/other")
    with h5py.File(tmp_path / "a.nwb", "r+") as file:
        del file["acquisition/OnePhotonSeries/data"]
    with pytest.raises(SourceError, match="neither data nor external files"):
        open_movie(f"{tmp_path}/a.nwb")


def test_nothing_but_h5py_is_needed_to_read(tmp_path, pixels):
    path = write(tmp_path / "a.nwb", {"data": xy(pixels), "rate": 20.0})
    code = (
        "import sys; from streamscope_drivers.replay import open_movie; open_movie(sys.argv[1]).read(0, 2); "
        "sys.exit('pynwb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0
