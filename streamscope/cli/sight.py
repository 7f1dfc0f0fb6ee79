"""What a preview shows in the terminal, and the settings that it ends with."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streamscope.core.view import View
from streamscope.session.preview import Sight
from streamscope.types import LongArray, MovieInfo
from streamscope.wire.endpoints import Endpoints

LINE_EVERY_S = 2.0  # where there is no terminal, e.g. in a log file
BLOCKS = " ▁▂▃▄▅▆▇█"
TOO_MUCH = 1.0  # % of saturated pixels
DIM = 0.2  # of the range: the brightest pixels are below
BAR = 30  # letters, for the sharpness against the best


class SightScreen:
    """Shows what is known of a device; a context manager around the preview.

    Parameters
    ----------
    info : MovieInfo
        Of the device.
    console : Console, optional
        Where to draw; standard error by default.
    clock : callable
        Monotonic time, s.
    """

    def __init__(
        self, info: MovieInfo, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._info = info
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._line_s = -math.inf
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)

    def __enter__(self) -> SightScreen:
        for warning in self._info.warnings:
            self._console.print(f"note     {warning}", markup=False, soft_wrap=True)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def bound(self, endpoints: Endpoints) -> None:
        """Say how settings are changed and how it ends."""
        where = f" --endpoint {endpoints.data}"
        self._console.print(
            f"settings in a second terminal: streamscope set focus=-20 led=15{where}\n"
            "Ctrl-C ends: light off, settings printed; nothing is recorded",
            markup=False,
            soft_wrap=True,
        )

    def show(self, sight: Sight) -> None:
        """Show how things stand."""
        if self._console.is_terminal:
            self._live.update(Group(*(Text(line, no_wrap=True) for line in lines(sight, self._info))))
        elif sight.view is not None and self._clock() - self._line_s >= LINE_EVERY_S:
            self._line_s = self._clock()
            self._console.print(" | ".join(short(sight)), markup=False, soft_wrap=True)


def lines(sight: Sight, info: MovieInfo) -> Iterator[str]:
    """Yield what is shown, line by line."""
    view = sight.view
    if view is None:
        yield f"waiting for a picture  {sight.trouble}"
        return
    best = sight.best_focus
    top = max(view.sharpness, best[1] if best else 0.0, 1e-9)
    bar = "█" * round(BAR * view.sharpness / top)
    at = f"   best {best[1]:.2f} at focus {best[0]:g}" if best else ""
    yield f"sharpness  {view.sharpness:6.2f} {bar:<{BAR}}{at}"
    yield f"picture    {_brightness(view)}"
    yield f"           {blocks(view.histogram)} 0 to {info.saturation}"
    yield f"set        {_settings(sight.settings)}"
    counter = info.meta.get("metadataFrom", "none")
    yield (
        f"frames     {sight.fps:.2f} Hz, jitter {sight.jitter_ms:.1f} ms, lost {sight.lost} (counter from: {counter})"
    )
    if sight.orientation is not None:
        yield f"head       {_head(sight)}"
    if sight.inputs is not None:
        levels = ", ".join(f"{k} {'high' if sight.inputs >> k & 1 else 'low'}" for k in range(2))
        yield f"inputs     {levels}"
    for text in filter(None, (advice(view, info.saturation), sight.trouble, sight.message)):
        yield f"note       {text}"


def short(sight: Sight) -> Iterator[str]:
    """Yield the most important, for a line in a log."""
    assert sight.view is not None
    yield f"frame {sight.frame}"
    yield f"sharpness {sight.view.sharpness:.2f}"
    yield _brightness(sight.view)
    yield _settings(sight.settings)
    yield f"{sight.fps:.1f} Hz, lost {sight.lost}"
    if sight.orientation is not None:
        yield _head(sight)


def advice(view: View, saturation: int) -> str:
    """Return what to do about the light, empty if all is well."""
    if view.saturated > TOO_MUCH:
        return f"{view.saturated:.1f} % of the pixels are saturated: lower led or gain"
    if view.high < DIM * saturation:
        return "dim: the brightest pixels use less than a fifth of the range; raise led or gain"
    return ""


def blocks(histogram: LongArray) -> str:
    """Return a histogram as a line of blocks, each at least a trace where there is any pixel."""
    top = max(int(histogram.max()), 1)
    return "".join(BLOCKS[math.ceil(8 * math.sqrt(n / top))] for n in histogram)


def angles(w: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a unit quaternion, degrees, in the sensor's axes."""
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def settings_lines(
    device: str, index: str, settings: Mapping[str, float | str], config: Path | None = None
) -> Iterator[str]:
    """Yield the settings as the command line of a live session, and as lines of a settings file."""
    values = {name: value for name, value in settings.items() if name != "exposure"}
    words = "".join(f" --{name} {_plain(value)}" for name, value in values.items())
    file = f" --config {config}" if config is not None else ""
    yield f"streamscope live --device {device} --index {index}{words}{file}"
    yield ""
    yield "# or in a settings file"
    if "fps" in settings:
        yield f"fps = {_plain(settings['fps'])}"
    yield ""
    yield "[device]"
    for name, value in settings.items():
        if name != "fps":
            yield f"{name} = {json.dumps(value) if isinstance(value, str) else _plain(value)}"


def _brightness(view: View) -> str:
    return (
        f"mean {view.mean:.1f}, 1st to 99th percentile {view.low:.0f} to {view.high:.0f}, "
        f"saturated {view.saturated:.2f} %, dark {view.dark:.1f} %"
    )


def _settings(settings: Mapping[str, float | str]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in settings.items()) or "nothing can be set"


def _head(sight: Sight) -> str:
    if not sight.orientation_ok or sight.orientation is None:
        return "the sensor gives no direction"
    yaw, pitch, roll = angles(*sight.orientation)
    return f"yaw {yaw:+.0f}, pitch {pitch:+.0f}, roll {roll:+.0f} degrees"


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
