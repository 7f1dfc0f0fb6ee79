"""The metaData.json files of Miniscope-DAQ-QT: which device, how fast, how large its pixels are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamscope.errors import SourceError

# Pixel size by the beginning of deviceType, um. Others depend on lenses that the file does not name.
UM_PER_PX = {"Miniscope_V4": 1.65}


@dataclass(frozen=True, slots=True)
class DeviceMetadata:
    """What a device folder says of its device."""

    name: str = "Miniscope"
    type: str = ""
    fps: float | None = None
    um_per_px: float | None = None
    frames_per_file: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # everything as it was written


def read_device(path: Path) -> DeviceMetadata:
    """Return the metadata of a device; empty if there is no such file.

    Parameters
    ----------
    path : Path
        metaData.json of the device folder.

    Raises
    ------
    SourceError
        If the file is there but is no JSON.
    """
    settings = read_json(path)
    kind = str(settings.get("deviceType", ""))
    sizes = [um for prefix, um in UM_PER_PX.items() if kind.startswith(prefix)]
    return DeviceMetadata(
        name=str(settings.get("deviceName", "Miniscope")),
        type=kind,
        fps=_frame_rate(settings.get("frameRate")),
        um_per_px=_our_pixel_size(settings) or (sizes[0] if sizes else None),
        frames_per_file=_count(settings.get("framesPerFile")),
        settings=settings,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the contents of a metaData.json, {} if there is none.

    Raises
    ------
    SourceError
        If it cannot be read, or holds no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"settings in JSON were expected in {path}, but it could not be read ({error}); "
            "repair it or move it away"
        ) from error
    if not isinstance(contents, dict):
        raise SourceError(
            f"a JSON object was expected in {path}, but it holds a {type(contents).__name__}; "
            "repair it or move it away"
        )
    return contents


def _our_pixel_size(settings: Mapping[str, Any]) -> float | None:
    """Return the pixel size that a recording of StreamScope's notes, um."""
    ours = settings.get("streamscope")
    size = ours.get("um_per_px") if isinstance(ours, Mapping) else None
    return float(size) if isinstance(size, int | float) and size > 0 else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _frame_rate(value: Any) -> float | None:
    """Return a rate that is written as 20, "20" or "20FPS"."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)", str(value))
    rate = float(match[1]) if match else 0.0
    return rate or None
