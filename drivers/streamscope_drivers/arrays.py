"""Movies that are one array on disk: a dataset of an HDF5 file, or a .npy file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ImageArray, MovieInfo
from streamscope_drivers.hdf5 import follow, open_file, require_stored
from streamscope_drivers.recording import Recording, regular, require_gray, require_size

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
NUMPY_SIGNATURE = b"\x93NUMPY"
CHUNK_CACHE_BYTES = 64 << 20  # holds a chunk of 20 frames of 608x608 several times: a chunk is unpacked once


class ArrayMovie(Recording):
    """A movie that is sliced out of an array which stays on disk.

    Parameters
    ----------
    info : MovieInfo
        Facts of the movie.
    array : h5py.Dataset or ndarray
        (T, H, W) uint8 or uint16, sliced on its first axis.
    file : h5py.File or None
        Closed with the movie.
    """

    def __init__(self, info: MovieInfo, array: Any, file: h5py.File | None = None) -> None:
        super().__init__(info, regular(info.n_frames, info.fps), array.dtype.newbyteorder("="))
        self._array = array
        self._file = file

    def _read(self, start: int, stop: int) -> ImageArray:
        try:
            return np.array(self._array[start:stop], dtype=self.dtype)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"frames {start}..{stop} of {self.info.source} could not be read ({error}); is the file "
                "damaged, or its disk gone?"
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._array = np.zeros((0, *self.info.shape), np.uint8)
        if self._file is not None:
            self._file.close()


def open_hdf5(
    path: Path, dataset: str | None, fps: float | None = None, um_per_px: float | None = None
) -> ArrayMovie:
    """Return the movie in one dataset of an HDF5 file.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str or None
        Name of the dataset, (T, H, W) uint8 or uint16. Attributes `fps` and `um_per_px` (or `pixel_um`) of the
        dataset or the file are used.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If the file cannot be opened, has no such dataset, or the dataset is no gray movie or lies elsewhere.
    """
    file = open_file(path, CHUNK_CACHE_BYTES)
    try:
        array = _find_dataset(file, path, dataset)
        source = f"{path}:{array.name}"
        require_movie(source, array.shape, array.dtype)
        require_stored(source, array)
        info = MovieInfo(
            source=source,
            files=(path,),
            shape=(array.shape[1], array.shape[2]),
            n_frames=array.shape[0],
            fps=fps or number_in((array.attrs, file.attrs), ("fps",)),
            um_per_px=um_per_px or number_in((array.attrs, file.attrs), ("um_per_px", "pixel_um")),
        )
        return ArrayMovie(info, array, file)
    except SourceError:
        file.close()
        raise


def open_npy(path: Path, fps: float | None = None, um_per_px: float | None = None) -> ArrayMovie:
    """Return the movie in a .npy file, (T, H, W) uint8 or uint16, mapped into memory and not loaded.

    Raises
    ------
    SourceError
        If the file is cut off or holds no gray movie.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"a .npy file with a (frames, height, width) array was expected, but {path} could not be read "
            f"({error}); was it copied completely?"
        ) from error
    require_movie(str(path), array.shape, array.dtype)
    info = MovieInfo(
        source=str(path),
        files=(path,),
        shape=(array.shape[1], array.shape[2]),
        n_frames=array.shape[0],
        fps=fps,
        um_per_px=um_per_px,
    )
    return ArrayMovie(info, array)


def _find_dataset(file: h5py.File, path: Path, name: str | None) -> h5py.Dataset:
    if name is not None and isinstance(found := follow(file, name), h5py.Dataset):
        return found
    names = _movie_names(file)
    there = "it holds " + ", ".join(names) if names else "it holds no dataset with three dimensions"
    if name is None:
        example = f"{path}:{names[0]}" if names else f"{path}:/movie"
        raise SourceError(f"the dataset of {path} must be named ({there}); write e.g. {example}")
    raise SourceError(f"dataset {name} was expected in {path}, but {there}; check the name after the colon")


def _movie_names(file: h5py.File) -> list[str]:
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 3:
            names.append("/" + name)

    file.visititems(visit)
    return names


def require_movie(source: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise SourceError if an array is no gray movie."""
    if len(shape) != 3 or 0 in shape[1:]:
        raise SourceError(
            f"{source} has shape {shape}, but a movie has three dimensions (frames, height, width); "
            "choose another dataset, or save it in this order"
        )
    require_size(source, shape[0], shape[1:])
    require_gray(source, dtype)


def number_in(attributes: tuple[Mapping[str, Any], ...], names: tuple[str, ...]) -> float | None:
    """Return the first positive number under one of some names, or None."""
    for attrs in attributes:
        for name in names:
            value = attrs.get(name)
            if isinstance(value, (int, float, np.integer, np.floating)) and value > 0:
                return float(value)
    return None
