"""The lens of a model: a picture is sharp at one focus and blurs away from it."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

LENS, REGISTER, MIDDLE = 0xEE, 8, 127  # chip, where its voltage stands, and the byte of focus 0
BLUR_PX = 0.05  # standard deviation for each step away
LEAST_PX = 0.3  # less is not seen


def through_lens(
    picture: NDArray[np.uint8], chips: Mapping[int, Mapping[int, int]], sharp_at: float | None
) -> NDArray[np.uint8]:
    """Return a picture as the lens shows it: set by the registers of the chips, sharp at one focus, or always."""
    if sharp_at is None:
        return picture
    focus = chips.get(LENS, {}).get(REGISTER, MIDDLE) - MIDDLE
    blur_px = BLUR_PX * abs(focus - sharp_at)
    if blur_px < LEAST_PX:
        return picture
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur_px), np.uint8)
