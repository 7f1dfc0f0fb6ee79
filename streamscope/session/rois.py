"""The regions of interest that a session is given: a grid, or masks from a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamscope.config import EngineConfig, Preparation
from streamscope.core.epoch import Epoch
from streamscope.errors import ConfigError
from streamscope.session.engine import Engine, Shape, WarmProgress
from streamscope.session.lanes import Learns
from streamscope.storage.foreign import require_modest
from streamscope.types import FloatArray, Footprints, FrameResult, ImageArray, IntArray

if TYPE_CHECKING:
    from streamscope.core.rois import FixedRois
    from streamscope.core.seed import Seed

MOST_ROIS = 1024
LEAST_TILE_PX = 4
_GRID = re.compile(r"grid:(\d+)(?:px)?", re.IGNORECASE)
_KINDS = (".npy", ".npz", ".tif", ".tiff", ".png")


def read_rois(text: str, shape: Shape, prepare: Preparation | None = None) -> Footprints:
    """Return the regions, uniform and of unit norm, of text such as grid:24px or the name of a file.

    Parameters
    ----------
    text : str
        A grid of square tiles, or a .npy, .npz, .tif or .png file: a label image (H, W), 0 where there is none,
        or a boolean stack (K, H, W).
    shape : tuple of int
        (H, W) of the frames that the engine sees.
    prepare : Preparation, optional
        What is done to frames: images in a file are of the whole field, tiles are in px of the source.

    Raises
    ------
    ConfigError
        If it is neither, does not fit the frames, or there are none or too many.
    """
    if text.lower().startswith("grid:"):
        found = _GRID.fullmatch(text.strip())
        side = int(found[1]) // (prepare.bin if prepare else 1) if found else 0
        if not LEAST_TILE_PX <= side <= min(shape):
            raise ConfigError(
                f"--rois is {text!r}, expected tiles of {LEAST_TILE_PX} to {min(shape)} px; give e.g. grid:24px"
            )
        groups = tiles(shape, side)
    else:
        top, left, field = (0, 0, shape) if prepare is None else prepare.place(shape)
        image = _read(Path(text))
        if image.shape[-2:] == field and image.ndim > 1:
            image = image[..., top : top + shape[0], left : left + shape[1]]
        groups = _masks(image, shape, text)
    if len(groups) > MOST_ROIS:
        raise ConfigError(
            f"--rois {text} has {len(groups)} regions, expected at most {MOST_ROIS}; give larger or fewer ones"
        )
    weights = [np.full(len(p), 1 / np.sqrt(len(p)), np.float32) for p in groups]
    return Footprints.from_columns(shape, list(zip(groups, weights, strict=True)))


def tiles(shape: Shape, side: int) -> list[IntArray]:
    """Return the pixels of the whole tiles of `side` px, row by row, the grid in the middle of the field."""
    height, width = shape
    n_rows, n_columns = height // side, width // side
    top, left = (height - n_rows * side) // 2, (width - n_columns * side) // 2
    square = np.add.outer(np.arange(side) * width, np.arange(side)).ravel()
    corners = [(top + i * side) * width + left + j * side for i in range(n_rows) for j in range(n_columns)]
    return [(corner + square).astype(np.int32) for corner in corners]


def roi_engine(rois: Footprints, config: EngineConfig) -> Engine:
    """Return the engine of a session with given regions; it begins with the first frame that comes."""
    from streamscope.core.infer import Infer  # takes a second, as in `real_engine`
    from streamscope.core.rois import FixedRois
    from streamscope.core.warmup import warm_up_infer, warm_up_rois

    learner = _InThisProcess(FixedRois.lag(config), partial(FixedRois, config, rois))

    def warm_up(progress: WarmProgress) -> None:
        warm_up_infer(progress, config.bits)
        warm_up_rois(config.bits)

    def the_learner(config: EngineConfig, shape: Shape, seed: Seed | None = None, threads: int = 1) -> Learns:
        return learner

    return Engine(Infer, the_learner, warm_up, lambda: None, first=learner.begin)


class _InThisProcess:
    """Given regions, as the learner thread wants what learns.

    Parameters
    ----------
    lag_frames : int
        As of `Learns`.
    make : callable
        Makes the regions of the first frame (H, W).
    """

    def __init__(self, lag_frames: int, make: Callable[[ImageArray], FixedRois]) -> None:
        self.lag_frames = lag_frames
        self._make = make
        self._rois: FixedRois | None = None
        self._room: FloatArray = np.zeros((0, 0, 0), np.float32)

    def begin(self, image: ImageArray) -> Epoch:
        """Return the epoch that is in force from the first frame on; called before any frame is learned from."""
        self._rois = self._make(image)
        return self._rois.first

    def room(self, n_frames: int, shape: Shape) -> FloatArray:
        self._room = np.zeros((n_frames, *shape), np.float32)
        return self._room

    def consume(self, frames: Sequence[tuple[int, FrameResult]]) -> list[Epoch | None]:
        return [self._begun.consume(self._room[place], result) for place, result in frames]

    def freeze(self) -> None:
        self._begun.freeze()

    def thaw(self) -> None:
        self._begun.thaw()

    @property
    def _begun(self) -> FixedRois:
        assert self._rois is not None  # frames, and then orders, come after the first
        return self._rois


def _read(path: Path) -> NDArray[np.generic]:
    """Return the array of a file, or say why there is none."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ConfigError(
            f"--rois {path} is not a file; give a label image or masks, or a grid such as grid:24px"
        )
    if suffix not in _KINDS:
        raise ConfigError(f"--rois {path} ends with {suffix!r}, expected one of {', '.join(_KINDS)}")
    reader: Callable[[Path], NDArray[np.generic]] = _read_numpy if suffix.startswith(".np") else _read_image
    try:
        return reader(path)
    except (OSError, ValueError, EOFError, KeyError, MemoryError) as error:
        raise ConfigError(
            f"--rois {path} cannot be read ({error}), expected a label image (H, W) or masks (K, H, W); "
            "save it again as .npy"
        ) from error


