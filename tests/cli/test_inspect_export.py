"""inspect fits on one screen and says what can be done; export says what it wrote."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from streamscope.cli.export import export
from streamscope.cli.inspect import inspect
from streamscope.config import EngineConfig, SessionConfig
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.result import add_refit, write_session
from streamscope.storage.session_folder import SessionFolder, create_session, note_recording
from streamscope.testing.fake_session import N_FRAMES, SHAPE, FakeSession, fake_refit
from streamscope.types import Kinetics, MovieInfo, SeedReport

app = typer.Typer()
app.command()(inspect)
app.command()(export)


def run(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "110"}).invoke(
        app, [str(a) for a in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.output


def make(root: Path, *, closed: bool, um_per_px: float | None) -> SessionFolder:
    engine = EngineConfig(cell_diameter_px=8.0, fps=20.0, decay_s=0.6, um_per_px=um_per_px)
    info = MovieInfo("synthetic:demo", (), SHAPE, N_FRAMES, 20.0)
    started = datetime(2026, 5, 1, 14, 30, 5, tzinfo=UTC)
    session = create_session(root, SessionConfig(subject="m1"), engine, info, started)
    path = session.journal if closed else root / "running.sqlite"
    journal = Journal(path)
    FakeSession().write(journal, drained=closed)
    journal.commit()
    if not closed:  # the files as a kill would leave them
        shutil.copy(path, session.journal)
        shutil.copy(f"{path}-wal", f"{session.journal}-wal")
    journal.close()
    return session


@pytest.fixture
def session(tmp_path: Path) -> SessionFolder:
    session = make(tmp_path, closed=True, um_per_px=2.0)
    with JournalReader(session.journal) as reader:
        write_session(session, reader)
    return session


def test_inspect_shows_recording_losses_motion_cells_and_latency(session: SessionFolder):
    screen = run("inspect", session.folder)
    for text in (
        "m1, 2026-05-01 14:30:05",
        "synthetic:demo (Miniscope, 40x48 px, 2 um per px)",
        "60 of 60, 3.1 s recorded",
        "3 missing (gaps: 1), 0 dropped, 1 with doubtful motion, 0 late",
        "of frames over 5 um",
        "due to published: p50 2.",
        "2 confirmed, 1 provisional, 1 merged, 1 retired; 7 epochs",
        "not refitted",
        "gap at frame 25: missing 3",
        "streamscope refit",
    ):
        assert text in " ".join(screen.split()), text
    assert len(screen.splitlines()) <= 30


def test_inspect_shows_what_was_recorded_and_what_was_not(session: SessionFolder):
    device = session.folder / "Miniscope"
    device.mkdir()
    (device / "0.avi").write_bytes(b"0" * 250_000)
    (device / "timeStamps.csv").write_text("Frame Number\n0\n1\n5\n", encoding="utf-8")
    noted = note_recording(session, {"device": "Miniscope"})
    screen = " ".join(run("inspect", session.folder).split())
    assert "recorded 3 frames in Miniscope, 1 file of 0.2 MB, uncompressed; not finished" in screen
    note_recording(noted, {"not_recorded": 57, "stopped": "the disk is full"})
    screen = " ".join(run("inspect", session.folder).split())
    assert "57 frames are not recorded (holes: 1); stopped: the disk is full" in screen


def test_inspect_counts_the_reasons_of_the_refit(session: SessionFolder):
    add_refit(session, fake_refit())
    screen = " ".join(run("inspect", session.folder).split())
    assert "2 accepted, 1 rejected (1 x peak N sn, at least N wanted)" in screen
    assert "streamscope refit" not in screen
    assert "kinetics" not in screen  # this refit does not say
    add_refit(session, replace(fake_refit(), kinetics=Kinetics(1.234, 0.15, 0.9, fitted=True)))
    screen = " ".join(run("inspect", session.folder).split())
    assert "decay 1.23 s, rise 0.15 s, fitted; 90% of the traces agree" in screen
    add_refit(session, replace(fake_refit(), kinetics=Kinetics(0.6)))
    assert "decay 0.6 s, rise 0.06 s, as given" in " ".join(run("inspect", session.folder).split())


def test_inspect_says_what_can_be_done_with_a_session_that_was_cut_short(tmp_path: Path):
    session = make(tmp_path, closed=False, um_per_px=None)
    screen = " ".join(run("inspect", session.folder).split())
    assert "The journal was not closed" in screen
    assert "up to frame 59" in screen
    assert "streamscope export" in screen
    assert "streamscope refit" in screen
    assert "um per px not known" in screen
    assert "over 5 um" not in screen  # not guessed


def test_inspect_shows_a_session_that_ended_before_its_first_frame(tmp_path: Path):
    session = make(tmp_path, closed=True, um_per_px=None)
    session.journal.unlink()
    Journal(session.journal).close()
    assert "0 of 60, 0.0 s recorded" in run("inspect", session.folder)


def test_export_says_what_it_wrote(session: SessionFolder, tmp_path: Path):
    said = run("export", session.folder, tmp_path / "traces.npz", "--all")
    assert "traces.npz: 5 components, 60 frames (live, 0." in said
    with np.load(tmp_path / "traces.npz") as data:
        assert data["C"].shape == (5, N_FRAMES)


def test_inspect_says_when_learning_was_frozen(tmp_path: Path) -> None:
    session = make(tmp_path, closed=True, um_per_px=2.0)
    assert "frozen" not in run("inspect", session.folder)
    with sqlite3.connect(session.journal) as db:
        rows = [("frozen", 20, '{"cells": 3}'), ("thawed", 40, '{"cells": 3}')]
        db.executemany("INSERT INTO events (kind, frame, fields) VALUES (?, ?, ?)", rows)
    db.close()
    shown = " ".join(run("inspect", session.folder).split())
    assert "learning frozen from frame 20 (1.0 s), thawed from frame 40 (2.0 s)" in shown


def test_inspect_says_what_became_of_a_seed(tmp_path: Path) -> None:
    session = make(tmp_path, closed=True, um_per_px=2.0)
    report = SeedReport(True, "m1/day1", 0.97, 0.5, 5, 5.0, -3.0, 1.5, (1, 4))
    with sqlite3.connect(session.journal) as db:
        row = ("seed", 24, json.dumps(report.fields()))
        db.execute("INSERT INTO events (kind, frame, fields) VALUES (?, ?, ?)", row)
    db.close()
    shown = " ".join(run("inspect", session.folder).split())
    assert "2 cells from m1/day1, moved by (+5.0, -3.0) px, turned by +1.5 degrees, agreement 0.97" in shown
    assert "; 1 of them seen active" in shown
