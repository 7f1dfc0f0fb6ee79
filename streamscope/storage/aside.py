"""Writing a file aside and renaming it: others see the old file or the whole new one, never a part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamscope.errors import StorageError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it to `path` at the end, remove it after an error.

    Raises
    ------
    StorageError
        If the folder cannot be written, or the file in place is held open by another program.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        with aside.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({_reason(error)}); "
            "check that its folder exists and has room, and that no other program holds the file open"
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    """Return the system's words; HDF5 has them in the middle of many lines."""
    inside = re.search(r"error message = '([^']+)'", str(error))
    return inside[1] if inside else " ".join((error.strerror or str(error)).split())
