"""Arrays on disk, read back in parts, so that memory stays bounded however long the session."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import StorageError

SCALE = 128  # stored counts per grey level: 8-bit frames keep 7 bits of what interpolation adds
THREADS = 2  # that work on chunks or components side by side; all of them without the GIL
_CHUNK_BYTES = 32_000_000

WordArray = NDArray[np.uint16]


class Scratch:
    """A temporary file that holds a matrix, one row per frame; gone when closed.

    Parameters
    ----------
    n_rows, n_columns : int
        Shape of the matrix.
    dtype : dtype
        Type of its values.
    folder : Path, optional
        Where the file lives; the system's temporary folder if not given.

    Raises
    ------
    StorageError
        If the file cannot be made there or the disk is full.
    """

    def __init__(self, n_rows: int, n_columns: int, dtype: Any, folder: Path | None = None) -> None:
        self.n_rows, self.n_columns, self._dtype = n_rows, n_columns, np.dtype(dtype)
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        except OSError as error:
            place = folder or tempfile.gettempdir()
            raise StorageError(f"cannot make a temporary file in {place}: {error.strerror}") from error
        self._lock = threading.Lock()

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Store rows (n, n_columns) from position `start` on."""
        with self._lock:
            self._file.seek(start * self.n_columns * self._dtype.itemsize)
            try:
                self._file.write(np.ascontiguousarray(rows, self._dtype).data)
            except OSError as error:
                needed = self.n_rows * self.n_columns * self._dtype.itemsize / 1e9
                raise StorageError(
                    f"the refit needs {needed:.1f} GB of temporary space in {tempfile.gettempdir()}: "
                    f"{error.strerror}; free some, or point TMPDIR (TEMP on Windows) to another disk"
                ) from error

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows start..stop, (n, n_columns)."""
        out = np.empty((stop - start, self.n_columns), self._dtype)
        with self._lock:
            self._file.seek(start * self.n_columns * self._dtype.itemsize)
            self._file.readinto(out.data)
        return out

    def columns(self, first: int, last: int, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Return columns first..last of all rows, or of the chosen ones, (n, last - first)."""
        chosen = np.arange(self.n_rows) if rows is None else rows
        out = np.empty((len(chosen), last - first), self._dtype)
        with self._lock:
            for i, row in enumerate(chosen):
                self._file.seek((int(row) * self.n_columns + first) * self._dtype.itemsize)
                self._file.readinto(out[i].data)
        return out

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FrameStore(Scratch):
    """Registered frames, 16 bit, `SCALE` counts per grey level, frame after frame.

    Parameters
    ----------
    shape : tuple of int
        (H, W), px.
    n_frames : int
        Most frames that it can hold; `cut` it to what was written.
    chunk_frames : int
        Most frames in memory at once.
    """

    def __init__(
        self, shape: tuple[int, int], n_frames: int, chunk_frames: int = 500, folder: Path | None = None
    ) -> None:
        super().__init__(n_frames, shape[0] * shape[1], np.uint16, folder)
        self.shape, self.n_frames = shape, n_frames
        self._n_chunk = max(1, min(chunk_frames, _CHUNK_BYTES // (2 * self.n_columns)))

    def spans(self) -> list[tuple[int, int]]:
        """Return the (start, stop) of each chunk."""
        n = self._n_chunk
        return [(t, min(t + n, self.n_frames)) for t in range(0, self.n_frames, n)]

    def cut(self, n_frames: int) -> None:
        """Hold the first `n_frames` frames only."""
        self.n_frames = self.n_rows = n_frames
