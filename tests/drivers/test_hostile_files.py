"""Movies that are no movies: files that lead elsewhere, or claim what they do not hold."""

from __future__ import annotations

import zipfile

import h5py
import numpy as np
import pytest

from streamscope.errors import SourceError, StorageError, StreamScopeError
from streamscope.session.registry import open_movie
from streamscope.storage.foreign import require_modest, require_self_contained

MOVIE = np.random.default_rng(0).integers(0, 255, (6, 16, 20), np.uint8)


@pytest.fixture
def secret(tmp_path):
    """A file of the user that is no movie."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["movie"] = MOVIE
    return path


def external_link(file, secret):
    file["movie"] = h5py.ExternalLink(str(secret), "/movie")


def soft_link(file, secret):
    file["real"] = MOVIE
    file["movie"] = h5py.SoftLink("/real")


def circle(file, secret):
    file["movie"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("/movie")


def link_to_a_link(file, secret):
    file["group/far"] = h5py.ExternalLink(str(secret), "/")
    file["movie"] = h5py.SoftLink("/group/far/movie")


def external_storage(file, secret):
    file.create_dataset("movie", (2, 16, 20), "u1", external=[(str(secret), 0, 640)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((6, 16, 20), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "movie", (6, 16, 20))
    file.create_virtual_dataset("movie", layout)


def never_written(file, secret):
    file.create_dataset("movie", (10**7, 600, 600), "u1", chunks=(1, 600, 600))


def contiguous_and_never_written(file, secret):
    file.create_dataset("movie", (10**6, 600, 600), "u1")


def one_chunk_of_a_gibibyte(file, secret):
    movie = file.create_dataset(
        "movie", (2**14, 256, 256), "u1", chunks=(2**14, 256, 256), compression="gzip"
    )
    movie.id.write_direct_chunk((0, 0, 0), b"not even gzip")


def countless_frames(file, secret):
    file.create_dataset("movie", (2**60, 16, 20), "u1", chunks=(1, 16, 20))


def gigantic_frames(file, secret):
    file.create_dataset("movie", (2, 2**20, 2**20), "u1", chunks=(1, 256, 256))


HOSTILE = {
    external_link: "link into another file .* not followed",
    soft_link: "soft link to '/real', which is not followed",
    circle: "soft link to '/other', which is not followed",
    link_to_a_link: "soft link to '/group/far/movie', which is not followed",
    external_storage: "takes its values from other files",
    virtual: "put together from other datasets",
    never_written: "claims 10000000 chunks and 0 are in the file",
    contiguous_and_never_written: "claims 360000000000 bytes and 0 are in the file",
    one_chunk_of_a_gibibyte: "unpacked 1024 MiB at a time, and 512 are allowed",
    countless_frames: "claims 1152921504606846976 frames",
    gigantic_frames: "frames of 1048576x1048576 px, and 64 megapixels are allowed",
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.items(), ids=[make.__name__ for make in HOSTILE])
def test_an_hdf5_file_that_leads_elsewhere_or_claims_too_much_is_refused(tmp_path, secret, make, reason):
    path = tmp_path / "hostile.h5"
    with h5py.File(path, "w") as file:
        make(file, secret)
    assert path.stat().st_size < 100_000
    with pytest.raises(SourceError, match=reason):
        open_movie(f"{path}:/movie", fps=20)


def test_a_movie_that_lies_in_its_file_is_read_through_groups(tmp_path):
    for number, options in enumerate(({}, {"chunks": (4, 16, 16), "compression": "gzip"})):
        path = tmp_path / f"good{number}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("a/b/movie", data=MOVIE, **options)
        movie = open_movie(f"{path}:/a/b/movie", fps=20)
        np.testing.assert_array_equal(movie.read(0, 6), MOVIE)
        movie.close()


def nwb(path, fill):
    """Write as little of an NWB file as is read."""
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        series = file.create_group("acquisition/OnePhotonSeries")
        series.attrs["neurodata_type"] = "OnePhotonSeries"
        plane = file.create_group("general/plane")
        plane["imaging_rate"] = 20.0
        fill(series, plane)


def test_an_nwb_file_may_have_links_within_itself_only(tmp_path, secret):
    def good(series, plane):
        series["data"] = MOVIE
        series["imaging_plane"] = h5py.SoftLink("/general/plane")

    def data_elsewhere(series, plane):
        series["data"] = h5py.ExternalLink(str(secret), "/movie")

    def plane_elsewhere(series, plane):
        series["data"] = MOVIE
        series["imaging_plane"] = h5py.ExternalLink(str(secret), "/")

    def rate_elsewhere(series, plane):
        good(series, plane)
        del plane["imaging_rate"]
        plane["imaging_rate"] = h5py.ExternalLink(str(secret), "/movie")

    def never_written(series, plane):
        series.create_dataset("data", (10**6, 600, 600), "u1", chunks=(1, 600, 600))

    nwb(tmp_path / "good.nwb", good)
    movie = open_movie(str(tmp_path / "good.nwb"))
    assert (movie.info.fps, movie.info.n_frames) == (20.0, 6)
    movie.close()
    for fill in (data_elsewhere, plane_elsewhere, rate_elsewhere, never_written):
        path = tmp_path / f"{fill.__name__}.nwb"
        nwb(path, fill)
        with pytest.raises(SourceError, match=r"link into another file|claims 1000000 chunks and 0"):
            open_movie(str(path))


@pytest.mark.parametrize("make", [external_link, soft_link, external_storage, virtual, never_written])
def test_a_result_file_holds_everything_itself(tmp_path, secret, make):
    path = tmp_path / "session.h5"
    with h5py.File(path, "w") as file:
        file["live/good"] = MOVIE
        require_self_contained(file, path)
        make(file, secret)
        with pytest.raises(StorageError, match="not the file that was written"):
            require_self_contained(file, path)


def test_a_npz_file_that_unpacks_to_more_than_memory_holds_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for k in range(17):
            file.writestr(f"a{k}.npy", b"")
    data = path.read_bytes()
    size = (2**29).to_bytes(4, "little")  # as the directory claims of each, behind its crc and packed size
    start = data.index(b"PK\x01\x02")
    for _ in range(17):
        data = data[: start + 24] + size + data[start + 28 :]
        start = data.find(b"PK\x01\x02", start + 4)
    path.write_bytes(data)
    with pytest.raises(StorageError, match="unpacks to 8 GiB, expected at most 8"):
        require_modest(path)


def test_nothing_bad_is_an_error_that_nobody_foresaw(tmp_path):
    """A file of rubbish under every ending that is read."""
    rubbish = np.random.default_rng(1).bytes(5000)
    for ending in ("h5", "nwb", "npy", "tif", "avi", "mkv", "mp4"):
        for head in (b"", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\x01\x00", b"II*\x00", b"RIFF"):
            path = tmp_path / f"rubbish.{ending}"
            path.write_bytes(head + rubbish)
            with pytest.raises(StreamScopeError):
                open_movie(str(path), fps=20)
