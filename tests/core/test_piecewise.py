"""The field on top of the rigid shift, against bends that the tests applied themselves."""

import numpy as np
import pytest

from streamscope.core.infer import Infer
from streamscope.core.kernels import field as kernels
from streamscope.core.kernels import warp
from streamscope.core.motion import Motion
from streamscope.testing.checks import check_stage
from streamscope.testing.naive import block_normal, field_at
from streamscope.types import Frame
from tests.bent_movies import N_FRAMES, SHAPE, bends, config_of, displacement_error, movie_of


def run(frames, mode):
    motion = Motion(config_of(mode), SHAPE)
    return [motion.update(frame) for frame in frames], motion


@pytest.fixture(scope="module")
def bent():
    rng = np.random.default_rng(0)
    fields = bends(rng, N_FRAMES, 0.8)
    return *movie_of(fields, rng), fields


@pytest.fixture(scope="module")
def stiff():
    rng = np.random.default_rng(1)
    fields = np.zeros((N_FRAMES, 3, 3, 2), np.float32)
    return *movie_of(fields, rng), fields


def test_field_halves_the_error_where_tissue_bends(bent):
    frames, shifts, fields = bent
    rigid, bending = (
        displacement_error(run(frames, mode)[0], shifts, fields, start=200) for mode in ("off", "auto")
    )
    assert rigid > 0.5
    assert bending < 0.5 * rigid


def test_automatic_rule_finds_the_bends_and_does_not_let_go_of_them(bent):
    frames, _, _ = bent
    found, _ = run(frames, "auto")
    with_field = np.array([shift.field is not None for shift in found])
    first = int(with_field.argmax())
    assert 40 < first < 160
    assert with_field[first:].all()


def test_automatic_rule_stays_with_rigid_motion_where_cells_only_flash(stiff):
    frames, _, _ = stiff
    found, motion = run(frames, "auto")
    rigid, _ = run(frames, "off")
    assert found == rigid
    assert all(shift.field is None for shift in found)
    assert motion.state()["piecewise.n_asked"] > 40


def test_forced_field_of_rigid_motion_is_small(stiff):
    frames, shifts, fields = stiff
    found, _ = run(frames, "on")
    assert displacement_error(found, shifts, fields, start=100) < 0.1


def test_bad_frame_repeats_the_field_and_teaches_nothing(bent):
    frames, _, _ = bent
    motion = Motion(config_of("on"), SHAPE)
    for frame in frames[:120]:
        last = motion.update(frame)
    before = motion.state()
    bad = motion.update(np.zeros(SHAPE, np.float32))
    assert not bad.ok
    np.testing.assert_array_equal(bad.field, last.field)
    for name, value in motion.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize("mode", ["on", "auto"])
def test_stage_keeps_the_contract(bent, mode):
    frames, _, _ = bent
    config = config_of(mode)
    check_stage(
        lambda: Motion(config, SHAPE),
        [(frame,) for frame in frames[:170]],
        lambda state: Motion.from_state(config, SHAPE, state),
        dtype=np.float32,
    )


def test_aligned_frame_follows_the_field(bent):
    frames, _, _ = bent
    infer, rigid = Infer(config_of("on"), SHAPE), Infer(config_of("off"), SHAPE)
    moved, kept = {True: [], False: []}, np.zeros(SHAPE, np.float32)
    for t, frame in enumerate(frames[:200]):
        for engine in (infer, rigid):
            engine(Frame(t, np.clip(frame, 0, 255).astype(np.uint8), 0), kept)
            if t >= 100:
                moved[engine is infer].append(kept[20:-20, 20:-20].copy())
    scatter = {bent: np.median(np.var(images, axis=0)) for bent, images in moved.items()}
    assert scatter[True] < 0.9 * scatter[False]


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (3.3, -7.6), (-0.5, 12.0), (40.0, -60.0)])
def test_zero_field_is_a_translation(dy, dx):
    image = np.random.default_rng(2).normal(size=(45, 61)).astype(np.float32)
    row, out, want = np.zeros(64, np.float32), np.zeros_like(image), np.zeros_like(image)
    kernels.warp_field(image, dy, dx, np.zeros((3, 4, 2), np.float32), row, out)
    warp.translate(image, dy, dx, row, want)
    np.testing.assert_allclose(out, want, atol=1e-5)


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (2.4, -3.7)])
def test_field_moves_a_smooth_image_as_its_formula_says(dy, dx):
    rng = np.random.default_rng(3)
    field = rng.normal(0, 1.0, (4, 3, 2)).astype(np.float32)
    rows, cols = np.mgrid[0:90, 0:120].astype(np.float64)

    def scene(y, x):
        return np.sin(y / 5) * np.cos(x / 6) + 0.3 * np.sin(x / 4)

    image, out = scene(rows, cols).astype(np.float32), np.zeros((90, 120), np.float32)
    kernels.warp_field(image, dy, dx, field, np.zeros(123, np.float32), out)
    u = field_at(field, (90, 120))
    want = scene(rows + dy + u[..., 0], cols + dx + u[..., 1])
    np.testing.assert_allclose(out[10:-10, 10:-10], want[10:-10, 10:-10], atol=0.005)


def test_block_sums_equal_their_naive_twin():
    rng = np.random.default_rng(4)
    moved, template = rng.normal(size=(2, 23, 31)).astype(np.float32)
    weight, clip = rng.uniform(0.5, 1, (2, 23, 31)).astype(np.float32)
    information, drive = np.zeros((4, 5, 3), np.float32), np.zeros((4, 5, 2), np.float32)
    kernels.block_information(template, weight, 7, information)
    kernels.block_sums(moved, template, np.float32(1.25), weight, clip, (0, 23, 0, 31), 7, drive)
    want = block_normal(moved / 1.25, template, weight, clip, 7)
    np.testing.assert_allclose(information, want[0], atol=1e-4)
    np.testing.assert_allclose(drive, want[1], atol=1e-4)


def test_block_sums_leave_out_what_was_not_seen():
    rng = np.random.default_rng(5)
    moved, template, weight = rng.uniform(0.5, 1, (3, 20, 20)).astype(np.float32)
    clip, drive = np.ones((20, 20), np.float32), np.zeros((2, 2, 2), np.float32)
    hole = moved.copy()
    hole[:5], hole[:, 12:] = 100.0, 100.0
    for image in (moved, hole):
        kernels.block_sums(image, template, np.float32(1), weight, clip, (5, 20, 0, 12), 10, drive)
        if image is moved:
            want = drive.copy()
    np.testing.assert_array_equal(drive, want)


def test_shift_is_the_mean_over_the_frame_and_the_field_has_none(bent):
    frames, shifts, fields = bent
    found, _ = run(frames, "on")
    means = np.array([field_at(shift.field, SHAPE).mean((0, 1)) for shift in found[100:]])
    assert np.abs(means).max() < 0.02  # pixels and nodes divide the frame a little differently
    true = shifts + np.array([field_at(field, SHAPE).mean((0, 1)) for field in fields])
    rigid, _ = run(frames, "off")
    wrong, wrong_rigid = (np.array([(s.dy, s.dx) for s in one])[100:] - true[100:] for one in (found, rigid))
    assert np.std(wrong, axis=0).max() < 0.7 * np.std(wrong_rigid, axis=0).max()
