"""A session on a model of a V4 that sees a movie: the whole driver in real time, for benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.config import SessionConfig, engine_config
from streamscope.session.plan import SessionPlan
from streamscope.storage.room import room_for
from streamscope.testing.firmware import Model
from streamscope.types import Frame, MovieInfo
from streamscope_drivers.miniscope.camera import BACKENDS
from streamscope_drivers.miniscope.capture import Capture
from streamscope_drivers.miniscope.devices import device_type
from streamscope_drivers.miniscope.source import Miniscope
from streamscope_drivers.miniscope.startup import Timing, connect

LED = 45.0  # %; at 30 fps and the lowest gain the model then shows the movie's own gray levels


class Limited:
    """A device that ends after so many frames; everything else is the device's."""

    def __init__(self, device: Miniscope, n_frames: int) -> None:
        self._device, self._n = device, n_frames

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the stream."""
        return self._device.info

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Yield the first frames."""
        seen = 0

        def enough() -> bool:
            return seen >= self._n or stopped()

        for frame in self._device.frames(enough):
            if seen < self._n:
                seen += 1
                yield frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def device_plan(movie: str, config: SessionConfig, n_frames: int, record: bool) -> SessionPlan:
    """Return the plan of a live session of `n_frames` at 30 fps; `movie` is an .npy file (T, H, W) uint8."""
    images = np.load(movie, mmap_mode="r")
    kind = replace(device_type("v4"), shape=images.shape[1:])
    model = Model("v4", kind.shape, "oe", pictures=lambda n: np.asarray(images[n % len(images)]))
    timing = Timing()
    values = {**kind.defaults, **kind.check({"fps": 30.0, "led": LED})}
    capture = Capture(
        kind,
        values,
        lambda settings, shape: connect(kind, 0, [BACKENDS[0]], model.open, settings, timing, shape),
        timing,
    )
    device = Limited(Miniscope("miniscope:v4", "model", capture, capture.start(), config.um_per_px), n_frames)
    info = device.info
    config = config.model_copy(update={"fps": None})
    engine = engine_config(config, info.shape, info.fps, info.um_per_px)
    room = room_for(Path(config.out), info.shape, engine.fps) if record else None
    return SessionPlan(
        "miniscope:v4", None, config, engine, refit=False, record=record, device=device, room=room
    )
