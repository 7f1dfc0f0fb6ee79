"""Movies in NWB files: OnePhotonSeries, with their frames in the file or in videos beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ImageArray, Movie, MovieInfo
from streamscope_drivers.arrays import CHUNK_CACHE_BYTES, require_movie
from streamscope_drivers.hdf5 import follow, open_file, require_stored
from streamscope_drivers.recording import Recording, Timing
from streamscope_drivers.stamps import Stamps
from streamscope_drivers.timebase import TimeBase, nominal, time_base
from streamscope_drivers.video import VideoMovie, probe_all

TAKEN = "OnePhotonSeries"  # by itself; the others when they are named
SERIES = (TAKEN, "TwoPhotonSeries", "ImageSeries")
UM = {"meters": 1e6, "m": 1e6, "millimeters": 1e3, "mm": 1e3, "micrometers": 1.0, "microns": 1.0, "um": 1.0}


class NwbMovie(Recording):
    """A movie whose frames are in an NWB file.

    Parameters
    ----------
    info : MovieInfo
        Facts of the movie.
    timing : Timing
        One value per frame.
    data : h5py.Dataset
        (T, W, H), or (T, H, W) if not `turned`.
    turned : bool
        Whether columns come before rows, as NWB defines it.
    """

    def __init__(self, info: MovieInfo, timing: Timing, data: h5py.Dataset, turned: bool) -> None:
        super().__init__(info, timing, data.dtype.newbyteorder("="))
        self._data: Any = data
        self._turned = turned

    def _read(self, start: int, stop: int) -> ImageArray:
        try:
            stored: ImageArray = np.asarray(self._data[start:stop], self.dtype)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"frames {start}..{stop} of {self.info.source} could not be read ({error}); is the file "
                "damaged, or its disk gone?"
            ) from error
        return np.ascontiguousarray(stored.transpose(0, 2, 1)) if self._turned else stored

    def close(self) -> None:
        """Release the file."""
        if self._data:
            self._data.file.close()


def holds_series(path: Path, name: str | None) -> bool:
    """Return whether a file is NWB, and `name` one of its series, the data of one, or None."""
    try:
        with h5py.File(path, "r") as file:
            if "nwb_version" not in file.attrs:
                return False
            return name is None or _kind(follow(file, _series_of(name), soft=True)) in SERIES
    except OSError:
        return False


def open_nwb(
    path: Path, name: str | None = None, fps: float | None = None, um_per_px: float | None = None
) -> Movie:
    """Return the movie in an image series of an NWB file.

    Parameters
    ----------
    path : Path
        The file, in HDF5.
    name : str or None
        Of the series, e.g. `/acquisition/OnePhotonSeries`; not needed where there is one OnePhotonSeries. The name of
        its data, `.../data`, means that they are stored as (frame, row, column), which NWB does not define.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If there is no such series, or it is no gray movie, or its external files cannot be used.
    """
    file = open_file(path, CHUNK_CACHE_BYTES)
    try:
        series = _find(file, path, name)
        movie = _of_series(series, path, name is not None and name.endswith("/data"), fps, um_per_px)
    except BaseException:
        file.close()
        raise
    if not isinstance(movie, NwbMovie):
        file.close()
    return movie


def _of_series(
    series: h5py.Group, path: Path, as_stored: bool, fps: float | None, um_per_px: float | None
) -> Movie:
    size, rate = _plane(series)
    source = f"{path}:{series.name}" + ("/data" if as_stored else "")
    _require_inside(series)
    if "external_file" in series:
        return _external(series, path, source, rate, fps, um_per_px or size)
    if "data" not in series:
        raise SourceError(f"{source} holds neither data nor external files; choose another series")
    data = series["data"]
    require_movie(source, data.shape, data.dtype)
    turned, said = (False, []) if as_stored else _order(series, data.shape)
    clock = _clock(series, source, [data.shape[0]], rate, fps)
    info = MovieInfo(
        source=source,
        files=(path,),
        shape=(data.shape[2], data.shape[1]) if turned else (data.shape[1], data.shape[2]),
        n_frames=clock.n_frames,
        fps=clock.fps,
        um_per_px=um_per_px or size,
        warnings=(*said, *clock.warnings),
    )
    return NwbMovie(info, clock.timing, data, turned)


def _external(
    series: h5py.Group,
    path: Path,
    source: str,
    rate: float | None,
    fps: float | None,
    um_per_px: float | None,
) -> VideoMovie:
    """Return the movie in the video files that a series names, relative to the NWB file."""
    files = [path.parent / _text(name) for name in series["external_file"][:]]
    for file in files:
        if not file.is_file():
            raise SourceError(
                f"{source} has its frames in {file}, but there is no such file; put the videos where the NWB file "
                "expects them"
            )
    clips = probe_all(files)
    counts = [clip.n_frames for clip in clips]
    clock = _clock(series, source, counts, rate, fps)
    said = _starts(series, source, counts)
    info = MovieInfo(
        source=source,
        files=(path, *(clip.path for clip in clips)),
        shape=clips[0].shape if clips else (0, 0),
        n_frames=clock.n_frames,
        fps=clock.fps,
        um_per_px=um_per_px,
        warnings=(*said, *clock.warnings),
    )
    return VideoMovie(info, clock.timing, clips)


def _starts(series: h5py.Group, source: str, counts: Sequence[int]) -> list[str]:
    said = np.asarray(series["external_file"].attrs.get("starting_frame", ()), int).reshape(-1)
    found = np.cumsum([0, *counts[:-1]])
    if len(said) == 0 or np.array_equal(said, found):
        return []
    return [
        f"{source} says that its files begin at frames {', '.join(map(str, said[:5]))}, but they begin at "
        f"{', '.join(map(str, found[:5]))}: the latter is used"
    ]


def _find(file: h5py.File, path: Path, name: str | None) -> h5py.Group:
    if name is not None:
        return follow(file, _series_of(name), soft=True)
    found: list[str] = []

    def visit(where: str, item: Any) -> None:
        if _kind(item) in SERIES:
            found.append("/" + where)

    file.visititems(visit)
    taken = [n for n in found if _kind(file[n]) == TAKEN]
    if len(taken) == 1:
        return file[taken[0]]
    there = f"it holds {', '.join(found)}" if found else "it holds no series of images"
    example = f"; write e.g. {path}:{(taken or found)[0]}" if found else "; choose another file"
    raise SourceError(f"one {TAKEN} was expected in {path}, but {there}{example}")


def _require_inside(group: h5py.Group) -> None:
    """Raise SourceError if anything in a group is not in the file, whole."""
    for part in group:
        item = follow(group, part, soft=True)
        if isinstance(item, h5py.Dataset):
            require_stored(f"{group.file.filename}:{item.name}", item)


def _series_of(name: str) -> str:
    return name.removesuffix("/data")


def _kind(item: Any) -> str:
    return _text(item.attrs.get("neurodata_type", "")) if isinstance(item, h5py.Group) else ""


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _order(series: h5py.Group, shape: tuple[int, ...]) -> tuple[bool, list[str]]:
    """Return whether columns come before rows in the data, and what is doubtful about it."""
    dimension = tuple(series["dimension"][:2]) if "dimension" in series else ()  # x, y
    if len(dimension) == 2 and dimension[0] != dimension[1]:
        if shape[1:] == dimension:
            return True, []
        if shape[1:] == dimension[::-1]:
            return False, []
    return True, [
        f"{series.name} does not tell rows from columns: its axes are taken as (frame, x, y), as NWB defines them; "
        f"if the picture is turned, name {series.name}/data"
    ]


def _plane(series: h5py.Group) -> tuple[float | None, float | None]:
    """Return the pixel size, um, and the frame rate, Hz, of the imaging plane, where they are known."""
    plane = follow(series, "imaging_plane", soft=True)
    if not isinstance(plane, h5py.Group):
        return None, None
    _require_inside(plane)
    rate = float(plane["imaging_rate"][()]) if "imaging_rate" in plane else 0.0
    if "grid_spacing" not in plane:
        return None, rate if rate > 0 else None
    unit = UM.get(_text(plane["grid_spacing"].attrs.get("unit", "meters")).lower())
    x, y = np.asarray(plane["grid_spacing"][:2], float)
    square = unit is not None and x > 0 and abs(x / y - 1) <= 0.01
    return float(x * (unit or 0)) if square else None, rate if rate > 0 else None


def _clock(
    series: h5py.Group, source: str, counts: Sequence[int], rate: float | None, fps: float | None
) -> TimeBase:
    if "timestamps" in series:
        times_ms = np.asarray(series["timestamps"][:], float) * 1000
        if not np.isfinite(times_ms).all():
            raise SourceError(f"{source} has time stamps that are no numbers; repair them")
        return time_base(Stamps("timestamps", times_ms, None, None, None, ()), counts, rate, fps)
    if "starting_time" in series:
        rate = float(series["starting_time"].attrs.get("rate", 0)) or rate
    return nominal(sum(counts), fps or rate)
