"""Sources by name: entry points of the group streamscope.sources, loaded when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from streamscope.errors import SourceError
from streamscope.types import BehaviourCamera, Device, Movie, Output, OutputReport, Source

GROUP = "streamscope.sources"
DEVICES = "streamscope.devices"
CAMERAS = "streamscope.cameras"
OUTPUTS = "streamscope.outputs"
DEFAULT = "replay"


def open_movie(spec: str, fps: float | None = None, um_per_px: float | None = None) -> Movie:
    """Return the recording that SOURCE names.

    Parameters
    ----------
    spec : str
        `NAME:...` for the source of that name, anything else is a path for `replay`.
    fps, um_per_px : float or None
        The user's values; they win over the recording's.

    Raises
    ------
    SourceError
        If the recording cannot be used, or StreamScope is not properly installed.
    """
    opener = _load(_entry(spec))
    return cast(Movie, opener(spec, fps=fps, um_per_px=um_per_px))


def play(movie: Movie, speed: float | None, loop: int) -> Source:
    """Return a source that plays a recording; `speed` None is as fast as possible."""
    replay = import_module(_entry("").module).Replay
    return cast(Source, replay(movie, speed, loop))


def open_device(
    spec: str,
    index: str,
    values: Mapping[str, float | str],
    um_per_px: float | None = None,
    roi: tuple[int, int, int, int] | None = None,
) -> Device:
    """Return the device that is named, connected and verified.

    Parameters
    ----------
    spec : str
        `NAME:TYPE`, for the driver of that name.
    index : str
        Of the camera, as the system counts.
    values : mapping
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
        If there is no such driver, or the device cannot be used.
    """
    return cast(Device, _load(_device_entry(spec))(spec, index, values, um_per_px, roi))


def check_device(spec: str, values: Mapping[str, float | str]) -> None:
    """Raise ConfigError if a device of this type cannot be set so; nothing is connected.

    Raises
    ------
    ConfigError
        If it has no such setting, or a value is impossible.
    SourceError
        If there is no such driver or type.
    """
    entry = _device_entry(spec)
    _load(entry)
    import_module(entry.module).check_values(spec, values)


def open_camera(source: str, name: str, quality: int) -> BehaviourCamera:
    """Return the behaviour camera that is named, connected.

    Parameters
    ----------
    source : str
        `DRIVER:INDEX`, and what else the driver of that name takes, e.g. webcam:0@1280x720.
    name : str
        What its folder is to be called.
    quality : int
        Of JPEG pictures, 1 to 100, where the camera does not compress them itself.

    Raises
    ------
    ConfigError, SourceError
        If it is named wrongly, or cannot be used.
    """
    known = {entry.name: entry for entry in entry_points(group=CAMERAS)}
    driver = source.partition(":")[0].lower()
    if driver not in known:
        raise SourceError(
            f"no driver of behaviour cameras is called {driver!r}, expected one of "
            f"{', '.join(sorted(known)) or 'none that is installed'}; write e.g. --camera webcam:0, or install "
            "StreamScope again"
        )
    return cast(BehaviourCamera, _load(known[driver])(source, name, quality))


def examine_device(spec: str, index: str, seconds: float) -> list[str]:
    """Return the lines of a report on a device, after looking at it for some seconds; its light stays off.

    Raises
    ------
    SourceError
        If there is no such driver, or the device cannot be connected.
    """
    entry = _device_entry(spec)
    _load(entry)
    lines: list[str] = import_module(entry.module).examine_device(spec, index, seconds)
    return lines


def _device_entry(spec: str) -> EntryPoint:
    known = {entry.name: entry for entry in entry_points(group=DEVICES)}
    name = spec.partition(":")[0]
    if name not in known:
        raise SourceError(
            f"no driver is called {name!r}, expected one of {', '.join(sorted(known)) or 'none that is installed'}; "
            "write e.g. --device miniscope:v4, or install StreamScope again"
        )
    return known[name]


def open_output(spec: str, name: str, tell: Callable[[OutputReport], None]) -> Output:
    """Return the output that is named, open; `tell` hears what becomes of its decisions.

    Raises
    ------
    ConfigError, SourceError
        If there is no such driver, or it cannot be opened.
    """
    return cast(Output, _load(output_entry(spec, name))(spec, name, tell))


def output_entry(spec: str, name: str) -> EntryPoint:
    """Return the driver of an output, or raise SourceError; opens nothing."""
    known = {entry.name: entry for entry in entry_points(group=OUTPUTS)}
    kind = spec.partition(":")[0]
    if kind not in known:
        raise SourceError(
            f"output {name} is {spec!r}, and no driver is called {kind!r}, expected one of "
            f'{", ".join(sorted(known)) or "none that is installed"}; write e.g. {name} = "csv:decisions.csv"'
        )
    return known[kind]


@dataclass(frozen=True, slots=True)
class Listing:
    """What can be watched."""

    cameras: tuple[str, ...]  # one line each
    types: tuple[str, ...]  # as --device takes them


def list_devices() -> Listing:
    """Return the cameras and types of every driver that is installed."""
    cameras: list[str] = []
    types: list[str] = []
    for entry in sorted(entry_points(group=DEVICES), key=lambda entry: entry.name):
        _load(entry)
        driver = import_module(entry.module)
        cameras += driver.list_cameras()
        types += driver.list_types()
    return Listing(tuple(cameras), tuple(types))


def _entry(spec: str) -> EntryPoint:
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    name, colon, _ = spec.partition(":")
    if colon and name in known:
        return known[name]
    if DEFAULT not in known:
        raise SourceError(
            "no source of recordings is installed, expected at least replay; "
            "install StreamScope again: pip install streamscope"
        )
    return known[DEFAULT]


def _load(entry: EntryPoint) -> Callable[..., Any]:
    try:
        return cast("Callable[..., Any]", entry.load())
    except (ImportError, AttributeError) as error:
        raise SourceError(
            f"the source {entry.name} could not be loaded ({error}); is its package installed?"
        ) from error
