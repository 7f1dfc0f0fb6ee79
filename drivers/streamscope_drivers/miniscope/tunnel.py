"""Commands on their way to the DAQ: three control writes to a packet, no faster than the firmware takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from streamscope_drivers.miniscope.camera import Camera, Property
from streamscope_drivers.miniscope.extension import ExtensionTunnel
from streamscope_drivers.miniscope.packets import Command, Control, words

PAUSE_S = 128e-6  # after each write; the firmware loses what comes within 100 µs
REST_EVERY, REST_S = 4, 10e-3  # packets; longer bursts unsettle the box
AnyTunnel: TypeAlias = "Tunnel | ExtensionTunnel"
CARRIERS = (Property.CONTRAST, Property.GAMMA, Property.SHARPNESS)


class Tunnel:
    """Sends commands through the controls of a camera. Frames must flow, or the DAQ only keeps them.

    Parameters
    ----------
    camera : Camera
        Open.
    sleep : callable
        Waits for a number of seconds.
    switch : tuple of int
        SATURATION that turns the sync output on and off; empty if there is none.
    """

    def __init__(
        self, camera: Camera, sleep: Callable[[float], None], switch: tuple[int, ...] = (1, 0)
    ) -> None:
        self._camera = camera
        self._sleep = sleep
        self._switch = switch
        self._sent = 0

    def send(self, commands: Iterable[Command]) -> bool:
        """Send commands in order; return whether the camera took all of them."""
        took = True
        for command in commands:
            if isinstance(command, Control):
                took &= self.write(command.property, command.value)
            else:
                took &= self._packet(words(command))
        return took

    def sync(self, on: bool) -> bool:
        """Turn the sync output on or off."""
        return not self._switch or self.write(Property.SATURATION, self._switch[0 if on else 1])

    def close(self) -> None:
        """Do nothing: the camera belongs to whoever opened it."""

    def forget_halves(self) -> bool:
        """Complete a packet of which a program before us may have sent a part."""
        return self._packet((0, 0, 0))

    def write(self, prop: int, value: int) -> bool:
        """Write one control, and pause."""
        took = self._camera.set(prop, value)
        self._sleep(PAUSE_S)
        return took

    def _packet(self, carried: tuple[int, int, int]) -> bool:
        took = [self.write(prop, word) for prop, word in zip(CARRIERS, carried, strict=True)]
        self._sent += 1
        if self._sent % REST_EVERY == 0:
            self._sleep(REST_S)
        return all(took)
