"""What a session shows while it runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from streamscope.cli.progress import Progress, outcome_lines
from streamscope.session.machine import State
from streamscope.session.runner import Outcome
from streamscope.types import Health
from streamscope.wire.endpoints import endpoints

HEALTH = Health("running", 99, 1200, 20.0, 3.25, 6.5, 1, 2, 3, 57, 6, 12, (1.25, -0.5), "learning")


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def progress_on(terminal, clock):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, highlight=False)
    return Progress(console, clock), text


def test_in_a_log_file_there_is_a_line_now_and_then(clock):
    progress, text = progress_on(False, clock)
    with progress:
        for second in range(12):
            clock.now_s = float(second)
            progress.health(HEALTH)
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    for part in (
        "frame 100",
        "20.0 fps",
        "p50 3.2 ms",
        "p99 6.5 ms",
        "lost 2",
        "late 3",
        "57 cells",
        "epoch 12",
    ):
        assert part in lines[0]
    assert "overload: no learning" in lines[0]


def test_in_a_terminal_the_picture_holds_everything_that_matters(clock):
    progress, text = progress_on(True, clock)
    with progress:
        progress.health(HEALTH)
        progress.refitting("traces", 0.5)
        progress.health(HEALTH)
    for part in (
        "frame 100 of 1200",
        "20.0 fps",
        "57 cells (+6 provisional)",
        "shift +1.2 -0.5 px",
        "lost 2",
    ):
        assert part in text.getvalue()


def test_compiling_is_said_once_and_only_when_it_takes_long(clock):
    progress, text = progress_on(False, clock)
    progress.warming("motion", 1, 9)
    assert text.getvalue() == ""
    for second in range(2, 8):
        clock.now_s = float(second)
        progress.warming("motion", second, 9)
    assert text.getvalue().count("compiling, first start only") == 1


def test_the_way_of_a_session_is_told(clock):
    progress, text = progress_on(False, clock)
    progress.bound(endpoints("127.0.0.1", 5570))
    progress.started(Path("somewhere"))
    progress.state(State.REFITTING)
    for second in range(8):
        clock.now_s = float(second)
        progress.refitting("traces", second / 10)
    said = text.getvalue()
    for part in ("tcp://127.0.0.1:5570", "somewhere", "refitting", "refit: traces, 50 %"):
        assert said.count(part) == 1 + (part == "tcp://127.0.0.1:5570")


def test_the_end_is_told_with_and_without_a_refit():
    without = outcome_lines(Outcome(Path("f"), Path("f/session.h5"), 100, None, HEALTH))
    assert any("streamscope refit f" in line for line in without)
    status = ("accepted", "accepted", "rejected")
    with_refit = outcome_lines(Outcome(Path("f"), Path("f/session.h5"), 100, status, HEALTH))
    assert "refit    2 cells accepted, 1 rejected" in with_refit
    recording = {"device": "Miniscope", "n_frames": 90, "not_recorded": 10, "stopped": "the disk is full"}
    lines = outcome_lines(Outcome(Path("f"), Path("f/session.h5"), 100, None, HEALTH, recording))
    assert lines[2:5] == [
        f"recorded 90 frames in {Path('f/Miniscope')}",
        "note     the recording stopped before the session: the disk is full",
        "note     10 frames are NOT recorded",
    ]
    assert outcome_lines(Outcome(None, None, 0, None, HEALTH)) == [
        "stopped before the first frame; nothing was written"
    ]
