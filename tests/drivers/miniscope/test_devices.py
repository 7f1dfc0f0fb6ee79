"""The tables of devices against golden bytes, type by type."""

from __future__ import annotations

import pytest

from streamscope.errors import ConfigError, SourceError
from streamscope_drivers.miniscope.camera import Property
from streamscope_drivers.miniscope.devices import TYPES, command, device_type
from streamscope_drivers.miniscope.packets import Control, words


def carried(lines):
    return [" ".join(f"{word:04X}" for word in words(command(line))) for line in lines]


def sent(kind, name, value):
    setting = device_type(kind).settings[name]
    return [
        " ".join(f"{word:04X}" for word in words(p)) for p in setting.commands(setting.check(name, value))
    ]


TIMERS = ["03C0 0222 0000", "03C0 0A20 0000", "03C0 B007 0000", "03B0 020F 0000", "03B0 0A1E 0000"]
START = {
    "v4-bno": [
        *TIMERS,
        *("08C1 EE20 50A0", "10C1 EE20 5058", "0450 0941 0005", "0350 0C3D 0000", "02FE 0000 0000"),
        "03EE 0303 0000",
    ],
    "v4": [*TIMERS, "05C0 2008 A0EE", "05C0 2010 58EE", "03EE 0303 0000"],
    "v3": [*TIMERS, "04C0 B808 0098", "04C0 B810 0098", "04B8 000C 0001", "04B8 00AF 0000"],
}
START["v4-2c"] = [*START["v4-bno"], "0320 0304 0000"]


@pytest.mark.parametrize("kind", START)
def test_what_starts_a_device(kind):
    assert carried(device_type(kind).start) == START[kind]


@pytest.mark.parametrize("kind", [kind for kind, known in TYPES.items() if known.link])
def test_the_ends_of_the_cable_are_set_by_the_pixel_clock(kind):
    fast = kind in ("minicam", "siminiscope", "lfov")
    expected = ["03C0 111F 0000", "03B0 2105 0000"] if fast else ["03C0 101F 0000", "03B0 2005 0000"]
    assert carried(device_type(kind).link) == expected


def test_what_starts_a_minicam():
    assert " ".join(device_type("minicam").start[:7]) == (
        "C0 07 B0 C0 22 02 C0 20 0A B0 0F 02 B0 1E 0A C0 08 BA 6C C0 10 BA 6C"
    )
    assert " ".join(device_type("minicam").start[7:]) == (
        "BA 03 05 FF BA 04 07 FF BA 22 00 11 BA 23 00 11 BA 20 00 60 BA 3E 00 C0 BA 09 02 FF 6C 10 D7"
    )


