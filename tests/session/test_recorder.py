"""The recorder: frames are kept whatever happens behind it, and what is not kept is said at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from streamscope.errors import StorageError
from streamscope.session.recorder import Recorder
from streamscope.storage.room import Room
from streamscope.types import Frame, MovieInfo

HUGE = (1 << 14, 1 << 14)  # px: no more than eight such frames may wait
IMAGE = np.zeros((2, 2), np.uint8)


class FakeRecording:
    """Notes what it is given; waits while `free` is not set, and fails at a frame."""

    free_bytes = (10**12,)  # at each commit, the last value for ever

    def __init__(self, shape=HUGE, fails_at=None):
        self.shape = shape
        self.n_frames = 0
        self.frames: list[Frame] = []
        self.commits: list[int] = []
        self.closed = 0
        self.free = threading.Event()
        self.busy = threading.Event()
        self.fails_at = fails_at

    def append(self, frame, waiting):
        self.busy.set()
        assert self.free.wait(10)
        if frame.index == self.fails_at:
            raise StorageError("the disk is full")
        self.frames.append(frame)
        self.n_frames += 1

    def commit(self):
        self.commits.append(self.n_frames)
        return Room(Path(), self.free_bytes[min(len(self.commits), len(self.free_bytes)) - 1], 1e7)

    def close(self):
        self.closed += 1


class FakeSource:
    """Gives frames, and notes how far it came."""

    def __init__(self, n, gaps=()):
        self.info = MovieInfo("fake", (), HUGE, n, 20.0)
        self.given = 0
        self.n = n
        self.gaps = dict(gaps)

    def frames(self, stopped):
        for index in range(self.n):
            if stopped():
                return
            self.given += 1
            yield Frame(index, IMAGE, 0, index / 20.0, gap=self.gaps.get(index, 0))

    def close(self):
        pass


@pytest.fixture
def told():
    return []


def start(recording, told, paced=True, clock=None):
    def tell(name, frame, fields):
        told.append((name, frame, fields))

    recorder = Recorder(recording, paced, tell, **({} if clock is None else {"clock": clock}))
    thread = threading.Thread(target=recorder.run, daemon=True)
    thread.start()
    return recorder, thread


def never():
    return False


def test_every_frame_is_recorded_before_anybody_else_has_it(told):
    recording = FakeRecording()
    recorder, thread = start(recording, told)
    taken = []
    for frame in recorder.tap(FakeSource(5)).frames(never):
        assert recorder.received == frame.index + 1
        taken.append(frame)
    recording.free.set()
    thread.join(10)
    assert recording.frames == taken
    assert (recording.closed, recorder.stopped, recorder.trouble, told) == (1, "", "", [])


def test_frames_that_the_pipeline_does_not_take_are_recorded_all_the_same(told):
    recording = FakeRecording()
    recording.free.set()
    recorder, thread = start(recording, told)
    frames = recorder.tap(FakeSource(5)).frames(never)
    assert next(frames).index == 0
    frames.close()  # the pipeline ended
    thread.join(10)
    assert [frame.index for frame in recording.frames] == [0]


def test_in_real_time_nobody_waits_for_a_disk_that_stalls_and_the_loss_is_said(told):
    recording = FakeRecording()
    clock = count(0, 1000)
    recorder, thread = start(recording, told, clock=lambda: next(clock))
    source = FakeSource(20, {10: 2, 12: 1})
    frames = recorder.tap(source).frames(never)
    assert next(frames).index == 0
    assert recording.busy.wait(10)
    for _ in range(14):  # eight of them find room
        next(frames)
    assert source.given == 15
    assert told == [("not_recorded", 9, {"waiting": 8})]
    assert recorder.trouble == "6 frames not recorded: the disk cannot keep up"
    recording.free.set()
    while recording.n_frames < 9:
        threading.Event().wait(0.001)
    rest = list(frames)
    thread.join(10)
    assert [frame.index for frame in rest] == list(range(15, 20))
    assert [frame.index for frame in recording.frames] == [*range(9), *range(15, 20)]
    assert recording.frames[9].gap == 6 + 2 + 1  # what was lost before, and what is missing for it
    assert {frame.gap for frame in recording.frames if frame.index != 15} == {0}
    assert recorder.received - recording.n_frames == 6


def test_a_disk_that_is_slow_all_the_time_is_said_once_a_second(told):
    recording, now = FakeRecording(), [0]
    recorder, thread = start(recording, told, clock=lambda: now[0])
    recorder.put(Frame(0, IMAGE, 0))
    assert recording.busy.wait(10)
    for index in range(1, 10):
        recorder.put(Frame(index, IMAGE, 0))
    recorder._missing = 0  # a frame found room in between
    recorder.put(Frame(10, IMAGE, 0))
    assert len(told) == 1
    recorder._missing, now[0] = 0, 10**9
    recorder.put(Frame(11, IMAGE, 0))
    assert [frame for _, frame, _ in told] == [9, 11]
    recording.free.set()
    recorder.close()
    thread.join(10)


def test_at_full_speed_the_source_waits_and_nothing_is_lost(told):
    recording = FakeRecording()
    recorder, thread = start(recording, told, paced=False)
    taken = []

    def drive():
        taken.extend(recorder.tap(FakeSource(40)).frames(never))

    driver = threading.Thread(target=drive, daemon=True)
    driver.start()
    assert recording.busy.wait(10)
    recording.free.set()
    driver.join(10)
    thread.join(10)
    assert recording.frames == taken
    assert len(taken) == 40
    assert told == []


@pytest.mark.parametrize("paced", [True, False])
def test_a_recording_that_fails_ends_alone_and_says_why(told, paced):
    recording = FakeRecording((100, 100), fails_at=3)
    recording.free.set()
    recorder, thread = start(recording, told, paced)
    taken = []
    for frame in recorder.tap(FakeSource(40)).frames(never):
        taken.append(frame)
        if frame.index == 3:
            thread.join(10)
    assert len(taken) == 40
    assert told == [("recording_stopped", 3, {"recorded": 3, "reason": "the disk is full"})]
    assert recorder.trouble == "recording stopped after 3 frames: the disk is full"
    assert (recorder.received, recording.n_frames, recording.closed) == (40, 3, 1)


def test_what_is_recorded_is_committed_once_a_second(told):
    recording, now = FakeRecording((100, 100)), [0]
    recording.free.set()
    recorder, thread = start(recording, told, clock=lambda: now[0])

    for index in range(30):
        recorder.put(Frame(index, IMAGE, 0))
        while recording.n_frames <= index:
            threading.Event().wait(0.001)
        now[0] += 10**8
    recorder.close()
    thread.join(10)
    assert 2 <= len(recording.commits) <= 3
    assert np.diff([0, *recording.commits]).max() <= 12


def test_a_frame_that_follows_a_hole_is_a_new_value(told):
    recording = FakeRecording()
    recording.free.set()
    recorder, thread = start(recording, told)
    recorder._missing = 2
    frame = Frame(5, IMAGE, 0, gap=1)
    recorder.put(frame)
    recorder.close()
    thread.join(10)
    assert recording.frames == [replace(frame, gap=3)]
    assert frame.gap == 1


def test_a_disk_that_is_nearly_full_is_said_once_and_again_at_each_half(told):
    recording = FakeRecording((100, 100))
    recording.free.set()
    recording.free_bytes = [int(1e9 * g) for g in (6, 4.9, 4.8, 2.5, 2.4, 2.3, 7, 4.9)]
    ticks = count(0, 10**9)
    recorder, thread = start(recording, told, clock=lambda: next(ticks))  # a commit after each frame
    for index in range(8):
        recorder.put(Frame(index, IMAGE, 0))
    recorder.close()
    thread.join(10)
    assert [(name, frame) for name, frame, _ in told] == [("disk", 2), ("disk", 5), ("disk", 8)]
    assert told[0][2]["lasts_s"] == 440.0
    assert recorder.trouble == "disk nearly full: 4.9 GB free, the recording ends in 7.3 minutes"
