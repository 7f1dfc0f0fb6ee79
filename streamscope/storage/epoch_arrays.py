"""Reading the arrays of a journal's epochs back."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.storage.epoch_code import KEY_EVERY, decode, expect, needed


class EpochArraysReader:
    """The arrays of the epochs in a journal; those read last are kept, so that their neighbours come quickly.

    Parameters
    ----------
    db : sqlite3.Connection
        The open journal; it stays the caller's.
    version : int
        Of the journal.
    """

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self._db = db
        self._coded = version > 1
        self._kept: dict[str, dict[int, NDArray[Any]]] = {}

    def read(self, number: int, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
        """Return the arrays of one epoch, all of them or those named."""
        if not self._coded:
            return self._version_1(number, names)
        query = "SELECT name, held_by FROM epoch_arrays WHERE epoch = ?" + _among(names)
        held_by = self._db.execute(query, (number, *(names or ()))).fetchall()
        return {name: self._array(name, epoch) for name, epoch in held_by}

    def _array(self, name: str, epoch: int) -> NDArray[Any]:
        """Return the array that is stored with this epoch."""
        kept = self._kept.setdefault(name, {})
        if epoch not in kept:
            array = self._decoded(name, epoch)
            if len(kept) >= KEY_EVERY:
                kept.clear()
            kept[epoch] = array
        return kept[epoch]

    def _decoded(self, name: str, epoch: int) -> NDArray[Any]:
        query = "SELECT dtype, shape, base, data FROM arrays WHERE epoch = ? AND name = ?"
        dtype, shape, base, data = self._db.execute(query, (epoch, name)).fetchone()
        size = tuple(json.loads(shape))
        n = int(np.prod(size, dtype=np.int64))
        layout = needed(name)
        now = {} if base is None else self.read(epoch, layout)
        before = {} if base is None else self.read(base, (*layout, name))
        return decode(data, dtype, size, expect(name, dtype, n, now, before))

    def _version_1(self, number: int, names: tuple[str, ...] | None) -> dict[str, NDArray[Any]]:
        """Return arrays that are stored whole, by their digest."""
        query = "SELECT name, dtype, shape, data FROM epoch_arrays JOIN arrays USING (digest) WHERE epoch = ?"
        return {
            name: np.frombuffer(data, dtype).reshape(json.loads(shape))
            for name, dtype, shape, data in self._db.execute(query + _among(names), (number, *(names or ())))
        }


def _among(names: tuple[str, ...] | None) -> str:
    return "" if names is None else f" AND name IN ({','.join('?' * len(names))})"
