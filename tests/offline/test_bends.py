"""The refit's registration of tissue that bends."""

import numpy as np
import pytest

from streamscope.offline.reregister import SessionAligner
from streamscope.offline.store import SCALE, FrameStore
from streamscope.types import Shift
from tests.bent_movies import N_FRAMES, SHAPE, bends, config_of, displacement_error, movie_of
from tests.offline.refit_movies import ArrayMovie


def recorded(fields, seed):
    frames, shifts = movie_of(fields, np.random.default_rng(seed))
    return ArrayMovie(np.clip(np.rint(frames), 0, 255).astype(np.uint8)), shifts


def register(movie, mode):
    """Return shifts and fields, whether there is none, and the registered frames away from the border."""
    with FrameStore(movie.info.shape, movie.info.n_frames, 130) as store:
        aligner = SessionAligner(movie, config_of(mode), None)
        registration = aligner.run(store)
        frames = np.concatenate([store.read(*span) for span in store.spans()]).reshape(-1, *SHAPE)
    found = [
        Shift(*shift, field=field)
        for shift, field in zip(registration.shifts, registration.fields, strict=True)
    ]
    return found, aligner.rigid, frames[:, 20:-20, 20:-20] / np.float32(SCALE)


def scatter_of(frames):
    return np.median(frames.var(0))


@pytest.fixture(scope="module")
def bent():
    fields = bends(np.random.default_rng(0), N_FRAMES, 0.8)
    return *recorded(fields, 0), fields


def test_bends_are_found_and_undone_in_the_store(bent):
    movie, shifts, fields = bent
    rigid, _, as_rigid = register(movie, "off")
    found, is_rigid, as_bent = register(movie, "auto")
    assert not is_rigid
    wrong = displacement_error(rigid, shifts, fields, start=0)
    assert displacement_error(found, shifts, fields, start=0) < 0.5 * wrong
    assert scatter_of(as_bent) < 0.9 * scatter_of(as_rigid)


def test_two_registrations_are_the_same_bytes(bent):
    first, second = (register(bent[0], "on")[0] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.field, other.field)
        assert (one.dy, one.dx) == (other.dy, other.dx)


def test_a_recording_that_does_not_bend_stays_rigid():
    movie, _ = recorded(np.zeros((N_FRAMES, 3, 3, 2), np.float32), 1)
    found, is_rigid, _ = register(movie, "auto")
    assert is_rigid
    assert not any(shift.field.any() for shift in found)


def test_a_frame_that_shows_something_else_gets_the_field_of_its_neighbours(bent):
    movie, _, _ = bent
    frames = movie.frames.copy()
    frames[150] = 0
    found, is_rigid, _ = register(ArrayMovie(frames), "auto")
    assert not is_rigid
    before, black, after = (found[t].field for t in (149, 150, 151))
    assert np.abs(black - (before + after) / 2).max() < 0.3
