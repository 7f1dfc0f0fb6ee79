"""What a session can begin with: earlier sessions, their files, exports; and what is refused before it starts."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from streamscope.config import EngineConfig, SessionConfig
from streamscope.errors import ConfigError, StorageError, StreamScopeError
from streamscope.offline.export import export_session
from streamscope.session.seeding import read_seed
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.result import write_session
from streamscope.storage.session_folder import SessionFolder, create_session
from streamscope.testing.fake_session import N_FRAMES, SHAPE, FakeSession, fake_refit
from streamscope.types import MovieInfo, SeedReport

STILL = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)


class WithStill(FakeSession):
    def _arrays(self, frame: int) -> dict[str, np.ndarray]:
        return super()._arrays(frame) | {"b0_64ths": STILL}


def make(root: Path, fake: FakeSession, *, built: bool = True, refitted: bool = False) -> SessionFolder:
    engine = EngineConfig(cell_diameter_px=8.0, fps=20.0, decay_s=0.6, um_per_px=1.5)
    info = MovieInfo("synthetic:demo", (), SHAPE, N_FRAMES, 20.0)
    session = create_session(root, SessionConfig(), engine, info, datetime(2026, 5, 1, 14, 30, 5, tzinfo=UTC))
    journal = Journal(session.journal)
    fake.write(journal)
    journal.close()
    if built:
        with JournalReader(session.journal) as reader:
            write_session(session, reader, fake_refit() if refitted else None)
    return session


def note(session: SessionFolder, report: SeedReport) -> None:
    """Add the event of a seed to the journal."""
    with sqlite3.connect(session.journal) as db:
        row = ("seed", 20, json.dumps(report.fields()))
        db.execute("INSERT INTO events (kind, frame, fields) VALUES (?, ?, ?)", row)
    db.close()


@pytest.mark.parametrize("built", [True, False])
def test_a_live_session_gives_its_confirmed_cells_and_its_still_image(tmp_path, built):
    session = make(tmp_path, WithStill(), built=built)
    seed = read_seed(session.folder, SHAPE, 1.5)
    assert seed.ids.tolist() == [1, 7]
    assert seed.next_id == 8
    assert seed.image.tobytes() == (STILL / np.float32(64)).astype(np.float32).tobytes()
    assert seed.footprints.column(1)[0].tolist() == list(range(350, 359))
    assert seed.source.endswith("2026_05_01/14_30_05")


@pytest.mark.parametrize("as_file", [True, False])
def test_a_refitted_session_gives_its_accepted_cells_and_new_ids_come_after_all_it_gave(tmp_path, as_file):
    session = make(tmp_path, WithStill(), refitted=True)
    seed = read_seed(session.result if as_file else session.folder, SHAPE, 1.5)
    assert seed.ids.tolist() == [1, 7]
    assert seed.next_id == 9  # 8 was rejected, and is never given again
    assert seed.image.tobytes() == fake_refit().b0.tobytes()
    assert seed.footprints.column(1)[0].tolist() == list(range(100, 105))


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("which", ["live", "refit"])
def test_an_export_gives_the_same_cells_as_its_session(tmp_path, which, everything):
    session = make(tmp_path, WithStill(), refitted=which == "refit")
    export_session(session.folder, tmp_path / "cells.npz", which, everything)
    seed, direct = read_seed(tmp_path / "cells.npz", SHAPE, None), read_seed(session.folder, SHAPE, None)
    assert seed.ids.tolist() == direct.ids.tolist()
    assert seed.image.tobytes() == direct.image.tobytes()
    for k in range(2):
        (pixels, weights), (pixels_too, weights_too) = seed.footprints.column(k), direct.footprints.column(k)
        assert pixels.tolist() == pixels_too.tolist()
        assert weights / weights.max() == pytest.approx(weights_too / weights_too.max())


def test_ids_of_the_seed_of_the_seed_are_not_given_again(tmp_path):
    session = make(tmp_path, WithStill(), built=False)
    note(session, SeedReport(True, "m1/day0", 0.97, 0.5, 91, 1.0, 2.0, 0.5, (1, 7)))
    assert read_seed(session.folder, SHAPE, None).next_id == 91


def test_an_export_says_which_cells_were_seeded(tmp_path):
    session = make(tmp_path, WithStill(), built=False)
    note(session, SeedReport(True, "m1/day0", 0.97, 0.5, 5, 1.0, 2.0, 0.5, (1, 4)))
    export_session(session.folder, tmp_path / "cells.npz", "live", True)
    with np.load(tmp_path / "cells.npz") as file:
        assert file["ids"][file["seeded"]].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("shape", "um_per_px", "error", "text"),
    [
        ((41, 48), None, ConfigError, "frames of (40, 48), this recording of (41, 48)"),
        (SHAPE, 2.0, ConfigError, "1.5 um per px, this recording 2"),
    ],
)
def test_frames_or_pixels_of_another_size_are_refused(tmp_path, shape, um_per_px, error, text):
    session = make(tmp_path, WithStill())
    refuses(session.folder, text, error, shape, um_per_px)


def refuses(path, text, error=StorageError, shape=SHAPE, um_per_px=None):
    with pytest.raises(StreamScopeError) as caught:
        read_seed(path, shape, um_per_px)
    assert isinstance(caught.value, error)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_seed_is_refused_in_one_sentence(tmp_path):
    refuses(tmp_path / "nothing", "there is no seed at")
    refuses(make(tmp_path / "a", FakeSession()).folder, "holds no still image b0")
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    refuses(tmp_path / "bad.npz", "cannot be read")
    still = np.ones(SHAPE, np.float32)
    np.savez(tmp_path / "flat.npz", A=still, b0=still)
    refuses(tmp_path / "flat.npz", "expected footprints (H, W, K)")
    A = np.ones((*SHAPE, 2), np.float32)
    np.savez(tmp_path / "twice.npz", A=A, ids=np.array([3, 3]), b0=still)
    refuses(tmp_path / "twice.npz", "none twice")
    np.savez(tmp_path / "empty.npz", A=0 * A, b0=still)
    refuses(tmp_path / "empty.npz", "holds no confirmed or accepted cells")
