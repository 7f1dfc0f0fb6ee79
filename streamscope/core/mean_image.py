"""The running mean of registered frames."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels import sparse
from streamscope.types import FloatArray, LongArray


class MeanImage:
    """The running mean of registered frames; each pixel has its own, over the frames that showed it.

    What comes into view late is not measured by what stood in its place.

    Parameters
    ----------
    image : ndarray, shape (H, W), float32
        Where to begin; it becomes the mean.
    """

    def __init__(self, image: FloatArray) -> None:
        self.image = image
        height, width = image.shape
        self._rows_seen: LongArray = np.zeros(height, np.int64)  # frames in which a row was in the field
        self._columns_seen: LongArray = np.zeros(width, np.int64)

    def follow(self, aligned: FloatArray, field: tuple[int, int, int, int], memory: int) -> None:
        """Let a frame (H, W) that showed rows and columns y0, y1, x0, x1 into a mean over `memory` frames."""
        y0, y1, x0, x1 = field
        self._rows_seen[y0:y1] += 1
        self._columns_seen[x0:x1] += 1
        of_rows, of_columns = (
            (1 / np.clip(seen, 1, memory)).astype(np.float32)
            for seen in (self._rows_seen, self._columns_seen)
        )
        sparse.follow_mean(aligned, *field, of_rows, of_columns, self.image)
