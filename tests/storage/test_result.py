"""session.h5 holds what the journal holds and what the refit found, and is never half written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamscope.errors import StorageError
from streamscope.storage import result as result_module
from streamscope.storage.aside import written_aside
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.live import LiveComponents, LiveRecord
from streamscope.storage.result import ResultReader, add_refit, write_session
from streamscope.storage.session_folder import SessionFolder
from streamscope.storage.session_record import open_live
from streamscope.testing.fake_session import N_FRAMES, FakeSession, fake_refit
from streamscope.types import Kinetics, RefitResult


def assert_equal(a: object, b: object) -> None:
    """Compare two values made of dataclasses, arrays and plain values, dtypes and bits included."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif hasattr(a, "__dataclass_fields__"):
        for field in fields(a):  # type: ignore[arg-type]
            assert_equal(getattr(a, field.name), getattr(b, field.name))
    else:
        assert a == b


def everything(record: LiveRecord) -> list[object]:
    ids = record.components().ids
    return [
        record.n_frames,
        record.components(),
        record.traces(ids),
        record.frames(),
        record.component_events(),
        record.events(),
        record.epochs(),
    ]


@pytest.fixture
def written(recorded: SessionFolder) -> SessionFolder:
    with JournalReader(recorded.journal) as reader:
        write_session(recorded, reader, None)
    return recorded


def test_session_file_and_journal_tell_the_same(written: SessionFolder):
    with JournalReader(written.journal) as journal, ResultReader(written.result) as result:
        for a, b in zip(everything(journal), everything(result), strict=True):
            assert_equal(a, b)


