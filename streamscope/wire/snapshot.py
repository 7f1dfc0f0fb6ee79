"""The component table as arrays, for those who join late: written by the publisher, read by clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import WireError
from streamscope.types import DoubleArray, FloatArray, Footprints, IntArray, LongArray
from streamscope.wire.codec import Arrays
from streamscope.wire.schema import STATUS_NAMES, EpochLike

_ARRAYS = (
    ("ids", "u4"),
    ("status", "u1"),
    ("born_at", "i8"),
    ("snr", "f4"),
    ("y", "f4"),
    ("x", "f4"),
    ("indptr", "u4"),
    ("pixels", "u4"),
    ("weights", "f4"),
)
_PER_CELL = ("ids", "status", "born_at", "snr", "y", "x")


@dataclass(frozen=True, slots=True)
class Cell:
    """What a client knows of one component."""

    id: int
    status: str  # provisional, confirmed, merged, retired
    born_at: int  # frame
    snr: float | None = None
    y: float | None = None  # centre, px of the reference frame
    x: float | None = None
    pixels: IntArray | None = None  # p = y * width + x
    weights: FloatArray | None = None
    into: int | None = None  # merged: the id that lives on


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a session between two messages."""

    sid: str
    epoch: int
    frame: int | None  # last frame published
    shape: tuple[int, int] | None  # (H, W) of the reference frame
    next_seq: Mapping[str, int]  # of each topic, the seq that its next message will have
    cells: Mapping[int, Cell]


def snapshot_arrays(table: EpochLike | None) -> dict[str, NDArray[Any]]:
    """Return the component table as the arrays of a snapshot reply; empty when there is no table yet."""
    if table is None:
        arrays: dict[str, NDArray[Any]] = {name: np.zeros(0, dtype) for name, dtype in _ARRAYS}
        return arrays | {"indptr": np.zeros(1, "u4")}
    y, x = centres(table.footprints)
    values = {
        "ids": table.ids,
        "status": table.status,
        "born_at": table.born_at,
        "snr": table.snr,
        "y": y,
        "x": x,
        "indptr": table.footprints.indptr,
        "pixels": table.footprints.pixels,
        "weights": table.footprints.weights,
    }
    return {name: np.asarray(values[name], dtype) for name, dtype in _ARRAYS}


def centres(footprints: Footprints) -> tuple[DoubleArray, DoubleArray]:
    """Return the weighted centres (y, x) of all footprints, (K,), px; NaN for an empty one."""
    weights = footprints.weights.astype(np.float64)
    rows = footprints.pixels // footprints.shape[1]
    cols = footprints.pixels - rows * footprints.shape[1]
    total = _sums(weights, footprints.indptr)
    total[total == 0] = np.nan
    y = _sums(weights * rows, footprints.indptr) / total
    x = _sums(weights * cols, footprints.indptr) / total
    return y, x


def _sums(values: DoubleArray, indptr: LongArray) -> DoubleArray:
    """Return the sum of each part indptr[k]:indptr[k + 1], 0 for an empty one."""
    padded = np.append(values, 0.0)  # so that the start of an empty last part is within
    sums: DoubleArray = np.add.reduceat(padded, indptr[:-1])
    sums[np.diff(indptr) == 0] = 0.0
    return sums


def read_snapshot(header: Mapping[str, Any], arrays: Arrays) -> Snapshot:
    """Return the snapshot in a reply, or raise WireError when it contradicts itself."""
    for name, dtype in _ARRAYS:
        array = arrays.get(name)
        if array is None or array.ndim != 1 or array.dtype.str[1:] != dtype:
            raise WireError(
                f"the snapshot has no array {name} of {dtype}; do both sides speak the same version?"
            )
    n = len(arrays["ids"])
    indptr = arrays["indptr"].astype(np.int64)
    pixels = arrays["pixels"]
    if (
        any(len(arrays[name]) != n for name in _PER_CELL)
        or len(indptr) != n + 1
        or np.any(np.diff(indptr) < 0)
        or indptr[0] != 0
        or not indptr[-1] == len(pixels) == len(arrays["weights"])
    ):
        raise WireError("the arrays of the snapshot do not fit together; ask for it again")
    return Snapshot(
        sid=_plain(header, "sid", str),
        epoch=_plain(header, "epoch", int),
        frame=_plain(header, "frame", int, type(None)),
        shape=_shape(header.get("shape")),
        next_seq=_next_seq(header.get("next_seq")),
        cells={int(arrays["ids"][k]): _cell(arrays, indptr, k) for k in range(n)},
    )


def _cell(arrays: Arrays, indptr: NDArray[np.int64], k: int) -> Cell:
    part = slice(int(indptr[k]), int(indptr[k + 1]))
    return Cell(
        id=int(arrays["ids"][k]),
        status=STATUS_NAMES.get(int(arrays["status"][k]), "unknown"),
        born_at=int(arrays["born_at"][k]),
        snr=float(arrays["snr"][k]),
        y=float(arrays["y"][k]),
        x=float(arrays["x"][k]),
        pixels=arrays["pixels"][part].view(np.int32),
        weights=arrays["weights"][part],
    )


def _plain(header: Mapping[str, Any], key: str, *kinds: type) -> Any:
    value = header.get(key)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise WireError(f"the snapshot's key {key} is {value!r:.80}; do both sides speak the same version?")
    return value


def _shape(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and n > 0 for n in value):
        raise WireError(f"the snapshot's shape must be [H, W] in px, came {value!r:.80}")
    return value[0], value[1]


def _next_seq(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(n) is int and n >= 0 for n in value.values()):
        raise WireError(f"the snapshot's next_seq must map topics to numbers, came {value!r:.80}")
    return value