SETTINGS = [
    ("v4-bno", "fps", 2, ["0521 C900 50C3"]),
    ("v4-bno", "fps", 5, ["0521 C900 204E"]),
    ("v4", "fps", 10, ["0521 C900 1027"]),
    ("v4", "fps", 15.0, ["0521 C900 0B1A"]),
    ("v4", "fps", "20", ["0521 C900 8813"]),
    ("v4", "fps", 25, ["0521 C900 A00F"]),
    ("v4", "fps", 30, ["0521 C900 E40C"]),
    ("v4", "gain", "Low", ["0521 CC00 E100"]),
    ("v4", "gain", "medium", ["0521 CC00 E400"]),
    ("v4", "gain", "High", ["0521 CC00 2400"]),
    ("v4", "led", 0, ["0320 FF01 0000", "0458 7200 00FF"]),
    ("v4", "led", 1, ["0320 FC01 0000", "0458 7200 00FC"]),
    ("v4", "led", 10, ["0320 E501 0000", "0458 7200 00E5"]),
    ("v4", "led", 50, ["0320 7F01 0000", "0458 7200 007F"]),
    ("v4", "led", 100, ["0320 0001 0000", "0458 7200 0000"]),
    ("v4-2c", "led", 10, ["0320 E501 0000", "0358 E500 0000"]),
    ("v4-2c", "led2", 10, ["0320 E502 0000", "0358 E501 0000"]),
    ("v4", "focus", -127, ["04EE 0008 0002"]),
    ("v4", "focus", 0, ["04EE 7F08 0002"]),
    ("v4", "focus", 50, ["04EE B108 0002"]),
    ("v4", "focus", 127, ["04EE FE08 0002"]),
    ("v3", "fps", 10, ["05B9 EE02 E204", "04B8 060B 00B8"]),
    ("v3", "fps", 15, ["05B9 9102 EE02", "04B8 040B 00C4"]),
    ("v3", "fps", 20, ["05B9 6603 4101", "04B8 030B 0020"]),
    ("v3", "fps", 30, ["05B9 5E00 2102", "04B8 030B 00E8"]),
    ("v3", "fps", 60, ["05B9 5D00 2100", "04B8 010B 00F4"]),
    ("v3", "gain", "high", ["04B8 0035 0040"]),
    ("v3", "led", 50, ["0398 2003 0000"]),
    ("v3", "led", 0, ["0398 0000 0000"]),
    ("minicam", "fps", 30, ["04BA 0409 00E2"]),
    ("minicam", "gain", "16x", ["04BA 0835 0060"]),
    ("minicam", "led", 100, ["036C 1FA0 0000"]),
    ("siminiscope", "fps", 40, ["04BA 0609 0000"]),
]


@pytest.mark.parametrize(("kind", "name", "value", "expected"), SETTINGS)
def test_a_setting_becomes_the_words_of_the_official_program(kind, name, value, expected):
    assert sent(kind, name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("fps", 5, Control(Property.SATURATION, 0x11)),
        ("fps", 60, Control(Property.SATURATION, 0x16)),
        ("led", 200, Control(Property.HUE, 200)),
        ("gain", 31, Control(Property.GAIN, 31)),
        ("gain", 33, Control(Property.GAIN, 32)),
        ("exposure", 255, Control(Property.BRIGHTNESS, 255)),
    ],
)
def test_the_firmware_of_before_2020_is_set_by_plain_controls(name, value, expected):
    setting = device_type("v3-legacy").settings[name]
    assert setting.commands(setting.check(name, value)) == (expected,)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_starts_dark_and_can_be_made_dark(kind):
    known = device_type(kind)
    assert known.check(known.defaults) == dict(known.defaults)
    lights = list(known.lights)
    assert all(known.defaults[name] == 0 for name in lights)
    off = [part for name in lights for part in known.settings[name].commands(0.0)]
    assert list(map(command, known.dark)) == off
    if lights:  # light is the last that is set
        assert list(known.defaults)[-len(lights) :] == lights


def test_names_of_types_and_sizes_of_webcams():
    assert device_type("Miniscope_V4_BNO").name == "v4-bno"
    assert device_type("webcam-1280x720").shape == (720, 1280)
    with pytest.raises(SourceError, match="expected one of v4, v4-bno"):
        device_type("v5")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fps": 22}, "fps is 22, expected one of 10, 15, 20, 25, 30 Hz"),
        ({"led": 101}, "led is 101, expected a number from 0 to 100 %"),
        ({"led": "bright"}, "led is bright, expected a number"),
        ({"gain": 2}, "gain is 2, expected one of low, medium, high"),
        ({"led2": 5}, "v4 has no setting led2, expected one of: fps, gain, focus, led"),
    ],
)
def test_an_impossible_setting_is_refused_with_what_was_expected(values, message):
    with pytest.raises(ConfigError, match=message):
        device_type("v4").check(values)


def test_the_sensor_of_a_v4_runs_a_little_faster_than_its_rate_is_called():
    assert device_type("v4").rate_hz({"fps": 30.0}) == pytest.approx(30.303, abs=1e-3)
    assert device_type("v4").rate_hz({"fps": 20.0}) == 20.0
    assert device_type("webcam").rate_hz({}) is None
