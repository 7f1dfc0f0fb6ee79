"""The extension unit: found in the descriptors, asked through the kernel's interface."""

from __future__ import annotations

import ctypes
import sys

import pytest

from streamscope_drivers.miniscope import extension
from streamscope_drivers.miniscope.extension import QUERY, UNIT, LinuxExtension, linux_extension, unit_of
from streamscope_drivers.miniscope.packets import slots

DEVICE = bytes((18, 1)) + bytes(16)
CONFIGURATION = bytes((9, 2)) + bytes(7)
PROCESSING = bytes((11, 0x24, 5, 2)) + bytes(7)
OURS = bytes((26, 0x24, 6, 3)) + UNIT.bytes_le + bytes(6)
OTHER = bytes((26, 0x24, 6, 4)) + bytes(22)


def test_the_unit_is_known_by_its_name_among_the_descriptors():
    assert unit_of(DEVICE + CONFIGURATION + PROCESSING + OTHER + OURS) == 3
    assert unit_of(DEVICE + CONFIGURATION + PROCESSING + OTHER) is None
    assert unit_of(b"") is None
    assert unit_of(DEVICE + b"\x00\x00\x00") is None
    assert UNIT.bytes_le[:4] == bytes.fromhex("c00539b3")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's interface of Linux")
def test_the_kernel_is_asked_with_its_own_structure(tmp_path, monkeypatch):
    asked = []

    def ioctl(file, number, query):
        q = query._obj
        asked.append((number.value, q.unit, q.selector, q.query, ctypes.string_at(q.data, q.size)))
        if q.query == 0x81:
            ctypes.memmove(q.data, b"\x01\x02\x03", q.size)
        return -1 if q.selector == 9 else 0

    (tmp_path / "video2").touch()
    unit = LinuxExtension(tmp_path / "video2", 3)
    monkeypatch.setattr(unit, "_ioctl", ioctl)
    assert unit.get(1, 3) == b"\x01\x02\x03"
    (data,) = slots([bytes.fromhex("20 01 FF")])
    unit.set(2, data)
    with pytest.raises(OSError):  # noqa: PT011
        unit.set(9, b"\0")
    unit.close()
    unit.close()
    assert QUERY == 0xC0107521
    assert asked[:2] == [(QUERY, 3, 1, 0x81, bytes(3)), (QUERY, 3, 2, 0x01, data)]


@pytest.mark.skipif(sys.platform != "linux", reason="sysfs")
def test_the_descriptors_are_those_of_the_camera(tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "LinuxExtension", lambda node, unit: (node.name, unit))
    usb = tmp_path / "usb"
    (usb / "1-4:1.0").mkdir(parents=True)
    (usb / "descriptors").write_bytes(DEVICE + OURS)
    (tmp_path / "video2").mkdir()
    (tmp_path / "video2" / "device").symlink_to(usb / "1-4:1.0")
    assert linux_extension(2, tmp_path) == ("video2", 3)
    assert linux_extension(3, tmp_path) is None
    (usb / "descriptors").write_bytes(DEVICE)
    assert linux_extension(2, tmp_path) is None
