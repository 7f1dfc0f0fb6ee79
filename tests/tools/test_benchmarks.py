"""The benchmarks measure what they say; the whole of them is run on small movies."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamscope.config import SessionConfig, WireConfig
from streamscope.session.registry import open_movie
from streamscope.session.runner import run_session
from streamscope.testing.fake_engine import fake_engine

TOOLS = Path(__file__).parent.parent.parent / "tools"


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import measuring

    return measuring


def test_percentiles_are_those_of_the_values(measuring):
    found = measuring.percentiles(np.arange(1001.0))
    assert found == {"p50": 500.0, "p95": 950.0, "p99": 990.0, "p99_9": 999.0, "max": 1000.0, "n": 1001}
    assert measuring.percentiles([]) == {"n": 0}


def test_memory_that_was_taken_shows_in_the_private_part(measuring):
    before = measuring.memory_mb(os.getpid())
    if before is None:
        pytest.fail("neither /proc nor psutil tells the memory of a process here; install psutil")
    held = mmap.mmap(-1, 40 << 20)  # memory of the heap may have been taken before
    np.frombuffer(held, np.uint8)[:] = 1
    resident, private = measuring.memory_mb(os.getpid())
    assert resident >= private > before[1] + 30


def test_the_slope_of_memory_is_found_after_the_settling_time(measuring):
    log = measuring.MemoryLog({})
    log.samples["leaky"] = [(t, 500.0, 100.0 + (t - 10) / 60) for t in np.arange(0.0, 70.0)]
    assert log.summary(settled_s=10)["leaky"]["private_mb_per_min"] == pytest.approx(1.0)
    assert log.summary(settled_s=10)["leaky"]["private_settled_mb"] == 100.0


def run_tool(name, json_file, *options):
    command = [sys.executable, str(TOOLS / name), "--json", str(json_file), *options]
    subprocess.run(command, check=True, timeout=240)
    return json.loads(json_file.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_session_from_the_model_of_a_device_shows_the_movie_that_it_was_given(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    from model_device import device_plan

    movie = np.random.default_rng(0).integers(30, 200, (50, 96, 96)).astype(np.uint8)
    np.save(tmp_path / "movie.npy", movie)
    wire = WireConfig(bind="127.0.0.1:0")
    config = SessionConfig(out=str(tmp_path), um_per_px=1.655, cell_diameter="13um", wire=wire)
    plan = device_plan(str(tmp_path / "movie.npy"), config, 60, record=True)
    outcome = run_session(plan, None, fake_engine())
    plan.close()
    assert outcome.n_frames == outcome.recording["n_frames"] == 60
    recorded = open_movie(str(outcome.folder))
    seen = recorded.read(0, 60).astype(int)
    recorded.close()
    for image in seen:
        assert min(np.abs(image - known).max() for known in movie) <= 2


@pytest.mark.slow
def test_latency_is_measured_through_a_whole_session(tmp_path):
    options = ("--size", "128", "--seconds", "12", "--control-seconds", "2", "--record")
    report = run_tool("bench_latency.py", tmp_path / "out.json", *options)
    session = report["session"]
    assert (session["recorded"], session["not_recorded"]) == (360, 0)
    assert (session["received"], session["missing"], session["in_order_and_once"]) == (360, 0, True)
    for name, figures in session["settled"].items():
        assert 0 < figures["p50"] <= figures["p99_9"] <= figures["max"], name
    assert report["control_after"]["work_ms"] == session["settled"]["due_to_publish_ms"]["p50"]
    assert set(session["memory"]) == {"session", "subscriber"}


@pytest.mark.slow
def test_every_stage_is_measured(tmp_path):
    report = run_tool("bench_stages.py", tmp_path / "out.json", "--size", "128", "--seconds", "6")
    stages = report["stages_ms"]
    assert {"preprocess", "motion", "deconvolve", "frame", "learner"} <= set(stages)
    assert stages["frame"]["n"] == 180
    assert stages["motion"]["p50"] < stages["frame"]["p50"]


@pytest.mark.slow
def test_the_growth_of_cost_is_measured_and_drawn(tmp_path):
    options = ("--cells", "40", "80", "--sizes", "96", "--seconds", "8", "--png", str(tmp_path / "out.png"))
    report = run_tool("bench_scaling.py", tmp_path / "out.json", *options)
    assert [row["cells"] for row in report["cells"]] == [40, 80]
    assert [row["size"] for row in report["pixels"]] == [96]
    assert all(row["learner_ms"] > 0 < row["frame_path_ms"] for row in report["cells"] + report["pixels"])
    assert (tmp_path / "out.png").stat().st_size > 10000
