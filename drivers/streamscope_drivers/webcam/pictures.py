"""What a raw picture of a webcam can be, and how it becomes a JPEG."""

from __future__ import annotations

from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.errors import SourceError

_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that begin a picture of some kind
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


class Form(Enum):
    """How raw pictures come."""

    JPEG = "JPEG"  # as the camera compressed it
    YUYV = "YUYV"  # two bytes a pixel
    BGR = "BGR"  # decoded by the system


def form_of(raw: NDArray[Any], shape: tuple[int, int]) -> Form | None:
    """Return what a raw picture of (H, W) px is, None if it is nothing that is known here."""
    if raw.dtype != np.uint8:
        return None
    if raw.ndim == 3 and raw.shape == (*shape, 3):
        return Form.BGR
    if raw.size == 2 * shape[0] * shape[1]:
        return Form.YUYV
    return Form.JPEG if raw.reshape(-1)[:2].tobytes() == _START else None


def jpeg_of(raw: NDArray[Any], form: Form, shape: tuple[int, int], quality: int) -> bytes:
    """Return a picture as JPEG: as the camera made it, or compressed here with this quality (1 to 100).

    Raises
    ------
    SourceError
        If it is cut off, or has another size.
    """
    if form is Form.JPEG:
        return _whole(raw, shape)
    if raw.size != shape[0] * shape[1] * (3 if form is Form.BGR else 2):
        raise SourceError(f"a picture of {raw.shape} came, expected {form.value} of {shape[1]}x{shape[0]} px")
    bgr = raw if form is Form.BGR else cv2.cvtColor(raw.reshape(*shape, 2), cv2.COLOR_YUV2BGR_YUY2)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise SourceError(f"a picture of {raw.shape} could not be compressed, expected {shape}")
    return bytes(data)


def jpeg_shape(data: bytes) -> tuple[int, int] | None:
    """Return (H, W) of a JPEG by its header, None if there is none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_HEADERS:
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        at += 2 if marker in _WITHOUT_LENGTH else 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _whole(raw: NDArray[Any], shape: tuple[int, int]) -> bytes:
    """Return a JPEG without what stands behind it in the buffer."""
    data = raw.tobytes()
    end = data.rfind(_END)
    if not data.startswith(_START) or end < 0:
        raise SourceError(
            f"a picture of {len(data)} bytes is cut off, expected a whole JPEG; check the cable"
        )
    if jpeg_shape(data) != shape:
        raise SourceError(f"a picture of {jpeg_shape(data)} px came, expected {shape}")
    return data[: end + len(_END)]
