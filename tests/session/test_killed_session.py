"""A live session whose program is killed: what was recorded is there, up to the last second, and replays."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.session.plan import make_plan
from streamscope.session.runner import run_session
from streamscope.storage.recording import recorded_frames
from streamscope.storage.session_folder import open_session
from streamscope.storage.summary import summarise
from streamscope.testing.fake_engine import fake_engine
from streamscope_drivers.replay import open_movie

pytestmark = pytest.mark.slow

# A session in real time; each frame is noted when the scope sends it: number, checksum, time.
CHILD = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from streamscope.config import from_toml
from streamscope.session import plan as planning, runner
from streamscope.testing.fake_engine import fake_engine
from tests.session.live_devices import model_device

class Noted(list):
    def append(self, sent):
        os.write(1, f"{sent.number} {sent.crc} {time.time_ns()}\\n".encode())

def opens(spec, index, values, um_per_px, roi):
    device, model = model_device("v4", values, speed=1.0)
    model.sent = Noted()
    return device

planning.open_device = opens
runner.JOIN_S = 0.0
given = {"cell_diameter": "8px", "out": sys.argv[2], "wire.bind": "127.0.0.1:0", "fps": 30.0, "device.led": 30.0}
runner.run_session(planning.make_live_plan("miniscope:v4", "0", from_toml(None, given), refit=False),
                   None, fake_engine())
"""


@pytest.fixture
def killed(tmp_path, request):
    """Return the folder of a session that was killed after some five seconds, and what the scope had sent."""
    command = [sys.executable, "-c", CHILD, str(request.config.rootpath), str(tmp_path / "out")]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        begun_s = None
        for line in child.stdout:
            lines.append(line)
            if begun_s is None and list((tmp_path / "out").rglob("0.avi")):
                begun_s = time.monotonic()
            if begun_s is not None and time.monotonic() - begun_s > 5.2:
                break
        child.kill()
        lines += [line for line in child.stdout if line.endswith("\n")]
    (folder,) = (tmp_path / "out").glob("subject/*/*")
    sent = np.array([line.split() for line in lines], np.int64)
    return folder, sent


def test_a_recording_that_was_killed_lacks_at_most_the_last_second_and_replays(killed, tmp_path):
    import zlib

    folder, sent = killed
    session = open_session(folder)
    assert not summarise(session).ended
    movie = open_movie(str(folder))  # the reader of recordings, as for any Miniscope folder
    images, gap = movie.read(0, movie.info.n_frames), movie.gap
    movie.close()
    at = {int(crc): k for k, crc in enumerate(sent[:, 1])}
    seen = np.array([at[zlib.crc32(image)] for image in images])  # each picture is one that was sent
    np.testing.assert_array_equal(np.diff(sent[seen, 0]) - 1, gap[1:])  # and what lacks is said
    assert len(images) > 100
    assert sent[-1, 2] - sent[seen[-1], 2] <= 1_000_000_000
    assert recorded_frames(session).tolist() == list(range(len(recorded_frames(session))))

    given = {"cell_diameter": "8px", "out": str(tmp_path / "again"), "wire.bind": "127.0.0.1:0"}
    plan = make_plan(str(folder), from_toml(None, given), None, refit=False)
    outcome = run_session(plan, None, fake_engine())
    plan.close()
    assert outcome.n_frames == len(images)
    assert session.find_source().own
