"""What Linux tells of the box on the USB: a slow port, and a box without its program. Elsewhere nothing is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SYSTEM = Path("/sys")
VENDOR = "04b4"  # Cypress
SLOW_PRODUCT = "00f8"  # how the box calls itself at USB 2
FAST_MBIT = 5000.0  # USB 3
BARE = ("westbridge", "bootloader")  # in the name of a box without its program


def slow_port(index: int, root: Path = SYSTEM) -> str:
    """Return one sentence if the box behind a camera is connected by USB 2; empty if not, or not known."""
    here = (root / "class" / "video4linux" / f"video{index}" / "device").resolve()
    for place in (here, *here.parents):
        vendor = _read(place / "idVendor")
        if not vendor:
            continue
        speed = _number(_read(place / "speed"))
        if vendor == VENDOR and (_read(place / "idProduct") == SLOW_PRODUCT or 0 < speed < FAST_MBIT):
            return (
                f"the box is connected by USB 2 ({speed:g} Mbit/s), expected USB 3, frames will be lost; use a blue "
                "port of the computer itself, and the cable of the box"
            )
        return ""
    return ""


def bare_box(root: Path = SYSTEM) -> str:
    """Return one sentence if a box is connected that waits for its program; empty if none, or not known."""
    for name in _products(root):
        if any(word in name.lower() for word in BARE):
            return (
                f"a box is connected that runs no program (it is called {name}), expected MINISCOPE; set its jumper "
                "back and connect it anew, or flash its firmware"
            )
    return ""


def _products(root: Path) -> Iterator[str]:
    devices = root / "bus" / "usb" / "devices"
    for place in sorted(devices.iterdir()) if devices.is_dir() else ():
        if _read(place / "idVendor") == VENDOR:
            yield _read(place / "product")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
