"""A rules file says where it is wrong, and holds everything that decides once it is read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from streamscope.errors import ConfigError
from streamscope.trigger.arming import rule_hash
from streamscope.trigger.reading import checked, read_rules
from streamscope.trigger.settings import Rules

GOOD = """
seed = 3
[outputs]
laser = "serial:COM3"
[signals.target]
kind = "cell"
mask = "mask.npy"
[signals.lick]
kind = "decoder"
file = "lick.json"
[conditions.high]
kind = "above"
signal = "target"
level = 4
[conditions.licks]
kind = "above"
signal = "lick"
level = 0.5
[rules.reward]
when = "high and not licks"
outputs = ["laser"]
[rules.control]
control = { kind = "yoked", session = "before", rule = "reward" }
"""


def write(folder, text=GOOD):
    mask = np.zeros((4, 5), bool)
    mask[1, 2:4] = True
    np.save(folder / "mask.npy", mask)
    decoder = {"link": "logistic", "bias": -1.0, "cells": [3, 8], "weights": [0.5, 0.25]}
    (folder / "lick.json").write_text(json.dumps(decoder))
    (folder / "lick.csv").write_text("cell,weight\n3,0.5\n8,0.25\nbias,-1\n")
    path = folder / "rules.toml"
    path.write_text(text)
    return path


def yoked(path, rule):
    assert (path.name, rule) == ("before", "reward")
    return (0.5, 2.0)


def test_what_a_file_names_is_in_the_rules_and_survives_the_journal(tmp_path):
    rules = read_rules(write(tmp_path), yoked)
    assert rules.signals["target"].mask_pixels == (7, 8)
    assert rules.signals["lick"].weights == (0.5, 0.25)
    assert rules.rules["control"].control.times_s == (0.5, 2.0)
    again = Rules.model_validate(json.loads(json.dumps(rules.model_dump(mode="json"))))
    assert again == rules
    assert rule_hash(again, "reward") == rule_hash(rules, "reward")
    csv = read_rules(write(tmp_path, GOOD.replace("lick.json", "lick.csv")), yoked).signals["lick"]
    assert (csv.cells, csv.weights, csv.bias) == ((3, 8), (0.5, 0.25), -1.0)


def test_the_hash_changes_with_what_decides_and_with_nothing_else(tmp_path):
    def hashes(text):
        rules = read_rules(write(tmp_path, text), yoked)
        return [rule_hash(rules, name) for name in ("reward", "control")]

    reward, control = hashes(GOOD)
    for old, new in (
        ("level = 4", "level = 5"),
        ('"high and', '"licks and high and'),
        ("seed = 3", "[limits]\nfirst_s = 9"),
    ):
        assert hashes(GOOD.replace(old, new))[0] != reward
    assert hashes(GOOD.replace("COM3", "COM4") + "\n[conditions.unused]\nkind='when'\nwhen='high'\n") == [
        reward,
        control,
    ]
    assert hashes(GOOD.replace("level = 4", "level = 5"))[1] == control


WRONG = [
    ("level = 4", "levle = 4", "conditions.high.levle is not a setting; did you mean level"),
    ("level = 4", "level = 'x'", "conditions.high.level is 'x', but it should be a valid number"),
    ("level = 4", "", "conditions.high.level: Field required"),
    ("level = 4", "level = 4\nrelease = 5", "release of above should not be beyond the level 4"),
    (
        '"high and not licks"',
        '"high and not lick"',
        "uses the condition 'lick', which is not there; there are: high, licks",
    ),
    ('"high and not licks"', '"high and"', "the name of a condition is missing"),
    ('signal = "target"', 'signal = "tarjet"', "uses the signal 'tarjet'"),
    ('outputs = ["laser"]', 'outputs = ["lamp"]', "uses the output 'lamp'"),
    ('outputs = ["laser"]', "width_ms = 5000", "asks for 5000 ms, above its max_width_ms 1000"),
    ('kind = "cell"', 'kind = "cells"', "signals.target"),
    ('mask = "mask.npy"', 'mask = "mask.npy"\nid = 3', "a cell is named once"),
    ('mask = "mask.npy"', 'unit = "z"', "unit z and baseline_s go together"),
    ('mask = "mask.npy"', 'mask = "none.npy"', "the mask of target"),
    ("seed = 3", "seed = -3", "seed is -3"),
    ("[signals.lick]", "[signals.'li ck']", "the name 'li ck'"),
    ('session = "before", ', "", "yoked and session go together"),
    ('when = "high and not licks"', "", "a rule has a condition"),
    ("[conditions.licks]", "[conditions.licks", "not TOML"),
    ("[conditions.high]", "[conditions.loop]\nkind='when'\nwhen='loop'\n[conditions.high]", "made of itself"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[told[:40] for *_, told in WRONG])
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, old, new, told):
    assert old in GOOD
    with pytest.raises(ConfigError) as error:
        read_rules(write(tmp_path, GOOD.replace(old, new, 1)), yoked)
    assert told in str(error.value)
    assert "\n" not in str(error.value).replace("(at line", "")


def test_a_decoder_file_that_is_none_is_refused(tmp_path):
    path = write(tmp_path)
    for content in ("[1, 2]", "{", '{"cells": [1], "weights": [1, 2]}', '{"cells": [1], "weights": ["x"]}'):
        (tmp_path / "lick.json").write_text(content)
        with pytest.raises(ConfigError, match=r"lick"):
            read_rules(path, yoked)


def test_rules_need_a_rule():
    with pytest.raises(ConfigError, match="rules"):
        checked({"rules": {}}, "rules.toml")
