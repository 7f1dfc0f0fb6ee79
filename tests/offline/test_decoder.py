"""A decoder that is fitted on a session finds what was put in, and a rule sees the same value on each frame."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.errors import ConfigError
from streamscope.offline.decoder import fit_decoder
from streamscope.storage.journal import Journal
from streamscope.storage.session_folder import SessionFolder
from streamscope.trigger.engine import ARM, Circumstances, Command, Triggers
from streamscope.trigger.reading import read_rules
from tests.trigger.sights import frame, table

pytest.importorskip("sklearn")
N, K, SHAPE = 600, 6, (20, 20)
RULES = """
seed = 1
[signals.lick]
kind = "decoder"
file = "decoder.json"
[conditions.licks]
kind = "above"
signal = "lick"
level = 0.5
[rules.a]
when = "licks"
fires = "while"
"""


@pytest.fixture
def session(tmp_path):
    engine = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6).model_dump(mode="json")
    folder = SessionFolder(tmp_path, {"streamscope": {"source": {"shape": list(SHAPE)}, "engine": engine}})
    journal, cells = Journal(folder.journal), table(range(1, K + 1), shape=SHAPE)
    arrays = {
        "ids": cells.ids,
        "status": cells.status,
        "snr": cells.snr,
        "A_indptr": cells.footprints.indptr,
        "A_pixels": cells.footprints.pixels,
        "A_weights": cells.footprints.weights,
        "shape": np.array(SHAPE, np.int64),
    }
    journal.append_epoch(1, 0, 0, arrays)
    X = np.random.default_rng(2).gamma(1.0, 2.0, (N, K)).astype(np.float32)
    results = [frame(k, row) for k, row in enumerate(X)]
    for result in results:
        journal.append_result(result, 0)
    journal.close()
    return folder, X, results


def write_labels(folder, labels, column="frame"):
    rows = [f"{k if column == 'frame' else k / 20},{label}" for k, label in enumerate(labels)]
    path = folder.folder / "labels.csv"
    path.write_text(f"{column},label\n" + "\n".join(rows) + "\n")
    return path


def test_two_values_make_a_logistic_decoder_whose_value_rules_see(session):
    folder, X, results = session
    labels = (2 * X[:, 1] - X[:, 4] > 1).astype(int)
    decoder = fit_decoder(folder, write_labels(folder, labels, "time_s"))
    assert (decoder.link, decoder.n_frames) == ("logistic", N)
    assert decoder.score > 0.95
    assert np.argmax(decoder.weights) == 1
    assert np.argmin(decoder.weights) == 4
    decoder.write(folder.folder / "decoder.json")
    (folder.folder / "rules.toml").write_text(RULES)
    rules = read_rules(folder.folder / "rules.toml")
    triggers = Triggers(rules, Circumstances(20, 8, False))
    triggers.adopt(table(range(1, K + 1), shape=SHAPE))
    triggers.command(Command(ARM, "a"))
    for result in results[:50]:
        triggers.decide(result)
        linear = decoder.bias + float(decoder.weights @ X[result.index].astype(float))
        assert triggers.values["lick"] == pytest.approx(1 / (1 + math.exp(-linear)))


def test_many_values_make_a_linear_one(session):
    folder, X, _ = session
    decoder = fit_decoder(folder, write_labels(folder, 3 * X[:, 2] + 1), strength=1e-4)
    assert decoder.link == "linear"
    assert decoder.score > 0.99
    np.testing.assert_allclose(decoder.weights, [0, 0, 3, 0, 0, 0], atol=0.01)
    assert decoder.bias == pytest.approx(1, abs=0.05)
    decoder.write(folder.folder / "d.json")
    assert json.loads((folder.folder / "d.json").read_text())["cells"] == list(range(1, K + 1))
    assert replace(decoder, score=0.0).weights is decoder.weights


def test_labels_that_say_nothing_are_refused(session):
    folder, _, _ = session
    for labels, told in (([1] * N, "1 different"), ([0, 1] * 10, "labels 20 frames")):
        with pytest.raises(ConfigError, match=told):
            fit_decoder(folder, write_labels(folder, labels))
    (folder.folder / "labels.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="column frame"):
        fit_decoder(folder, folder.folder / "labels.csv")
