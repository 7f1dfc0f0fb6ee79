"""What a model sees: cheap pictures that are all different, and simulated tissue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamscope.testing.synth import Scene, SynthConfig
from streamscope.types import ByteArray


def moving_bars(shape: tuple[int, int]) -> Callable[[int], ByteArray]:
    """Return pictures that are cheap to make, and all different for a long time."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    base: ByteArray = (60 + 40 * np.sin(x / 9) * np.sin(y / 7)).astype(np.uint8)

    def picture(number: int) -> ByteArray:
        out = base.copy()
        bits = (number >> np.arange(24)) & 1
        out[:2, : 2 * 24] = np.repeat(bits * 60 + 40, 2).astype(np.uint8)
        return out

    return picture


def tissue(
    shape: tuple[int, int] = (608, 608), n_frames: int = 600, seed: int = 4
) -> Callable[[int], ByteArray]:
    """Return pictures of simulated tissue with cells, made when they are asked for; they repeat after `n_frames`."""
    config = SynthConfig(height=shape[0], width=shape[1], n_frames=n_frames, seed=seed)
    scene = Scene(config)
    return lambda number: scene.frame(number % n_frames)
