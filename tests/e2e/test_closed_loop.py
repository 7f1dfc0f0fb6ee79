"""The day of an experiment on a simulated recording, with the real engine and learning on, from the command line."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from streamscope.session.replaying import replay_decisions
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.types import BLOCKED, DRY, REAL, SHAM
from streamscope.wire.client import Subscriber

RULES = """
seed = 2
[limits]
first_s = 1
min_gap_s = 0.2
max_age_ms = 5000
late_frames = 10000
[outputs]
laser = "fake:"
[listeners]
log = "fake:slow"
[signals.target]
kind = "cell"
[signals.all]
kind = "ensemble"
[signals.rate]
kind = "rate"
[signals.brain]
kind = "motion"
measure = "speed"
[conditions.high]
kind = "above"
signal = "target"
level = 3
release = 2.5
[conditions.many]
kind = "above"
signal = "all"
level = 0.6
for_s = 0.1
[conditions.busy]
kind = "above"
signal = "rate"
level = 0.01
[conditions.moving]
kind = "above"
signal = "brain"
level = 60
[rules.reward]
when = "high and not moving"
outputs = ["laser"]
refractory_s = 0.5
control = { sham = 0.3 }
[rules.group]
when = "many or busy"
fires = "while"
refractory_s = 1
outputs = ["laser"]
[rules.chance]
control = { kind = "random", mean_interval_s = 1.5 }
"""


def streamscope(*arguments, check=True):
    command = [sys.executable, "-m", "streamscope.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "speed"), [("synthetic:small", "2x"), ("synthetic:tiny", "1x")])
def test_a_session_is_armed_run_reported_and_replayed_bit_for_bit(tmp_path, source, speed):
    (tmp_path / "rules.toml").write_text(RULES)
    replay = [
        sys.executable,
        "-m",
        "streamscope.cli",
        "replay",
        source,
        "--speed",
        speed,
        "--bind",
        "127.0.0.1:0",
    ]
    given = ["--out", str(tmp_path / "out"), "--no-refit", "--rules", str(tmp_path / "rules.toml")]
    session = subprocess.Popen(
        [*replay, *given], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    endpoint = next(found[0] for line in session.stderr if (found := re.search(r"tcp://\S+", line)))
    drain = threading.Thread(target=session.stderr.read, daemon=True)
    drain.start()
    try:
        armed = arm_every_rule(endpoint)
        assert session.wait(180) == 0
    finally:
        session.kill()
        session.wait()
        drain.join(10)
        session.stderr.close()
    (folder,) = (path.parent for path in (tmp_path / "out").rglob("journal.sqlite"))
    comparison = replay_decisions(open_session(folder))
    assert comparison.first_difference is None
    outcomes = [d.outcome for d in comparison.made]
    assert outcomes.count(REAL) > 3
    assert set(outcomes) <= {REAL, SHAM, DRY, BLOCKED}
    with JournalReader(folder / "journal.sqlite") as journal:
        log = journal.trigger_log()
        epochs = len(journal.epochs())
    assert epochs > 3  # it went on learning
    assert {d.rule for d in log.decisions if d.frame >= armed and d.outcome == REAL} >= {"group", "chance"}
    written = {r.number: r.t_written_ns for r in log.outputs if r.output == "laser"}
    laser = [d for d in log.decisions if d.outcome == REAL and d.outputs]
    assert set(written) == {d.number for d in laser}
    delays_ms = np.array([written[d.number] - d.t_decision_ns for d in laser]) / 1e6
    assert np.median(delays_ms) < 5
    assert "bit for bit" in streamscope("triggers", "replay", folder).stdout
    assert (
        "pulses"
        in streamscope("triggers", "simulate", folder, "--rules", tmp_path / "rules.toml", "--cell", 1).stdout
    )
    streamscope("triggers", "report", folder)
    assert (folder / "triggers.html").stat().st_size > 10_000


def arm_every_rule(endpoint):
    """Arm all rules as soon as there is a confirmed cell, and return the frame."""
    with Subscriber(endpoint, ("components/", "triggers/"), timeout_s=60, connect_timeout_s=60) as session:
        for message in session:
            if message.topic == "components/" and message.event.kind == "confirmed":
                for rule in ("group", "chance"):
                    session.ask("arm", rule=rule)
                reply = session.ask(
                    "arm", rule="reward", cells={"target": message.event.id}, levels={"high": 2}
                )
                assert reply["levels"] == {"high": 2.0, "moving": 60.0}
                session.ask("mark", text="armed")
                return int(reply["frame"])
    raise AssertionError("no cell was confirmed")
