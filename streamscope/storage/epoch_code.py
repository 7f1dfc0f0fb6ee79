"""How an array of an epoch is stored: what it differs in from the same array of the epoch before, coded.

The learner touches few components between two epochs, and the background moves by a few 64ths of a gray level:
the differences are mostly zeros and small numbers. They are whole numbers (those of the bits, for floats), so
that the sum gives back the array bit for bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import StorageError

KEY_EVERY = 32  # of so many stored versions of an array, one stands by itself
_STAGGER = 5  # so that the arrays of an epoch do not all do so in the same one

# Arrays with a row per component: where each row ends is said by another array.
_ROWS = {
    "A_pixels": "A_indptr",
    "A_weights": "A_indptr",
    "V_bins": "V_indptr",
    "V_values": "V_indptr",
    "solve_at": "solve_indptr",
    "solve_values": "solve_indptr",
}
EpochArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array that is not that of the epoch before, as it is stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    base: int | None  # epoch that it is the difference to, None if it stands by itself
    data: bytes


@dataclass(frozen=True, slots=True)
class CodedEpoch:
    """What is to be stored of an epoch."""

    number: int
    arrays: EpochArrays
    stored: tuple[StoredArray, ...]
    held_by: Mapping[str, int]  # epoch that each array is stored with
    age: Mapping[str, int]  # stored versions since one of it stood by itself


class EpochCoder:
    """Say what is to be stored of each epoch, given the one before."""

    def __init__(self) -> None:
        self._last = CodedEpoch(0, {}, (), {}, {})

    def code(self, number: int, arrays: EpochArrays) -> CodedEpoch:
        """Return what is to be stored of an epoch, and change nothing.

        Raises
        ------
        StorageError
            If an array holds objects.
        """
        now = {name: _plain(name, np.asarray(array)) for name, array in arrays.items()}
        stored, held_by, age = [], dict(self._last.held_by), dict(self._last.age)
        for at, (name, array) in enumerate(now.items()):
            if _same(array, self._last.arrays.get(name)):
                continue
            known = name in self._last.arrays
            age[name] = (age[name] + 1 if known else _STAGGER * at) % KEY_EVERY
            base = self._last.number if known and age[name] else None
            before = {} if base is None else self._last.arrays
            dtype = array.dtype.str
            data = encode(array, expect(name, dtype, array.size, now, before))
            stored.append(StoredArray(name, dtype, array.shape, base, data))
            held_by[name] = number
        return CodedEpoch(number, now, tuple(stored), {name: held_by[name] for name in now}, age)

    def follow(self, epoch: CodedEpoch) -> None:
        """Take this epoch, which is stored now, as the one before the next."""
        self._last = epoch


def needed(name: str) -> tuple[str, ...]:
    """Return the names of the arrays that say how this one is laid out, in the order of decoding."""
    return ("ids", _ROWS[name]) if name in _ROWS else ()


def encode(array: NDArray[Any], expected: NDArray[Any]) -> bytes:
    """Return the difference to what was expected, coded.

    Parameters
    ----------
    array : ndarray
        Little-endian, contiguous.
    expected : ndarray, shape (n,)
        As `expect` gives it.
    """
    plain = _whole(array)
    signed = (plain - expected).view(plain.dtype.str.replace("u", "i"))
    small = (signed << 1) ^ (signed >> (8 * plain.itemsize - 1))  # 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
    planes = small.view(np.uint8).reshape(-1, plain.itemsize).T.tobytes()
    # Runs of equal bytes and frequencies of bytes: all there is to find in noise, at a third of the time.
    coder = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return coder.compress(planes) + coder.flush()


def decode(data: bytes, dtype: str, shape: tuple[int, ...], expected: NDArray[Any]) -> NDArray[Any]:
    """Return the array whose difference to `expected` was coded."""
    size = expected.itemsize
    small = np.ascontiguousarray(np.frombuffer(zlib.decompress(data), np.uint8).reshape(size, -1).T)
    zigzag = small.view(expected.dtype).reshape(-1)
    one = expected.dtype.type(1)
    plain = expected + ((zigzag >> one) ^ (~(zigzag & one) + one))
    array: NDArray[Any] = plain.view(dtype).reshape(shape)
    array.flags.writeable = False  # it is kept: the next one is a difference to it
    return array


def expect(name: str, dtype: str, n: int, now: EpochArrays, before: EpochArrays) -> NDArray[Any]:
    """Return what an array is expected to hold, as whole numbers: what its forerunner holds.

    Parameters
    ----------
    name : str
    dtype : str
        Of the array.
    n : int
        Number of its elements.
    now, before : mapping of str to ndarray
        The `needed` arrays of its own epoch and of the one before, and there the array itself; `before` is
        empty for an array that is to stand by itself.
    """
    word = _word(np.dtype(dtype))
    out = np.zeros(n * np.dtype(dtype).itemsize // word.itemsize, word)
    old = before.get(name)
    if old is None or old.dtype != np.dtype(dtype):
        return out
    flat = _whole(old)
    if all(other in now and other in before for other in needed(name)) and name in _ROWS:
        _copy_rows(out, flat, name, now, before)
    else:
        both = min(len(out), len(flat))
        out[:both] = flat[:both]
    return out


def _copy_rows(
    out: NDArray[Any], flat: NDArray[Any], name: str, now: EpochArrays, before: EpochArrays
) -> None:
    """Copy the old rows of the components that are still there to where their rows are now."""
    at, old_at = now[_ROWS[name]], before[_ROWS[name]]
    _, rows, old_rows = np.intersect1d(now["ids"], before["ids"], assume_unique=True, return_indices=True)
    start, old = at[rows], old_at[old_rows]
    length = np.minimum(at[rows + 1] - start, old_at[old_rows + 1] - old)
    # Rows that follow each other in both epochs are copied as one.
    first = np.ones(len(rows), bool)
    first[1:] = (start[1:] != start[:-1] + length[:-1]) | (old[1:] != old[:-1] + length[:-1])
    total = np.add.reduceat(length, np.flatnonzero(first)) if len(rows) else length
    for to, source, n in zip(start[first].tolist(), old[first].tolist(), total.tolist(), strict=True):
        out[to : to + n] = flat[source : source + n]


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.hasobject:
        raise StorageError(f"epoch array {name} holds Python objects; expected numbers, booleans or text")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _same(array: NDArray[Any], other: NDArray[Any] | None) -> bool:
    if other is None or array.dtype != other.dtype or array.shape != other.shape:
        return False
    return np.array_equal(_whole(array), _whole(other))


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    """Return the elements as whole numbers without sign, flat; bytes where an element is no such number."""
    return np.ascontiguousarray(array).reshape(-1).view(_word(array.dtype))


def _word(dtype: np.dtype[Any]) -> np.dtype[Any]:
    size = dtype.itemsize if dtype.kind in "iuf" and dtype.itemsize in (1, 2, 4, 8) else 1
    return np.dtype(f"<u{size}")
