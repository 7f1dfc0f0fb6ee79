"""The extension unit of the Open Ephys firmware: packets go through it, four at a time.

On Linux it is reached beside the camera, through the kernel's own interface for such units. It is the only place with
system calls of one system; it stands in the row of that system in `camera.BACKENDS`.
"""

from __future__ import annotations

import ctypes
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from streamscope_drivers.miniscope.packets import Command, Control, slots

UNIT = uuid.UUID("b33905c0-5500-4fee-9058-2c3efd330bb9")
VERSION, PACKETS, SYNC = 1, 2, 3  # selectors
VERSION_BYTES = 3
PAUSE_S = 1e-3  # after each write

_GET_CUR, _SET_CUR = 0x81, 0x01
_CLASS_INTERFACE, _EXTENSION_UNIT = 0x24, 0x06  # of a descriptor


class Extension(Protocol):
    """The extension unit of an open camera. Both raise OSError if it does not answer."""

    def get(self, selector: int, size: int) -> bytes:
        """Return what a control holds."""

    def set(self, selector: int, data: bytes) -> None:
        """Write a control."""

    def close(self) -> None:
        """Let go of it."""


class ExtensionTunnel:
    """Sends commands through the extension unit, as `Tunnel` does through controls.

    Parameters
    ----------
    extension : Extension
        Open.
    sleep : callable
        Waits for a number of seconds.
    """

    def __init__(self, extension: Extension, sleep: Callable[[float], None]) -> None:
        self._extension = extension
        self._sleep = sleep

    def send(self, commands: Iterable[Command]) -> bool:
        """Send packets in order; return whether all were taken."""
        packets = [command for command in commands if not isinstance(command, Control)]
        return all([self._set(PACKETS, data) for data in slots(packets)])

    def sync(self, on: bool) -> bool:
        """Turn the sync output on or off."""
        return self._set(SYNC, bytes((int(on), 0)))

    def version(self) -> str:
        """Return the version of the firmware, e.g. 1.1.0; empty if it does not say."""
        try:
            return ".".join(map(str, self._extension.get(VERSION, VERSION_BYTES)))
        except OSError:
            return ""

    def close(self) -> None:
        """Let go of the unit."""
        self._extension.close()

    def _set(self, selector: int, data: bytes) -> bool:
        try:
            self._extension.set(selector, data)
        except OSError:
            return False
        self._sleep(PAUSE_S)
        return True


def unit_of(descriptors: bytes) -> int | None:
    """Return the number of the unit in a device's USB descriptors, None if it has none."""
    at = 0
    while at + 2 < len(descriptors) and descriptors[at] > 2:
        part = descriptors[at : at + descriptors[at]]
        if part[1] == _CLASS_INTERFACE and part[2] == _EXTENSION_UNIT and part[4:20] == UNIT.bytes_le:
            return part[3]
        at += len(part)
    return None


class _Query(ctypes.Structure):
    """The kernel's `struct uvc_xu_control_query`."""

    _fields_ = (
        ("unit", ctypes.c_uint8),
        ("selector", ctypes.c_uint8),
        ("query", ctypes.c_uint8),
        ("size", ctypes.c_uint16),
        ("data", ctypes.c_void_p),
    )


QUERY = 3 << 30 | ctypes.sizeof(_Query) << 16 | ord("u") << 8 | 0x21  # UVCIOC_CTRL_QUERY


class LinuxExtension:
    """The extension unit of /dev/videoN.

    Parameters
    ----------
    node : Path
        The device.
    unit : int
        Number of the unit.
    """

    def __init__(self, node: Path, unit: int) -> None:
        self._file = os.open(node, os.O_RDWR)
        self._unit = unit
        self._ioctl = ctypes.CDLL(None, use_errno=True).ioctl

    def get(self, selector: int, size: int) -> bytes:
        """Return what a control holds."""
        return self._ask(selector, _GET_CUR, bytes(size))

    def set(self, selector: int, data: bytes) -> None:
        """Write a control."""
        self._ask(selector, _SET_CUR, data)

    def close(self) -> None:
        """Close the device; may be called again."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _ask(self, selector: int, query: int, data: bytes) -> bytes:
        held = ctypes.create_string_buffer(data, len(data))
        asked = _Query(self._unit, selector, query, len(data), ctypes.addressof(held))
        if self._ioctl(self._file, ctypes.c_ulong(QUERY), ctypes.byref(asked)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return held.raw


def linux_extension(
    index: int, root: Path = Path("/sys/class/video4linux"), nodes: Path = Path("/dev")
) -> Extension | None:
    """Return the extension unit of a camera, None if it has none or may not be opened."""
    try:
        interface = (root / f"video{index}" / "device").resolve(strict=True)
        unit = unit_of((interface.parent / "descriptors").read_bytes())
        return None if unit is None else LinuxExtension(nodes / f"video{index}", unit)
    except OSError:
        return None
