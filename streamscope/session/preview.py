"""A device that is looked at while it is set: pictures and numbers, nothing recorded, nothing learned."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamscope._version import __version__
from streamscope.core.view import View, view_of
from streamscope.errors import WireError
from streamscope.session.adjusting import Adjusting
from streamscope.session.newest import Newest
from streamscope.session.stopping import stopped_by_signals
from streamscope.session.threads import go_first, in_thread
from streamscope.types import Device, Frame, Health
from streamscope.wire.control import Later
from streamscope.wire.endpoints import Endpoints
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import EVENT_DEVICE, EVENT_VIEW, IMAGE, Set, Stop

STATE = "preview"
LOOK_S = 0.1  # between two pictures that are looked at and published
TELL_S = 0.25  # between two status messages
# After the focus was changed, until it is seen what it does: frames on their way, and the lens.
SETTLED_S = 0.5


@dataclass
class Sight:
    """What is known of the device now. Owned by the loop."""

    settings: Mapping[str, float | str]
    view: View | None = None
    frame: int = -1
    fps: float = 0.0
    jitter_ms: float = 0.0  # 99th percentile of how far intervals are from the usual one
    lost: int = 0
    orientation: tuple[float, float, float, float] | None = None  # unit quaternion w, x, y, z
    orientation_ok: bool = False
    inputs: int | None = None  # bit k is trigger input k
    trouble: str = ""
    message: str = ""  # what the device said last
    best: dict[float, float] = field(default_factory=dict)  # largest sharpness seen at each focus

    @property
    def best_focus(self) -> tuple[float, float] | None:
        """Return the focus that was sharpest so far and its sharpness, None if there was none."""
        return max(self.best.items(), key=lambda seen: seen[1], default=None)


class Preview:
    """The life of one preview; `run` is called once.

    Parameters
    ----------
    device : Device
        Connected, its light off; it is off again, and the device released, at the end.
    bind : str
        Where pictures and numbers are published, and settings are taken.
    show : callable, optional
        Called in the loop's thread some times a second with what is known; must not take long.
    bound : callable, optional
        Called with the addresses.
    keys : Path, optional
        Folder of keys, as for `Publisher`.
    """

    def __init__(
        self,
        device: Device,
        bind: str,
        show: Callable[[Sight], None] | None = None,
        bound: Callable[[Endpoints], None] | None = None,
        keys: Path | None = None,
    ) -> None:
        self.sight = Sight(device.settings)
        self._device = device
        self._show = show
        self._bound = bound
        self._saturation = device.info.saturation
        self._stopped = threading.Event()
        self._newest = Newest()
        self._focus: tuple[float, int] | None = None  # and since when, ns
        self._publisher = Publisher(
            bind, info=_hello(device), commands={"stop": self._stop, "set": self._set}, keys=keys
        )

    def stop(self) -> None:
        """Turn the light off and end; may be called in any thread."""
        self._stopped.set()

    async def run(self) -> Sight:
        """Show the device until stopped; return what was known last.

        Raises
        ------
        StreamScopeError
            If the sockets cannot be bound, or the device fails.
        """
        self._adjusting = Adjusting(self._device)
        failed: list[BaseException] = []
        try:
            endpoints = self._publisher.bind()
            if self._bound is not None:
                self._bound(endpoints)
            self._device.listen(self._teller())
            control = asyncio.create_task(self._publisher.serve_control(), name="control")
            parts = (
                in_thread("driver", self._drive, go_first),
                in_thread("looking", self._looker(asyncio.get_running_loop())),
                self._tell(),
            )
            await asyncio.gather(*(self._watched(part, failed) for part in parts))
            control.cancel()
        finally:
            self._device.close()
            self._adjusting.end()
            self._publisher.close()
        if failed:
            raise failed[0]
        return self.sight

    async def _watched(self, part: Coroutine[Any, Any, None], failed: list[BaseException]) -> None:
        try:
            await part
        except Exception as error:  # top of each part: all end, the light goes out
            failed.append(error)
        finally:
            self._stopped.set()
            self._newest.close()

    def _drive(self) -> None:
        """Take frames from the device; the body of the driver thread."""
        for frame in self._device.frames(self._stopped.is_set):
            self._newest.put(frame)

    def _looker(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Return the body of the thread that looks at the newest picture now and then."""

        def look() -> None:
            while (pair := self._newest.take()) is not None:
                before, frame = pair
                view = view_of(frame.image, before.image, self._saturation)
                loop.call_soon_threadsafe(self._seen, frame, view)
                time.sleep(LOOK_S)

        return look

    def _seen(self, frame: Frame, view: View) -> None:
        """Take over and publish what was seen."""
        sight = self.sight
        sight.settings, sight.view, sight.frame = self._device.settings, view, frame.index
        sight.fps, sight.jitter_ms, sight.lost = self._newest.steadiness()
        sight.orientation = frame.meta.get("orientation")
        sight.orientation_ok = bool(frame.meta.get("orientation_ok"))
        sight.inputs = frame.meta.get("inputs")
        self._note_focus(sight.settings.get("focus"), frame.t_capture_ns, view.sharpness)
        self._publisher.publish_event(EVENT_VIEW, frame.index, **_fields(view))
        if self._publisher.subscribers(IMAGE):
            image = frame.image if frame.image.dtype == np.uint8 else _bytes(frame, self._saturation)
            self._publisher.publish_image(frame.index, frame.t_capture_ns, image)

    def _note_focus(self, focus: float | str | None, t_ns: int, sharpness: float) -> None:
        """Keep the best sharpness of each focus, once it has settled."""
        if not isinstance(focus, float):
            return
        if self._focus is None or self._focus[0] != focus:
            self._focus = (focus, t_ns)
        if t_ns - self._focus[1] >= SETTLED_S * 1e9:
            self.sight.best[focus] = max(sharpness, self.sight.best.get(focus, 0.0))

    async def _tell(self) -> None:
        """Publish and show how things stand until stopped."""
        while not self._stopped.is_set():
            self.sight.trouble = self._device.trouble
            self._publisher.publish_status(_health(self.sight))
            if self._show is not None:
                self._show(self.sight)
            await asyncio.sleep(TELL_S)

    def _teller(self) -> Callable[[str, int, dict[str, Any]], None]:
        loop = asyncio.get_running_loop()

        def told(name: str, frame: int, fields: dict[str, Any]) -> None:
            if name == EVENT_DEVICE:
                self.sight.message = str(fields.get("text", ""))
            self._publisher.publish_event(name, frame, **fields)

        return lambda name, frame, fields: _call(loop, told, name, frame, fields)

    def _stop(self, request: Stop) -> dict[str, Any]:
        """Stop because a client asks for it."""
        self.stop()
        return {}

    def _set(self, request: Set) -> Later:
        if self._stopped.is_set():
            raise WireError("the preview is over, expected one that runs")
        return self._adjusting.ask(request.values)


