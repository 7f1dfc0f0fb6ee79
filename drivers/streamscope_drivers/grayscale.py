"""The gray picture in a decoded video frame, or the reason why there is none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ByteArray

NEUTRAL_CHROMA = 128
MEAN_DEVIATION = 3.0  # of chroma or between channels: lossy codecs stay below 1, colour scenes reach 10
SPARSE = np.s_[::4, ::4]  # colour is judged on every 16th pixel


def gray_of(frame: Any, where: str) -> ByteArray:
    """Return the luma plane of a video frame as it was stored, without expanding its range.

    Parameters
    ----------
    frame : av.VideoFrame
        Of any 8-bit pixel format.
    where : str
        File and frame number, for messages.

    Returns
    -------
    ndarray, shape (H, W), uint8
        May share memory with the frame.

    Raises
    ------
    SourceError
        If the frame has more than 8 bits, or is in colour.
    """
    name = frame.format.name
    bits = max(component.bits for component in frame.format.components)
    if bits > 8:
        raise SourceError(
            f"{where} has {bits} bits per pixel ({name}), but only 8-bit movies are read; "
            "convert it to 8-bit gray"
        )
    if name == "gray":
        return _plane(frame, 0)
    if re.fullmatch(r"yuvj?4\d\dp", name):
        return _luma(frame, where)
    return _equal_channels(frame, where)


def _luma(frame: Any, where: str) -> ByteArray:
    for number in (1, 2):
        chroma = _plane(frame, number).astype(np.int16)
        if np.abs(chroma - NEUTRAL_CHROMA).mean() > MEAN_DEVIATION:
            raise _colour(where)
    return _plane(frame, 0)


def _equal_channels(frame: Any, where: str) -> ByteArray:
    pixels: ByteArray = frame.to_ndarray(format="rgb24")
    some = pixels[SPARSE].astype(np.int16)
    if np.abs(some - some[..., 1:2]).mean() > MEAN_DEVIATION / 3:
        raise _colour(where)
    return np.ascontiguousarray(pixels[..., 1])


def _colour(where: str) -> SourceError:
    return SourceError(
        f"{where} is in colour, but a miniscope movie is gray (its channels equal); is it the behaviour "
        "camera's, or can you convert it to gray?"
    )


def _plane(frame: Any, number: int) -> ByteArray:
    plane = frame.planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
