"""Settings: reading TOML, and saying what is wrong with it."""

from __future__ import annotations

import pytest

from streamscope.config import SessionConfig, diameter_px, engine_config, from_toml, nearest, setting_names
from streamscope.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "session.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_and_nothing_given_are_the_defaults():
    assert from_toml(None) == SessionConfig()


def test_the_command_line_wins_over_the_file_and_none_means_not_given(tmp_path):
    path = write(tmp_path, "cell_diameter = '8px'\nfps = 30\n[wire]\nbind = '127.0.0.1:6000'\n")
    config = from_toml(path, {"fps": 20.0, "wire.bind": "127.0.0.1:0", "cell_diameter": None})
    assert (config.fps, config.wire.bind, config.cell_diameter) == (20.0, "127.0.0.1:0", "8px")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("cel_diameter", "cell_diameter"),
        ("motion.max_shif_px", "motion.max_shift_px"),
        ("detect.treshold", "detect.threshold"),
        ("threshold", "detect.threshold"),
        ("movement", "motion"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(name, known, tmp_path):
    table, _, key = name.rpartition(".")
    path = write(tmp_path, (f"[{table}]\n" if table else "") + f"{key} = 1\n")
    with pytest.raises(ConfigError, match=rf"{name} is not a setting; did you mean {known}\?"):
        from_toml(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fps = 0", "fps is 0, but it should be greater than 0"),
        ("motion = 3", "motion is 3, but it should be"),
        ("a = = 1", "is not TOML"),
    ],
)
def test_an_impossible_file_is_one_sentence(text, says, tmp_path):
    with pytest.raises(ConfigError, match=says) as caught:
        from_toml(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match=r"streamscope config --toml"):
        from_toml(tmp_path / "none.toml")


def test_every_setting_is_its_own_nearest():
    assert all(nearest(name) == name for name in setting_names())


def test_the_diameter_is_resolved_with_the_pixel_size_that_the_user_gives():
    config = SessionConfig(cell_diameter="13um", um_per_px=1.625)
    assert engine_config(config, (96, 96), 20.0, 99.0).cell_diameter_px == pytest.approx(8.0)


@pytest.mark.parametrize("text", ["200px", "1px", "twelve", "13", "-8px"])
def test_a_diameter_that_makes_no_sense_is_refused(text):
    with pytest.raises(ConfigError, match="diameter"):
        diameter_px(text, (96, 96), None)
