"""What each type of device is: its picture, the packets that start it, its settings as bytes, how its light goes out.

Tables only. Packets are written as bytes in hexadecimal; `n0` to `n3` stand for the bytes of a number, lowest first.
A line that begins with the name of a UVC control is a plain write to it: firmware of before 2020 has no packets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from streamscope.errors import ConfigError, SourceError
from streamscope_drivers.miniscope.camera import Property
from streamscope_drivers.miniscope.packets import Command, Control

Value: TypeAlias = float | str  # of a setting, as the user gives it


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set, and what is sent to set it.

    With `choices`, a value is one of their names; each has one number for each line of `sent`. Without, it is a
    number from `low` to `high`, and what is sent is its `scale` fold less `offset`, cut to a whole number.
    """

    sent: tuple[str, ...]
    key: str  # in metaData.json, the name that Miniscope-DAQ-QT gave it
    unit: str = ""
    choices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    low: float = 0.0
    high: float = 0.0
    scale: float = 1.0
    offset: float = 0.0
    shift: int = 0  # bits to the left, afterwards
    even_above: float = float("inf")  # only even numbers above this

    def check(self, name: str, value: Value) -> Value:
        """Return the value as it is kept, or raise ConfigError with what was expected.

        Choices that look like numbers come back as numbers.
        """
        if self.choices:
            text = _text(value)
            if text not in self.choices:
                raise ConfigError(f"{name} is {value}, expected one of {', '.join(self.choices)}{self.unit}")
            return float(text) if re.fullmatch(r"[0-9.]+", text) else text
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not self.low <= number <= self.high:
            raise ConfigError(
                f"{name} is {value}, expected a number from {self.low:g} to {self.high:g}{self.unit}"
            )
        return number

    def commands(self, value: Value) -> tuple[Command, ...]:
        """Return what sets this value, in order; `value` was checked."""
        if self.choices:
            numbers = self.choices[_text(value)]
            return tuple(command(line, n) for line, n in zip(self.sent, numbers, strict=True))
        number = int(float(value) * self.scale - self.offset) << self.shift
        if number > self.even_above:
            number &= ~1
        return tuple(command(line, number) for line in self.sent)


