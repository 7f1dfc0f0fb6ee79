"""The whole way with the real engine: replay a simulated recording, export it, stop it."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.core.kernels._jit import signature_counts
from streamscope.storage.journal import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.wire.client import Subscriber

pytestmark = pytest.mark.usefixtures("compiled_learner")

run = CliRunner()


def replay(out, *more):
    words = ["replay", "synthetic:tiny", "--bind", "127.0.0.1:0", "--out", str(out), *more]
    result = run.invoke(app, words)
    assert result.exit_code == 0, result.output
    (folder,) = out.glob("subject/*/*")
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return the folder of a session, and the kernels' signatures after it."""
    return replay(tmp_path_factory.mktemp("out"), "--speed", "max", "--no-refit"), signature_counts()


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    """Return the same of the same session once more."""
    return replay(tmp_path_factory.mktemp("out"), "--speed", "max", "--no-refit"), signature_counts()


def export(folder, out, *more):
    result = run.invoke(app, ["export", str(folder), str(out), *more])
    assert result.exit_code == 0, result.output
    with np.load(out) as arrays:
        return dict(arrays)


def test_a_replay_ends_as_finite_traces_of_cells(first, tmp_path):
    live = export(first[0], tmp_path / "live.npz", "--which", "live")
    n_cells = len(live["ids"])
    assert n_cells >= 3
    assert live["A"].shape == (96, 96, n_cells)
    assert live["C"].shape == (n_cells, 200)
    for row, first in enumerate(live["avail"]):
        assert np.isfinite(live["C"][row, first:]).all()
        assert np.isnan(live["C"][row, :first]).all()


@pytest.mark.slow  # learner and session are each held to this in the fast tests
def test_two_replays_at_full_speed_export_the_same_bytes(first, second, tmp_path):
    files = [tmp_path / f"{k}.npz" for k in range(2)]
    for (folder, _), file in zip((first, second), files, strict=True):
        export(folder, file, "--all")
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow  # the warm-up's own test says the same of each kernel
def test_every_kernel_is_compiled_before_the_first_frame(first, second):
    assert first[1]
    assert second[1] == first[1]


@pytest.mark.slow
def test_ctrl_c_ends_a_session_well(tmp_path):
    """A real SIGINT to a real process, as the terminal sends it (on Windows: CTRL_C_EVENT)."""
    command = [sys.executable, "-m", "streamscope.cli", "replay", "synthetic:tiny", "--speed", "1x"]
    command += ["--bind", "127.0.0.1:0", "--out", str(tmp_path), "--no-refit"]
    new_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, creationflags=new_group
    )
    stream = next(line for line in process.stderr if line.startswith("stream"))
    with Subscriber(stream.split()[1], ("traces/",), timeout_s=60) as subscriber:
        next(message for message in subscriber if message.frame > 20)  # of 200
    process.send_signal(getattr(signal, "CTRL_C_EVENT", signal.SIGINT))
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    (folder,) = tmp_path.glob("subject/*/*")
    session = open_session(folder)
    with JournalReader(session.journal, session.shape) as journal:
        assert journal.closed
        assert 10 < journal.n_frames < 190
        assert f"frames   {journal.n_frames}, lost 0" in said
