"""Layout of session.h5: version, chunks, units, and small ways of reading and writing it."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamscope.types import Footprints, Kinetics

FORMAT = "streamscope-session"
FORMAT_VERSION = 1
LIVE_UNIT = "sn units"
REFIT_UNIT = "a.u. (demixed)"

_CHUNK = (32, 4096)  # components, frames: one trace of an hour is 27 chunks of half a megabyte
# gzip and shuffle are read by every HDF5 library; level 1 takes nearly all that can be saved.
_LIGHT = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def make_matrix(group: h5py.Group, name: str, shape: tuple[int, int], unit: str) -> h5py.Dataset:
    """Make an empty (K, T) float32 dataset, NaN where nothing is written."""
    chunks = tuple(max(1, min(a, b)) for a, b in zip(_CHUNK, shape, strict=True))
    light = _LIGHT if all(shape) else {}
    dataset = group.create_dataset(
        name, shape, np.float32, chunks=chunks if light else None, fillvalue=np.nan, **light
    )
    dataset.attrs["unit"] = unit
    return dataset


def put(group: h5py.Group, name: str, values: NDArray[Any], unit: str = "") -> None:
    """Write an array whole, compressed when it is large enough to gain."""
    light = _LIGHT if values.size > 4096 else {}
    dataset = group.create_dataset(name, data=values, **light)
    if unit:
        dataset.attrs["unit"] = unit


def put_text(group: h5py.Group, name: str, lines: tuple[str, ...]) -> None:
    """Write one line of text per row, UTF-8."""
    group.create_dataset(name, data=list(lines), shape=(len(lines),), dtype=h5py.string_dtype())


def get_text(group: h5py.Group, name: str) -> tuple[str, ...]:
    """Return lines written by `put_text`."""
    return tuple(str(line) for line in group[name].asstr()[()])


def put_footprints(group: h5py.Group, footprints: Footprints) -> None:
    """Write A as the three arrays of a compressed-column matrix (H*W, K), pixels in C order."""
    put(group, "A_data", footprints.weights)
    put(group, "A_indices", footprints.pixels)
    put(group, "A_indptr", footprints.indptr)
    group["A_data"].attrs["unit"] = "as stored; not normalised"
    group["A_indices"].attrs["unit"] = "pixel, y * width + x"
    group.attrs["shape"] = np.array(footprints.shape, np.int64)


def get_footprints(group: h5py.Group) -> Footprints:
    """Return footprints written by `put_footprints`."""
    height, width = (int(n) for n in group.attrs["shape"])
    return Footprints(
        (height, width),
        group["A_indptr"][()].astype(np.int64),
        group["A_indices"][()].astype(np.int32),
        group["A_data"][()].astype(np.float32),
    )


def put_kinetics(group: h5py.Group, kinetics: Kinetics) -> None:
    """Write the time constants as a small group of attributes."""
    target = group.create_group("kinetics")
    target.attrs["decay_s"], target.attrs["rise_s"] = kinetics.decay_s, kinetics.rise_s
    target.attrs["confidence"] = kinetics.confidence
    target.attrs["origin"] = "fitted" if kinetics.fitted else "given"


def get_kinetics(group: h5py.Group) -> Kinetics | None:
    """Return the time constants, or None if the file does not hold them."""
    if "kinetics" not in group:
        return None
    attrs = group["kinetics"].attrs
    decay_s, rise_s, confidence = (float(attrs[name]) for name in ("decay_s", "rise_s", "confidence"))
    return Kinetics(decay_s, rise_s, confidence, attrs["origin"] == "fitted")
