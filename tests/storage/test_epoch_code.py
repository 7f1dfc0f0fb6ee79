"""Epochs are stored as what differs from the one before, and come back bit for bit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from streamscope.errors import StorageError
from streamscope.storage.epoch_code import KEY_EVERY, EpochCoder, decode, encode, expect
from streamscope.storage.journal import Journal, JournalReader

N_EPOCHS = 3 * KEY_EVERY
ODD = [-0.0, 0.0, 1e-42, np.nan, np.inf, -np.inf, 3.5]


def sparse_rows(rows: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    lengths = [len(row) for row in rows.values()]
    values = np.concatenate([*rows.values(), np.zeros(0)]).astype(np.float32)
    return {
        "ids": np.array(list(rows), np.uint32),
        "A_indptr": np.cumsum([0, *lengths]),
        "A_pixels": np.concatenate(
            [*[np.arange(n) + i for i, n in zip(rows, lengths, strict=True)], []]
        ).astype(np.int32),
        "A_weights": values,
    }


def session_of_epochs(n: int = N_EPOCHS) -> list[dict[str, np.ndarray]]:
    """Return epochs in which rows are born, go, grow, shrink and change their order."""
    rng = np.random.default_rng(3)
    rows: dict[int, np.ndarray] = {}
    b0 = rng.integers(-32768, 32767, (20, 30), np.int16)
    epochs = []
    for number in range(n):
        if number % 3 == 0:
            rows[number + 1] = rng.choice(ODD, rng.integers(0, 40))
        if number % 7 == 0 and number % 5 == 0 and rows:
            del rows[next(iter(rows))]
        for id_ in [i for i in rows if rng.random() < 0.1]:
            rows[id_] = rng.normal(size=rng.integers(0, 40))
        if number % 10 == 9:
            rows = dict(reversed(rows.items()))
        b0 = b0 + rng.integers(-3, 4, b0.shape).astype(np.int16)  # over the edge of int16 too
        text = np.array(["a", f"epoch {number // 4}"])
        epochs.append({**sparse_rows(rows), "b0": b0, "text": text, "flags": b0 > 0})
    return epochs


def write_epochs(path: Path, epochs: list[dict[str, np.ndarray]]) -> Path:
    journal = Journal(path)
    for number, arrays in enumerate(epochs):
        journal.append_epoch(number, number, number + 1, arrays)
    journal.close()
    return path


def assert_same(read: dict[str, np.ndarray], written: dict[str, np.ndarray]) -> None:
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape), name
        assert read[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_epochs_come_back_bit_for_bit_in_any_order(tmp_path: Path, order: int):
    epochs = session_of_epochs()
    path = write_epochs(tmp_path / "journal.sqlite", epochs)
    with JournalReader(path) as reader:
        for number in range(N_EPOCHS)[::order]:
            assert_same(reader.epoch_arrays(number), epochs[number])


def test_one_array_of_one_epoch_is_read_by_itself(tmp_path: Path):
    epochs = session_of_epochs()
    path = write_epochs(tmp_path / "journal.sqlite", epochs)
    for number in (1, KEY_EVERY - 1, N_EPOCHS - 1):
        for name, array in epochs[number].items():
            with JournalReader(path) as reader:
                assert_same(reader.epoch_arrays(number, (name,)), {name: array})


def test_no_array_is_more_than_a_key_away_from_one_that_stands_by_itself(tmp_path: Path):
    path = write_epochs(tmp_path / "journal.sqlite", session_of_epochs())
    with sqlite3.connect(path) as db:
        bases = dict(db.execute("SELECT epoch, base FROM arrays WHERE name = 'b0'"))
    db.close()
    alone = [epoch for epoch, base in bases.items() if base is None]
    assert len(bases) == N_EPOCHS
    assert len(alone) in (3, 4)  # the first, and one of every KEY_EVERY
    assert max(np.diff([*alone, N_EPOCHS])) <= KEY_EVERY
    assert all(base in (None, epoch - 1) for epoch, base in bases.items())


@pytest.mark.parametrize("dtype", ["<i1", "<u2", "<i4", "<u8", "<f2", "<f4", "<f8", "|b1", "<c8", "<U3"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4)])
def test_every_type_and_shape_comes_back(dtype: str, shape: tuple[int, ...]):
    rng = np.random.default_rng(1)
    n = int(np.prod(shape, dtype=int))
    width = np.dtype(dtype).itemsize
    raw = rng.integers(0, 2 if dtype == "|b1" else 120, n * width, np.uint8)
    raw = raw * (np.arange(n * width) % 4 == 0).astype(np.uint8) if dtype == "<U3" else raw
    array = raw.view(dtype).reshape(shape)
    for before in ({}, {"x": np.ones(3, dtype)}, {"x": np.ones(2, np.int16)}):
        guess = expect("x", dtype, array.size, {}, before)
        back = decode(encode(array, guess), dtype, shape, guess)
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, shape, array.tobytes())


def test_big_endian_and_strided_arrays_are_stored_by_value():
    array = np.arange(24, dtype=">f4").reshape(4, 6)[:, ::2]
    (stored,) = EpochCoder().code(0, {"x": array}).stored
    back = decode(stored.data, stored.dtype, stored.shape, expect("x", stored.dtype, array.size, {}, {}))
    assert stored.dtype == "<f4"
    np.testing.assert_array_equal(back, array)


def test_a_few_changed_components_and_a_moving_background_take_a_fraction():
    rng = np.random.default_rng(5)
    rows = {i: rng.normal(size=100) for i in range(100)}
    b0 = rng.integers(0, 16000, (100, 100), np.int16)
    coder = EpochCoder()
    for number in range(2):
        rows[number] = rng.normal(size=110)  # all rows behind it move
        b0 = b0 + rng.integers(-3, 4, b0.shape).astype(np.int16)
        coded = coder.code(number, {**sparse_rows(rows), "b0_64ths": b0})
        coder.follow(coded)
    size = {stored.name: len(stored.data) for stored in coded.stored}
    assert size["A_weights"] < 4 * 110 * 2
    assert size["b0_64ths"] < b0.nbytes / 3
    assert "ids" not in size


def test_an_epoch_that_was_refused_leaves_no_trace(tmp_path: Path):
    epochs = session_of_epochs(4)
    journal = Journal(tmp_path / "journal.sqlite")
    journal.append_epoch(0, 0, 1, epochs[0])
    with pytest.raises(StorageError, match="Python objects"):
        journal.append_epoch(1, 1, 2, epochs[2] | {"x": np.array([{}], dtype=object)})
    with pytest.raises(StorageError, match="written once"):
        journal.append_epoch(0, 0, 1, epochs[3])
    journal.append_epoch(1, 1, 2, epochs[1])
    journal.close()
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert [e.number for e in reader.epochs()] == [0, 1]
        assert_same(reader.epoch_arrays(0), epochs[0])
        assert_same(reader.epoch_arrays(1), epochs[1])


def test_a_running_session_reads_what_was_committed(tmp_path: Path):
    epochs = session_of_epochs(6)
    journal = Journal(tmp_path / "journal.sqlite")
    for number in range(4):
        journal.append_epoch(number, number, number + 1, epochs[number])
    journal.commit()
    journal.append_epoch(4, 4, 5, epochs[4])
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert [e.number for e in reader.epochs()] == [0, 1, 2, 3]
        assert_same(reader.epoch_arrays(3), epochs[3])
        assert reader.epoch_arrays(4) == {}
    journal.close()
