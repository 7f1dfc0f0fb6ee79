"""Result files from elsewhere: nothing outside of the file is read, and nothing that only claims to be in it."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import h5py

from streamscope.errors import StorageError

MAX_UNPACKED_BYTES = 8 << 30  # of the arrays of a .npz file
_PACKED = 1100  # gzip packs no tighter
_SMALL_BYTES = 64 << 20  # may be claimed by any dataset


def require_self_contained(file: h5py.File, path: Path) -> None:
    """Raise StorageError if anything in an HDF5 file leads out of it, or claims more than it can hold.

    Parameters
    ----------
    file : h5py.File
        Open for reading; written by StreamScope, which makes neither links nor external or virtual datasets.
    path : Path
        Its name, for the message.
    """

    def fault(name: str, link: object) -> str | None:
        """Return what is wrong with one object; the first one ends the visit."""
        if not isinstance(link, h5py.HardLink):
            return f"has a link at {name}, expected none"
        item = file[name]
        return _fault(item) if isinstance(item, h5py.Dataset) else None

    found = file.visititems_links(fault)  # an error that is raised in there does not come out as itself
    if found is not None:
        raise StorageError(f"{path} {found}; it is not the file that was written")


def _fault(dataset: h5py.Dataset) -> str | None:
    if dataset.external or dataset.is_virtual:
        return f"takes {dataset.name} from other files, expected its own"
    claimed = math.prod(map(int, dataset.shape or ())) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    if claimed > max(_SMALL_BYTES, _PACKED * stored):
        return f"claims {claimed} bytes in {dataset.name} and holds {stored}"
    return None


def require_modest(path: Path) -> None:
    """Raise StorageError if the arrays of a .npz file would not fit into memory.

    Raises
    ------
    StorageError
        With the size. A file that is no .npz file is left to whoever reads it.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        claimed = sum(member.file_size for member in file.infolist())
    if claimed > MAX_UNPACKED_BYTES:
        raise StorageError(
            f"{path} unpacks to {claimed / 2**30:.0f} GiB, expected at most {MAX_UNPACKED_BYTES >> 30}; is it the "
            "right file?"
        )
