"""Movies in TIFF files: one file of many pages (ImageJ, OME, BigTIFF), or a folder of files in numerical order."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from streamscope.errors import SourceError
from streamscope.types import ImageArray, MovieInfo
from streamscope_drivers.recording import Recording, Timing, require_gray
from streamscope_drivers.stamps import Stamps
from streamscope_drivers.timebase import TimeBase, nominal, time_base

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said in one sentence
DAMAGED = (
    *(tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError),
    *(struct.error, zlib.error),
)
COLOURS = 4  # an axis of channels up to this length is one of colours; ImageJ calls long stacks so, too
UM = {"µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "\\u00b5m": 1.0}
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "min": 60.0}
KNOWN_AGAIN_BY = 100  # files of a folder at most, by whose size and hash it is known again
OME = "{*}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file says of its frames."""

    fps: float | None = None
    um_per_px: float | None = None
    times_s: tuple[float, ...] = ()  # of each frame, where they are written


class TiffStack:
    """One open TIFF file whose pages are frames.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    SourceError
        If it is no TIFF file, or its pages are no gray pictures of one size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._tif = tifffile.TiffFile(path)
        except DAMAGED as error:
            raise SourceError(
                f"a TIFF file was expected, but {path} could not be read ({error}); was it copied completely?"
            ) from error
        try:
            self._open()
        except DAMAGED as error:
            self.close()
            raise SourceError(
                f"the pages of {path} could not be found ({error}); was it copied completely?"
            ) from error
        except SourceError:
            self.close()
            raise

    def _open(self) -> None:
        series = max(self._tif.series, key=len)
        self._series: Any = series
        self.written = 1 if len(series.shape) == 2 else int(series.shape[0])
        axes, page = series.axes, series.keyframe
        self.shape = (int(page.shape[0]), int(page.shape[1]))
        self.dtype = series.dtype.newbyteorder("=")
        self._require_frames(axes, series.shape, page)
        require_gray(str(self.path), self.dtype)
        self._offset = None if series.is_multifile else series.dataoffset
        if self._tif.is_imagej and self.written == 1 and page.is_contiguous:  # one page, frames behind it
            self.written = int((self._tif.imagej_metadata or {}).get("images", 1))
            self._offset = page.dataoffsets[0]
        self._frame_bytes = self.dtype.itemsize * self.shape[0] * self.shape[1]
        self.n_frames = self.written
        if self._offset is not None:
            here = (self.path.stat().st_size - self._offset) // self._frame_bytes
            self.n_frames = max(0, min(self.written, here))

    def _require_frames(self, axes: str, shape: tuple[int, ...], page: Any) -> None:
        what = f"{self.path} has axes {axes} of {'x'.join(map(str, shape))}"
        if "S" in axes or (axes[:1] == "C" and len(axes) == 3 and shape[0] <= COLOURS):
            raise SourceError(f"{what}, which is in colour; save one channel of it, in gray")
        if len(axes) not in (2, 3) or axes[-2:] != "YX":
            raise SourceError(
                f"{what}, but a movie has frames, rows and columns; save one channel and one plane of it"
            )
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise SourceError(f"{self.path} is stored as a negative; save it with black as 0")

    def frame(self, n: int) -> ImageArray:
        """Return frame `n`, (H, W).

        Raises
        ------
        SourceError
            If it cannot be read, or its codec needs another package.
        """
        try:
            return self._raw(n) if self._offset is not None else self._decoded(n)
        except DAMAGED as error:
            hint = "is the file damaged, or its disk gone?"
            if "imagecodecs" in str(error):
                hint = "pip install imagecodecs, or save it uncompressed"
            raise SourceError(f"frame {n} of {self.path} could not be read ({error}); {hint}") from error

    def _raw(self, n: int) -> ImageArray:
        file = self._tif.filehandle
        file.seek((self._offset or 0) + n * self._frame_bytes)
        data = file.read(self._frame_bytes)
        if len(data) < self._frame_bytes:
            raise OSError("it ends there")
        stored = np.frombuffer(data, self.dtype.newbyteorder(self._tif.byteorder))
        return np.asarray(stored.reshape(self.shape), self.dtype)

    def _decoded(self, n: int) -> ImageArray:
        page = self._series[n]
        if page is None:
            raise OSError("it is in a file that is not there")
        image = np.asarray(page.asarray(), self.dtype)
        if image.shape != self.shape:
            raise OSError(f"it is {image.shape}, the first is {self.shape}")
        return image

    def facts(self) -> Facts:
        """Return what the file says of pixel size and time."""
        if self._tif.is_ome:
            return _of_ome(self._tif.ome_metadata or "")
        if self._tif.is_imagej:
            return _of_imagej(self._tif.imagej_metadata or {}, self._series.keyframe.tags)
        return Facts()

    def close(self) -> None:
        """Release the file."""
        self._tif.close()


class TiffMovie(Recording):
    """A movie in TIFF files that follow each other; one of them is open at a time.

    Parameters
    ----------
    info : MovieInfo
        Facts of the movie.
    timing : Timing
        One value per frame.
    paths, counts : lists
        The files in order, and the number of frames in each.
    dtype : dtype
        Of the frames.
    """

    def __init__(
        self, info: MovieInfo, timing: Timing, paths: list[Path], counts: list[int], dtype: Any
    ) -> None:
        super().__init__(info, timing, dtype)
        self._paths = paths
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._open: TiffStack | None = None

    def _read(self, start: int, stop: int) -> ImageArray:
        out = np.empty((stop - start, *self.info.shape), self.dtype)
        for n in range(start, stop):
            number = int(np.searchsorted(self._starts, n, side="right")) - 1
            stack = self._stack(number)
            if stack.shape != self.info.shape or stack.dtype != out.dtype:
                raise SourceError(
                    f"{stack.path} is {stack.shape} of {stack.dtype}, but the movie began with {self.info.shape} of "
                    f"{out.dtype}; are these the files of one recording?"
                )
            out[n - start] = stack.frame(n - int(self._starts[number]))
        return out

    def _stack(self, number: int) -> TiffStack:
        if self._open is None or self._open.path != self._paths[number]:
            self.close()
            self._open = TiffStack(self._paths[number])
        return self._open

    def close(self) -> None:
        """Release the open file; reading opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None


