"""The folder of one session: <root>/<subject>/<yyyy_MM_dd>/<HH_mm_ss>/, and what it says of itself.

metaData.json has the keys of Miniscope-DAQ-QT, so that its tools find what they look for, and one key of
ours, ``streamscope``: version, settings as resolved, frame shape, and which recording was used.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from streamscope._version import __version__
from streamscope.config import EngineConfig, SessionConfig
from streamscope.errors import StorageError
from streamscope.storage.aside import written_aside
from streamscope.storage.source_record import describe_source, locate_recording, locate_source
from streamscope.types import MovieInfo

METADATA_NAME = "metaData.json"
_OURS = {"version", "config", "engine", "source"}  # what metaData.json tells under "streamscope"
# Names that Windows keeps for devices, with or without an extension.
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


@dataclass(frozen=True, slots=True)
class FoundSource:
    """Where the frames of a session can be read again."""

    spec: str  # as a user would name it
    own: bool  # the session's own recording


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """One session on disk."""

    folder: Path
    metadata: Mapping[str, Any]  # metaData.json

    @property
    def journal(self) -> Path:
        """Return the path of the live journal."""
        return self.folder / "journal.sqlite"

    @property
    def result(self) -> Path:
        """Return the path of session.h5."""
        return self.folder / "session.h5"

    @property
    def ours(self) -> Mapping[str, Any]:
        """Return our part of the metadata: version, config, engine, source, shape."""
        part: Mapping[str, Any] = self.metadata["streamscope"]
        return part

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W) of the frames, px."""
        height, width = self.ours["source"]["shape"]
        return int(height), int(width)

    @property
    def engine(self) -> EngineConfig:
        """Return the settings that the engine ran with."""
        try:
            return EngineConfig.model_validate(self.ours["engine"])
        except ValidationError as error:
            raise StorageError(
                f"the engine settings in {self.folder / METADATA_NAME} are not valid here "
                f"({error.error_count()} problems, first: {error.errors()[0]['msg']}); "
                f"the session was made by StreamScope {self.ours.get('version')}, this is {__version__}"
            ) from error

    @property
    def recording(self) -> Mapping[str, Any] | None:
        """Return what is noted of the session's own recording, None if none was made."""
        noted: Mapping[str, Any] | None = self.ours.get("recording")
        return noted

    @property
    def recording_folder(self) -> Path | None:
        """Return the device's folder in the session, None if the session is not recorded."""
        return None if self.recording is None else self.folder / self.recording["device"]

    def find_source(self) -> FoundSource:
        """Return where the frames of the session are, after checking that they are there and the same.

        That is the session's own recording if it is whole. One that lacks frames comes after the original.

        Raises
        ------
        StorageError
            If they were moved or changed.
        """
        if self.recording is None:
            return self._original()
        first: Callable[[], FoundSource] = partial(self._own, self.recording)
        second: Callable[[], FoundSource] = self._original
        if not self.recording.get("complete", False):
            first, second = second, first
        try:
            return first()
        except StorageError:
            with suppress(StorageError):
                return second()
            raise

    def _own(self, recording: Mapping[str, Any]) -> FoundSource:
        return FoundSource(locate_recording(recording, self.folder), own=True)

    def _original(self) -> FoundSource:
        return FoundSource(locate_source(self.ours["source"], self.folder), own=False)


def create_session(
    root: Path,
    config: SessionConfig,
    engine: EngineConfig,
    info: MovieInfo,
    started: datetime,
    device: str | None = None,
    loops: int = 1,
    estimates: Mapping[str, Any] | None = None,
    cameras: Sequence[str] = (),
) -> SessionFolder:
    """Make the folder of a new session with its metaData.json, and return it.

    Parameters
    ----------
    root : Path
        Folder of all sessions; made if it does not exist.
    config, engine : SessionConfig, EngineConfig
        What the user gave, and what it was resolved to.
    info : MovieInfo
        The recording.
    started : datetime
        Start of the session, with time zone; the folder is named after its local time.
    device : str, optional
        Name of the device that is recorded into this folder; none when a recording is only replayed.
    loops : int
        How often the recording is to be played.
    estimates : mapping, optional
        Settings that were measured on the recording, by name: value, confidence, how many sites.
    cameras : sequence of str
        Names of the behaviour cameras that are recorded beside it.

    Raises
    ------
    StorageError
        If the subject's name cannot be a folder, or the folder cannot be written; nothing is left behind.
    """
    day = root / safe_name(config.subject) / f"{started:%Y_%m_%d}"
    made: list[Path] = []
    try:
        for part in (*reversed(day.parents), day):
            if not part.exists():
                part.mkdir(exist_ok=True)
                made.append(part)
        folder = _make_new(day, f"{started:%H_%M_%S}")
        made.append(folder)
        source = describe_source(info, folder, loops)
        metadata = _metadata(folder, config, engine, source, started, device)
        metadata["cameras"] = list(cameras)
        metadata["streamscope"]["estimates"] = dict(estimates or {})
        if device is not None:
            metadata["streamscope"]["recording"] = {"device": folder_name(device)}
        _write_json(folder / METADATA_NAME, metadata)
    except (OSError, StorageError) as error:
        _remove(made)
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"no session folder can be made under {root} ({reason}); "
            "give a folder that can be written with --out"
        ) from error
    return SessionFolder(folder, metadata)


