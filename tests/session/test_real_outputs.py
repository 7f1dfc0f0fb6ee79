"""A whole session whose rules write to a TTL device (a pseudoterminal), a file, and a broker that is not there."""

from __future__ import annotations

import csv
import socket
import sys
import threading
import time

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.session.observer import Observer
from streamscope.session.plan import make_plan
from streamscope.session.runner import run_session
from streamscope.storage.journal import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import fake_engine
from streamscope.trigger.reading import checked
from streamscope.types import REAL
from streamscope.wire.client import Subscriber

if sys.platform == "win32":
    pytest.skip("pseudoterminals are POSIX only", allow_module_level=True)
pytest.importorskip("serial")

from ..drivers.outputs.ttl_device import TtlDevice

pytestmark = pytest.mark.slow  # whole sessions


class Arms(Observer):
    """Arms the rule once the session runs, and stops it everywhere after a while."""

    def __init__(self):
        self.replies, self.ages = [], []
        self.done = threading.Event()

    def bound(self, endpoints):
        self.endpoint = endpoints.data

    def started(self, folder):
        threading.Thread(target=self._use, daemon=True).start()

    def _use(self):
        with Subscriber(self.endpoint, ("traces/", "events/"), timeout_s=20) as session:
            for message in session:
                if message.topic != "traces/":
                    continue
                self.ages.append(message.age_ms(time.perf_counter_ns()))
                if message.frame == 40:
                    self.replies.append(session.ask("arm", rule="ticks", text="test"))
                if message.frame == 140:
                    self.replies.append(session.ask("disarm", emergency=True, text="test"))
        self.done.set()


def test_pulses_reach_the_device_lines_the_file_and_a_dead_broker_delays_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.3)
    monkeypatch.setattr("streamscope_drivers.outputs.ttl._ANSWER_NS", 10**10)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = probe.getsockname()[1]
    device = TtlDevice()
    rules = {
        "seed": 5,
        "limits": {
            **{
                "first_s": 0,
                "min_gap_s": 0.05,
                "pulses_per_minute": 1000,
                "max_duty": 1,
                "max_age_ms": 10_000,
            },
        },
        "outputs": {"laser": f"serial:{device.port}?line=1"},
        "listeners": {"log": f"csv:{tmp_path / 'decisions.csv'}", "lab": f"mqtt:127.0.0.1:{dead}/rig"},
        "conditions": {"tick": {"kind": "schedule", "every_s": 0.2, "during_s": 0.1}},
        "rules": {"ticks": {"when": "tick", "outputs": ["laser"], "refractory_s": 0.05, "width_ms": 3}},
    }
    np.save(tmp_path / "movie.npy", np.random.default_rng(8).integers(0, 255, (200, 64, 64)).astype(np.uint8))
    given = {"wire.bind": "127.0.0.1:0", "cell_diameter": "8px", "fps": 80.0, "out": str(tmp_path / "out")}
    watch = Arms()
    try:
        plan = make_plan(
            str(tmp_path / "movie.npy"),
            from_toml(None, given),
            1.0,
            refit=False,
            rules=checked(rules, "rules"),
        )
        outcome = run_session(plan, watch, fake_engine())
        assert watch.done.wait(10)
    finally:
        device.close()
    log = JournalReader(open_session(outcome.folder).journal).trigger_log()
    real = [d for d in log.decisions if d.outcome == REAL]
    assert real  # a late frame on a busy machine may disarm the rule
    armed, stopped = (reply["frame"] for reply in watch.replies)
    assert all(armed <= d.frame <= stopped for d in real)
    rises = [edge for edge in device.edges if edge[2]]
    assert [line for _, line, _ in rises] == [1] * len(real)
    reports = [r for r in log.outputs if r.output == "laser" and r.number >= 0]
    assert [r.number for r in reports] == [d.number for d in real]
    assert all(
        d.t_decision_ns <= r.t_written_ns <= r.t_acknowledged_ns for d, r in zip(real, reports, strict=True)
    )
    with (tmp_path / "decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == [d.number for d in log.decisions]
    assert outcome.n_frames == 200
    assert np.median(watch.ages) < 200