def open_tiff(path: Path, fps: float | None = None, um_per_px: float | None = None) -> TiffMovie:
    """Return the movie in one TIFF file of many pages.

    Parameters
    ----------
    path : Path
        TIFF or BigTIFF; ImageJ's and OME's metadata are used.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If it cannot be read, or is no gray movie.
    """
    stack = TiffStack(path)
    facts = stack.facts()
    said = []
    if stack.n_frames < stack.written:
        said.append(
            f"{path.name} was cut off: {stack.n_frames} of its {stack.written} frames are there and are used"
        )
    stack.close()
    return _movie(path, [path], [stack], fps, um_per_px, facts, said)


def open_tiff_folder(
    path: Path, files: list[Path], fps: float | None = None, um_per_px: float | None = None
) -> TiffMovie:
    """Return the movie in the TIFF files of a folder, of one page each or of many, in the order of their numbers.

    Raises
    ------
    SourceError
        If the files are not those of one movie.
    """
    paths = sorted(files, key=_split)
    numbers = _numbers(path, paths)
    first, last = TiffStack(paths[0]), TiffStack(paths[-1])
    facts = first.facts()
    single = first.written == 1 and last.written == 1
    stacks = [first] * (len(paths) - 1) + [last] if single else [TiffStack(p) for p in paths]
    for stack in {id(s): s for s in (first, last, *stacks)}.values():
        stack.close()
    for stack in stacks:
        if stack.n_frames < stack.written and stack is not stacks[-1]:
            raise SourceError(
                f"{stack.path} was cut off: {stack.n_frames} of its {stack.written} frames are there, and others "
                "follow; copy it again"
            )
    return _movie(path, paths, stacks, fps, um_per_px, facts, [], _gaps(numbers, path, single))


def _split(path: Path) -> tuple[str, int]:
    """Return the name of a file without the number at its end, and the number; -1 without one."""
    stem = re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)
    match = re.fullmatch(r"(.*?)[-_ .]*(\d*)", stem)
    assert match is not None
    return match[1], int(match[2]) if match[2] else -1


def _numbers(folder: Path, paths: list[Path]) -> list[int]:
    names, numbers = zip(*map(_split, paths), strict=True)
    if len(set(names)) > 1:
        a, b = sorted(set(names))[:2]
        raise SourceError(
            f"the TIFF files of one movie were expected in {folder}, but some are called {a!r} and others {b!r}; "
            "put each movie into a folder of its own, or name one file"
        )
    return list(numbers)


