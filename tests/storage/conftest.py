"""A session folder whose journal holds a hand-made session."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamscope.config import EngineConfig, SessionConfig
from streamscope.storage.journal import Journal
from streamscope.storage.session_folder import SessionFolder, create_session
from streamscope.testing.fake_session import SHAPE, FakeSession
from streamscope.types import MovieInfo


@pytest.fixture
def recording(tmp_path: Path) -> MovieInfo:
    file = tmp_path / "data" / "movie.h5"
    file.parent.mkdir()
    file.write_bytes(bytes(range(256)) * 40)
    return MovieInfo(f"{file}:/movie", (file,), SHAPE, 60, 20.0, um_per_px=1.65)


@pytest.fixture
def session(tmp_path: Path, recording: MovieInfo) -> SessionFolder:
    engine = EngineConfig(cell_diameter_px=8.0, fps=20.0, decay_s=0.6, um_per_px=1.65)
    started = datetime(2026, 5, 1, 14, 30, 5, 250_000, tzinfo=UTC)
    return create_session(tmp_path / "out", SessionConfig(subject="mouse 1"), engine, recording, started)


@pytest.fixture
def fake() -> FakeSession:
    return FakeSession()


@pytest.fixture
def recorded(session: SessionFolder, fake: FakeSession) -> SessionFolder:
    """Return a session whose journal ended in good order."""
    journal = Journal(session.journal)
    fake.write(journal)
    journal.close()
    return session
