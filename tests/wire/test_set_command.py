"""What `streamscope set` asks for and prints."""

from __future__ import annotations

import threading

import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.errors import WireError
from streamscope.wire.client import Subscriber


@pytest.fixture
def answering(running):
    """Let the session answer each request to set something with the outcome that is set."""
    running.outcome = {"frame": 120, "values": {"led": 30.0, "gain": "medium"}}
    stop = threading.Event()

    def answer():
        done = 0
        while not stop.wait(0.002):
            for _, later in running.wishes[done:]:
                running.do(later.settle, running.outcome)
                done += 1

    thread = threading.Thread(target=answer)
    thread.start()
    yield running
    stop.set()
    thread.join()


def test_settings_are_sent_as_numbers_and_words_and_what_came_of_them_is_printed(answering):
    result = CliRunner().invoke(app, ["set", "led=30", "gain = medium", "--endpoint", answering.endpoint])
    assert result.exit_code == 0, result.output
    assert result.output == "led 30.0, gain medium from frame 120 on\n"
    assert answering.wishes[0][0] == {"led": 30.0, "gain": "medium"}


def test_a_refusal_is_one_sentence(answering):
    answering.outcome = WireError("led is 300, expected a number from 0 to 100 %")
    result = CliRunner().invoke(app, ["set", "led=300", "--endpoint", answering.endpoint])
    assert result.exit_code == 2
    assert result.stderr == (
        "streamscope: the session refused 'set': led is 300, expected a number from 0 to 100 %\n"
    )


@pytest.mark.parametrize("text", ["led", "=3", "led="])
def test_what_is_no_setting_is_refused_before_it_is_sent(text):
    result = CliRunner().invoke(app, ["set", text])
    assert result.exit_code == 2
    assert "expected NAME=VALUE; write e.g. led=30" in result.stderr


@pytest.mark.parametrize("fields", [{}, {"values": 3}])
def test_a_request_without_settings_is_refused(running, fields):
    with (
        Subscriber(running.endpoint, "status/") as session,
        pytest.raises(WireError, match="set needs the key values"),
    ):
        session.ask("set", **fields)
    assert running.wishes == []
