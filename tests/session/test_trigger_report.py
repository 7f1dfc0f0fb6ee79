"""The page on a session's decisions, and the commands around it, on a session made by hand."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from streamscope.cli.arm import read_cell, standing
from streamscope.cli.inspect import _decisions
from streamscope.cli.main import app
from streamscope.config import EngineConfig
from streamscope.errors import ConfigError
from streamscope.offline.trigger_page import LOOKS, latencies_ms
from streamscope.session.trigger_report import gather
from streamscope.storage.journal import Journal
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_session import SHAPE, FakeSession
from streamscope.trigger.cells import CellTable
from streamscope.trigger.engine import ARM, Circumstances, Triggers
from streamscope.trigger.engine import Command as Asked
from streamscope.trigger.reading import checked
from streamscope.types import BLOCKED, REAL, Footprints, OutputReport

RULES = """
seed = 5
[limits]
first_s = 0
min_gap_s = 0
max_age_ms = 1000
[outputs]
laser = "fake:"
[signals.all]
kind = "ensemble"
trace = "y"
[conditions.high]
kind = "above"
signal = "all"
level = 0.3
[rules.reward]
when = "high"
refractory_s = 0
outputs = ["laser"]
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session folder whose rule was armed at frame 10, with outputs that report."""
    folder = tmp_path_factory.mktemp("subject") / "day" / "time"
    folder.mkdir(parents=True)
    (folder / "rules.toml").write_text(RULES)
    engine = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6).model_dump(mode="json")
    ours = {
        "version": "1",
        "config": {"subject": "<b>m1</b>"},
        "engine": engine,
        "source": {"shape": list(SHAPE)},
    }
    (folder / "metaData.json").write_text(json.dumps({"streamscope": ours}))
    journal, fake = Journal(folder / "journal.sqlite"), FakeSession()
    fake.write(journal)
    rules, around = (
        checked(tomllib.loads(RULES), "rules"),
        {"fps": 20.0, "cell_diameter_px": 8.0, "paced": True},
    )
    journal.append_trigger_input(
        0, "rules", {"rules": rules.model_dump(mode="json"), "circumstances": around}
    )
    triggers, epochs = Triggers(rules, Circumstances(**around)), {e[2]: e for e in fake.epochs()}
    for result in fake.results:
        if result.index in epochs:
            number, _, frame, arrays = epochs[result.index]
            journal.append_trigger_input(frame, "epoch", {"epoch": number, "changes": []})
            shape = Footprints(SHAPE, arrays["A_indptr"], arrays["A_pixels"], arrays["A_weights"])
            triggers.adopt(CellTable(number, arrays["ids"], arrays["status"], arrays["snr"], shape))
        if result.index == 10:
            triggers.command(Asked(ARM, "reward"))
            fields = {
                "kind": ARM,
                "rule": "reward",
                "cells": [],
                "levels": [],
                "dry": False,
                "text": "<script>",
            }
            journal.append_trigger_input(10, "command", fields)
        for decision in triggers.decide(result):
            decided = replace(decision, t_decision_ns=result.t_result_ns + 100_000)
            journal.append_decision(decided)
            journal.append_output(OutputReport("laser", decided.number, decided.t_decision_ns + 250_000))
        for said in triggers.said():
            journal.append_event(said.kind, said.frame, said.fields)
    journal.close()
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_what_the_page_shows_is_what_was(session):
    story = gather(open_session(session))
    (rule,) = story.rules
    assert len(rule.decisions) > 5
    assert {d.outcome for d in rule.decisions} == {REAL, BLOCKED}
    assert rule.levels == {"all": [0.3]}
    values = rule.signals["all"]
    assert all(values[d.frame] == d.value for d in rule.decisions)
    assert rule.armed[0][0] == pytest.approx(10 / 20)
    delays = latencies_ms(story)
    np.testing.assert_allclose(delays["decision to laser"], 0.25)
    assert (delays["frame to decision"] > 2).all()


@pytest.mark.slow
def test_the_page_opens_without_internet_and_shows_nothing_as_code(session):
    result = run("triggers", "report", session)
    assert result.exit_code == 0, result.output
    page = (session / "triggers.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)\s*=", page.split("<body>")[0])
    assert "<b>m1</b>" not in page
    for outcome in LOOKS:
        assert outcome in page
    assert "bit for bit" in page


@pytest.mark.system
def test_a_browser_draws_the_page_without_an_error(session):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs the package chromium")
    run("triggers", "report", session)
    page = (session / "triggers.html").as_uri()
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
    )
    done = subprocess.run([browser, *flags, "--dump-dom", page], capture_output=True, text=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line] == []
    assert done.stdout.count("<h2>") == 4
    assert "document idle" in done.stderr  # bokeh has drawn everything


def test_decisions_come_out_again_or_the_command_fails(session, tmp_path):
    result = run("triggers", "replay", session)
    assert (result.exit_code, "bit for bit" in result.output) == (0, True)
    changed = shutil.copytree(session, tmp_path / "changed")
    db = sqlite3.connect(changed / "journal.sqlite")
    db.execute("UPDATE traces SET traces = zeroblob(length(traces)) WHERE frame >= 20")
    db.commit()
    db.close()
    result = run("triggers", "replay", changed)
    assert result.exit_code == 2
    assert "differs" in result.output


def test_levels_are_tried_in_one_table(session):
    rules = session / "rules.toml"
    result = run("triggers", "simulate", session, "--rules", rules, "--sweep", "high=0.1,0.5,9")
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if line.startswith("reward")]
    pulses = [int(row.split()[3]) for row in rows]
    assert len(pulses) == 3
    assert pulses[0] > pulses[1] > pulses[2] == 0
    assert run("triggers", "simulate", session, "--rules", rules, "--sweep", "low=1").exit_code == 2
    assert run("triggers", "simulate", session, "--rules", rules, "--last", "1").exit_code == 0


def test_inspect_counts_what_rules_decided(session):
    folder = open_session(session)
    assert list(_decisions(folder)) == [("decisions", "reward: 5 real, 3 blocked")]


def test_a_rules_file_is_told_in_words(session):
    result = run("triggers", "check", session / "rules.toml")
    assert result.exit_code == 0
    assert "when high; watches all; laser, 10 ms" in result.output
    assert run("triggers", "check", session / "none.toml").exit_code == 2


def test_cells_and_standing_in_words():
    assert read_cell("42") == ("", 42)
    assert read_cell("target=7") == ("target", 7)
    for text in ("x", "=3", "target=", "4.5"):
        with pytest.raises(ConfigError, match="--cell"):
            read_cell(text)
    rule = {
        "armed": False,
        "dry": False,
        "why": "cell 3 was retired",
        "cells": {"target": None},
        "levels": {},
        "counts": {"real": 2},
    }
    (line,) = standing({"reward": rule})
    assert line == "reward           not armed (cell 3 was retired), target not there yet: 2 real"
    assert "dry" in standing({"reward": {**rule, "armed": True, "dry": True}})[0]
    assert len(standing({})) == 1
