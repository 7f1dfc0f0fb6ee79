"""A connected Miniscope, or other camera, as a source of frames: `miniscope:TYPE`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from streamscope.errors import ConfigError, SourceError
from streamscope.types import Frame, MovieInfo
from streamscope_drivers.miniscope.camera import (
    BACKENDS,
    Backend,
    Opens,
    Place,
    backends,
    found_cameras,
    open_opencv,
)
from streamscope_drivers.miniscope.capture import Capture, Connect
from streamscope_drivers.miniscope.devices import TYPES, DeviceType, Value, device_type
from streamscope_drivers.miniscope.doctor import examine
from streamscope_drivers.miniscope.startup import Connection, Timing, connect
from streamscope_drivers.miniscope.usb import bare_box, slow_port

PREFIX = "miniscope:"
MODEL = "model"  # in place of an index: the model of the firmware, for a dry run
TAKE_S = 0.1  # so that a stop is seen soon
NOTHING_S = 5.0  # without a frame, before a look at the cells is given up


class Miniscope:
    """A device that is connected, started and verified, its light off until its frames are wanted.

    Parameters
    ----------
    spec : str
        As the user named it.
    index : int or str
        Of the camera.
    capture : Capture
        Started.
    connection : Connection
        As `Capture.start` returned it; only looked at.
    um_per_px : float or None
        Pixel size, um.
    """

    def __init__(
        self, spec: str, index: int | str, capture: Capture, connection: Connection, um_per_px: float | None
    ) -> None:
        self._capture = capture
        self._info = MovieInfo(
            source=spec,
            files=(),
            shape=capture.shape,
            n_frames=0,
            fps=connection.fps,
            um_per_px=um_per_px or connection.kind.um_per_px,
            warnings=tuple(filter(None, (*connection.doubts, connection.kind.warning))),
            meta={**_metadata(connection, capture.values, index), **capture.roi_metadata},
            live=True,
        )

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the stream."""
        return self._info

    @property
    def settings(self) -> Mapping[str, Value]:
        """Return the settings as they are now."""
        return dict(self._capture.values)

    @property
    def trouble(self) -> str:
        """Return what does not go as it should, in words."""
        return self._capture.trouble

    def listen(self, tell: Callable[[str, int, dict[str, Any]], None]) -> None:
        """Have events told, in the camera's thread: name, frame from which it holds, fields."""
        self._capture.listen(tell)

    def set(self, values: Mapping[str, Value], told: Callable[[int], None]) -> Mapping[str, Value]:
        """Change settings; `told` is called in the camera's thread with the first frame that shows it.

        Raises
        ------
        ConfigError
            If there is no such setting, or the value is impossible.
        """
        return self._capture.set(values, told)

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Turn the light on and yield frames until `stopped()` is true; then it is off and the device released.

        Raises
        ------
        SourceError
            If the device's thread failed.
        """
        ring = self._capture.ring
        self._capture.begin()
        try:
            while not ring.ended and not stopped():
                frame = ring.take(TAKE_S)
                if frame is not None:
                    yield frame
        finally:
            self._capture.close()
        while (frame := ring.take(0.0)) is not None:
            yield frame

    def look(self, seconds: float) -> Iterator[Frame]:
        """Turn the light on, yield the frames of so many seconds, and turn it off again; before `frames`.

        Raises
        ------
        SourceError
            If the device's thread failed, or no frame came for several seconds.
        """
        try:
            yield from self._looked_at(seconds)
        except BaseException:  # also if nobody wants more of them
            self._capture.end()
            raise
        if not self._capture.rest():
            raise SourceError(
                "the camera does not answer after the look at the cells, expected it to rest with its light off; "
                "pull the scope's cable, and start again"
            )

    def _looked_at(self, seconds: float) -> Iterator[Frame]:
        ring, waited_s = self._capture.ring, 0.0
        self._capture.begin()
        while not ring.ended and waited_s < NOTHING_S:
            frame = ring.take(TAKE_S)
            waited_s = 0.0 if frame is not None else waited_s + TAKE_S
            if frame is not None and frame.time_s >= seconds:
                return
            if frame is not None:
                yield frame
        raise SourceError(
            f"no frame came for {NOTHING_S:g} s while the cells were looked at, expected {seconds:g} s of them; "
            "check the cables and start again"
        )

    def close(self) -> None:
        """Turn the light off and release the device; may be called again."""
        self._capture.close()


def open_device(
    spec: str,
    index: str = "0",
    values: Mapping[str, Value] | None = None,
    um_per_px: float | None = None,
    roi: tuple[int, int, int, int] | None = None,
) -> Miniscope:
    """Connect a device and verify that it does what it is told.

    Parameters
    ----------
    spec : str
        `miniscope:TYPE`, e.g. miniscope:v4.
    index : str
        Of the camera as the system counts, or `model` for a model of the firmware.
    values : mapping, optional
        Settings; those that are not given are the type's own.
    um_per_px : float, optional
        Pixel size, um; replaces the type's own.
    roi : tuple of int, optional
        Part of the picture that is taken: left, top, width, height, px.

    Raises
    ------
    ConfigError
        If a setting is impossible.
    SourceError
        If the device cannot be used. One sentence: expected, came, what to do.
    """
    kind, timing = device_type(spec.removeprefix(PREFIX)), Timing()
    wanted = {**kind.defaults, **kind.check(values or {})}
    capture = Capture(kind, wanted, _connector(kind, index, timing), timing)
    connection = capture.start()
    try:
        capture.crop(roi)
    except ConfigError:
        capture.close()
        raise
    slow = slow_port(int(index)) if index.isdecimal() and kind.daq else ""
    connection.doubts += [slow] if slow else []
    return Miniscope(spec, index, capture, connection, um_per_px)


def check_values(spec: str, values: Mapping[str, Value]) -> None:
    """Raise ConfigError if a device of this type cannot be set so."""
    device_type(spec.removeprefix(PREFIX)).check(values)


def examine_device(spec: str, index: str = "0", seconds: float = 10.0) -> list[str]:
    """Return a report on a device: how it is reached, what it tells, how steady it is. Its light stays off.

    Raises
    ------
    SourceError
        If it cannot be connected.
    """
    kind, timing = device_type(spec.removeprefix(PREFIX)), Timing()
    connection = _connector(kind, index, timing)(kind.defaults, None)
    try:
        return examine(connection, timing, seconds, index)
    finally:
        connection.shut()


def _connector(kind: DeviceType, index: str, timing: Timing) -> Connect:
    """Return what connects the device of an index, again and again."""
    if index == MODEL:
        beside = replace(BACKENDS[0], extension=None)  # whatever real camera there may be
        return partial(_connect_at, kind, [beside], _model(kind), lambda: 0, timing)
    return partial(_connect_at, kind, backends(), open_opencv, Place(_number(index)), timing)


def _connect_at(
    kind: DeviceType,
    ways: Sequence[Backend],
    opens: Opens,
    place: Callable[[], int],
    timing: Timing,
    values: Mapping[str, Value],
    shape: tuple[int, int] | None,
) -> Connection:
    return connect(kind, place(), ways, opens, values, timing, shape)


def _number(index: str) -> int:
    if index.isdecimal():
        return int(index)
    raise SourceError(
        f"--index is {index!r}, expected the number of a camera, or {MODEL}; see: streamscope devices"
    )


def _model(kind: DeviceType) -> Opens:
    """Return what opens a model of this device, with simulated tissue before it."""
    from streamscope.testing.firmware import Model, tissue

    sensor = kind.name if kind.name.startswith("v3") else "v4" if kind.name.startswith("v4") else "mt9p031"
    api = "v4l2-cached" if kind.legacy else "v4l2-abi2"
    model = Model(sensor, kind.shape, api, bno=kind.orientation, pictures=tissue(kind.shape), sharp_at=0.0)

    def opens(index: int, backend: Backend) -> Any:
        return model.open(index, backend)

    return opens


def _metadata(c: Connection, values: Mapping[str, Value], index: int | str) -> dict[str, Any]:
    """Return what metaData.json says of the device, under the names that Miniscope-DAQ-QT uses."""
    kind = c.kind
    said = {kind.settings[name].key: _as_text(value) for name, value in values.items()}
    return {
        "deviceName": "Miniscope",
        "deviceType": kind.official,
        "deviceID": int(index) if isinstance(index, str) and index.isdecimal() else 0,
        **said,
        "firmwareABI": c.abi,
        "firmwareOpenEphys": c.firmware,
        "backend": c.backend.name,
        "metadataFrom": c.senses.name,
        "triggerInputs": c.senses.inputs,
        "measuredFrameRate": round(c.measured_hz, 3),
    }


def _as_text(value: Value) -> Value:
    return value.capitalize() if isinstance(value, str) else value


def list_cameras() -> list[str]:
    """Return a line for each camera that the system lists: index, name, USB port; and what is wrong with a box."""
    lines = [f"camera {found.index:<3} {found.name}  {found.place}".rstrip() for found in found_cameras()]
    troubles = [*(slow_port(found.index) for found in found_cameras()), bare_box()]
    return lines + [f"note   {trouble}" for trouble in troubles if trouble]


def list_types() -> list[str]:
    """Return the types of device, as users write them."""
    return [PREFIX + name for name in TYPES]
