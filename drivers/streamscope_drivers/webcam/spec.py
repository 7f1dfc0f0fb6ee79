"""How users name a webcam: webcam:INDEX[@WIDTHxHEIGHT[@FPS]]."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamscope.errors import ConfigError

PREFIX = "webcam:"
MODEL = "model"  # in place of an index: a model of a webcam, for a dry run
USUAL = (480, 640)  # (H, W) px
_PATTERN = re.compile(
    r"webcam:(?P<index>\d+|model)(@(?P<width>\d{2,5})x(?P<height>\d{2,5}))?(@(?P<fps>\d+(\.\d+)?))?"
)


@dataclass(frozen=True, slots=True)
class Spec:
    """A webcam and what it is to deliver."""

    index: str  # of the camera, as the system counts, or `model`
    shape: tuple[int, int] = USUAL  # (H, W) px
    fps: float | None = None  # None: as the camera likes


def parse(text: str) -> Spec:
    """Return what a user wrote.

    Raises
    ------
    ConfigError
        If it is none.
    """
    found = _PATTERN.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(
            f"the camera is {text!r}, expected webcam:INDEX, with @WIDTHxHEIGHT and @FPS behind it if you like; "
            "write e.g. webcam:0@1280x720 (indices: streamscope devices)"
        )
    shape = (int(found["height"]), int(found["width"])) if found["width"] else USUAL
    return Spec(found["index"], shape, float(found["fps"]) if found["fps"] else None)
