"""Reading session.h5."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from streamscope.errors import StorageError
from streamscope.storage.foreign import require_self_contained
from streamscope.storage.layout import FORMAT, FORMAT_VERSION, get_footprints, get_kinetics, get_text
from streamscope.storage.live import (
    NO_FIELD,
    TRACE_FIELDS,
    EpochRecord,
    EventRecord,
    LiveComponents,
    LiveFrames,
    LiveTraces,
)
from streamscope.types import ComponentEvent, FloatArray, IdArray, Kinetics, RefitResult


class ResultReader:
    """A session.h5, open for reading.

    Raises
    ------
    StorageError
        If the file is missing, is not a session file, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise StorageError(
                f"{path} cannot be opened as an HDF5 file; expected the session.h5 of a session folder"
            ) from error
        try:
            require_self_contained(self._file, path)
            _check_format(self._file, path)
        except StorageError:
            self._file.close()
            raise
        self._live = self._file["live"]

    def __enter__(self) -> ResultReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    @property
    def n_frames(self) -> int:
        """Return the number of frames, T."""
        return int(self._live["time_s"].shape[0])

    @property
    def has_refit(self) -> bool:
        """Return whether the session was refitted."""
        return "refit" in self._file

    @property
    def provenance(self) -> dict[str, Any]:
        """Return versions, settings and source."""
        return {name: json.loads(value) for name, value in self._file["provenance"].attrs.items()}

    def components(self) -> LiveComponents:
        """Return every component that was ever published."""
        live = self._live
        return LiveComponents(
            ids=live["ids"][()],
            status=get_text(live, "status"),
            reasons=get_text(live, "reasons"),
            avail=live["avail"][()],
            last=live["last"][()],
            footprints=get_footprints(live),
        )

    def traces(self, ids: IdArray, start: int = 0, stop: int | None = None) -> LiveTraces:
        """Return the traces of `ids` in frames start..stop, (K, n) each."""
        stored = self._live["ids"][()]
        rows = np.searchsorted(stored, ids)
        if not np.array_equal(stored[np.minimum(rows, len(stored) - 1)] if len(stored) else stored, ids):
            raise StorageError(f"{self.path.name} does not hold all of the ids {ids.tolist()}")
        part = slice(start, self.n_frames if stop is None else stop)
        # One read from first to last row wanted, then a choice in memory: HDF5 is slow at picking rows.
        low, high = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
        return LiveTraces(*(self._live[name][low:high, part][rows - low] for name in TRACE_FIELDS))

    def frames(self) -> LiveFrames:
        """Return the table of frames, T rows."""
        names = [name for name in LiveFrames.__dataclass_fields__ if name != "field"]
        return LiveFrames(field=self._field(self._live), **{name: self._live[name][()] for name in names})

    def ids_seen(self) -> IdArray:
        """Return every id that a frame ever carried, rising, (K,)."""
        ids: IdArray = self._live["ids"][()]
        return ids

    def static_background(self) -> FloatArray | None:
        """Return the live b0 (H, W), gray levels; None if there was none, or in a file of the first programs."""
        return self._live["b0"][()] if "b0" in self._live else None

    def component_events(self) -> tuple[ComponentEvent, ...]:
        """Return the changes in the life of components, in order."""
        return tuple(ComponentEvent(**json.loads(line)) for line in get_text(self._live, "component_events"))

    def events(self) -> tuple[EventRecord, ...]:
        """Return the other events, in order."""
        return tuple(EventRecord(**json.loads(line)) for line in get_text(self._live, "events"))

    def epochs(self) -> tuple[EpochRecord, ...]:
        """Return the epochs, by number."""
        return tuple(EpochRecord(*row) for row in self._live["epochs"][()].tolist())

    def copy_live(self, target: h5py.File) -> None:
        """Copy the live part, as it is, into another file."""
        self._file.copy("live", target)

    def refit_verdicts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return status and reason of each refitted component, without reading the traces."""
        group = self._file["refit"]
        return get_text(group, "status"), get_text(group, "reasons")

    def refit_kinetics(self) -> Kinetics | None:
        """Return the time constants that the refit worked with, or None if the file does not say."""
        return get_kinetics(self._file["refit"])

    def refit(self) -> RefitResult:
        """Return what the refit found.

        Raises
        ------
        StorageError
            If the session was not refitted.
        """
        if not self.has_refit:
            raise StorageError(
                f"{self.path.parent} has no refit yet; make it with: streamscope refit {self.path.parent}"
            )
        group = self._file["refit"]
        names = ("C", "S", "C_raw", "sn", "g", "snr", "shifts", "quality")
        images = ("b0", "mean_image", "correlation_image")
        return RefitResult(
            footprints=get_footprints(group),
            ids=group["ids"][()],
            status=get_text(group, "status"),
            reasons=get_text(group, "reasons"),
            kinetics=get_kinetics(group),
            notes=json.loads(group.attrs["notes"]),
            field=self._field(group),
            flags=group["flags"][()] if "flags" in group else None,
            **{name: group[name][()] for name in (*names, *images)},
        )

    def _field(self, group: h5py.Group) -> FloatArray:
        """Return the fields, all 0 in a file of the first programs, which had none."""
        return group["field"][()] if "field" in group else np.zeros((self.n_frames, *NO_FIELD), np.float32)


def _check_format(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise StorageError(f"{path} is not a StreamScope session file; expected the session.h5 of a session")
    version = int(file.attrs["format_version"])
    if not 1 <= version <= FORMAT_VERSION:
        raise StorageError(
            f"{path} has format version {version}, this StreamScope reads up to {FORMAT_VERSION}; "
            "install a newer StreamScope"
        )