def test_long_sessions_are_written_in_parts(recorded: SessionFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(result_module, "_BLOCK", 7)
    with JournalReader(recorded.journal) as journal:
        write_session(recorded, journal)
        ids = journal.ids_seen()
        with ResultReader(recorded.result) as result:
            assert_equal(result.traces(ids), journal.traces(ids))


@pytest.mark.parametrize("um_per_px", [1.65, None])
def test_shifts_are_there_in_um_if_the_size_of_a_pixel_is_known(
    recorded: SessionFolder, um_per_px: float | None
):
    engine = recorded.engine.model_copy(update={"um_per_px": um_per_px})
    ours = {**recorded.ours, "engine": engine.model_dump(mode="json")}
    session = replace(recorded, metadata={**recorded.metadata, "streamscope": ours})
    with JournalReader(session.journal) as reader:
        write_session(session, reader, fake_refit())
    with h5py.File(session.result) as file:
        for group in (file["live"], file["refit"]):
            if um_per_px is None:
                assert "shifts_um" not in group
            else:
                np.testing.assert_allclose(group["shifts_um"], um_per_px * group["shifts"][()], rtol=1e-6)


def test_some_ids_in_some_frames_can_be_read_alone(written: SessionFolder):
    with ResultReader(written.result) as reader:
        ids = reader.components().ids
        whole = reader.traces(ids)
        part = reader.traces(ids[[1, 3]], 10, 31)
        np.testing.assert_array_equal(part.C_raw, whole.C_raw[[1, 3], 10:31])
        with pytest.raises(StorageError, match="does not hold all of the ids"):
            reader.traces(np.array([1, 6], np.uint32))


def test_a_refit_comes_back_as_it_was(written: SessionFolder, fake: FakeSession):
    refit = fake_refit()
    add_refit(written, refit)
    with ResultReader(written.result) as reader, JournalReader(written.journal) as journal:
        assert_equal(reader.refit(), refit)
        assert_equal(everything(reader)[2], everything(journal)[2])


@pytest.mark.parametrize("kinetics", [Kinetics(0.61, 0.055, 0.96, fitted=True), Kinetics(1.4)])
def test_the_time_constants_of_a_refit_are_kept_with_their_units(written: SessionFolder, kinetics: Kinetics):
    add_refit(written, replace(fake_refit(), kinetics=kinetics))
    with ResultReader(written.result) as reader:
        assert reader.refit_kinetics() == reader.refit().kinetics == kinetics
    with h5py.File(written.result) as file:
        attrs = file["refit/kinetics"].attrs
        assert attrs["decay_s"] == kinetics.decay_s
        assert attrs["origin"] == ("fitted" if kinetics.fitted else "given")


def test_a_second_refit_takes_the_place_of_the_first(written: SessionFolder):
    add_refit(written, fake_refit())
    size = written.result.stat().st_size
    second = replace(fake_refit(), notes={"pass": 2})
    add_refit(written, second)
    with ResultReader(written.result) as reader:
        assert_equal(reader.refit(), second)
    assert abs(written.result.stat().st_size - size) < 2048


def test_a_refit_of_a_crashed_session_builds_the_file_from_the_journal(recorded: SessionFolder):
    add_refit(recorded.folder, fake_refit())
    with open_live(recorded) as live:
        assert isinstance(live, ResultReader)
        assert live.has_refit
        assert live.n_frames == N_FRAMES


def test_a_refit_without_components_can_be_kept(written: SessionFolder):
    full = fake_refit()
    nothing = {name: getattr(full, name)[:0] for name in ("C", "S", "C_raw", "ids", "sn", "g", "snr")}
    refit: RefitResult = replace(
        full, footprints=full.footprints.select([]), status=(), reasons=(), **nothing
    )
    add_refit(written, refit)
    with ResultReader(written.result) as reader:
        assert_equal(reader.refit(), refit)


def test_a_session_that_was_not_refitted_says_how_to(written: SessionFolder):
    with ResultReader(written.result) as reader:
        assert not reader.has_refit
        with pytest.raises(StorageError, match="streamscope refit"):
            reader.refit()


def test_an_error_while_writing_leaves_the_old_file(written: SessionFolder, monkeypatch: pytest.MonkeyPatch):
    before = written.result.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result_module, "_write_refit", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        add_refit(written, fake_refit())
    assert written.result.read_bytes() == before
    assert sorted(p.name for p in written.folder.iterdir()) == [
        "journal.sqlite",
        "metaData.json",
        "session.h5",
    ]


def write_half(path: Path) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(b"half")
        raise ValueError("stop")


def test_a_file_written_aside_appears_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "out.bin"
    with written_aside(path) as aside:
        aside.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with pytest.raises(ValueError, match="stop"):
        write_half(path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_session_without_cells_can_be_written(session: SessionFolder, fake: FakeSession):
    journal = Journal(session.journal)
    for result in fake.results[:3]:
        journal.append_result(result, 0)
    journal.close()
    with JournalReader(session.journal, session.shape) as reader:
        write_session(session, reader)
    with ResultReader(session.result) as result:
        components: LiveComponents = result.components()
        assert components.footprints.dense().shape == (*session.shape, 0)
        assert result.traces(components.ids).C.shape == (0, 3)


def test_units_and_provenance_are_in_the_file(written: SessionFolder):
    add_refit(written, fake_refit())
    with h5py.File(written.result) as file:
        assert file["live/C"].attrs["unit"] == "sn units"
        assert file["refit/C"].attrs["unit"] == "a.u. (demixed)"
        assert file["refit/sn"].attrs["unit"] == "a.u. (demixed)"
        assert file["live/C"].compression == "gzip"
        assert json.loads(file["provenance"].attrs["engine"])["fps"] == 20.0
    with ResultReader(written.result) as reader:
        text = json.dumps(reader.provenance)
    assert "../../../../data/movie.h5" in text
    assert str(written.folder.parents[3]) not in text  # nothing of this machine


def test_other_files_are_refused(tmp_path: Path, written: SessionFolder):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(StorageError, match="not a StreamScope session file"):
        ResultReader(other)
    other.write_bytes(b"no HDF5")
    with pytest.raises(StorageError, match="cannot be opened as an HDF5 file"):
        ResultReader(other)
    with h5py.File(written.result, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(StorageError, match="install a newer StreamScope"):
        ResultReader(written.result)


def test_a_full_disk_is_one_sentence_also_where_hdf5_says_it_in_many_lines(tmp_path: Path):
    with pytest.raises(StorageError) as caught, written_aside(tmp_path / "session.h5"):
        raise OSError(
            28,
            "Unable to create file (time = Wed\n, errno = 28, error message = 'No space left on device', n",
        )
    assert str(caught.value).startswith(
        f"{tmp_path / 'session.h5'} cannot be written (No space left on device); check"
    )
    assert "\n" not in str(caught.value)