@dataclass(frozen=True, slots=True)
class DeviceType:
    """One type of scope or camera."""

    name: str  # as users write it
    official: str  # deviceType in metaData.json
    shape: tuple[int, int]  # (H, W) px
    um_per_px: float | None = None  # of its usual optics; None: the user must say
    link: tuple[str, ...] = ()  # sent first after a connection: the mode of the cable's two ends
    start: tuple[str, ...] = ()  # sent when frames flow
    settings: Mapping[str, Setting] = field(default_factory=dict)
    defaults: Mapping[str, Value] = field(default_factory=dict)
    dark: tuple[str, ...] = ()  # all light off
    rates: Mapping[float, float] = field(default_factory=dict)  # true rate of a set one, if it differs, Hz
    orientation: bool = False  # has a BNO055
    daq: bool = True  # behind a DAQ, or else a plain camera
    legacy: bool = False  # firmware of before 2020: plain controls, no packets, no counter
    sync: tuple[int, ...] = (1, 0)  # SATURATION that turns the sync output on and off
    warning: str = ""

    @property
    def lights(self) -> tuple[str, ...]:
        """Return the names of the settings that are light."""
        return tuple(name for name in self.settings if name.startswith("led"))

    def rate_hz(self, values: Mapping[str, Value]) -> float | None:
        """Return the frame rate that the sensor really has with these settings, Hz; None if it is not known."""
        fps = values.get("fps")
        return None if fps is None else self.rates.get(float(fps), float(fps))

    def commands(self, values: Mapping[str, Value]) -> list[Command]:
        """Return what sets these values, which were checked."""
        return [part for name, value in values.items() for part in self.settings[name].commands(value)]

    def check(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the values as they are kept; raise ConfigError for a setting that this type does not have."""
        for name in values:
            if name not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ConfigError(f"{self.name} has no setting {name}, expected one of: {known}")
        return {name: self.settings[name].check(name, value) for name, value in values.items()}


def command(line: str, number: int = 0) -> Command:
    """Return the command that a line of a table stands for, with the bytes of `number` in place."""
    first, *rest = line.split()
    if first in Property.__members__:
        return Control(Property[first], int(rest[0], 16) if rest[0] != "n0" else number)
    places = {f"n{k}": number >> 8 * k & 0xFF for k in range(4)}
    return bytes(places[part] if part in places else int(part, 16) for part in line.split())


def device_type(name: str) -> DeviceType:
    """Return the type of this name, e.g. v4, v3-legacy or webcam-1280x720.

    Raises
    ------
    SourceError
        If no type is called so.
    """
    key = name.lower()
    for known in TYPES.values():
        if key in (known.name, known.official.lower()):
            return known
    size = re.fullmatch(r"webcam-(\d{2,4})x(\d{2,4})", key)
    if size:
        shape = (int(size[2]), int(size[1]))
        return replace(TYPES["webcam"], name=key, official=f"WebCam-{size[1]}x{size[2]}", shape=shape)
    raise SourceError(
        f"no device is of type {name!r}, expected one of {', '.join(TYPES)}, or webcam-WIDTHxHEIGHT; "
        "write e.g. miniscope:v4"
    )


def _text(value: Value) -> str:
    return value.strip().lower() if isinstance(value, str) else f"{value:g}"


def _choices(**numbers: int) -> dict[str, tuple[int, ...]]:
    return {name.lstrip("_"): (number,) for name, number in numbers.items()}


_PERCENT = " %"

# The two ends of the coaxial cable: for pixel clocks up to 50 MHz, and above.
_LINK_SLOW = ("C0 1F 10", "B0 05 20")
_LINK_FAST = ("C0 1F 11", "B0 05 21")

# ---- V4: PYTHON480 behind an ATmega (0x20), an electro-wetting lens (0xEE), an LED current (0x58), a BNO055 (0x50)
_V4_TIMERS = ("C0 22 02", "C0 20 0A", "C0 07 B0", "B0 0F 02", "B0 1E 0A")
_V4_BNO_START = (
    *_V4_TIMERS,
    "C0 08 20 EE A0 50",  # chips behind the link
    "C0 10 20 EE 58 50",  # how the DAQ calls them: 0xA0 is its own EEPROM
    "50 41 09 05",  # axes of the BNO
    "50 3D 0C",  # fusion of its sensors
    "FE 00",  # the DAQ reads it from now on
    "EE 03 03",  # lens on
)
_V4_START = (*_V4_TIMERS, "C0 08 20 EE A0", "C0 10 20 EE 58", "EE 03 03")
_V4_RATES = _choices(_2=50000, _5=20000, _10=10000, _15=6667, _20=5000, _25=4000, _30=3300)  # 10 µs units
_V4_FPS = Setting(("20 05 00 C9 n1 n0",), "frameRate", " Hz", choices=_V4_RATES)
_V4_LED = {"unit": _PERCENT, "high": 100.0, "scale": -2.55, "offset": -255.0}
_V4_SETTINGS = {
    "fps": replace(_V4_FPS, choices={k: v for k, v in _V4_RATES.items() if k not in ("2", "5")}),
    "gain": Setting(("20 05 00 CC 00 n0",), "gain", choices=_choices(low=0xE1, medium=0xE4, high=0x24)),
    "focus": Setting(("EE 08 n0 02",), "ewl", low=-127, high=127, offset=-127),
    "led": Setting(("20 01 n0", "58 00 72 n0"), "led0", **_V4_LED),  # type: ignore[arg-type]
}
_V4_DEFAULTS: dict[str, Value] = {"gain": "low", "fps": 20.0, "focus": 0.0, "led": 0.0}
_V4 = DeviceType(
    "v4",
    "Miniscope_V4",
    (608, 608),
    1.65,
    _LINK_SLOW,
    _V4_START,
    _V4_SETTINGS,
    _V4_DEFAULTS,
    ("20 01 FF", "58 00 72 FF"),
    {15.0: 1e5 / 6667, 30.0: 1e5 / 3300},
)
_V4_BNO = replace(
    _V4,
    name="v4-bno",
    official="Miniscope_V4_BNO",
    start=_V4_BNO_START,
    settings={**_V4_SETTINGS, "fps": _V4_FPS},
    orientation=True,
)
_V4_TWO = replace(
    _V4_BNO,
    name="v4-2c",
    official="Miniscope_V4_2C_Manual",
    start=(*_V4_BNO_START, "20 04 03"),
    settings={
        **_V4_BNO.settings,
        "led": Setting(("20 01 n0", "58 00 n0"), "led0", **_V4_LED),  # type: ignore[arg-type]
        "led2": Setting(("20 02 n0", "58 01 n0"), "led1", **_V4_LED),  # type: ignore[arg-type]
    },
    defaults={**_V4_DEFAULTS, "led2": 0.0},
    dark=("20 01 FF", "58 00 FF", "20 02 FF", "58 01 FF"),
)

# ---- V3: MT9V032 (0xB8) and an LED current (0x98)
_V3_RATES = {
    "10": (0x02EE04E2, 0x06B8),  # horizontal and vertical blanking, exposure rows
    "15": (0x029102EE, 0x04C4),
    "20": (0x03660141, 0x0320),
    "30": (0x005E0221, 0x03E8),
    "60": (0x005D0021, 0x01F4),
}
_V3 = DeviceType(
    "v3",
    "Miniscope_V3",
    (480, 752),
    None,
    _LINK_SLOW,
    (*_V4_TIMERS, "C0 08 B8 98", "C0 10 B8 98", "B8 0C 00 01", "B8 AF 00 00"),
    {
        "fps": Setting(("B8 05 n3 n2 n1 n0", "B8 0B n1 n0"), "frameRate", " Hz", choices=_V3_RATES),
        "gain": Setting(("B8 35 00 n0",), "gain", choices=_choices(low=16, medium=32, high=64)),
        "led": Setting(("98 n1 n0",), "led0", " of 255", high=255, shift=4),
    },
    {"gain": "low", "fps": 30.0, "led": 0.0},
    ("98 00 00",),
)
_V3_LEGACY = DeviceType(
    "v3-legacy",
    "Miniscope_V3",
    (480, 752),
    start=("SATURATION 03",),
    settings={
        "fps": Setting(
            ("SATURATION n0",),
            "frameRate",
            " Hz",
            choices=_choices(_5=0x11, _10=0x12, _15=0x13, _20=0x14, _30=0x15, _60=0x16),
        ),
        "gain": Setting(("GAIN n0",), "gain", low=16, high=64, even_above=32),
        "exposure": Setting(("BRIGHTNESS n0",), "exposure", " of 255", low=1, high=255),
        "led": Setting(("HUE n0",), "led0", " of 255", high=255),
    },
    defaults={"gain": 16.0, "exposure": 255.0, "fps": 20.0, "led": 0.0},
    dark=("HUE 00",),
    legacy=True,
    sync=(1, 2),
)

# ---- MT9P031 (0xBA) and an LM3509 LED driver (0x6C)
_MT9P031_LINK = ("C0 07 B0", "C0 22 02", "C0 20 0A", "B0 0F 02", "B0 1E 0A", "C0 08 BA 6C", "C0 10 BA 6C")
_MT9P031_BINNED = ("BA 22 00 11", "BA 23 00 11", "BA 20 00 60", "BA 3E 00 C0", "BA 09 02 FF", "6C 10 D7")


def _mt9p031(name: str, official: str, rates: dict[str, tuple[int, ...]]) -> DeviceType:
    gains = {"1x": (8,), "8x": (96,), "16x": (2144,), "32x": (6240,)}
    return DeviceType(
        name,
        official,
        (768, 1024),
        None,
        _LINK_FAST,
        (*_MT9P031_LINK, "BA 03 05 FF", "BA 04 07 FF", *_MT9P031_BINNED),
        {
            "fps": Setting(("BA 09 n1 n0",), "frameRate", " Hz", choices=rates),
            "gain": Setting(("BA 35 n1 n0",), "gain", choices=gains),
            "led": Setting(("6C A0 n0",), "led0", _PERCENT, high=100, scale=0.31),
        },
        {"gain": "1x", "fps": float(next(iter(rates))), "led": 0.0},
        ("6C A0 00",),
    )


_MINICAM_RATES = _choices(_20=1900, _30=1250, _47=766)
_MINICAM = _mt9p031("minicam", "Minicam-Mono-XGA", _MINICAM_RATES)
_SIMINISCOPE = _mt9p031("siminiscope", "Siminiscope_1024X768", _choices(_10=2048, _40=1536, _50=766))
_LFOV = replace(
    _MINICAM,
    name="lfov",
    official="Miniscope_LFOV",
    shape=(972, 1296),
    um_per_px=2.8,
    start=(*_MT9P031_LINK, "BA 03 07 97", "BA 04 0A 1F", *_MT9P031_BINNED),
    warning="the settings of an LFOV are those of its sensor's family and were tried on no device yet; "
    "check frame rate and light before an experiment",
)

_WEBCAM = DeviceType("webcam", "WebCam", (480, 640), daq=False, sync=())

TYPES: dict[str, DeviceType] = {
    known.name: known
    for known in (_V4, _V4_BNO, _V4_TWO, _V3, _V3_LEGACY, _MINICAM, _SIMINISCOPE, _LFOV, _WEBCAM)
}
