"""An hour of a faulty scope into files: every picture in them is one that was sent, and what lacks is said."""

from __future__ import annotations

import threading
import time
import zlib

import numpy as np
import pytest

from streamscope.session import recorder as recording_thread
from streamscope.session.recorder import Recorder
from streamscope.storage.recording import Recording, finish_recording
from streamscope.types import MovieInfo
from streamscope_drivers.replay import open_movie
from tests.drivers.miniscope.conftest import SHAPE, Rig
from tests.drivers.miniscope.test_endurance import HZ, spoil
from tests.storage.test_recording import make

WAIT = 64  # frames that may wait for the disk here


class Stalling:
    """A recording on a disk that now and then stands still until frames are lost."""

    def __init__(self, recording, rng):
        self._recording, self._rng = recording, rng
        self.shape, self.close, self.commit = recording.shape, recording.close, recording.commit
        self.free = threading.Event()
        self.free.set()

    @property
    def n_frames(self):
        return self._recording.n_frames

    def append(self, frame, waiting):
        if self._rng.random() < 1 / 800:
            self.free.clear()
        assert self.free.wait(30)
        self._recording.append(frame, waiting)


@pytest.mark.parametrize("minutes", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_every_frame_in_the_file_is_one_that_was_sent_and_what_lacks_is_said(tmp_path, monkeypatch, minutes):
    monkeypatch.setattr(recording_thread, "WAITING_BYTES", WAIT * SHAPE[0] * SHAPE[1])
    n, rng = minutes * 60 * HZ, np.random.default_rng(minutes)
    r = Rig(way="linux, open ephys", values={"led": 30, "fps": HZ}).open()
    spoil(r.model, r.clock, rng, n, every=200)
    session = make(tmp_path, SHAPE)
    info = MovieInfo("miniscope:v4", (), SHAPE, 0, 1e5 / 3300, live=True)
    disk = Stalling(Recording(session, info, 1e5 / 3300), rng)
    told = []
    recorder = Recorder(disk, True, lambda *event: told.append(event))
    thread = threading.Thread(target=recorder.run, daemon=True)
    thread.start()
    inferred, twice = [], []  # of each frame that came: its gap is inferred from the clock; it came before
    lost = 20  # that many frames when the disk stands still for the first time
    while len(inferred) < n:
        r.run(min(n - len(inferred), int(rng.integers(300, 1200))))
        for frame in r.frames:
            while disk.free.is_set() and len(recorder._frames) >= WAIT:
                time.sleep(0.0002)  # an hour in seconds is too fast for any disk
            recorder.put(frame)
            inferred.append(bool(frame.meta.get("gap_inferred")))
            twice.append(bool(frame.meta.get("duplicate")))
            if not disk.free.is_set() and recorder._frames.dropped >= lost:
                disk.free.set()
                lost = recorder._frames.dropped + 20
        r.frames.clear()
        r.clock.sleep(float(rng.uniform(0, 0.3)) if rng.random() < 0.9 else 2.5)
    disk.free.set()
    recorder.close()
    thread.join(60)
    finished = finish_recording(session, disk._recording, recorder.received, recorder.stopped)
    noted = finished.recording
    assert (recorder.stopped, recorder.received) == ("", n)
    assert noted["n_frames"] + noted["not_recorded"] == n
    assert 0 < noted["not_recorded"] == recorder._frames.dropped < n // 20
    assert {name for name, _, _ in told} == {"not_recorded"}

    movie = open_movie(str(session.recording_folder))
    rows = np.genfromtxt(session.recording_folder / "timeStamps.csv", delimiter=",", skip_header=1)
    assert movie.info.n_frames == noted["n_frames"] == len(rows)
    sent_as: dict[int, set[int]] = {}
    for s in r.model.sent:
        sent_as.setdefault(s.crc, set()).add(s.number)
    numbers = rows[:, 3].astype(int)  # this firmware hides the number of a frame in it
    for start in range(0, len(rows), 500):
        for n, image in enumerate(movie.read(start, min(start + 500, len(rows))), start):
            assert numbers[n] in sent_as[zlib.crc32(image)]  # the picture that was sent under this number
    movie.close()
    index, gap = rows[:, 0].astype(int), rows[1:, 4].astype(int)
    since = [
        np.add.reduceat(np.array(flags)[: index[-1] + 1].astype(int), index[:-1] + 1)
        for flags in (inferred, twice)
    ]
    by_clock, missing = since[0] > 0, np.diff(numbers) - 1 + since[1]
    assert missing.sum() > n // 400
    np.testing.assert_array_equal(gap[~by_clock], missing[~by_clock])
    assert (gap[by_clock] >= missing[by_clock] - 1).all()
    assert (np.diff(index) - 1).sum() + index[0] <= noted["not_recorded"]
