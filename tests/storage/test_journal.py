"""What goes into the journal comes out of it, bit for bit."""

from __future__ import annotations

import sqlite3
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from streamscope.errors import StorageError
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.session_folder import SessionFolder
from streamscope.testing.fake_session import EVENTS, LAG, LIVES, N_FRAMES, SHAPE, FakeSession
from streamscope.types import FrameResult


@pytest.fixture
def reader(recorded: SessionFolder):
    with JournalReader(recorded.journal) as opened:
        yield opened


def assert_same(a: FrameResult, b: FrameResult) -> None:
    for field in fields(FrameResult):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()
        else:
            assert x == y, field.name


def test_results_come_back_bit_for_bit(reader: JournalReader, fake: FakeSession):
    read = list(reader.results())
    assert len(read) == N_FRAMES == reader.n_frames
    for (result, t_publish_ns), written in zip(read, fake.results, strict=True):
        assert_same(result, written)
        assert t_publish_ns == written.t_result_ns + 400_000


def test_negative_zero_denormals_and_nan_keep_their_bits(tmp_path: Path, fake: FakeSession):
    odd = np.array([-0.0, 1e-42, np.nan, np.inf], np.float32)
    ids = np.array([1, 2, 3, 4], np.uint32)
    result = replace(fake.results[0], ids=ids, y=odd, c=odd, s=odd, c_lag=odd, s_lag=odd)
    journal = Journal(tmp_path / "journal.sqlite")
    journal.append_result(result, 1)
    journal.close()
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert next(reader.results())[0].y.tobytes() == odd.tobytes()
        assert reader.traces(ids).C_raw[:, 0].tobytes() == odd.tobytes()


def test_traces_stand_at_the_frames_that_they_describe(reader: JournalReader, fake: FakeSession):
    ids = reader.ids_seen()
    assert ids.tolist() == sorted(LIVES)
    traces = reader.traces(ids)
    for result in fake.results:
        for k, id_ in enumerate(result.ids):
            row, t = int(np.searchsorted(ids, id_)), result.index
            assert traces.C_raw[row, t] == result.y[k]
            assert traces.C_causal[row, t] == result.c[k]
            assert traces.S_causal[row, t] == result.s[k]
            if t - LAG >= LIVES[int(id_)][0]:
                assert traces.C[row, t - LAG] == result.c_lag[k]
                assert traces.S[row, t - LAG] == result.s_lag[k]


def test_traces_are_nan_before_an_id_is_published_and_finite_from_then_on(reader: JournalReader):
    ids = reader.ids_seen()
    traces = reader.traces(ids)
    for row, id_ in enumerate(ids):
        first, end, _ = LIVES[int(id_)]
        for name, stop in (("C_raw", end), ("C_causal", end), ("C", end if end == N_FRAMES else end - LAG)):
            known = np.isfinite(getattr(traces, name)[row])
            assert known[first:stop].all(), (id_, name)
            assert not known[:first].any(), (id_, name)
            assert not known[stop:].any(), (id_, name)


def test_the_last_frames_come_from_the_tail(reader: JournalReader, fake: FakeSession):
    traces = reader.traces(fake.tail.ids)
    assert traces.C[:, -LAG:].tobytes() == np.ascontiguousarray(fake.tail.c_lag.T).tobytes()
    assert traces.S[:, -LAG:].tobytes() == np.ascontiguousarray(fake.tail.s_lag.T).tobytes()


def test_parts_of_a_session_are_the_parts_of_the_whole(reader: JournalReader):
    ids = reader.ids_seen()
    whole = reader.traces(ids)
    for start, stop in ((0, 7), (7, 31), (31, N_FRAMES), (58, N_FRAMES)):
        part = reader.traces(ids, start, stop)
        for name in whole.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:, start:stop])


def test_the_table_of_frames_holds_shifts_counters_and_times(reader: JournalReader, fake: FakeSession):
    frames = reader.frames()
    assert frames.shifts.tolist() == [[r.shift.dy, r.shift.dx] for r in fake.results]
    assert frames.quality.tolist() == [r.shift.quality for r in fake.results]
    assert frames.flags.tolist() == [r.flags for r in fake.results]
    assert frames.gap.tolist() == [r.gap for r in fake.results]
    assert frames.hw.tolist() == [-1 if r.hw is None else r.hw for r in fake.results]
    assert frames.time_s.tolist() == [r.time_s for r in fake.results]
    assert frames.epoch.tolist() == [r.epoch for r in fake.results]
    assert frames.t_capture_ns.tolist() == [r.t_capture_ns for r in fake.results]


