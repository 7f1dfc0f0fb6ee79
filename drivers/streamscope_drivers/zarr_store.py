"""Movies in zarr stores: a folder with one array, or with a group of them, of version 2 or 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ImageArray, MovieInfo
from streamscope_drivers.arrays import number_in, require_movie
from streamscope_drivers.recording import Recording, regular, require_chunk

MARKS = (".zarray", ".zgroup", "zarr.json")
KEPT_BYTES = 256 << 20  # of unpacked chunks: one row of them along time, so that each is unpacked once
FRAME_AXES = ("frame", "frames", "time", "t")


class ZarrMovie(Recording):
    """A movie that is sliced out of a zarr array.

    Parameters
    ----------
    info : MovieInfo
        Facts of the movie.
    array : zarr.Array
        (T, H, W).
    """

    def __init__(self, info: MovieInfo, array: Any) -> None:
        super().__init__(info, regular(info.n_frames, info.fps), array.dtype.newbyteorder("="))
        self._array = array
        self._block = self._frames_at_once(array)
        self._kept: tuple[int, ImageArray] | None = None  # number of the block, frames

    @staticmethod
    def _frames_at_once(array: Any) -> int:
        frames = int(array.chunks[0])
        size = frames * array.dtype.itemsize * int(np.prod(array.shape[1:]))
        return frames if size <= KEPT_BYTES else 1

    def _read(self, start: int, stop: int) -> ImageArray:
        out = np.empty((stop - start, *self.info.shape), self.dtype)
        at = start
        while at < stop:
            number = at // self._block
            first = number * self._block
            end = min(stop, first + self._block)
            out[at - start : end - start] = self._frames(number)[at - first : end - first]
            at = end
        return out

    def _frames(self, number: int) -> ImageArray:
        if self._kept is None or self._kept[0] != number:
            start = number * self._block
            stop = min(start + self._block, self.info.n_frames)
            try:
                self._kept = number, np.asarray(self._array[start:stop])
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise SourceError(
                    f"frames {start}..{stop} of {self.info.source} could not be read ({error}); maybe a "
                    "chunk is damaged, or the disk gone: copy the store again"
                ) from error
        return self._kept[1]

    def close(self) -> None:
        """Let go of the frames that are kept; a store holds no file open."""
        self._kept = None


def is_store(folder: Path) -> bool:
    """Return whether a folder is a zarr store, or an array or group in one."""
    return any((folder / name).is_file() for name in MARKS)


def open_zarr(
    path: Path, name: str | None = None, fps: float | None = None, um_per_px: float | None = None
) -> ZarrMovie:
    """Return the movie in a zarr store.

    Parameters
    ----------
    path : Path
        Folder of the array, or of the group around it.
    name : str or None
        Of the array in the group; not needed where there is only one with three dimensions. Attributes `fps` and
        `um_per_px` (or `pixel_um`) of the array or the group are used.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If the package zarr is not installed, or there is no such array, or it is no gray movie.
    """
    try:
        import zarr
    except ImportError as error:
        raise SourceError(
            f"{path} is a zarr store, which needs a package that is not installed: pip install 'zarr>=3'"
        ) from error
    try:
        node = zarr.open(path, mode="r")
        array = _find(node, path, name)
        n_there, n_chunks = int(array.nchunks_initialized), int(array.nchunks)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SourceError(
            f"a zarr store was expected at {path}, but it could not be opened ({error}); was it copied completely?"
        ) from error
    source = str(path) if array is node else f"{path}:/{array.path}"
    require_movie(source, array.shape, array.dtype)
    require_chunk(source, int(np.prod(array.chunks, dtype=np.int64)) * array.dtype.itemsize)
    _require_order(source, array)
    attributes = (array.attrs.asdict(), node.attrs.asdict())
    said = []
    if n_there < n_chunks:
        said.append(
            f"{n_chunks - n_there} of {n_chunks} chunks of {source} are not there and read as {array.fill_value}: "
            "they were never written, or the copy is not complete"
        )
    info = MovieInfo(
        source=source,
        files=tuple(sorted(file for mark in MARKS if (file := path / array.path / mark).is_file())),
        shape=(array.shape[1], array.shape[2]),
        n_frames=array.shape[0],
        fps=fps or number_in(attributes, ("fps",)),
        um_per_px=um_per_px or number_in(attributes, ("um_per_px", "pixel_um")),
        warnings=tuple(said),
    )
    movie = ZarrMovie(info, array)
    if 2 * n_there < n_chunks:
        raise SourceError(
            f"{source} claims {n_chunks} chunks and {n_there} are there; was it copied completely?"
        )
    return movie


def _find(node: Any, path: Path, name: str | None) -> Any:
    if hasattr(node, "chunks"):  # an array
        if name is not None:
            raise SourceError(f"{path} is an array itself; leave out the colon and {name}")
        return node
    arrays = {n: a for n, a in node.members(max_depth=None) if hasattr(a, "chunks")}
    movies = sorted(n for n, a in arrays.items() if a.ndim == 3)
    if name is not None and name.strip("/") in arrays:
        return arrays[name.strip("/")]
    if name is None and len(movies) == 1:
        return arrays[movies[0]]
    there = "it holds " + ", ".join(movies) if movies else "it holds no array with three dimensions"
    if name is not None:
        raise SourceError(f"array {name} was expected in {path}, but {there}; check the name after the colon")
    example = f"{path}:/{movies[0]}" if movies else f"{path}:/movie"
    raise SourceError(f"the array of {path} must be named ({there}); write e.g. {example}")


def _require_order(source: str, array: Any) -> None:
    """Raise SourceError if the array says itself that its first axis is not time."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    names = [str(name).lower() for name in names or ()]
    if any(name in FRAME_AXES for name in names[1:]):
        raise SourceError(
            f"{source} has axes {', '.join(names)}, but a movie begins with its frames; save it as "
            "(frame, height, width)"
        )