def _read_numpy(path: Path) -> NDArray[np.generic]:
    require_modest(path)
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            raise ValueError(f"it holds {len(loaded.files)} arrays instead of one")
        return np.asarray(loaded[loaded.files[0]])


def _read_image(path: Path) -> NDArray[np.generic]:
    import cv2

    encoded = np.frombuffer(path.read_bytes(), np.uint8)  # imread cannot open every name on every system
    try:
        fine, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        fine, pages = False, ()
    if not fine or not pages:
        raise ValueError("it is no image")
    return np.asarray(pages[0] if len(pages) == 1 else np.stack(pages))


def _masks(array: NDArray[np.generic], shape: Shape, text: str) -> list[IntArray]:
    """Return the pixels of each region of a label image (H, W) or of masks (K, H, W)."""
    if array.shape[-2:] != shape or array.ndim not in (2, 3):
        raise ConfigError(
            f"--rois {text} has shape {array.shape}, expected {shape} (labels) or (K, {shape[0]}, {shape[1]}) "
            "(masks), as the frames; was it made for this field?"
        )
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise ConfigError(
            f"--rois {text} holds {array.dtype}, expected whole numbers or booleans; convert it"
        )
    if array.ndim == 3:
        groups = [np.flatnonzero(mask).astype(np.int32) for mask in array]
        empty = [k for k, pixels in enumerate(groups) if not len(pixels)]
        if empty:
            raise ConfigError(f"--rois {text}: mask {empty[0]} of {len(groups)} is empty; leave it out")
    else:
        flat = array.ravel().astype(np.float64)
        if not np.array_equal(flat, np.round(flat)) or flat.min() < 0:
            raise ConfigError(
                f"--rois {text} has values that are no labels, expected whole numbers, 0 where there is no region; "
                "give a label image"
            )
        order = np.argsort(flat, kind="stable")
        cuts = np.flatnonzero(np.diff(flat[order])) + 1
        groups = [part.astype(np.int32) for part in np.split(order, cuts) if flat[part[0]] > 0]
    if not groups:
        raise ConfigError(f"--rois {text} is empty, expected at least one region; is it the right file?")
    return groups
