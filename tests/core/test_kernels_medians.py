"""The median of stored frames, against numpy."""

import numpy as np
import pytest

from streamscope.core.kernels import medians


@pytest.mark.parametrize("n", [1, 2, 3, 8, 25])
@pytest.mark.parametrize("largest", [3, 2**16 - 1])  # many ties; all bits
def test_it_is_the_median_of_the_chosen_frames(n, largest):
    rng = np.random.default_rng(n)
    frames = rng.integers(0, largest, (30, 5, 7), endpoint=True).astype(np.uint16)
    frames[:, 0, 0], frames[:, 0, 1] = 0, largest
    slots = rng.permutation(30)[:n]
    out = np.full((5, 7), -1, np.float32)
    medians.median_frame(frames, slots, 0, 5, 0, 7, out)
    assert np.array_equal(out, np.median(frames[slots], axis=0).astype(np.float32))


def test_nothing_but_the_asked_rows_and_columns_is_filled():
    frames = np.random.default_rng(0).integers(0, 2**16, (4, 5, 7)).astype(np.uint16)
    out = np.full((5, 7), -1, np.float32)
    medians.median_frame(frames, np.arange(4), 1, 3, 2, 6, out)
    expected = np.full((5, 7), -1, np.float32)
    expected[1:3, 2:6] = np.median(frames, axis=0)[1:3, 2:6]
    assert np.array_equal(out, expected)
