"""User configurations of Miniscope-DAQ-QT, of all ages, as settings of ours; what cannot be carried over is said.

Keys and values are those of that program's userConfigs folder from 2019 to 2026: miniscopes and cameras as lists with
a deviceName, later as tables by name; frame rates and gains as text, later also as numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope.config import SessionConfig, from_values
from streamscope.errors import ConfigError, StorageError
from streamscope.session.registry import check_device

# Beginnings of deviceType, the longest first, and our type.
_TYPES = (
    ("miniscope_v4_bno", "v4-bno"),
    ("miniscope_v4_2c", "v4-2c"),
    ("miniscope_v4", "v4"),
    ("miniscope_v3", "v3"),
    ("miniscope_lfov", "lfov"),
    ("siminiscope", "siminiscope"),
    ("minicam", "minicam"),
)
_GAINS = {
    "v3": {"1": "low", "2": "medium", "4": "high", "16": "low", "32": "medium", "64": "high"},
    "v4": {"1": "low", "2": "medium", "3.5": "high"},
}
# Keys that concern the windows of that program, or say nothing.
_DISPLAY = re.compile(
    r"window\w+|lut|showSaturation|traceDisplay|compressionOptions|imageRegistration|\$schema|configVersion|"
    r".*_Not_Implemented|.*_OLD|reserved terms.*",
    re.IGNORECASE,
)
_USED = {"dataDirectory", "directoryStructure", "researcherName", "experimentName", "animalName", "devices"}
_USED_OF_DEVICES = {
    *("deviceName", "deviceType", "deviceID", "headOrientation", "streamHeadOrientation", "compression"),
    *("framesPerFile", "gain", "frameRate", "led0", "led1", "led0FineSteps", "ewl", "ROI"),
    "cameraCalibrationFileLocation",
}
_LENGTH = ("recordLengthInSeconds", "recordLengthinSeconds")
_PROGRAMS = ("executableOnStartRecording", "executableOnStopRecording", "behaviorTracker", "commutator")


@dataclass(frozen=True, slots=True)
class Imported:
    """What a user configuration became."""

    source: str
    values: Mapping[str, Any]  # as a settings file holds them
    notes: tuple[str, ...]  # what could not be carried over, one sentence each

    @property
    def toml(self) -> str:
        """Return the settings file, with the notes as comments."""
        lines = [f"# Settings of StreamScope, from {self.source}. Use: streamscope live --config FILE"]
        lines += [f"# Not carried over: {note}" for note in self.notes]
        tables = {name: value for name, value in self.values.items() if isinstance(value, Mapping)}
        lines += ["", *_lines({k: v for k, v in self.values.items() if k not in tables})]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *_lines(table)]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the settings file.

        Raises
        ------
        StorageError
            If it exists or cannot be written.
        """
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(self.toml)
        except FileExistsError as error:
            raise StorageError(
                f"{path} exists already and is never overwritten; give another name with --out"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}); give another folder with --out"
            ) from error


