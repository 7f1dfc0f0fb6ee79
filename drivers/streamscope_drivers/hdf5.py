"""HDF5 files from elsewhere: what lies in the file itself is read, and nothing that only claims to be there.

HDF5 can follow a link into any other file, take the bytes of a dataset from any other file, and claim terabytes that
were never written. A movie that needs one of these is refused before a frame of it is read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py

from streamscope.errors import SourceError
from streamscope_drivers.recording import require_chunk

_MAX_HOPS = 8  # from one soft link to the next


def follow(start: h5py.Group, name: str, soft: bool = False) -> Any:
    """Return the object of that name without leaving the file, None if there is none.

    Parameters
    ----------
    start : h5py.Group
        Where the name begins; with a slash in front, at the root of the file.
    name : str
        Parts with slashes between them.
    soft : bool
        Whether soft links may be on the way. They stay in the file, unless they lead to an external link.

    Raises
    ------
    SourceError
        If the way leads out of the file, or over a link that is not allowed.
    """
    return _follow(start, name, _MAX_HOPS if soft else 0)


def _follow(start: h5py.Group, name: str, hops: int) -> Any:
    here: Any = start.file["/"] if name.startswith("/") else start
    for part in filter(None, name.split("/")):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.HardLink):
            here = here[part]
            continue
        if isinstance(link, h5py.ExternalLink):
            raise SourceError(
                f"{name} of {start.file.filename} is a link into another file ({link.filename!r:.80}), which is not "
                "followed; open that file itself"
            )
        if not hops:
            raise SourceError(
                f"{name} of {start.file.filename} is a soft link to {_target(link)!r:.80}, which is not followed; "
                "name what it leads to"
            )
        hops -= 1
        here = _follow(here, _target(link), hops)
    return here


def _target(link: Any) -> str:
    return str(getattr(link, "path", "something"))


def require_stored(source: str, dataset: h5py.Dataset) -> None:
    """Raise SourceError unless a dataset lies in its file, all of it, in chunks that fit into memory."""
    if dataset.external:
        raise SourceError(
            f"{source} takes its values from other files ({dataset.external[0][0]!r:.80}), which is not followed; "
            "copy it into one file, e.g. with h5repack"
        )
    if dataset.is_virtual:
        raise SourceError(
            f"{source} is put together from other datasets, which is not followed; "
            "copy it into one, e.g. with h5repack"
        )
    claimed = math.prod(map(int, dataset.shape)) * dataset.dtype.itemsize
    if dataset.chunks is None:
        stored = int(dataset.id.get_storage_size())
        if stored < claimed:
            raise SourceError(
                f"{source} claims {claimed} bytes and {stored} are in the file; was it written to its end?"
            )
        return
    require_chunk(source, math.prod(dataset.chunks) * dataset.dtype.itemsize)
    expected = math.prod(-(-int(n) // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    there = int(dataset.id.get_num_chunks())
    if there < expected:
        raise SourceError(
            f"{source} claims {expected} chunks and {there} are in the file; was it written to its end?"
        )


def open_file(path: Path, cache_bytes: int) -> h5py.File:
    """Return an HDF5 file that is open for reading, or raise SourceError."""
    try:
        return h5py.File(path, "r", rdcc_nbytes=cache_bytes)
    except OSError as error:
        raise SourceError(
            f"an HDF5 file was expected, but {path} could not be opened ({error}); was it copied completely?"
        ) from error
