"""Random small inputs for kernels, as hypothesis draws them: odd sizes, cut fields, no components."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from streamscope.core.background import RingGeometry
from streamscope.testing import naive
from streamscope.types import Footprints

few = settings(max_examples=50)  # each twin takes milliseconds
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 13)
shapes = st.tuples(sides, sides)
steps = st.integers(1, 5)


def random_field(rng, shape):
    """Return rows y0..y1 and columns x0..x1, now and then all of them, or none."""
    if rng.random() < 0.3:
        return np.array([0, shape[0], 0, shape[1]])
    rows, cols = np.sort(rng.integers(0, shape[0] + 1, 2)), np.sort(rng.integers(0, shape[1] + 1, 2))
    return np.array([*rows, *cols])


def random_footprints(rng, shape, n):
    """Return footprints of scattered pixels in a part of the frame; some may be empty."""
    columns = []
    for _ in range(n):
        y0, y1, x0, x1 = random_field(rng, shape)
        inside = np.zeros(shape, bool)
        inside[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < rng.choice([0.3, 0.9])
        pixels = np.flatnonzero(inside).astype(np.int32)
        columns.append((pixels, rng.random(len(pixels)).astype(np.float32)))
    return Footprints.from_columns(shape, columns)


class Stored:
    """Stored frames with the field of each, static background, ring and blocks."""

    def __init__(self, rng, shape, step, n_frames=4):
        self.scale = np.float32(1 / 256)
        self.frames = rng.integers(0, 2**16, (n_frames, *shape)).astype(np.uint16)
        self.rects = np.array([random_field(rng, shape) for _ in range(n_frames)])
        self.b0 = rng.uniform(0, 200, shape).astype(np.float32)
        self.geometry = RingGeometry.make(shape, 4.0, 1.5, step)
        inside = self.geometry.neighbours >= 0
        self.W = (inside * rng.uniform(-0.1, 0.2, inside.shape)).astype(np.float32)
        self.rest = rng.normal(0, 20, (n_frames, self.geometry.n_bins)).astype(np.float32)

    def residuals(self):
        """Return y - b0 - U W x of every frame, (N, H, W), by the plain twin."""
        ring = self.W, self.geometry.neighbours
        return naive.residuals(
            self.frames, self.rects, 1 / 256, self.b0, *ring, self.rest, self.geometry.step
        )


def remember(buffer, image, field, frame, blocks, rest, background, *traces):
    """Store a frame with all that belongs to it; `traces` are u, seen, y and c."""
    slot = buffer.push(image, field, frame, blocks, rest, *traces)
    buffer.background[slot] = background
