"""Registration against shifts that the tests applied themselves."""

import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from streamscope.config import EngineConfig
from streamscope.core.kernels import warp
from streamscope.core.motion import Motion

CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6)


def tissue(shape=(96, 112), seed=0):
    rng = np.random.default_rng(seed)
    fine = gaussian_filter(rng.normal(size=shape), 2)
    coarse = gaussian_filter(rng.normal(size=shape), 12)
    return (80 + 10 * fine / fine.std() + 20 * coarse / coarse.std()).astype(np.float32)


def seen(image, dy, dx):
    """Return the image as a frame in which the content is displaced by (dy, dx)."""
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(image), (dy, dx))).real
    return moved.astype(np.float32)


def noisy(image, rng, sd=3.0):
    return (image + rng.normal(0, sd, image.shape)).astype(np.float32)


def test_shift_of_a_displaced_frame_is_found_within_a_tenth_of_a_pixel():
    rng = np.random.default_rng(1)
    image = tissue()
    motion = Motion(CONFIG, image.shape)
    true = np.vstack([np.zeros((30, 2)), rng.uniform(-6, 6, (60, 2))])
    found = []
    for dy, dx in true:
        shift = motion.update(noisy(seen(image, dy, dx), rng))
        found.append((shift.dy, shift.dx))
    error = np.hypot(*(np.array(found) - true).T)
    assert np.sqrt((error**2).mean()) < 0.1


def test_field_registered_at_half_size_reports_full_pixels():
    rng = np.random.default_rng(2)
    image = tissue((340, 340))
    motion = Motion(CONFIG, image.shape)
    for _ in range(5):
        motion.update(noisy(image, rng))
    shift = motion.update(noisy(seen(image, 3.4, -5.2), rng))
    assert shift.dy == pytest.approx(3.4, abs=0.15)
    assert shift.dx == pytest.approx(-5.2, abs=0.15)


def test_led_change_does_not_move_the_frame():
    rng = np.random.default_rng(3)
    image = tissue()
    motion = Motion(CONFIG, image.shape)
    for _ in range(20):
        motion.update(noisy(image, rng))
    shift = motion.update(noisy(0.6 * seen(image, 2.0, 1.0), rng))
    assert (shift.dy, shift.dx) == pytest.approx((2.0, 1.0), abs=0.15)
    assert shift.ok


def test_black_frame_is_flagged_and_repeats_the_last_good_shift():
    rng = np.random.default_rng(4)
    image = tissue()
    motion = Motion(CONFIG, image.shape)
    for _ in range(60):
        last = motion.update(noisy(seen(image, 1.0, 0.0), rng))
    black = motion.update(np.zeros(image.shape, np.float32))
    assert not black.ok
    assert (black.dy, black.dx) == (last.dy, last.dx)


def test_saved_state_continues_to_the_same_bytes():
    rng = np.random.default_rng(5)
    image = tissue()
    frames = [noisy(seen(image, *rng.uniform(-3, 3, 2)), rng) for _ in range(40)]
    whole, first = Motion(CONFIG, image.shape), Motion(CONFIG, image.shape)
    expected = [whole.update(frame) for frame in frames]
    got = [first.update(frame) for frame in frames[:17]]
    second = Motion.from_state(CONFIG, image.shape, first.state())
    got += [second.update(frame) for frame in frames[17:]]
    assert got == expected


@pytest.mark.parametrize(
    ("dy", "dx"),
    [
        (0.0, 0.0),
        (1.0, -2.0),
        (0.3, 0.7),
        (-3.6, 2.2),
        (50.0, -50.0),
        (-8.5, 11.2),
        (2.2, -12.9),
        (9.1, 8.0),
        (-12.0, 13.5),
    ],
)
def test_translate_equals_its_naive_twin(dy, dx):
    rng = np.random.default_rng(6)
    image = rng.normal(size=(9, 11)).astype(np.float32)
    out = np.empty_like(image)
    warp.translate(image, dy, dx, np.empty(14, np.float32), out)
    weights_y, weights_x = np.empty(4, np.float32), np.empty(4, np.float32)
    iy, ix = int(np.floor(dy)), int(np.floor(dx))
    warp.cubic_weights(dy - iy, weights_y)
    warp.cubic_weights(dx - ix, weights_x)
    for y in range(9):
        for x in range(11):
            rows = np.clip(np.arange(y + iy - 1, y + iy + 3), 0, 8)
            cols = np.clip(np.arange(x + ix - 1, x + ix + 3), 0, 10)
            want = weights_y @ image[np.ix_(rows, cols)] @ weights_x
            assert out[y, x] == pytest.approx(want, abs=1e-5)