def test_fields_come_back_bit_for_bit_and_frames_without_one_are_zero(tmp_path: Path, fake: FakeSession):
    field = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    results = [
        replace(r, shift=replace(r.shift, field=field * t if t in (2, 5) else None))
        for t, r in enumerate(fake.results[:8])
    ]
    journal = Journal(tmp_path / "journal.sqlite")
    for result in results:
        journal.append_result(result, 0)
    journal.close()
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        table = reader.frames().field
        back = [result.shift.field for result, _ in reader.results()]
    assert table.dtype == np.float32
    for t in range(8):
        np.testing.assert_array_equal(table[t], field * t if t in (2, 5) else np.zeros((3, 4, 2)))
        assert (back[t] is None) == (t not in (2, 5))
    np.testing.assert_array_equal(back[5], field * 5)


def test_a_frame_that_was_never_inferred_leaves_a_hole(tmp_path: Path, fake: FakeSession):
    journal = Journal(tmp_path / "journal.sqlite")
    for result in fake.results:
        if result.index != 40:
            journal.append_result(result, 0)
    journal.close()
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert reader.frames().epoch[40] == -1
        assert np.isnan(reader.frames().shifts[40]).all()
        assert np.isnan(reader.traces(np.array([1], np.uint32)).C_raw[0, 40])


def test_lives_end_as_epochs_and_events_say(reader: JournalReader):
    components = reader.components()
    assert dict(zip(components.ids.tolist(), components.status, strict=True)) == {
        id_: end for id_, (_, _, end) in LIVES.items()
    }
    assert components.avail.tolist() == [LIVES[i][0] for i in components.ids.tolist()]
    assert components.last.tolist() == [LIVES[i][1] - 1 for i in components.ids.tolist()]
    assert components.reasons[1] == "merged into 1 at frame 20: correlation 0.95"
    assert components.reasons[2] == "retired at frame 30: no event for 20 s"
    assert components.footprints.shape == SHAPE
    for k, id_ in enumerate(components.ids):
        pixels, weights = components.footprints.column(k)
        assert pixels.tolist() == list(range(50 * int(id_), 50 * int(id_) + 9))
        assert weights[-1] == 2.0 + int(id_)


def test_an_epoch_that_no_frame_used_says_nothing_of_the_end(session: SessionFolder, fake: FakeSession):
    journal = Journal(session.journal)
    fake.write(journal)
    arrays = fake.epochs()[-1][3] | {"status": np.zeros(3, np.uint8)}
    journal.append_epoch(99, N_FRAMES - 1, N_FRAMES, arrays)
    journal.close()
    with JournalReader(session.journal) as reader:
        assert reader.components().has_status("confirmed").sum() == 2


def test_epochs_come_back_whole_and_equal_arrays_are_stored_once(reader: JournalReader, fake: FakeSession):
    written = fake.epochs()
    assert [(e.number, e.learned_frame, e.adopted_frame) for e in reader.epochs()] == [w[:3] for w in written]
    for number, _, _, arrays in written:
        read = reader.epoch_arrays(number)
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
    last = reader.last_epoch()
    assert last is not None
    assert last["ids"].tolist() == fake.ids_at(N_FRAMES - 1).tolist()
    with sqlite3.connect(reader.path) as db:
        assert db.execute("SELECT COUNT(*) FROM arrays WHERE name = 'background'").fetchone() == (1,)
    db.close()


def test_events_and_health_come_back_in_order(reader: JournalReader):
    assert reader.component_events() == EVENTS
    (gap,) = reader.events()
    assert (gap.kind, gap.frame, gap.fields) == ("gap", 25, {"missing": 3})
    assert [h["frame"] for h in reader.health()] == [9, 19, 29, 39, 49, 59]
    assert reader.closed


