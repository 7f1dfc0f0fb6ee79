"""Frames are cut, and means made of them, alike in a recording that is read and in one that is played."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamscope.config import (
    EngineConfig,
    Preparation,
    PrepareConfig,
    SessionConfig,
    engine_config,
    parse_windows,
)
from streamscope.core.aperture import border_distance, find_aperture
from streamscope.core.kernels import binning
from streamscope.core.motion import Motion
from streamscope.core.prepare import Groups, Preparer, prepared_frames, prepared_info
from streamscope.core.preprocess import Preprocess
from streamscope.errors import ConfigError
from streamscope.testing import naive_frames as naive
from streamscope.types import Footprints, Frame, MovieInfo

SHAPE = (41, 50)


def noise(n, bits=8, shape=SHAPE, seed=0):
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << bits, (n, *shape)).astype(kind)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_sums_of_blocks_are_those_of_the_naive_twin(dtype, side):
    image = noise(1, 8 * np.dtype(dtype).itemsize)[0]
    out = np.ones((41 // side, 50 // side), np.int32)
    binning.add_blocks(image, side, np.zeros(50 // side * side, np.int32), out)
    assert np.array_equal(out - 1, naive.block_sums(image, side))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_mean_is_right_to_a_part_of_2_to_the_16th(bits):
    plan = Preparation(crop=(3, 40, 5, 50), bin=2, bin_frames=3, source_shape=SHAPE)
    movie, preparer = noise(3, bits), Preparer(plan, SHAPE, bits)
    for image in movie:
        preparer.add(image)
    got = preparer.mean() / 2.0 ** (16 - bits)
    y0, y1, x0, x1 = plan.window(SHAPE)
    assert (y0, y1, x0, x1) == (2, 40, 4, 50)  # whole blocks that lie as without a crop
    blocks = np.mean([naive.block_sums(image[y0:y1, x0:x1], 2) for image in movie], 0) / 4
    np.testing.assert_allclose(got, blocks, atol=2.0**-8 * (1 << bits) / 256)


def test_what_is_known_of_a_movie_goes_with_it():
    info = MovieInfo("m", (), (60, 81), 9, fps=30.0, um_per_px=1.5)
    plan = Preparation(crop=(10, 50, 0, 81), bin=2, bin_frames=3, source_shape=(60, 81))
    known = prepared_info(info, plan)
    assert (known.shape, known.fps, known.um_per_px, known.bits) == ((20, 40), 10.0, 3.0, 16)
    assert plan.place(known.shape) == (5, 0, (30, 40))
    assert prepared_info(info, Preparation()) == info
    assert not Preparation(source_shape=(60, 81)).changes


def test_lost_frames_leave_means_evenly_spaced_and_never_join_what_they_part():
    gap = np.array([0, 0, 0, 5, 0, 1, 0, 0], np.int32)  # at 0 1 2 8 9 11 12 13 of the clock
    groups = Groups.of(gap, 3)
    assert [list(range(*groups.first[k : k + 2])) for k in range(groups.n)] == [
        [0, 1, 2],
        [3],
        [4, 5],
        [6, 7],
    ]
    assert groups.gap.tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(groups.means(np.arange(8.0)), [1, 3, 4.5, 6.5])
    assert Groups.of(gap, 1).gap.tolist() == gap.tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("start", [0, 4])
def test_frames_that_are_played_are_those_that_are_read(size, start):
    rng = np.random.default_rng(size)
    gap = (rng.random(23) < 0.3) * rng.integers(1, 7, 23)
    gap[0] = start
    movie, plan = noise(23), Preparation(bin=2, bin_frames=size, source_shape=SHAPE)
    frames = [
        Frame(t, image, 1000 * t, t / 20, int(g), hw=100 + t)
        for t, (image, g) in enumerate(zip(movie, gap, strict=True))
    ]
    played = list(prepared_frames(frames, Preparer(plan, SHAPE, 8), size))
    groups, preparer = Groups.of(gap, size), Preparer(plan, SHAPE, 8)
    assert [frame.index for frame in played] == list(range(groups.n))
    assert [frame.gap for frame in played][1:] == groups.gap[1:].tolist()
    for frame, first, last in zip(played, groups.first[:-1], groups.first[1:], strict=True):
        for image in movie[first:last]:
            preparer.add(image)
        assert np.array_equal(frame.image, preparer.mean())
        assert (frame.hw, frame.t_capture_ns) == (100 + first, 1000 * (last - 1))
        assert frame.time_s == pytest.approx(np.mean([f.time_s for f in frames[first:last]]))


def test_a_mean_leaves_with_its_last_frame():
    given = []

    def frames():
        for t, image in enumerate(noise(4)):
            given.append(t)
            yield Frame(t, image, 0)

    means = prepared_frames(frames(), Preparer(Preparation(bin_frames=2), SHAPE, 8), 2)
    next(means)
    assert given == [0, 1]


def test_a_crop_is_a_view_and_blank_pixels_are_those_beside_them():
    image = noise(1)[0]
    cut = Preparer(Preparation(crop=(5, 40, 7, 47)), SHAPE, 8).one(image)
    assert np.shares_memory(cut, image)
    assert np.array_equal(cut, image[5:40, 7:47])
    kept = image.copy()
    blank = Preparer(Preparation(blank=((0, 1, 0, 20),)), SHAPE, 8).one(image)
    assert np.array_equal(blank[0, :19], image[1, :19])
    assert np.array_equal(blank[1:], image[1:])
    assert np.array_equal(image, kept)


def test_pixels_that_are_always_full_have_the_values_of_the_nearest():
    movie = noise(12)
    movie[:, 10:13, 20:22] = 255
    preprocess = Preprocess(SHAPE)
    for frame in movie:
        image = preprocess.update(frame)
    assert np.argwhere(preprocess.full.mask).tolist() == [[y, x] for y in (10, 11, 12) for x in (20, 21)]
    assert image[11, 20] in (movie[-1, 11, 19], image[11, 19])


def lens(shape, centre, radius, soft=2.0, dark=0.1):
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(y - centre[0], x - centre[1])
    tissue = 120 + 30 * np.sin(y / 9) * np.cos(x / 7) - 0.2 * away
    light = dark + (1 - dark) / (1 + np.exp((away - radius) / soft))
    rng = np.random.default_rng(1)
    return np.clip(tissue * light + rng.normal(0, 3, (6, *shape)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("centre", "radius"), [((80, 95), 60), ((60, 70), 62), ((80, 60), 85)]
)  # inside, touching, cut by the field
def test_a_lens_is_found_where_it_is(centre, radius):
    found = find_aperture(lens((160, 190), centre, radius), 255)
    assert np.abs(np.subtract(found.disc, (*centre, radius))).max() < 4
    y0, _, _, x1 = found.window((160, 190))
    assert y0 == pytest.approx(max(centre[0] - radius, 0), abs=7)
    assert x1 == pytest.approx(min(centre[1] + radius, 190), abs=7)


def test_no_lens_is_found_where_there_is_none():
    y, x = np.mgrid[:160, :190]
    fades = 200 * np.exp(-((y - 80) ** 2 + (x - 90) ** 2) / 2 / 70**2)
    square = np.where((np.abs(y - 80) < 50) & (np.abs(x - 90) < 50), 150, 10)
    half = np.where(x < 90, 150, 10)
    for image in (fades, square, half, np.zeros_like(y), np.full_like(y, 255)):
        assert find_aperture(np.stack([image] * 3).astype(np.uint8), 255) is None


def test_a_place_in_a_lens_is_as_far_from_the_border_as_from_the_nearer_of_rim_and_edge():
    places = np.array([[50.0, 50.0], [50.0, 8.0], [10.0, 12.0]])
    assert border_distance(places, (101, 101), None).tolist() == [50, 8, 10]
    disc = border_distance(places, (101, 101), (50.0, 50.0, 50.0))
    np.testing.assert_allclose(disc, [50, 8, 50 - np.hypot(40, 38)])


def test_footprints_go_to_the_whole_field_and_back():
    pixels = np.array([0, 9, 10, 29], np.int32)
    small = Footprints.from_columns((3, 10), [(pixels, np.arange(1, 5, dtype=np.float32))])
    whole = small.placed(4, 6, (20, 30))
    assert whole.column(0)[0].tolist() == [4 * 30 + 6, 4 * 30 + 15, 5 * 30 + 6, 6 * 30 + 15]
    back = whole.placed(-4, -6, (3, 10))
    assert back.column(0)[0].tolist() == pixels.tolist()
    assert whole.placed(-5, -6, (3, 10)).column(0)[1].tolist() == [3, 4]  # what lies outside is cut off


def test_settings_in_px_are_in_those_of_the_source():
    config = SessionConfig(cell_diameter="16px")
    engine = engine_config(config, (100, 100), 20.0, 3.0, 16, 2)
    assert (engine.cell_diameter_px, engine.motion.max_shift_px) == (8.0, 10.0)
    same = engine_config(SessionConfig(cell_diameter="24um"), (100, 100), 20.0, 3.0, 16, 2)
    assert same.cell_diameter_px == 8.0


@pytest.mark.parametrize("text", ["10:20", "5:3,0:9", "0:10,0:99", "a:b,c:d", "0:5,0:5,0:5"])
def test_a_rectangle_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="expected"):
        parse_windows(text, SHAPE, "crop")


def test_the_settings_begin_with_what_changes_nothing_but_a_lens():
    assert PrepareConfig() == PrepareConfig(crop="auto", bin=1, bin_frames=1, blank=None)
    assert parse_windows("0:1,0:20;5:6,0:8", SHAPE, "blank") == ((0, 1, 0, 20), (5, 6, 0, 8))


def test_the_rim_of_a_lens_that_stands_still_does_not_hold_the_tissue():
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:128, :128]
    fine = gaussian_filter(rng.normal(size=(160, 160)), 2)
    rim = 0.05 + 0.95 / (1 + np.exp((np.hypot(y - 64, x - 64) - 60) / 1.5))
    disc = Preparation(disc=(64.0, 64.0, 60.0), source_shape=(128, 128))
    config = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6)
    stages = [Motion(config.model_copy(update={"prepare": p}), (128, 128)) for p in (disc, Preparation())]
    shifts = np.array([(0, 0), *rng.integers(-4, 5, (39, 2))])
    errors = []
    for dy, dx in shifts:
        tissue = 100 + 10 * fine[16 - dy : 144 - dy, 16 - dx : 144 - dx] / fine.std()
        image = np.clip(tissue * rim + rng.normal(0, 2, (128, 128)), 0, 255).astype(np.uint8)
        found = [stage.update(image) for stage in stages]
        errors.append([np.hypot(s.dy - dy, s.dx - dx) for s in found])
    with_disc, without = np.sqrt(np.mean(np.square(errors), 0))
    assert with_disc < 0.4
    assert without > 4 * with_disc
