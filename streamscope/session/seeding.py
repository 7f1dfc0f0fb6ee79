"""Reading the components that a session begins with, from an earlier session or an export."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.config import Preparation
from streamscope.core.seed import Seed
from streamscope.errors import ConfigError, StorageError
from streamscope.storage.foreign import require_modest
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.live import EventRecord, LiveRecord, seed_record
from streamscope.storage.result_reader import ResultReader
from streamscope.storage.session_folder import open_session
from streamscope.types import FloatArray, Footprints, IdArray

_SAME_PIXEL = 0.05  # part by which um per px may differ
_LIVES = ("confirmed", "accepted")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a session or file holds of a seed."""

    ids: IdArray
    footprints: Footprints
    image: FloatArray | None  # b0
    highest_id: int
    um_per_px: float | None

    def in_field(self, prepare: Preparation) -> _Found:
        """Return the same in the whole field of the source, the image held at its edges."""
        shape = self.footprints.shape
        top, left, field = prepare.place(shape)
        if field == shape:
            return self
        below, right = field[0] - top - shape[0], field[1] - left - shape[1]
        image = None if self.image is None else np.pad(self.image, ((top, below), (left, right)), "edge")
        return replace(self, footprints=self.footprints.placed(top, left, field), image=image)


def read_seed(
    path: Path, shape: tuple[int, int], um_per_px: float | None, prepare: Preparation | None = None
) -> Seed:
    """Return the components to begin with, or say why they do not fit this recording.

    Parameters
    ----------
    path : Path
        A session folder (its accepted components if it was refitted, its confirmed ones if not), a session.h5,
        or a .npz file of `streamscope export`.
    shape : tuple of int
        (H, W) of today's frames.
    um_per_px : float or None
        Pixel size of today's frames.
    prepare : Preparation, optional
        What is done to today's frames; a seed is placed in the whole field, and cut as they are.

    Raises
    ------
    ConfigError
        If frames or pixels are of another size.
    StorageError
        If it is none of these, or holds no components or no still image.
    """
    source, found = _read(path)
    top, left, field = (0, 0, shape) if prepare is None else prepare.place(shape)
    if found.footprints.shape != field:
        raise ConfigError(
            f"the seed {source} has frames of {found.footprints.shape}, this recording of {field}; "
            "give a seed that was recorded with the same resolution and --bin, or leave --seed out"
        )
    if found.um_per_px and um_per_px and abs(found.um_per_px / um_per_px - 1) > _SAME_PIXEL:
        raise ConfigError(
            f"the seed {source} has {found.um_per_px:g} um per px, this recording {um_per_px:g}: its cells would "
            "have another size here; give a seed of the same optics, correct --um-per-px, or leave --seed out"
        )
    if field != shape:
        found = replace(
            found,
            footprints=found.footprints.placed(-top, -left, shape),
            image=None if found.image is None else found.image[top : top + shape[0], left : left + shape[1]],
        )
    rows = [k for k in range(found.footprints.n) if len(found.footprints.column(k)[0])]
    if not rows:
        raise StorageError(f"the seed {source} holds no confirmed or accepted cells; name another session")
    if found.image is None:
        raise StorageError(
            f"the seed {source} holds no still image b0 to find its field by; name the session itself, "
            "or export it again with this StreamScope"
        )
    image = np.ascontiguousarray(found.image, np.float32)
    return Seed(source, image, found.ids[rows], found.footprints.select(rows), found.highest_id + 1)


def _read(path: Path) -> tuple[str, _Found]:
    if path.is_dir():
        folder = open_session(path)
        source = "/".join(folder.folder.resolve().parts[-3:])
        um_per_px = folder.engine.um_per_px
        if folder.result.is_file():
            with ResultReader(folder.result) as reader:
                found = _from_result(reader, um_per_px)
            if found.image is not None or not folder.journal.is_file():
                return source, found.in_field(folder.engine.prepare)
        with JournalReader(folder.journal, folder.shape) as journal:
            return source, _from_live(journal, um_per_px).in_field(folder.engine.prepare)
    if path.suffix == ".npz" and path.is_file():
        return path.name, _from_npz(path)
    if path.suffix in (".h5", ".hdf5") and path.is_file():
        with ResultReader(path) as reader:
            engine = reader.provenance["engine"]
            found = _from_result(reader, engine.get("um_per_px"))
            return path.name, found.in_field(Preparation.model_validate(engine.get("prepare", {})))
    raise StorageError(
        f"there is no seed at {path}; expected a session folder, its session.h5, or a .npz file of streamscope export"
    )


def _from_result(reader: ResultReader, um_per_px: float | None) -> _Found:
    if not reader.has_refit:
        return _from_live(reader, um_per_px)
    refit = reader.refit()
    rows = [k for k, status in enumerate(refit.status) if status == "accepted"]
    highest = max(_highest_live(reader), int(refit.ids.max(initial=0)))
    return _Found(refit.ids[rows], refit.footprints.select(rows), refit.b0, highest, um_per_px)


def _from_live(live: LiveRecord, um_per_px: float | None) -> _Found:
    components = live.components()
    chosen = components.select(components.has_status("confirmed"))
    return _Found(chosen.ids, chosen.footprints, live.static_background(), _highest_live(live), um_per_px)


def _highest_live(live: LiveRecord) -> int:
    """Return the highest id that a session gave or was told of by its own seed."""
    return max(int(live.ids_seen().max(initial=0)), _highest_seeded(live.events()))


def _highest_seeded(events: tuple[EventRecord, ...]) -> int:
    seeded = seed_record(events)
    return 0 if seeded is None else int(seeded["next_id"]) - 1


def _from_npz(path: Path) -> _Found:
    require_modest(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("A", "ids", "b0", "mean_image", "status") if name in file}
    except (OSError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"the seed {path.name} cannot be read ({error}); expected a .npz file of streamscope export"
        ) from error
    return _checked(path.name, arrays)


def _checked(name: str, arrays: Mapping[str, NDArray[Any]]) -> _Found:
    """Return what the arrays of an export hold, or say what is missing."""
    A = arrays.get("A", np.zeros(0))
    if A.ndim != 3 or not np.issubdtype(A.dtype, np.number):
        raise StorageError(
            f"the seed {name} has A of shape {A.shape}, expected footprints (H, W, K); "
            "make it with streamscope export"
        )
    ids = arrays.get("ids", np.arange(1, A.shape[2] + 1))
    if ids.shape != A.shape[2:] or len(np.unique(ids)) != len(ids) or not 1 <= ids.min(initial=1) <= 2**31:
        raise StorageError(
            f"the seed {name} has ids of shape {ids.shape} for {A.shape[2]} footprints; "
            "expected one number from 1 on for each, none twice"
        )
    keep = np.arange(len(ids))
    if "status" in arrays and arrays["status"].shape == ids.shape:  # an export of --all
        keep = np.flatnonzero(np.isin(arrays["status"], _LIVES))
    highest = int(ids.max(initial=0))
    image = arrays.get("b0", arrays.get("mean_image"))
    flat = np.nan_to_num(A.reshape(-1, A.shape[2])[:, keep]).astype(np.float32)
    columns = []
    for column in flat.T:
        pixels = np.flatnonzero(column > 0)
        columns.append((pixels.astype(np.int32), column[pixels]))
    footprints = Footprints.from_columns((A.shape[0], A.shape[1]), columns)
    return _Found(ids[keep].astype(np.uint32), footprints, image, highest, None)