def import_file(path: Path, miniscope: str | None = None) -> Imported:
    """Return the settings that a user configuration holds.

    Parameters
    ----------
    path : Path
        The .json file.
    miniscope : str, optional
        Name of the one to take, where it has several; the first by default.

    Raises
    ------
    ConfigError
        If it is no such file, or has no such miniscope.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise ConfigError(
            f"{path} is not JSON ({error}), expected a user configuration of Miniscope-DAQ-QT; correct that line"
        ) from error
    if not isinstance(contents, dict) or not isinstance(contents.get("devices"), dict):
        raise ConfigError(
            f"{path} has no table devices, expected a user configuration of Miniscope-DAQ-QT "
            "(userConfigs/*.json); is it the right file?"
        )
    reading = _Reading(contents)
    values = reading.values(miniscope)
    from_values(values, str(path))
    return Imported(path.name, values, tuple(reading.notes))


class _Reading:
    """One configuration being read; collects what is not carried over."""

    def __init__(self, contents: Mapping[str, Any]) -> None:
        self._contents = {k: v for k, v in contents.items() if not _is_comment(k)}
        self.notes: list[str] = []

    def values(self, miniscope: str | None) -> dict[str, Any]:
        """Return the settings as a file holds them."""
        devices = self._contents["devices"]
        scopes, cameras = (dict(_named(devices.get(key))) for key in ("miniscopes", "cameras"))
        values = self._places()
        values |= self._scope(scopes, miniscope)
        values |= self._cameras(cameras)
        self._rest([*scopes.values(), *cameras.values()])
        return {**{k: v for k, v in values.items() if k != "device"}, "device": values["device"]}

    def _places(self) -> dict[str, Any]:
        """Return names and folder: ours is <out>/<subject>/<date>/<time>."""
        says = self._contents
        structure = [str(entry) for entry in says.get("directoryStructure", []) if isinstance(entry, str)]
        names = [entry for entry in structure if entry.lower() not in ("date", "time")]
        animal = "animalName" if "animalName" in names or not names else names[-1]
        above = [self._text(entry) for entry in names if entry != animal]
        values = {
            "subject": self._text(animal),
            "researcher": str(says.get("researcherName", "")),
            "study": str(says.get("experimentName", "")),
            "out": "/".join([str(says.get("dataDirectory", "StreamScope")).rstrip("/\\"), *above]),
        }
        if structure and [entry.lower() for entry in structure] != [
            *(name.lower() for name in names if name != animal),
            animal.lower(),
            "date",
            "time",
        ]:
            self.notes.append(
                f"directoryStructure {'/'.join(structure)}: sessions are in {values['out']}/SUBJECT/DATE/TIME"
            )
        if values["out"].startswith("."):
            self.notes.append(
                f"dataDirectory {says['dataDirectory']} was relative to that program's folder; it is now to the one "
                "in which the command is given"
            )
        return {name: value for name, value in values.items() if value}

    def _text(self, entry: str) -> str:
        value = self._contents.get(entry)
        return str(value) if value not in (None, "") else f"{entry}Missing"

    def _scope(self, scopes: Mapping[str, Mapping[str, Any]], wanted: str | None) -> dict[str, Any]:
        """Return the settings of the device that is watched."""
        if not scopes or (wanted is not None and wanted not in scopes):
            raise ConfigError(
                f"the configuration has the miniscopes {', '.join(scopes) or 'none'}, expected "
                f"{wanted or 'at least one'}; give one of them with --miniscope"
            )
        name = wanted or next(iter(scopes))
        others = [other for other in scopes if other != name]
        if others:
            self.notes.append(
                f"miniscope {', '.join(others)}: each is a session of its own; import it with --miniscope "
                f'"{others[0]}", and give it its own ports (wire.bind)'
            )
        says = scopes[name]
        kind = next((ours for start, ours in _TYPES if _of(says, "deviceType").startswith(start)), None)
        if kind is None:
            self.notes.append(
                f"deviceType {says.get('deviceType')} of {name}: not known here; give --device (see: streamscope "
                "devices)"
            )
        device: dict[str, Any] = {"name": name} if name else {}
        if isinstance(says.get("deviceID"), int):
            device["index"] = str(says["deviceID"])
        if kind is None:
            return {"device": device}
        device = {"type": f"miniscope:{kind}", **device}
        settings = self._settings(kind, says, name)
        fps = settings.pop("fps", None)
        roi = self._roi(says)
        device |= settings | ({} if roi is None else {"roi": roi})
        top = {"fps": fps, "compression": self._compression(says, name)}
        return {"device": device} | {key: value for key, value in top.items() if value is not None}

    def _compression(self, says: Mapping[str, Any], name: str) -> str | None:
        codec = says.get("compression")
        if codec not in (None, "GREY", "FFV1"):
            self.notes.append(f"compression {codec} of {name}: recordings are GREY (none) or FFV1 (lossless)")
            return None
        return codec

    def _settings(self, kind: str, says: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return what the scope is set to; what this type does not take is noted."""
        found = {
            "fps": ("frameRate", _number(says.get("frameRate"))),
            "gain": ("gain", _gain(kind, says.get("gain"))),
            "led": ("led0", _number(says.get("led0"))),
            "led2": ("led1", _number(says.get("led1"))),
            "focus": ("ewl", _number(says.get("ewl"))),
        }
        if says.get("led0FineSteps") is True and found["led"][1] is not None and kind.startswith("v4"):
            found["led"] = ("led0", round(float(found["led"][1]) / 2.55, 2))
        out: dict[str, Any] = {}
        for ours, (theirs, value) in found.items():
            if value is None:
                if theirs in says:
                    self.notes.append(f"{theirs} of {name} is {says[theirs]!r}, which is no value of ours")
                continue
            try:
                check_device(f"miniscope:{kind}", {ours: value})
            except ConfigError as error:
                self.notes.append(f"{theirs} {says[theirs]} of {name}: {error}")
            else:
                out[ours] = value
        self._recording_of(says, name)
        return out

    def _recording_of(self, says: Mapping[str, Any], name: str) -> None:
        per_file = says.get("framesPerFile", 1000)
        if per_file != 1000:
            self.notes.append(f"framesPerFile {per_file} of {name}: files have 1000 frames")
        head = says.get("headOrientation")
        if isinstance(head, Mapping) and head.get("filterBadData") is False:
            self.notes.append(f"filterBadData false of {name}: bad readings are always left out")

    def _roi(self, says: Mapping[str, Any]) -> list[int] | None:
        roi = says.get("ROI")
        if not isinstance(roi, Mapping):
            return None
        sides = [roi.get(side) for side in ("leftEdge", "topEdge", "width", "height")]
        if not all(isinstance(side, int) for side in sides):
            self.notes.append(f"ROI {dict(roi)} has no leftEdge, topEdge, width and height in px")
            return None
        return [int(side) for side in sides if isinstance(side, int)]

    def _cameras(self, cameras: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the behaviour cameras, where this version records them."""
        found = []
        for name, says in cameras.items():
            kind = re.fullmatch(r"webcam(?:-(\d+x\d+))?", _of(says, "deviceType"))
            if kind is None or "cameras" not in SessionConfig.model_fields:
                self.notes.append(f"camera {name} ({says.get('deviceType')}): it is not recorded")
                continue
            plain = re.sub(r"[=:@]", "_", name)
            found.append(f"{plain}=webcam:{says.get('deviceID', 0)}" + (f"@{kind[1]}" if kind[1] else ""))
            if "ROI" in says:
                self.notes.append(f"ROI of camera {name}: its whole picture is recorded")
        return {"cameras": found} if found else {}

    def _rest(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Note what else the file asks for."""
        says = self._contents
        for key in _LENGTH:
            if says.get(key):
                self.notes.append(f"{key} {says[key]}: end the session yourself, with Ctrl-C")
        for key in _PROGRAMS:
            part = says.get(key)
            if isinstance(part, Mapping) and part.get("enabled"):
                self.notes.append(f"{key}: there is none here")
        structure = says.get("directoryStructure", [])
        known = {*_USED, *_LENGTH, *_PROGRAMS, *structure}
        strange = {k for k in says if k not in known}
        strange |= {k for part in devices for k in part if k not in _USED_OF_DEVICES}
        strange = {k for k in strange if not _DISPLAY.fullmatch(k)}
        if strange:
            self.notes.append(f"{', '.join(sorted(strange))}: not known here")
        display = sorted({k for part in (says, *devices) for k in part if _DISPLAY.fullmatch(k)})
        if display:
            self.notes.append(f"{', '.join(display)}: windows of that program, nothing is lost")


def _named(part: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the devices of a part by name: a table, or a list of tables that hold their deviceName."""
    if isinstance(part, Mapping):
        pairs = [(name, says) for name, says in part.items() if not _is_comment(name)]
    else:
        listed = [says for says in part or [] if isinstance(says, Mapping)]
        pairs = [(str(says.get("deviceName", f"device {n}")), says) for n, says in enumerate(listed)]
    for name, says in pairs:
        if isinstance(says, Mapping):
            yield name, {k: v for k, v in says.items() if not _is_comment(k)}


def _is_comment(key: str) -> bool:
    return "COMMENT" in key


def _of(says: Mapping[str, Any], key: str) -> str:
    return str(says.get(key, "")).lower()


def _number(value: Any) -> float | None:
    """Return a number that is written as 20, "20" or "20FPS"."""
    if isinstance(value, bool) or value is None:
        return None
    match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(?:fps|%)?\s*", str(value), re.IGNORECASE)
    return float(match[1]) if match else None


def _gain(kind: str, value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    text = f"{value:g}" if isinstance(value, int | float) else str(value).strip().lower()
    return _GAINS.get(kind[:2], {}).get(text, text) or None


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
