"""Writes recordings as Miniscope-DAQ-QT-Software does, for the demo and for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.testing.synth import Truth
from streamscope.types import ByteArray
from streamscope_drivers.video_writer import CODECS, GrayVideoWriter

BEGAN = datetime(2024, 5, 17, 10, 30, 0, tzinfo=UTC)  # fixed: the same frames give the same files
COUNTER_AT_START = 41  # the counter runs since the device was connected, not since the recording began
WRAP = 1 << 16


@dataclass(frozen=True, slots=True)
class DaqSettings:
    """What the files of a recording say beside the frame rate."""

    device: str = "Miniscope"
    device_type: str = "Miniscope_V4_BNO"
    animal: str = "demo"
    codec: str = "rawvideo"  # or ffv1
    frames_per_file: int = 1000
    first_stamp_ms: int = -12  # negative: the frame waited in a buffer when the recording began
    first_counter: int = COUNTER_AT_START
    lost_before: Mapping[int, int] = field(default_factory=dict)  # frame index: frames lost before it
    extra: Mapping[str, Any] = field(default_factory=dict)  # more keys of the device's metaData.json


def write_recording(
    folder: Path,
    frames: Iterable[ByteArray],
    fps: float,
    truth: Truth | None = None,
    settings: DaqSettings | None = None,
) -> Path:
    """Write a session folder with one miniscope and return the miniscope's folder.

    Parameters
    ----------
    folder : Path
        The session folder; made if it is not there.
    frames : iterable of ndarray
        (H, W) uint8, taken one by one, at least one.
    fps : float
        Frame rate, Hz. The video headers say 60, as the original's do.
    truth : Truth or None
        Stored beside the recording as truth.npz (`Truth.from_arrays(np.load(...))` reads it).
    settings : DaqSettings or None
        Names, codec, losses.

    Returns
    -------
    Path
        Folder with 0.avi, 1.avi ..., timeStamps.csv and metaData.json.
    """
    settings = settings or DaqSettings()
    device = folder / settings.device.replace(" ", "_")
    device.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "metaData.json", _session_metadata(settings))
    _write_json(device / "metaData.json", _device_metadata(settings, fps))
    n_frames = _write_videos(device, frames, settings)
    _write_stamps(device / "timeStamps.csv", n_frames, fps, settings)
    if truth is not None:
        np.savez_compressed(folder / "truth.npz", **truth.arrays())
    return device


def _write_videos(device: Path, frames: Iterable[ByteArray], settings: DaqSettings) -> int:
    n_frames = 0
    rest = iter(frames)
    for first in rest:
        path = device / f"{n_frames // settings.frames_per_file}.avi"
        shape = (first.shape[0], first.shape[1])
        with GrayVideoWriter(path, shape, settings.codec) as video:
            for image in chain([first], islice(rest, settings.frames_per_file - 1)):
                video.write(image)
                n_frames += 1
    return n_frames


def _write_stamps(path: Path, n_frames: int, fps: float, settings: DaqSettings) -> None:
    lines = ["Frame Number,Time Stamp (ms),Buffer Index,DAQ Frame Number"]
    lost = 0
    for n in range(n_frames):
        lost += settings.lost_before.get(n, 0)
        stamp_ms = settings.first_stamp_ms + round(1000 * (n + lost) / fps)
        counter = (settings.first_counter + n + lost) % WRAP
        lines.append(f"{n},{stamp_ms},0,{counter}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _session_metadata(settings: DaqSettings) -> dict[str, Any]:
    began = {name: getattr(BEGAN, name) for name in ("year", "month", "day", "hour", "minute", "second")}
    milliseconds = round(BEGAN.timestamp() * 1000)
    return {
        "animalName": settings.animal,
        "cameras": [],
        "miniscopes": [settings.device],
        "recordingStartTime": {**began, "msec": 0, "msecSinceEpoch": milliseconds},
    }


def _device_metadata(settings: DaqSettings, fps: float) -> dict[str, Any]:
    return {
        "deviceName": settings.device,
        "deviceType": settings.device_type,
        "deviceID": 0,
        "framesPerFile": settings.frames_per_file,
        "compression": CODECS[settings.codec],
        "frameRate": f"{fps:g}FPS",
        **settings.extra,
    }


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.write_text(json.dumps(contents, indent=4) + "\n", encoding="utf-8", newline="\n")