def _gaps(numbers: list[int], folder: Path, single: bool) -> np.ndarray:
    """Return how many files are missing before each; a missing file of many pages is refused."""
    steps = np.diff(numbers)
    gaps = np.zeros(len(numbers), np.int32)
    if len(steps) == 0:
        return gaps
    gaps[1:] = np.maximum(steps // max(int(np.median(steps)), 1) - 1, 0)
    if numbers[0] == -1:
        gaps[1] = 0  # x.tif, x-001.tif ... or x.tif, x_2.tif ...
    if not single and gaps.any():
        k = int(np.argmax(gaps > 0))
        raise SourceError(
            f"the files in {folder} go from number {numbers[k - 1]} to {numbers[k]}, so that frames between them are "
            "missing; put them back, or move the later files away"
        )
    return gaps


def _movie(
    path: Path,
    paths: list[Path],
    stacks: list[TiffStack],
    fps: float | None,
    um_per_px: float | None,
    facts: Facts,
    said: list[str],
    gaps: np.ndarray | None = None,
) -> TiffMovie:
    first, counts = stacks[0], [s.n_frames for s in stacks]
    for stack in stacks:
        if stack.shape != first.shape or stack.dtype != first.dtype:
            raise SourceError(
                f"{stack.path} is {stack.shape} of {stack.dtype}, but {first.path.name} is {first.shape} of "
                f"{first.dtype}; are these the files of one recording?"
            )
    clock = _clock(path, sum(counts), facts, fps)
    timing = clock.timing
    if gaps is not None and gaps.any():
        timing = _with_gaps(gaps, clock)
        said = [
            *said,
            f"the numbers of the files say that {int(gaps.sum())} frames are missing, first before frame "
            f"{int(np.argmax(gaps > 0))}",
        ]
    info = MovieInfo(
        source=str(path),
        files=tuple(paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, KNOWN_AGAIN_BY).astype(int))),
        shape=first.shape,
        n_frames=clock.n_frames,
        fps=clock.fps,
        um_per_px=um_per_px or facts.um_per_px,
        warnings=(*said, *clock.warnings),
    )
    return TiffMovie(info, timing, paths, counts, first.dtype)


def _clock(path: Path, n_frames: int, facts: Facts, fps: float | None) -> TimeBase:
    if facts.times_s and len(facts.times_s) == n_frames:
        stamps = Stamps(path.name, np.array(facts.times_s) * 1000, None, None, None, ())
        return time_base(stamps, [n_frames], facts.fps, fps)
    return nominal(n_frames, fps or facts.fps)


def _with_gaps(gaps: np.ndarray, clock: TimeBase) -> Timing:
    at = np.arange(len(gaps)) + np.cumsum(gaps)
    return Timing(at / clock.fps if clock.fps else clock.timing.times_s, gaps)


def _of_imagej(metadata: Mapping[str, Any], tags: Any) -> Facts:
    fps = metadata.get("fps")
    if fps is None and metadata.get("finterval"):
        unit = SECONDS.get(str(metadata.get("tunit", "s")).lower())
        fps = None if unit is None else 1 / (float(metadata["finterval"]) * unit)
    um = UM.get(str(metadata.get("unit", "")).strip().lower())
    sizes = [um and _per_unit(tags, name, um) for name in ("XResolution", "YResolution")]
    return Facts(_positive(fps), _one_size(*sizes))


def _per_unit(tags: Any, name: str, um: float) -> float | None:
    tag = tags.get(name)
    if tag is None or 0 in tag.value:
        return None
    return float(um * tag.value[1] / tag.value[0])


def _of_ome(text: str) -> Facts:
    """Return the facts in an OME-XML text, of its first image."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return Facts()
    pixels = root.find(f".//{OME}Pixels")
    if pixels is None:
        return Facts()
    step = _quantity(pixels, "TimeIncrement", "TimeIncrementUnit", SECONDS, "s")
    sizes = [_quantity(pixels, f"PhysicalSize{a}", f"PhysicalSize{a}Unit", UM, "µm") for a in "XY"]
    planes = sorted(pixels.findall(f"{OME}Plane"), key=lambda p: int(p.get("TheT", 0)))
    times = [_quantity(p, "DeltaT", "DeltaTUnit", SECONDS, "s", at_least=-np.inf) for p in planes]
    known = tuple(t for t in times if t is not None)
    return Facts(step and 1 / step, _one_size(*sizes), known if len(known) == len(times) else ())


def _quantity(
    element: Any, name: str, unit: str, units: Mapping[str, float], usual: str, at_least: float = 1e-12
) -> float | None:
    factor = units.get(element.get(unit, usual).strip())
    try:
        value = float(element.get(name, "nan"))
    except ValueError:
        return None
    return value * factor if factor is not None and value >= at_least else None


def _one_size(x: float | None, y: float | None) -> float | None:
    """Return the size of square pixels."""
    if not x or (y and abs(x / y - 1) > 0.01):
        return None
    return x


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None
