"""A model of a Miniscope and its DAQ box, as a camera: what the firmware does with what is written to it.

It is written after the firmware, not after our driver: it decodes packets itself, forwards them over its own I2C bus
when a frame ends, loses what was sent too fast or to a chip that cannot be reached, and makes pictures whose light
follows the registers. It stands where `cv2.VideoCapture` does (`Model.open`), so that the whole driver is tried
with it. A webcam is modelled beside it (`webcam.py`). Time is an argument: tests run an hour in seconds.
"""

from __future__ import annotations

from streamscope.testing.firmware.clocks import FastClock, RealClock, VirtualClock
from streamscope.testing.firmware.model import (
    BRIGHTNESS,
    CONTRAST,
    EXPOSURE,
    GAIN,
    GAMMA,
    HEIGHT,
    HUE,
    PAN,
    POS_MSEC,
    SATURATION,
    SHARPNESS,
    TILT,
    WIDTH,
    Model,
    embed,
)
from streamscope.testing.firmware.pictures import tissue
from streamscope.testing.firmware.webcam import WebcamModel

__all__ = [
    "BRIGHTNESS",
    "CONTRAST",
    "EXPOSURE",
    "GAIN",
    "GAMMA",
    "HEIGHT",
    "HUE",
    "PAN",
    "POS_MSEC",
    "SATURATION",
    "SHARPNESS",
    "TILT",
    "WIDTH",
    "FastClock",
    "Model",
    "RealClock",
    "VirtualClock",
    "WebcamModel",
    "embed",
    "tissue",
]
