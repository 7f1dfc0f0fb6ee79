"""A connected webcam as a behaviour camera: `webcam:INDEX[@WIDTHxHEIGHT[@FPS]]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from streamscope.clock import clock_ns
from streamscope.errors import SourceError
from streamscope.types import CameraInfo, Picture
from streamscope_drivers.miniscope.camera import BACKENDS, Place, backends, open_opencv
from streamscope_drivers.miniscope.startup import Timing
from streamscope_drivers.webcam.capture import Capture, Connect, Raw, Tell
from streamscope_drivers.webcam.gaps import with_gaps
from streamscope_drivers.webcam.link import Link, connect
from streamscope_drivers.webcam.pictures import Form, jpeg_of
from streamscope_drivers.webcam.spec import MODEL, USUAL, Spec, parse

TAKE_S = 0.1  # so that a stop is seen soon
TELL_S = 1.0  # losses are not said more often than that


class Webcam:
    """A webcam that is connected.

    Pictures are compressed, where the camera does not do it, by whoever takes them, and not in the camera's thread.

    Parameters
    ----------
    info : CameraInfo
        What is known of it.
    capture : Capture
        Started.
    quality : int
        Of JPEG pictures that are compressed here, 1 to 100.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(
        self, info: CameraInfo, capture: Capture, quality: int, clock: Callable[[], int] = clock_ns
    ) -> None:
        self.info = info
        self._capture = capture
        self._quality = quality
        self._clock = clock
        self._bad = 0  # pictures in a row that were none
        self._told_ns: int | None = None  # when losses were said last
        self._lost = 0  # since then

    @property
    def trouble(self) -> str:
        """Return what does not go as it should, in words."""
        return self._capture.trouble

    @property
    def waiting(self) -> int:
        """Return the number of pictures that wait to be taken."""
        return len(self._capture.ring)

    def listen(self, tell: Tell) -> None:
        """Have events told, in any thread: what happened, one sentence, fields."""
        self._capture.tell = tell

    def pictures(self, stopped: Callable[[], bool]) -> Iterator[Picture]:
        """Yield pictures until `stopped()` is true; then those that came until then, and the camera is given back.

        Raises
        ------
        SourceError
            If the camera's thread failed.
        """
        for picture in with_gaps(self._compressed(stopped)):
            if picture.gap:
                self._tell_lost(picture)
            yield picture

    def close(self) -> None:
        """Give the camera back; may be called again."""
        self._capture.close()

    def _compressed(self, stopped: Callable[[], bool]) -> Iterator[Picture]:
        for raw in self._raw(stopped):
            picture = self._picture(raw)
            if picture is not None:
                yield picture

    def _raw(self, stopped: Callable[[], bool]) -> Iterator[Raw]:
        ring = self._capture.ring
        self._capture.begin()
        try:
            while not ring.ended and not stopped():
                raw = ring.take(TAKE_S)
                if raw is not None:
                    yield raw
        finally:
            self._capture.close()
        while (raw := ring.take(0.0)) is not None:
            yield raw

    def _picture(self, raw: Raw) -> Picture | None:
        """Return a picture as it is kept, None if it is none: intervals will say that it is missing."""
        try:
            jpeg = jpeg_of(raw.data, raw.form, self.info.shape, self._quality)
        except SourceError as error:
            self._bad += 1
            if self._bad == 1:
                self._capture.tell("bad_picture", str(error), {"t_ns": raw.t_ns})
            return None
        self._bad = 0
        return Picture(raw.t_ns, jpeg)

    def _tell_lost(self, picture: Picture) -> None:
        """Say that pictures are missing, but not more than once a second."""
        self._lost += picture.gap
        now_ns = self._clock()
        if self._told_ns is not None and now_ns - self._told_ns < TELL_S * 1e9:
            return
        self._told_ns = now_ns
        n, self._lost = self._lost, 0
        text = "a picture is missing" if n == 1 else f"{n} pictures are missing"
        self._capture.tell("lost", text, {"n": n, "t_ns": picture.t_ns})


def open_camera(source: str, name: str, quality: int = 90) -> Webcam:
    """Connect a webcam.

    Parameters
    ----------
    source : str
        `webcam:INDEX[@WIDTHxHEIGHT[@FPS]]`; INDEX as the system counts, or `model` for a model of a webcam.
    name : str
        What its folder is to be called.
    quality : int
        Of JPEG pictures, 1 to 100, where the camera does not compress them itself.

    Raises
    ------
    ConfigError
        If it is named wrongly.
    SourceError
        If it cannot be used. One sentence: expected, came, what to do.
    """
    spec, timing = parse(source), Timing()
    return webcam(source, name, spec, _connector(spec, timing), quality, timing)


def webcam(source: str, name: str, spec: Spec, connector: Connect, quality: int, timing: Timing) -> Webcam:
    """Return a webcam that is reached by `connector`; parameters as of `open_camera` and `Capture`."""
    capture = Capture(connector, timing)
    link = capture.start()
    info = CameraInfo(name, source, link.shape, link.fps, tuple(link.doubts), _metadata(spec, link, quality))
    return Webcam(info, capture, quality, timing.clock)


def _connector(spec: Spec, timing: Timing) -> Connect:
    """Return what connects the webcam, again and again."""
    if spec.index == MODEL:
        from streamscope.testing.firmware import WebcamModel

        return partial(_connect_at, spec, lambda: 0, BACKENDS[:1], WebcamModel().open, timing)
    return partial(_connect_at, spec, Place(int(spec.index)), backends(), open_opencv, timing)


def _connect_at(
    spec: Spec, place: Callable[[], int], ways: Any, opens: Any, timing: Timing, shape: tuple[int, int] | None
) -> Link:
    return connect(spec, place(), ways, opens, timing, shape)


def _metadata(spec: Spec, link: Link, quality: int) -> dict[str, Any]:
    """Return what metaData.json says of the camera, under the names that Miniscope-DAQ-QT uses, and a few more."""
    height, width = link.shape
    return {
        "deviceType": "WebCam" if link.shape == USUAL else f"WebCam-{width}x{height}",
        "deviceID": int(spec.index) if spec.index.isdecimal() else 0,
        "backend": link.backend.name,
        "picturesFrom": "camera" if link.form is Form.JPEG else link.form.value,
        "quality": None if link.form is Form.JPEG else quality,
    }
