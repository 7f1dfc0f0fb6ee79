"""From an index to a webcam that delivers pictures of a known kind, size and rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import SourceError
from streamscope_drivers.miniscope.camera import Backend, Camera, Opens, Property, kernel_stamp, why_not
from streamscope_drivers.miniscope.startup import Timing
from streamscope_drivers.webcam.pictures import Form, form_of, jpeg_shape
from streamscope_drivers.webcam.spec import Spec

WITHIN_S = 3.0  # the first picture; webcams take their time
MEASURED = 12  # pictures over which the rate is measured
BUFFERS = 4  # pictures that the system may hold
_MJPG = int.from_bytes(b"MJPG", "little")


@dataclass
class Link:
    """An open webcam. One thread owns it."""

    camera: Camera
    backend: Backend
    shape: tuple[int, int]  # (H, W) px, as delivered
    form: Form
    fps: float = 0.0  # as measured, Hz
    doubts: list[str] = field(default_factory=list)  # one sentence each, for the user

    def stamp(self, now_ns: int) -> int:
        """Return when the grabbed picture came, ns: the kernel's time where there is one, or else now."""
        kernel_ns = kernel_stamp(self.camera, self.backend, now_ns)
        return now_ns if kernel_ns is None else kernel_ns

    def release(self) -> None:
        """Give the camera back."""
        self.camera.release()


def connect(
    spec: Spec,
    index: int,
    ways: Sequence[Backend],
    opens: Opens,
    timing: Timing,
    shape: tuple[int, int] | None = None,
) -> Link:
    """Open a webcam and see what it delivers.

    Parameters
    ----------
    spec : Spec
        What is wanted.
    index : int
        Of the camera, as the system counts.
    ways : sequence of Backend
        To be tried in order.
    opens : callable
        Opens a camera.
    timing : Timing
        Clocks.
    shape : tuple of int, optional
        (H, W) that the pictures must have; None: what comes is taken.

    Raises
    ------
    SourceError
        If there is no such camera, it gives no pictures, or not of the size that they must have.
    """
    problem = SourceError(why_not(index))
    for way in ways:
        camera = opens(index, way)
        try:
            if not camera.isOpened():
                raise problem
            link = _start(camera, way, spec, timing)
            if shape is not None and link.shape != shape:
                raise SourceError(f"pictures are {_text(link.shape)} px now, expected {_text(shape)}")
        except BaseException as error:
            camera.release()
            if not isinstance(error, SourceError):
                raise
            problem = error
        else:
            return link
    raise problem


def _start(camera: Camera, way: Backend, spec: Spec, timing: Timing) -> Link:
    height, width = spec.shape
    camera.set(Property.FOURCC, _MJPG)  # uncompressed, USB 2 has no room for more than 640x480
    camera.set(Property.FRAME_WIDTH, width)
    camera.set(Property.FRAME_HEIGHT, height)
    if spec.fps is not None:
        camera.set(Property.FPS, spec.fps)
    camera.set(Property.CONVERT_RGB, 0)
    camera.set(Property.BUFFERSIZE, BUFFERS)
    link = _seen(camera, way, _next(camera, timing))
    if link is None:  # a kind of picture that is not known here: have it decoded
        camera.set(Property.CONVERT_RGB, 1)
        link = _seen(camera, way, _next(camera, timing))
    if link is None:
        raise SourceError(
            "the webcam gives pictures of a kind that is not known, expected JPEG, YUY2 or BGR; try another size"
        )
    if link.shape != spec.shape:
        link.doubts.append(f"pictures are {_text(link.shape)} px, {_text(spec.shape)} were asked for")
    _measure(link, spec, timing)
    return link


def _seen(camera: Camera, way: Backend, raw: NDArray[Any]) -> Link | None:
    """Return the link if this raw picture is of a known kind."""
    shape = (int(camera.get(Property.FRAME_HEIGHT)), int(camera.get(Property.FRAME_WIDTH)))
    if raw.ndim == 3 and raw.shape[2] == 3:
        shape = (raw.shape[0], raw.shape[1])
    form = form_of(raw, shape)
    if form is Form.JPEG:
        shape = jpeg_shape(raw.tobytes()) or shape
    return None if form is None else Link(camera, way, shape, form)


def _measure(link: Link, spec: Spec, timing: Timing) -> None:
    stamps = []
    for _ in range(MEASURED):
        _next(link.camera, timing)
        stamps.append(link.stamp(timing.clock()))
    link.fps = 1e9 / max(1.0, float(np.median(np.diff(stamps))))
    if spec.fps is not None and abs(link.fps / spec.fps - 1.0) > 0.1:
        link.doubts.append(
            f"pictures come at {link.fps:.1f} Hz, {spec.fps:g} were asked for; is there light enough?"
        )


def _next(camera: Camera, timing: Timing) -> NDArray[Any]:
    until_ns = timing.clock() + round(WITHIN_S * 1e9)
    while True:
        if camera.grab():
            ok, raw = camera.retrieve()
            if ok and raw is not None:
                return raw
        if timing.clock() >= until_ns:
            raise SourceError(
                f"the webcam gave no picture within {WITHIN_S:g} s, expected a steady stream; does another program "
                "use it?"
            )
        timing.sleep(0.005)


def _text(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
