"""Products with scattered values, and reading ahead."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamscope.core.kernels import dots
from tests.core.kernel_inputs import few, seeds


@few
@given(seeds, st.integers(0, 30), st.sampled_from([np.float32, np.uint16]))
def test_a_dot_is_that_of_the_gathered_pixels(seed, n, dtype):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 2**16, 50).astype(dtype)
    index, values = rng.integers(0, 50, n).astype(np.int32), rng.normal(size=n).astype(np.float32)
    start, stop = sorted(int(v) for v in rng.integers(0, n + 1, 2))
    expected = values[start:stop].astype(np.float64) @ image[index[start:stop]].astype(np.float64)
    assert np.isclose(dots.dot(index, values, start, stop, image), expected, rtol=1e-4, atol=0.1)


def test_what_is_fetched_ahead_stays_within_its_box():
    image = np.zeros(12 * 50, np.uint16)
    box = image.reshape(12, 50)[3:9, 10:47]
    assert dots.fetch(image, 50, 3, 10, 9, 47) == 0
    image += 1
    box[:] = 0
    assert dots.fetch(image, 50, 3, 10, 9, 47) == 0
    box[:] = 7
    assert dots.fetch(image, 50, 3, 10, 9, 47) == 6 * 4  # one pixel in sixteen of each row, and its last one
