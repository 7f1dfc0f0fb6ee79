"""Two scopes on one machine: a process each, ports apart, one clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from streamscope.clock import clock_ns
from streamscope.errors import WireError
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.wire.client import Subscriber
from streamscope.wire.publisher import Publisher
from tests.session.live_devices import SHAPE

# A session at real speed on a model of the firmware; says where it publishes, and at its end how bright the light is.
SCOPE = """
import sys
sys.path.insert(0, sys.argv[1])
from streamscope.config import from_toml
from streamscope.session import plan
from streamscope.session.observer import Observer
from streamscope.session.runner import run_session
from streamscope.testing.fake_engine import fake_engine
from tests.session.live_devices import model_device

device, model = model_device(values={"led": 30, "fps": 30}, speed=1.0)
plan.open_device = lambda *_: device

class Says(Observer):
    def bound(self, endpoints):
        print(endpoints.data, flush=True)

given = {"cell_diameter": "8px", "out": sys.argv[2], "subject": sys.argv[3], "wire.bind": sys.argv[4]}
outcome = run_session(
    plan.make_live_plan("miniscope:v4", "0", from_toml(None, given), refit=False), Says(), fake_engine()
)
print(f"light {model.light:g}", outcome.folder, flush=True)
"""


def start(name, out, root, bind="127.0.0.1:0"):
    command = [sys.executable, "-c", SCOPE, str(root), str(out), name, bind]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a child process cannot be sent SIGINT on Windows")
def test_two_sessions_in_two_processes_stamp_their_frames_by_one_clock(tmp_path, request):
    root = request.config.rootpath
    before_ns = clock_ns()
    children = [start(name, tmp_path, root) for name in ("left", "right")]
    try:
        addresses = [child.stdout.readline().strip() for child in children]
        assert len(set(addresses)) == 2
        stamps, handed = [[], []], []
        subscribers = [Subscriber(address, "traces/", connect_timeout_s=30) for address in addresses]
        with subscribers[0], subscribers[1]:
            for _ in range(20):  # one of each in turn
                for own, subscriber in zip(stamps, subscribers, strict=True):
                    message = subscriber.recv()
                    own.append(message.t_capture_ns)
                    handed.append(clock_ns() - message.t_publish_ns)
            assert before_ns < min(stamps[0][0], stamps[1][0])
            assert min(handed) > 0  # nothing is from the future of whoever listens
            assert np.median(handed) < 1e9
            for own in stamps:  # frames of both are as far apart as the scopes make them
                assert np.median(np.diff(own)) == pytest.approx(33e6, rel=0.1)
            children[0].send_signal(signal.SIGINT)  # one ends, the other goes on
            first = children[0].stdout.read()
            for _ in range(60):
                subscribers[1].recv()
        children[1].send_signal(signal.SIGINT)
        second = children[1].stdout.read()
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()
    spans = []
    for said, name in ((first, "left"), (second, "right")):
        light, folder = said.strip().rsplit(" ", 1)
        assert light == "light 0"
        session = open_session(tmp_path / name / os.path.relpath(folder, tmp_path / name))
        assert session.recording["complete"]
        with JournalReader(session.journal, SHAPE) as journal:
            t_ns = journal.frames().t_capture_ns
        spans.append((t_ns[0], t_ns[-1]))
    assert spans[0][0] < spans[1][1]  # both ran at the same time, on the same axis
    assert spans[1][0] < spans[0][1] < spans[1][1] < clock_ns()


def test_a_second_session_at_the_same_ports_is_told_to_take_others():
    with Publisher("127.0.0.1:0") as first:
        address = first.endpoints.data.removeprefix("tcp://")
        with pytest.raises(
            WireError, match=r"is in use, probably by another session; stop that one, or try --bind"
        ):
            Publisher(address).bind()
