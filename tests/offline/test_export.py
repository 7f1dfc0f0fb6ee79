"""The exported file holds exactly what was on the wire, or what the refit accepted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from streamscope.config import EngineConfig, SessionConfig
from streamscope.errors import StorageError
from streamscope.offline.export import export_session, live_arrays, refit_arrays
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.result import add_refit, write_session
from streamscope.storage.session_folder import SessionFolder, create_session
from streamscope.testing.fake_session import LAG, LIVES, N_FRAMES, SHAPE, FakeSession, fake_refit
from streamscope.types import MovieInfo

STARTED = datetime(2026, 5, 1, 14, 30, 5, tzinfo=UTC)


@pytest.fixture
def crashed(tmp_path: Path) -> SessionFolder:
    """Return a session of which only the journal was written."""
    engine = EngineConfig(cell_diameter_px=8.0, fps=20.0, decay_s=0.6)
    info = MovieInfo("synthetic:demo", (), SHAPE, N_FRAMES, 20.0)
    session = create_session(tmp_path / "out", SessionConfig(), engine, info, STARTED)
    journal = Journal(session.journal)
    FakeSession().write(journal)
    journal.close()
    return session


@pytest.fixture
def session(crashed: SessionFolder) -> SessionFolder:
    with JournalReader(crashed.journal) as reader:
        write_session(crashed, reader)
    return crashed


def exported(session: SessionFolder, which: str = "live", everything: bool = False) -> dict[str, np.ndarray]:
    out = session.folder / "out.npz"
    export_session(session.folder, out, which, everything)
    with np.load(out, allow_pickle=False) as file:
        return dict(file)


def test_live_holds_the_confirmed_components_alive_at_the_end(session: SessionFolder):
    data = exported(session)
    assert data["ids"].tolist() == [1, 7]
    assert data["status"].tolist() == ["confirmed", "confirmed"]
    assert data["avail"].tolist() == [3, 12]
    assert data["A"].shape == (*SHAPE, 2)
    assert data["A"].dtype == np.float32
    assert data["A"].max(axis=(0, 1)).tolist() == [1.0, 1.0]
    assert np.flatnonzero(data["A"][..., 1]).tolist() == list(range(350, 359))


def test_live_values_equal_the_wire_bit_for_bit(session: SessionFolder):
    data, fake = exported(session), FakeSession()
    for row, id_ in enumerate(data["ids"]):
        for result in fake.results[LIVES[int(id_)][0] :]:
            k, t = result.ids.tolist().index(id_), result.index
            for name, sent in (("C_raw", result.y), ("C_causal", result.c), ("S_causal", result.s)):
                assert data[name][row, t].tobytes() == sent[k].tobytes()
            if t - LAG >= LIVES[int(id_)][0]:
                assert data["C"][row, t - LAG].tobytes() == result.c_lag[k].tobytes()
                assert data["S"][row, t - LAG].tobytes() == result.s_lag[k].tobytes()
        k = fake.tail.ids.tolist().index(id_)
        assert data["C"][row, -LAG:].tobytes() == fake.tail.c_lag[:, k].tobytes()
        assert data["S"][row, -LAG:].tobytes() == fake.tail.s_lag[:, k].tobytes()
    np.testing.assert_array_equal(
        data["shifts"], np.float32([[r.shift.dy, r.shift.dx] for r in fake.results])
    )


def test_live_traces_are_nan_before_avail_and_finite_after(session: SessionFolder):
    data = exported(session)
    for row, first in enumerate(data["avail"]):
        for name in ("C", "S", "C_causal", "S_causal", "C_raw"):
            assert data[name].dtype == np.float32
            assert np.isnan(data[name][row, :first]).all()
            assert np.isfinite(data[name][row, first:]).all()


def test_all_adds_the_rest_with_their_status(session: SessionFolder):
    data = exported(session, everything=True)
    ends = dict(zip(data["ids"].tolist(), data["status"].tolist(), strict=True))
    assert ends == {id_: end for id_, (_, _, end) in LIVES.items()}
    assert data["reasons"][1] == "merged into 1 at frame 20: correlation 0.95"
    assert np.isnan(data["C_raw"][1, 20:]).all()


def test_a_crashed_session_exports_what_its_journal_holds(crashed: SessionFolder):
    from_journal = exported(crashed)
    with JournalReader(crashed.journal) as reader:
        write_session(crashed, reader)
    from_file = exported(crashed)
    assert from_journal.keys() == from_file.keys()
    for name, array in from_journal.items():
        assert array.tobytes() == from_file[name].tobytes()


def test_refit_holds_the_accepted_components(session: SessionFolder):
    refit = fake_refit()
    add_refit(session, refit)
    data = exported(session, "refit")
    keep = [k for k, status in enumerate(refit.status) if status == "accepted"]
    motion = {"shifts", "field", "field_y", "field_x", "quality", "flags", "crop", "bin"}
    cells = {"A", "ids", "avail", "status", "reasons", "seeded", "b0"}
    assert set(data) == cells | {"C", "S", "C_raw"} | motion
    assert data["ids"].tolist() == refit.ids[keep].tolist()
    assert data["avail"].tolist() == [0] * len(keep)
    for name in ("C", "S", "C_raw"):
        np.testing.assert_array_equal(data[name], getattr(refit, name)[keep])
    np.testing.assert_array_equal(data["A"], refit.footprints.dense()[..., keep])
    np.testing.assert_array_equal(data["shifts"], refit.shifts)
    everything = exported(session, "refit", everything=True)
    assert everything["status"].tolist() == list(refit.status)
    assert everything["reasons"].tolist() == list(refit.reasons)


def test_fields_are_exported_with_the_places_of_their_nodes(session: SessionFolder):
    add_refit(session, fake_refit())
    refit, live = exported(session, "refit"), exported(session)
    np.testing.assert_array_equal(refit["field"], fake_refit().field)
    np.testing.assert_array_equal(refit["field_y"], [0, SHAPE[0] - 1])
    np.testing.assert_array_equal(refit["field_x"], [0, (SHAPE[1] - 1) / 2, SHAPE[1] - 1])
    assert live["field"].shape == (N_FRAMES, 2, 2, 2)
    assert not live["field"].any()
    np.testing.assert_array_equal(live["field_x"], [0, SHAPE[1] - 1])


def test_shifts_are_exported_in_um_where_the_size_of_a_pixel_is_known(session: SessionFolder):
    engine = session.engine.model_copy(update={"um_per_px": 1.65}).model_dump(mode="json")
    known = replace(session, metadata={**session.metadata, "streamscope": {**session.ours, "engine": engine}})
    add_refit(session, fake_refit())
    for arrays in (live_arrays, refit_arrays):
        assert "shifts_um" not in arrays(session, everything=False)
        data = arrays(known, everything=False)
        np.testing.assert_allclose(data["shifts_um"], 1.65 * data["shifts"], rtol=1e-5)


def test_two_exports_are_the_same_bytes(session: SessionFolder, tmp_path: Path):
    for name in ("a.npz", "b.npz"):
        export_session(session.folder, tmp_path / name, "live", False)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_summary_says_what_was_written(session: SessionFolder, tmp_path: Path):
    summary = export_session(session.folder, tmp_path / "traces", "live", False)
    assert summary["path"] == tmp_path / "traces.npz"
    assert (summary["components"], summary["frames"]) == (2, N_FRAMES)
    assert summary["size"] == (tmp_path / "traces.npz").stat().st_size


def test_a_session_without_refit_says_how_to_make_it(session: SessionFolder, crashed: SessionFolder):
    with pytest.raises(StorageError, match="streamscope refit"):
        exported(session, "refit")
    crashed.result.unlink()
    with pytest.raises(StorageError, match="streamscope refit"):
        exported(crashed, "refit")


def test_wrong_requests_are_one_clear_sentence(session: SessionFolder, tmp_path: Path):
    with pytest.raises(StorageError, match="--which both is not known"):
        export_session(session.folder, tmp_path / "a.npz", "both", False)
    with pytest.raises(StorageError, match="is not a StreamScope session"):
        export_session(tmp_path, tmp_path / "a.npz", "live", False)
    with pytest.raises(StorageError, match="cannot be written"):
        export_session(session.folder, tmp_path / "nowhere" / "a.npz", "live", False)
    assert not (tmp_path / "a.npz").exists()


def test_a_session_with_nothing_in_it_says_so(session: SessionFolder):
    session.result.unlink()
    session.journal.unlink()
    with pytest.raises(StorageError, match=r"neither session\.h5 nor journal\.sqlite"):
        exported(session)
