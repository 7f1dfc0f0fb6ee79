"""How a session names the recording that it was made from: relative path, size and a cheap hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from streamscope.errors import StorageError
from streamscope.types import MovieInfo

_SAMPLE = 1 << 18  # bytes read at the start, the middle and the end of a file


def describe_source(info: MovieInfo, folder: Path, loops: int = 1) -> dict[str, Any]:
    """Return the record of a recording, as it is kept in metaData.json of the session in `folder`."""
    place, inside = split_spec(info.source)
    return {
        "spec": info.source if place is None else place.name + inside,
        "path": None if place is None else relative_to(place, folder),
        "inside": inside,
        "files": describe_files(info.files, folder),
        "device": info.device,
        "shape": list(info.shape),
        "bits": info.bits,
        "n_frames": info.n_frames,
        "loops": loops,
        "fps": info.fps,
        "um_per_px": info.um_per_px,
        "warnings": list(info.warnings),
        "live": info.live,
    }


def locate_source(source: Mapping[str, Any], folder: Path) -> str:
    """Return the text that opens the recording again.

    Raises
    ------
    StorageError
        If a file is missing or is not the one that the session was made from.
    """
    if source.get("live"):
        raise StorageError(
            f"the frames of this session came from the device {source['spec']} and cannot be read again; only its "
            "own recording has them"
        )
    if source["path"] is None:
        return str(source["spec"])
    for record in source["files"]:
        _check_file(record, folder)
    return str(_absolute(source["path"], folder)) + str(source["inside"])


def locate_recording(recording: Mapping[str, Any], folder: Path) -> str:
    """Return the device's folder of a session's own recording.

    Raises
    ------
    StorageError
        If a file is missing or was changed; in a session that was killed only that there is one is checked.
    """
    place = folder / recording["device"]
    if not (place / "0.avi").is_file():
        raise StorageError(f"the recording of this session is not in {place}; put its files back")
    for record in recording.get("files", ()):
        _check_file(record, folder)
    return str(place)


def describe_files(files: Iterable[Path], folder: Path) -> list[dict[str, Any]]:
    """Return path, size and hash of each file, by which it is known again."""
    return [
        {"path": relative_to(f, folder), "size": f.stat().st_size, "hash": sampled_hash(f)} for f in files
    ]


def split_spec(spec: str) -> tuple[Path | None, str]:
    """Split ``file.h5:/dataset`` into the file and the rest; no file for ``synthetic:NAME``."""
    if Path(spec).exists():
        return Path(spec), ""
    head, colon, tail = spec.rpartition(":/")
    if colon and Path(head).exists():
        return Path(head), colon + tail
    return None, ""


def relative_to(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder`, or absolute where there is no way (another drive on Windows)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def sampled_hash(path: Path) -> str:
    """Return a hash of a file's size, start, middle and end: cheap, and tells recordings apart."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        for start in (0, max(0, size // 2 - _SAMPLE // 2), max(0, size - _SAMPLE)):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return "blake2b-sampled:" + digest.hexdigest()


def _check_file(record: Mapping[str, Any], folder: Path) -> None:
    path = _absolute(record["path"], folder)
    if not path.is_file():
        raise StorageError(
            f"the recording of this session is not at {path}; "
            "put it back, or move the session folder together with it"
        )
    if path.stat().st_size != record["size"] or sampled_hash(path) != record["hash"]:
        raise StorageError(
            f"{path} is not the file that this session was made from (expected {record['size']} bytes "
            f"and hash {record['hash']}); put the original back"
        )


def _absolute(path: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder.resolve() / path))
