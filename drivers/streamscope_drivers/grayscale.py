"""The gray picture in a decoded video frame, or the reason why there is none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ImageArray

NEUTRAL_CHROMA = 128
MEAN_DEVIATION = 3.0  # of chroma or between channels: lossy codecs stay below 1, colour scenes reach 10
DEEP_GRAY = r"gray(9|10|12|14|16)(le|be)"
SPARSE = np.s_[::4, ::4]  # colour is judged on every 16th pixel


def gray_of(frame: Any, where: str) -> ImageArray:
    """Return the luma plane of a video frame as it was stored, without expanding its range.

    Gray with 9 to 16 bits stays as it is.

    Parameters
    ----------
    frame : av.VideoFrame
        Of any 8-bit pixel format, or gray with more.
    where : str
        File and frame number, for messages.

    Returns
    -------
    ndarray, shape (H, W), uint8 or uint16
        May share memory with the frame.

    Raises
    ------
    SourceError
        If the frame is in colour, or has colour planes with more than 8 bits.
    """
    name = frame.format.name
    bits = _bits(frame.format)
    if name == "gray" or re.fullmatch(DEEP_GRAY, name):
        return _plane(frame, 0, ">u2" if name.endswith("be") else "<u2" if bits > 8 else "u1")
    if bits > 8:
        raise SourceError(
            f"{where} has {bits} bits per pixel in colour planes ({name}), which are read with 8 only; "
            "convert it to gray"
        )
    if re.fullmatch(r"yuvj?4\d\dp", name):
        return _luma(frame, where)
    return _equal_channels(frame, where)


def dtype_of(layout: Any) -> Any:
    """Return the type of the pixels that `gray_of` takes from a pixel format, None being unknown."""
    return np.uint16 if layout is not None and re.fullmatch(DEEP_GRAY, layout.name) else np.uint8


def _bits(layout: Any) -> int:
    return max(int(component.bits) for component in layout.components)


def _luma(frame: Any, where: str) -> ImageArray:
    for number in (1, 2):
        chroma = _plane(frame, number).astype(np.int16)
        if np.abs(chroma - NEUTRAL_CHROMA).mean() > MEAN_DEVIATION:
            raise _colour(where)
    return _plane(frame, 0)


def _equal_channels(frame: Any, where: str) -> ImageArray:
    pixels: ImageArray = frame.to_ndarray(format="rgb24")
    some = pixels[SPARSE].astype(np.int16)
    if np.abs(some - some[..., 1:2]).mean() > MEAN_DEVIATION / 3:
        raise _colour(where)
    return np.ascontiguousarray(pixels[..., 1])


def _colour(where: str) -> SourceError:
    return SourceError(
        f"{where} is in colour, but a miniscope movie is gray (its channels equal); is it the behaviour "
        "camera's, or can you convert it to gray?"
    )


def _plane(frame: Any, number: int, dtype: str = "u1") -> ImageArray:
    plane, stored = frame.planes[number], np.dtype(dtype)
    rows = np.frombuffer(plane, stored).reshape(plane.height, plane.line_size // stored.itemsize)
    return rows[:, : plane.width].astype(stored.newbyteorder("="), copy=False)