def test_a_session_in_which_nothing_was_found_has_no_components(tmp_path: Path, fake: FakeSession):
    journal = Journal(tmp_path / "journal.sqlite")
    for result in fake.results[:3]:  # before the first id
        journal.append_result(result, 0)
    journal.close()
    with JournalReader(tmp_path / "journal.sqlite", SHAPE) as reader:
        assert reader.components().footprints.dense().shape == (*SHAPE, 0)
        assert reader.traces(reader.ids_seen()).C.shape == (0, 3)
        assert reader.last_epoch() is None


def test_an_empty_journal_has_no_frames(tmp_path: Path):
    Journal(tmp_path / "journal.sqlite").close()
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert reader.n_frames == 0
        assert reader.frames().shifts.shape == (0, 2)
        assert list(reader.results()) == []


def test_a_journal_is_never_overwritten(recorded: SessionFolder):
    before = recorded.journal.read_bytes()
    with pytest.raises(StorageError, match="never overwritten"):
        Journal(recorded.journal)
    assert recorded.journal.read_bytes() == before


def test_a_frame_is_written_once(tmp_path: Path, fake: FakeSession):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.append_result(fake.results[0], 0)
    with pytest.raises(StorageError, match="written once"):
        journal.append_result(fake.results[0], 0)
    journal.close()


def test_arrays_of_the_wrong_length_are_refused(tmp_path: Path, fake: FakeSession):
    journal = Journal(tmp_path / "journal.sqlite")
    wrong = replace(fake.results[20], y=np.zeros(1, np.float32))
    with pytest.raises(StorageError, match=r"frame 20 .* one value per id"):
        journal.append_result(wrong, 0)
    journal.close()


def test_arrays_of_objects_are_refused(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    with pytest.raises(StorageError, match="Python objects"):
        journal.append_epoch(1, 0, 1, {"ids": np.array([{}], dtype=object)})
    journal.close()


def test_another_sqlite_file_is_not_a_journal(tmp_path: Path):
    other = tmp_path / "journal.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE frames (x)")
    db.close()
    with pytest.raises(StorageError, match="not a StreamScope journal"):
        JournalReader(other)


def test_a_file_that_is_no_database_is_not_a_journal(tmp_path: Path):
    other = tmp_path / "journal.sqlite"
    other.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StorageError, match="cannot be opened as a journal"):
        JournalReader(other)


def test_a_missing_journal_is_named(tmp_path: Path):
    with pytest.raises(StorageError, match=r"there is no journal at .*journal\.sqlite"):
        JournalReader(tmp_path / "journal.sqlite")


def test_a_newer_journal_is_refused(recorded: SessionFolder):
    with sqlite3.connect(recorded.journal) as db:
        db.execute("PRAGMA user_version=3")
    db.close()
    with pytest.raises(StorageError, match="install a newer StreamScope"):
        JournalReader(recorded.journal)


def test_a_journal_can_be_read_while_it_is_written(tmp_path: Path, fake: FakeSession):
    journal = Journal(tmp_path / "journal.sqlite")
    for result in fake.results[:20]:
        journal.append_result(result, 0)
    journal.commit()
    journal.append_result(fake.results[20], 0)
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert reader.n_frames == 20
        assert not reader.closed
    journal.close()


def test_a_journal_closed_while_it_is_read_is_whole(
    recorded: SessionFolder, tmp_path: Path, fake: FakeSession
):
    journal = Journal(tmp_path / "journal.sqlite")
    fake.write(journal)
    journal.commit()
    with JournalReader(tmp_path / "journal.sqlite") as early:
        journal.close()
        assert early.n_frames == N_FRAMES
    with JournalReader(tmp_path / "journal.sqlite") as late:
        assert late.closed
        assert len(late.tails()) == 1


def test_a_finished_journal_is_one_file(recorded: SessionFolder):
    assert sorted(p.name for p in recorded.folder.iterdir()) == ["journal.sqlite", "metaData.json"]


def test_a_journal_in_a_folder_that_is_not_there_is_one_clear_sentence(tmp_path: Path):
    with pytest.raises(StorageError, match=r"journal\.sqlite cannot be written"):
        Journal(tmp_path / "nowhere" / "journal.sqlite")
