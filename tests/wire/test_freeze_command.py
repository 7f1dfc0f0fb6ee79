"""What `streamscope freeze` and `streamscope thaw` print."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.errors import WireError


@pytest.fixture
def answering(running):
    """Let the session answer each request to freeze or thaw with the outcome that is set."""
    running.outcome = {"frame": 1200}
    stop = threading.Event()

    def answer():
        while not stop.wait(0.002):
            for _, later in running.holds:
                running.do(later.settle, running.outcome)
            running.holds.clear()

    thread = threading.Thread(target=answer)
    thread.start()
    yield running
    stop.set()
    thread.join()


@pytest.mark.parametrize(("verb", "done"), [("freeze", "frozen"), ("thaw", "thawed")])
def test_the_frame_from_which_it_holds_is_printed(answering, verb, done):
    result = CliRunner().invoke(app, [verb, answering.endpoint])
    assert result.exit_code == 0, result.output
    assert result.output == f"{done} from frame 1200 on\n"


def test_a_refusal_is_one_sentence(answering):
    answering.outcome = WireError("the session is refitting, expected running")
    result = CliRunner().invoke(app, ["freeze", answering.endpoint])
    assert result.exit_code == 2
    assert result.stderr == (
        "streamscope: the session refused 'freeze': the session is refitting, expected running\n"
    )


def test_where_nobody_publishes_it_says_so(monkeypatch):
    monkeypatch.setattr("streamscope.cli.freeze.TIMEOUT_S", 0.2)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{min(probe.getsockname()[1], 65_000)}"
    began = time.monotonic()
    result = CliRunner().invoke(app, ["freeze", address])
    assert result.exit_code == 2
    assert f"nobody publishes at tcp://{address}" in result.stderr
    assert time.monotonic() - began < 10
