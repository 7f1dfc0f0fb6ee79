"""A model of a webcam where `cv2.VideoCapture` stands: pictures in colour, JPEG, YUY2 or decoded, with numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.testing.firmware.clocks import Clock, RealClock

POS_MSEC, WIDTH, HEIGHT, FPS, FOURCC, CONVERT_RGB, BUFFERSIZE = 0, 3, 4, 5, 6, 16, 38
BITS = 16  # of a picture's number, as blocks along its upper edge
BLOCK = 16  # rows of them
GRAB_TIMEOUT_S = 1.0


@dataclass
class WebcamModel:
    """One webcam, plugged in until `unplug`.

    Parameters
    ----------
    form : str
        What raw pictures are: `jpeg`, `yuyv`, or `bgr` where the system decodes whatever is asked for.
    sizes : tuple
        (H, W) that it has; the first one is delivered if another is asked for.
    fps : float
        Its rate.
    clock : Clock
        Its time.
    stamped : bool
        Whether the kernel stamps pictures (Linux).
    """

    form: str = "jpeg"
    sizes: tuple[tuple[int, int], ...] = ((480, 640), (720, 1280))
    fps: float = 30.0
    clock: Clock = field(default_factory=RealClock)
    stamped: bool = True
    # What a test may change at any time, in numbers of pictures:
    dropped: set[int] = field(default_factory=set)
    cut: set[int] = field(default_factory=set)  # the JPEG is cut off
    rates: dict[int, float] = field(default_factory=dict)  # the rate from this picture on: it got dark
    busy: bool = False
    # What a test may look at:
    sent: dict[int, int] = field(default_factory=dict)  # number: when it ended, ns
    n_opened: int = 0

    def __post_init__(self) -> None:
        self.plugged = True
        self.camera: WebcamHandle | None = None
        self.shape = self.sizes[0]
        self._number = 0
        self._next_ns = 0
        self._waiting: deque[tuple[int, int]] = deque(maxlen=4)

    def open(self, index: int = 0, backend: Any = None) -> WebcamHandle:
        """Return a handle, as `cv2.VideoCapture` would be; it is not opened if the camera is away or held."""
        return WebcamHandle(self)

    def unplug(self) -> None:
        """Pull the cable."""
        self.plugged, self.camera = False, None

    def plug(self) -> None:
        """Put it back."""
        self.plugged = True

    def take(self) -> tuple[int, int] | None:
        """Return number and time of the next picture, after waiting for it; None if none comes."""
        deadline_ns = self.clock() + round(GRAB_TIMEOUT_S * 1e9)
        while self.plugged and self.clock() < deadline_ns:
            self._advance()
            if self._waiting:
                return self._waiting.popleft()
            self.clock.sleep((min(self._next_ns, deadline_ns) - self.clock()) / 1e9)
        return None

    def begin(self) -> None:
        """Start to deliver."""
        self._waiting.clear()
        self._next_ns = self.clock() + round(1e9 / self.fps)

    def _advance(self) -> None:
        while self._next_ns <= self.clock():
            if self._number not in self.dropped:
                self.sent[self._number] = self._next_ns
                self._waiting.append((self._number, self._next_ns))
            self._number += 1
            self.fps = self.rates.pop(self._number, self.fps)
            self._next_ns += round(1e9 / self.fps)

    def raw(self, number: int, decoded: bool) -> NDArray[np.uint8]:
        """Return a picture as the system hands it over."""
        bgr = numbered(number, self.shape)
        if self.form == "bgr" or decoded:
            return bgr
        if self.form == "yuyv":
            return _yuyv(bgr)
        data = bytes(cv2.imencode(".jpg", bgr)[1])
        data = data[: len(data) // 2] if number in self.cut else data + bytes(64)  # buffers are larger
        return np.frombuffer(data, np.uint8).reshape(1, -1)


class WebcamHandle:
    """A handle to a model, with the surface of `cv2.VideoCapture`."""

    def __init__(self, model: WebcamModel) -> None:
        self._model = model
        self._taken: tuple[int, int] | None = None
        self._set = {CONVERT_RGB: 1.0}
        self._open = model.plugged and not model.busy and model.camera is None
        if self._open:
            model.camera = self
            model.n_opened += 1
            model.begin()

    def isOpened(self) -> bool:
        """Return whether there is a camera."""
        return self._open

    def grab(self) -> bool:
        """Wait for the next picture; return False if none came."""
        alive = self._open and self._model.camera is self
        self._taken = self._model.take() if alive else None
        if not alive:
            self._model.clock.sleep(0.001)
        return self._taken is not None

    def retrieve(self) -> tuple[bool, NDArray[Any] | None]:
        """Return the picture that was grabbed."""
        if self._taken is None:
            return False, None
        return True, self._model.raw(self._taken[0], bool(self._set[CONVERT_RGB]))

    def get(self, prop: int, /) -> float:
        """Return a property."""
        if prop == POS_MSEC:
            return self._taken[1] / 1e6 if self._taken and self._model.stamped else 0.0
        sizes = {WIDTH: self._model.shape[1], HEIGHT: self._model.shape[0], FPS: self._model.fps}
        return float(sizes.get(prop, self._set.get(prop, -1.0)))

    def set(self, prop: int, value: float, /) -> bool:
        """Write a property; a size takes effect when width and height are one that there is."""
        self._set[prop] = value
        if prop == FPS:
            self._model.fps = value
        wanted = (int(self._set.get(HEIGHT, 0)), int(self._set.get(WIDTH, 0)))
        if wanted in self._model.sizes:
            self._model.shape = wanted
        return True

    def release(self) -> None:
        """Give the camera back."""
        if self._model.camera is self:
            self._model.camera = None
        self._open = False


def numbered(number: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture in colour, (H, W, 3) BGR, that carries a number which survives compression."""
    height, width = shape
    out = np.zeros((height, width, 3), np.uint8)
    out[:, :, 0] = np.linspace(40, 200, width, dtype=np.uint8)
    out[:, :, 2] = np.linspace(200, 40, height, dtype=np.uint8)[:, None]
    for bit in range(BITS):
        part = slice(bit * width // BITS, (bit + 1) * width // BITS)
        out[:BLOCK, part] = 255 if number >> bit & 1 else 0
    return out


def number_of(picture: NDArray[np.uint8]) -> int:
    """Return the number that a picture carries, (H, W) or (H, W, 3)."""
    row = picture[BLOCK // 2].reshape(picture.shape[1], -1).mean(axis=1)
    middles = [(2 * bit + 1) * len(row) // (2 * BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(middles) if row[x] > 127)


def _yuyv(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture as YUY2 in one row: two pixels share their colour."""
    yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb).astype(np.float32)
    out = np.empty((*bgr.shape[:2], 2), np.uint8)
    out[:, :, 0] = 16 + yuv[:, :, 0] * 219 / 255
    colour = 128 + (yuv[:, ::2, 1:] - 128) * 224 / 255
    out[:, ::2, 1], out[:, 1::2, 1] = colour[:, :, 1], colour[:, :, 0]
    return out.reshape(1, -1)
