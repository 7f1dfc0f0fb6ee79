"""What `streamscope listen` prints."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from streamscope.cli.listen import line, listen
from streamscope.types import ComponentEvent, Decision, Health
from streamscope.wire.messages import (
    decode_message,
    encode_component,
    encode_decision,
    encode_event,
    encode_image,
    encode_result,
    encode_status,
)
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import Stamp

STAMP = Stamp("s", 0, 0)


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(listen)
    return app


def test_frames_are_printed_one_a_line(command, running, result):
    stop = threading.Event()

    def play():
        k = 0
        while not stop.wait(0.002):
            running.do(running.publisher.publish_result, result(k))
            k += 1

    player = threading.Thread(target=play)
    player.start()
    try:
        done = CliRunner().invoke(command, [running.endpoint, "--count", "3", "--timeout-s", "10"])
    finally:
        stop.set()
        player.join()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("cells    3" in text and "#2 " in text and " ms" in text for text in lines)


def test_nobody_there_is_one_sentence_and_exit_code_2(command):
    with Publisher("127.0.0.1:0") as gone:
        address = gone.endpoints.data
    done = CliRunner().invoke(command, [address, "--timeout-s", "0.2"])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"nobody publishes at {address}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_wrong_address_is_one_sentence_and_exit_code_2(command):
    done = CliRunner().invoke(command, ["here"])
    assert done.exit_code == 2
    assert "is not HOST:PORT" in done.stderr


def test_each_kind_of_message_has_its_line(result):
    quiet = result(7, 3, c=np.array([0.0, 2.0, 5.0], np.float32), t_capture_ns=1_000_000, gap=2)
    assert line(decode_message(encode_result(STAMP, quiet)), 4_500_000) == (
        "frame      7  age    3.5 ms  cells    3  #2 5.0  #1 2.0  2 frames missing before"
    )
    merged = ComponentEvent("merged", 4, 9, into=2, y=1.0, x=2.5, snr=6.0, reason="overlap")
    assert line(decode_message(encode_component(STAMP, 1, merged, None)), 0) == (
        "frame      9  merged #4 into #2 at y 1.0 x 2.5 px snr 6.0 (overlap)"
    )
    gap = decode_message(encode_event(STAMP, "gap", None, 1, {"n": 3}))
    assert line(gap, 0) == "frame      -  gap  n 3"
    health = Health("RUNNING", 5, None, 20.0, 3.5, 9.0, 1, 2, 0, 4, 1, 6, (0.5, -1.0))
    assert line(decode_message(encode_status(STAMP, health)), 0) == (
        "frame      5  RUNNING  20.0 fps  age p50 3.5 p99 9.0 ms  cells 4 (+1 provisional)  lost 2"
    )
    image = decode_message(encode_image(STAMP, 1, None, 0, np.zeros((4, 6), np.uint8)))
    assert line(image, 0) == "frame      1  image 4x6 px"


def test_a_decision_is_one_line_with_its_inputs_and_why_it_was_blocked():
    real = Decision(
        7,
        "reward",
        41,
        2.05,
        "real",
        "",
        "rule",
        10.0,
        4.25,
        (("target", 4.25), ("motion", 0.5)),
        ("laser",),
        "0",
        1,
        0,
    )
    blocked = replace(real, outcome="blocked", reason="refractory_s")
    lines = [line(decode_message(encode_decision(STAMP, 1, d)), 0) for d in (real, blocked)]
    assert lines[0] == "frame     41  reward real  target 4.25  motion 0.50"
    assert lines[1] == "frame     41  reward blocked (refractory_s)  target 4.25  motion 0.50"