def note_recording(session: SessionFolder, facts: Mapping[str, Any]) -> SessionFolder:
    """Add to what metaData.json says of the session's recording, and return the session.

    Raises
    ------
    StorageError
        If it cannot be written; the file stays as it was.
    """
    recording = {**(session.recording or {}), **facts}
    metadata = {**session.metadata, "streamscope": {**session.ours, "recording": recording}}
    _write_json(session.folder / METADATA_NAME, metadata)
    return SessionFolder(session.folder, metadata)


def note_cameras(session: SessionFolder, facts: Mapping[str, Any]) -> SessionFolder:
    """Note in metaData.json what each behaviour camera recorded, by its name, and return the session.

    Raises
    ------
    StorageError
        If it cannot be written; the file stays as it was.
    """
    metadata = {**session.metadata, "streamscope": {**session.ours, "cameras": dict(facts)}}
    _write_json(session.folder / METADATA_NAME, metadata)
    return SessionFolder(session.folder, metadata)


def open_session(path: Path) -> SessionFolder:
    """Return the session in a folder.

    Raises
    ------
    StorageError
        If it is not a session folder.
    """
    wanted = "expected a session folder such as StreamScope/mouse1/2026_05_01/14_30_05"
    if not path.is_dir():
        raise StorageError(f"there is no folder {path}; {wanted}")
    try:
        metadata = json.loads((path / METADATA_NAME).read_text(encoding="utf-8"))
        if not metadata["streamscope"].keys() >= _OURS:
            raise KeyError("streamscope")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path} is not a StreamScope session: it has no {METADATA_NAME} that StreamScope wrote; {wanted}"
        ) from error
    return SessionFolder(path, metadata)


def safe_name(name: str) -> str:
    """Return a subject's name as a folder name that every system accepts.

    Letters and digits of any script, ``-``, ``_`` and ``.`` stay; anything else becomes ``_``.

    Raises
    ------
    StorageError
        If nothing is left of it, or Windows keeps the name for a device.
    """
    kept = "".join(
        c if c.isalnum() or c in "-_." else "_" for c in unicodedata.normalize("NFC", name.strip())
    )
    safe = kept.strip(".")
    if not safe.strip("_") or safe.split(".")[0].upper() in _RESERVED:
        raise StorageError(
            f"subject {name!r} cannot be the name of a folder; use letters and digits, e.g. mouse1"
        )
    return safe


def folder_name(device: str) -> str:
    """Return the name of a device's folder, as Miniscope software would write it where that is possible."""
    try:
        return safe_name(device.replace(" ", "_"))
    except StorageError:
        return "Miniscope"


def _make_new(day: Path, name: str) -> Path:
    """Make <day>/<name>, or with a suffix when a session began in the same second."""
    number = 1
    while True:
        folder = day / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _metadata(
    folder: Path,
    config: SessionConfig,
    engine: EngineConfig,
    source: Mapping[str, Any],
    started: datetime,
    device: str | None,
) -> dict[str, Any]:
    return {
        "researcherName": config.researcher,
        "experimentName": config.study,
        "animalName": config.subject,
        "baseDirectory": folder.resolve().as_posix(),
        "recordingStartTime": {
            "year": started.year,
            "month": started.month,
            "day": started.day,
            "hour": started.hour,
            "minute": started.minute,
            "second": started.second,
            "msec": started.microsecond // 1000,
            "msecSinceEpoch": int(started.timestamp() * 1000),
        },
        "miniscopes": [] if device is None else [device],
        "cameras": [],
        "streamscope": {
            "version": __version__,
            "config": config.model_dump(mode="json"),
            "engine": engine.model_dump(mode="json"),
            "source": dict(source),
        },
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(
            json.dumps(values, indent=4, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
        )


def _remove(made: Sequence[Path]) -> None:
    for folder in reversed(made):
        with suppress(OSError):  # not empty: somebody else began a session there meanwhile
            (folder / METADATA_NAME).unlink(missing_ok=True)
            folder.rmdir()
