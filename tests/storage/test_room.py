"""How much of a disk a recording takes, what is said of it, and what is refused."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from streamscope.errors import StorageError
from streamscope.storage import room
from streamscope.storage.room import Room, check_room, duration, room_for

SHAPE, FPS = (608, 608), 30.0
Usage = namedtuple("Usage", "total used free")


def has(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: Usage(0, 0, free))


def test_what_a_session_takes_an_hour_and_how_long_the_disk_lasts(tmp_path, monkeypatch):
    has(monkeypatch, 120_000_000_000)
    found = room_for(tmp_path, SHAPE, FPS)
    assert found.text() == "41.0 GB an hour; 120.0 GB are free, enough for 2.9 hours"
    assert (found.low, found.too_little, found.warning()) == (False, False, "")


@pytest.mark.parametrize(
    ("free", "low", "too_little"),
    [(5_000_000_000, False, False), (4_999_000_000, True, False), (500_000_000, True, False)],
)
def test_less_than_5_gb_is_a_warning(tmp_path, monkeypatch, free, low, too_little):
    has(monkeypatch, free)
    found = room_for(tmp_path, SHAPE, FPS)
    check_room(found)
    assert (found.low, found.too_little, bool(found.warning())) == (low, too_little, low)


def test_less_than_500_mb_is_refused_in_one_sentence(tmp_path, monkeypatch):
    has(monkeypatch, 499_999_999)
    with pytest.raises(
        StorageError, match=r"has 499 MB free, expected at least 500 MB to record; make room, give"
    ):
        check_room(room_for(tmp_path, SHAPE, FPS))


def test_a_recording_of_known_length_must_fit_whole(tmp_path, monkeypatch):
    has(monkeypatch, 8_000_000_000)
    found = room_for(tmp_path, SHAPE, FPS)
    check_room(found, 600)
    with pytest.raises(
        StorageError, match=r"needs 8\.0 GB and 500 MB that stay free, but .* has 8\.0 GB free; make"
    ):
        check_room(found, 700)


def test_a_disk_of_which_nothing_is_known_is_not_in_the_way(tmp_path, monkeypatch):
    def fails(folder):
        raise OSError("no such function")

    monkeypatch.setattr(room.shutil, "disk_usage", fails)
    found = room_for(tmp_path, SHAPE, FPS)
    check_room(found, 1e9)
    assert (found.free, found.low, found.too_little) == (None, False, False)
    assert found.text() == "41.0 GB an hour; the system does not say what is free"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (10_000, "2.7 hours"),
        (119, "119 s"),
        (150, "2.5 minutes"),
        (0, "0 s"),
    ],
)
def test_durations_are_never_longer_than_they_are(seconds, text):
    assert duration(seconds) == text


def test_the_warning_says_when_the_recording_will_end():
    found = Room(Path(), 1_100_000_000, 10_000_000)
    assert found.warning() == "disk nearly full: 1.1 GB free, the recording ends in 60 s"