def run_preview(
    device: Device,
    bind: str,
    show: Callable[[Sight], None] | None = None,
    bound: Callable[[Endpoints], None] | None = None,
    keys: Path | None = None,
) -> Sight:
    """Show a device until Ctrl-C, a signal or the request stop; parameters and errors as of `Preview`.

    Its light is off afterwards, whatever happened.
    """
    try:
        preview = Preview(device, bind, show, bound, keys)
        with (
            stopped_by_signals(preview.stop),
            asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
        ):
            return runner.run(preview.run())
    finally:
        device.close()


def _call(loop: asyncio.AbstractEventLoop, told: Callable[..., None], *args: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(told, *args)


def _fields(view: View) -> dict[str, Any]:
    """Return plain values of a view, for a message; its histogram as counts."""
    numbers = {name: round(float(getattr(view, name)), 4) for name in View.__slots__ if name != "histogram"}
    return {**numbers, "histogram": view.histogram.tolist()}


def _bytes(frame: Frame, saturation: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return (frame.image.astype(np.float32) * (255.0 / saturation)).astype(np.uint8)


def _health(sight: Sight) -> Health:
    message = "; ".join(filter(None, (sight.trouble, sight.message)))
    return Health(
        state=STATE,
        frame=sight.frame,
        n_frames=None,
        fps=sight.fps,
        age_p50_ms=0.0,
        age_p99_ms=0.0,
        queue=0,
        lost=sight.lost,
        late=0,
        cells=0,
        provisional=0,
        epoch=0,
        shift_px=(0.0, 0.0),
        message=message,
    )


def _hello(device: Device) -> dict[str, Any]:
    info = device.info
    return {
        "source": info.source,
        "shape": list(info.shape),
        "fps": info.fps,
        "um_per_px": info.um_per_px,
        "preview": True,
        "version": __version__,
    }
