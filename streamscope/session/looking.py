"""A look at the cells through a device before its session begins: how large they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

import numpy as np

from streamscope.config import Preparation
from streamscope.errors import ConfigError
from streamscope.session.preparing import prepared_movie
from streamscope.types import ByteArray, Device, DoubleArray, ImageArray, IntArray, LongArray, MovieInfo

if TYPE_CHECKING:
    from streamscope.offline.diameter import DiameterEstimate

LOOK_S = (
    30.0  # of light; as sure as a whole recording where cells are active (decisions/2026-11-25-live-auto.md)
)


class Seen:
    """The frames of a look, as a movie in a temporary file."""

    def __init__(self, device: Device, file: IO[bytes], seconds: float) -> None:
        self._file, self._shape = file, device.info.shape
        times_s = []
        for frame in device.look(seconds):
            file.write(np.ascontiguousarray(frame.image).data)
            times_s.append(frame.time_s)
        self._times_s = np.array(times_s)
        self._info = MovieInfo(device.info.source, (), self._shape, len(times_s), device.info.fps)

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the frames."""
        return self._info

    @property
    def times_s(self) -> DoubleArray:
        """Return the time of each frame, (T,), s."""
        return self._times_s

    @property
    def gap(self) -> IntArray:
        """Return that nothing is missing: it does not matter here, (T,)."""
        return np.zeros(len(self._times_s), np.int32)

    @property
    def hw(self) -> LongArray | None:
        """Return None: there is no counter."""
        return None

    def read(self, start: int, stop: int) -> ImageArray:
        """Return frames start..stop as (n, H, W) uint8."""
        size = self._shape[0] * self._shape[1]
        self._file.seek(start * size)
        pixels: ByteArray = np.frombuffer(self._file.read((stop - start) * size), np.uint8)
        return pixels.reshape(-1, *self._shape)

    def close(self) -> None:
        """Do nothing: the file is the caller's."""


def measured_by_look(
    device: Device, fps: float, tell: Callable[[str], None] | None, prepare: Preparation | None = None
) -> DiameterEstimate:
    """Return the diameter of the cells that a device sees, px of prepared frames, after a look with its light on.

    Parameters
    ----------
    device : Device
        Connected, its light off; it is off again afterwards.
    fps : float
        Frame rate of the device, Hz.
    tell : callable, optional
        Called with what is about to be done.
    prepare : Preparation, optional
        What is done to frames before they are measured.

    Raises
    ------
    ConfigError
        With the reason why it cannot be told.
    SourceError
        If the device stopped.
    """
    from streamscope.offline.diameter import estimate_diameter  # half a second, and needed only here

    seconds, plan = LOOK_S, prepare or Preparation()
    if tell is not None:
        tell(f"measuring the cell diameter: {seconds:g} s with the light on, before the session begins")
    with tempfile.TemporaryFile() as file:
        seen = prepared_movie(Seen(device, file, seconds), plan)
        estimate = estimate_diameter(seen, fps / plan.bin_frames)
    if estimate.diameter_px is None:
        raise ConfigError(
            f"the cell diameter cannot be told from {seconds:g} s of this field: {estimate.reason}; is the light on "
            "(--led), and are cells in focus and active? Or give --cell-diameter, e.g. 13um or 8px"
        )
    return estimate
