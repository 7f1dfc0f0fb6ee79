"""Repair of single pixels."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def repair(defects, image):
    """Replace each pixel (row, column) in `defects` of an image, uint8, in turn by the median of its 3 x 3 pixels.

    At the border there are fewer; of the middle two of an even number the mean is taken, rounded up.
    """
    h, w = image.shape
    near = np.empty(9, np.int64)
    for i in range(defects.shape[0]):
        n = 0
        for y in range(max(defects[i, 0] - 1, 0), min(defects[i, 0] + 2, h)):
            for x in range(max(defects[i, 1] - 1, 0), min(defects[i, 1] + 2, w)):
                value, k = np.int64(image[y, x]), n
                while k > 0 and near[k - 1] > value:
                    near[k] = near[k - 1]
                    k -= 1
                near[k] = value
                n += 1
        image[defects[i, 0], defects[i, 1]] = (near[(n - 1) // 2] + near[n // 2] + 1) // 2
