"""Movies in .npy and HDF5 files, and the pacing of a replay."""

import h5py
import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import Replay, open_movie


@pytest.fixture
def pixels():
    return np.random.default_rng(3).integers(0, 256, (40, 12, 16), dtype=np.uint8)


@pytest.fixture
def npy(tmp_path, pixels):
    np.save(tmp_path / "movie.npy", pixels)
    return str(tmp_path / "movie.npy")


class FakeTime:
    """A clock that only moves when somebody sleeps, or when told to."""

    def __init__(self):
        self.now_ns = 5_000_000_000

    def clock(self):
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += round(seconds * 1e9)


def play(movie, stopped=lambda: False, **options):
    fake = FakeTime()
    return list(Replay(movie, clock=fake.clock, sleep=fake.sleep, **options).frames(stopped)), fake


def test_npy_frames_are_those_that_were_saved(npy, pixels):
    movie = open_movie(npy, fps=20)
    assert movie.info.shape == (12, 16)
    assert movie.info.n_frames == 40
    assert np.array_equal(movie.read(0, 40), pixels)
    assert np.array_equal(movie.read(7, 9), pixels[7:9])
    assert movie.read(5, 5).shape == (0, 12, 16)


def test_hdf5_dataset_is_found_by_name_and_its_attributes_are_used(tmp_path, pixels):
    with h5py.File(tmp_path / "rec.h5", "w") as file:
        file.create_dataset("group/movie", data=pixels, chunks=(7, 12, 16), compression="gzip")
        file.attrs["fps"] = 30.0
        file["group/movie"].attrs["pixel_um"] = 1.655
    movie = open_movie(f"{tmp_path}/rec.h5:/group/movie")
    assert movie.info.fps == 30.0
    assert movie.info.um_per_px == 1.655
    assert np.array_equal(movie.read(3, 31), pixels[3:31])
    assert movie.times_s[6] == pytest.approx(0.2)
    movie.close()


def test_users_values_win_over_the_files(tmp_path, pixels):
    with h5py.File(tmp_path / "rec.h5", "w") as file:
        file["movie"] = pixels
        file.attrs["fps"] = 30.0
        file.attrs["um_per_px"] = 2.0
    movie = open_movie(f"{tmp_path}/rec.h5:movie", fps=10, um_per_px=1.5)
    assert (movie.info.fps, movie.info.um_per_px) == (10, 1.5)
    assert movie.times_s[1] == pytest.approx(0.1)
    movie.close()


def test_hdf5_is_recognised_by_content_under_any_name(tmp_path, pixels):
    with h5py.File(tmp_path / "rec.dat", "w") as file:
        file["movie"] = pixels
    movie = open_movie(f"{tmp_path}/rec.dat:/movie", fps=20)
    assert np.array_equal(movie.read(0, 2), pixels[:2])
    movie.close()


def test_rate_of_a_bare_array_is_not_guessed(npy):
    movie = open_movie(npy)
    assert movie.info.fps is None
    assert np.isnan(movie.times_s).all()
    with pytest.raises(SourceError, match="--fps"):
        Replay(movie)


def test_missing_dataset_names_those_that_are_there(tmp_path, pixels):
    with h5py.File(tmp_path / "rec.h5", "w") as file:
        file["raw/movie"] = pixels
        file["times"] = np.arange(4)
    with pytest.raises(SourceError, match=r"/other.*/raw/movie.*colon"):
        open_movie(f"{tmp_path}/rec.h5:/other", fps=20)
    with pytest.raises(SourceError, match=r"must be named.*rec\.h5:/raw/movie"):
        open_movie(f"{tmp_path}/rec.h5", fps=20)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 8, 8), np.int16), "int16.*convert it to uint8 or uint16"),
        (np.zeros((8, 8), np.uint8), r"\(8, 8\).*three dimensions"),
        (np.zeros((0, 8, 8), np.uint8), "holds none"),
        (np.zeros((1, 8, 8), np.uint8), "at least 2 frames"),
    ],
)
def test_arrays_that_are_no_gray_movie_are_refused(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array)
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["movie"] = array
    for spec in (f"{tmp_path}/bad.npy", f"{tmp_path}/bad.h5:/movie"):
        with pytest.raises(SourceError, match=message):
            open_movie(spec, fps=20)


