"""The boundary to the camera: what is asked of one, the ways to open it, and what differs between them.

Everything else of the driver speaks to a `Camera`. `cv2.VideoCapture` is one, and so is the model of the firmware in
`streamscope.testing`. What an operating system does differently stands in `BACKENDS` and nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import SourceError
from streamscope.types import ByteArray
from streamscope_drivers.miniscope.extension import Extension, linux_extension
from streamscope_drivers.miniscope.usb import bare_box

OLDEST_S = 60.0  # stamp of a frame; an older one is of another clock


class Property(IntEnum):
    """The properties of a camera that the driver uses, by OpenCV's numbers."""

    POS_MSEC = 0  # kernel's time of the frame, ms, where there is one
    FRAME_WIDTH = 3
    FRAME_HEIGHT = 4
    FPS = 5
    FOURCC = 6
    BRIGHTNESS = 10  # read: quaternion z
    CONTRAST = 11  # write: bytes 0, 1 of a packet; read: frame counter
    SATURATION = 12  # write: sync output, or a question; read: quaternion w
    HUE = 13  # read: quaternion x, or the answer
    GAIN = 14  # read: quaternion y
    EXPOSURE = 15  # read: frame counter (firmware of 2023 and later)
    CONVERT_RGB = 16
    SHARPNESS = 20  # write: bytes 4, 5
    GAMMA = 22  # write: bytes 2, 3; read: trigger input
    PAN = 33  # read: quaternion w, x
    TILT = 34  # read: quaternion y, z
    BUFFERSIZE = 38


class Camera(Protocol):
    """What the driver asks of a camera: a part of `cv2.VideoCapture`. One thread owns it."""

    def isOpened(self) -> bool:
        """Return whether there is a camera."""

    def grab(self) -> bool:
        """Wait for the next frame; return False if none came."""

    def retrieve(self) -> tuple[bool, NDArray[Any] | None]:
        """Return the frame that was grabbed."""

    def get(self, prop: int, /) -> float:
        """Return a property; a failure gives a number that is none."""

    def set(self, prop: int, value: float, /) -> bool:
        """Write a property; return False if it was not taken."""

    def release(self) -> None:
        """Give the camera back."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to open a camera, and how it differs."""

    name: str
    api: int  # OpenCV's number
    platform: str  # as sys.platform
    fresh_reads: bool  # a read of a processing unit's control asks the device, and not a cache
    failed_read: float  # what get() returns when it failed
    kernel_stamps: bool  # POS_MSEC is the time of the frame on the monotonic clock
    fourcc: bytes = b"YUY2"  # what raw frames are called
    extension: Callable[[int], Extension | None] | None = None  # opens the extension unit beside the camera


BACKENDS = (
    Backend(
        "V4L2",
        200,
        "linux",
        fresh_reads=False,
        failed_read=-1.0,
        kernel_stamps=True,
        fourcc=b"YUYV",
        extension=linux_extension,
    ),
    Backend("MSMF", 1400, "win32", fresh_reads=True, failed_read=0.0, kernel_stamps=False),
    Backend("DSHOW", 700, "win32", fresh_reads=True, failed_read=0.0, kernel_stamps=False),
    Backend("any", 0, "", fresh_reads=False, failed_read=0.0, kernel_stamps=False),
)


class Opens(Protocol):
    """Opens the camera of an index in one of several ways."""

    def __call__(self, index: int, backend: Backend) -> Camera:
        """Return a camera, opened or not."""


def backends() -> tuple[Backend, ...]:
    """Return the ways to try on this system, in order."""
    return tuple(b for b in BACKENDS if b.platform in ("", sys.platform))


def open_opencv(index: int, backend: Backend) -> Camera:
    """Return the camera of an index as OpenCV opens it."""
    os.environ["OPENCV_VIDEOIO_V4L_RANGE_NORMALIZED"] = "0"  # properties as the device has them
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # s; a grab that waits longer has failed
    import cv2

    capture: Camera = cv2.VideoCapture(index, backend.api)
    return capture


def luma(raw: NDArray[Any], shape: tuple[int, int]) -> ByteArray:
    """Return the picture (H, W) out of a raw YUY2 frame, whatever shape it was handed over in; a copy.

    Raises
    ------
    SourceError
        If it is no raw frame of this size: it was converted on the way, or the size is another.
    """
    if raw.dtype == np.uint8 and raw.size == shape[0] * shape[1] * 2:
        return np.ascontiguousarray(raw.reshape(*shape, 2)[:, :, 0])
    raise SourceError(
        f"a frame of {raw.shape} {raw.dtype} came, expected raw YUY2 of {shape[1]}x{shape[0]} px "
        f"({shape[0] * shape[1] * 2} bytes); is it the right --device?"
    )


def kernel_stamp(camera: Camera, backend: Backend, now_ns: int) -> int | None:
    """Return the kernel's time of the grabbed frame, ns, None where there is none that can be believed."""
    if not backend.kernel_stamps:
        return None
    kernel_ns = round(camera.get(Property.POS_MSEC) * 1e6)
    return kernel_ns if kernel_ns > 0 and 0 <= now_ns - kernel_ns < OLDEST_S * 1e9 else None


@dataclass(frozen=True, slots=True)
class Found:
    """A camera that the system knows."""

    index: int
    name: str
    place: str  # the USB port, by which one of two equal boxes is known again; empty if not known


def found_cameras(root: Path = Path("/sys/class/video4linux")) -> list[Found]:
    """Return the cameras that the system lists, none where it has no such list (Windows: try the indices)."""
    return sorted(_found(root), key=lambda camera: camera.index) if root.is_dir() else []


class Place:
    """Where a camera is plugged in: after an interruption it may come back under another index.

    Two boxes are equal but for that.

    Parameters
    ----------
    index : int
        Of the camera now.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._place = next((found.place for found in found_cameras() if found.index == index), "")

    def __call__(self) -> int:
        """Return the index that it has now."""
        same = [found.index for found in found_cameras() if self._place and found.place == self._place]
        return same[0] if same else self._index


def why_not(index: int) -> str:
    """Return one sentence on why the camera of an index does not open."""
    node = Path(f"/dev/video{index}")
    bare = bare_box()
    if bare:
        return f"camera {index} does not open: {bare}"
    if sys.platform == "linux" and not node.exists():
        return f"there is no camera {index} ({node} does not exist); is the box plugged in? See: streamscope devices"
    if sys.platform == "linux" and not os.access(node, os.R_OK | os.W_OK):
        return f"camera {index} may not be opened; add yourself to the group video, and log in again"
    return (
        f"camera {index} does not open: there is none, or another program holds it; close that program, "
        "or see: streamscope devices"
    )


def _found(root: Path) -> Iterator[Found]:
    for node in root.glob("video*"):
        if _read(node / "index") not in ("", "0"):
            continue  # the second node of a UVC camera carries no picture
        place = (node / "device").resolve().name if (node / "device").exists() else ""
        yield Found(int(node.name.removeprefix("video")), _read(node / "name"), place)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