def test_missing_path_and_cut_off_files_are_one_sentence(tmp_path, npy, pixels):
    with pytest.raises(SourceError, match="nothing is there"):
        open_movie(f"{tmp_path}/nothing.h5:/movie")
    whole = (tmp_path / "movie.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    with pytest.raises(SourceError, match="copied completely"):
        open_movie(f"{tmp_path}/cut.npy", fps=20)
    for spec in (f"{npy}:/movie", f"{tmp_path}:/movie"):
        with pytest.raises(SourceError, match="leave out the colon"):
            open_movie(spec, fps=20)


def test_a_range_outside_of_the_movie_is_refused(npy):
    movie = open_movie(npy, fps=20)
    with pytest.raises(SourceError, match=r"30\.\.41"):
        movie.read(30, 41)


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_paced_frames_carry_the_moment_at_which_they_were_due(npy, pixels, speed):
    frames, fake = play(open_movie(npy, fps=20), speed=speed)
    due = [5_000_000_000 + round(n / 20 / speed * 1e9) for n in range(40)]
    assert [f.t_capture_ns for f in frames] == due
    assert fake.now_ns == due[-1]
    assert [f.index for f in frames] == list(range(40))
    assert all(np.array_equal(f.image, image) for f, image in zip(frames, pixels, strict=True))
    assert not frames[0].image.flags.writeable


def test_a_late_consumer_gets_frames_at_once_with_old_stamps(npy):
    fake = FakeTime()
    slept = []
    replay = Replay(open_movie(npy, fps=20), clock=fake.clock, sleep=slept.append)
    stamps = []
    for frame in replay.frames(lambda: False):
        fake.now_ns += 60_000_000
        stamps.append(frame.t_capture_ns)
    assert np.all(np.diff(stamps) == 50_000_000)
    assert slept == []


def test_at_full_speed_frames_are_stamped_when_handed_out(npy):
    fake = FakeTime()
    stamps = []
    for frame in Replay(open_movie(npy, fps=20), speed=None, clock=fake.clock).frames(lambda: False):
        stamps.append(frame.t_capture_ns)
        fake.now_ns += 7
    assert np.all(np.diff(stamps) == 7)


def test_laps_let_index_and_time_run_on(npy):
    movie = open_movie(npy, fps=20)
    replay = Replay(movie, loop=3)
    assert replay.info.n_frames == 120
    frames, _ = play(movie, loop=3)
    assert [f.index for f in frames] == list(range(120))
    assert np.allclose(np.diff([f.time_s for f in frames]), 0.05)
    assert np.array_equal(frames[0].image, frames[80].image)


def test_a_stop_ends_the_replay_and_the_movie_can_be_closed(npy):
    movie = open_movie(npy, fps=20)
    seen = []
    fake = FakeTime()
    for frame in Replay(movie, clock=fake.clock, sleep=fake.sleep).frames(lambda: len(seen) >= 5):
        seen.append(frame.index)
    movie.close()
    assert seen == [0, 1, 2, 3, 4]


def test_an_error_while_reading_reaches_the_consumer(npy, monkeypatch):
    movie = open_movie(npy, fps=20)

    def broken(start, stop):
        raise SourceError("the disk is gone")

    monkeypatch.setattr(movie, "read", broken)
    with pytest.raises(SourceError, match="the disk is gone"):
        play(movie)


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"speed": -1.0}, {"speed": float("nan")}, {"loop": 0}])
def test_impossible_speeds_and_loops_are_refused(npy, options):
    with pytest.raises(SourceError, match=r"write e\.g\."):
        Replay(open_movie(npy, fps=20), **options)
