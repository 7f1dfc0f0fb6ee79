"""From the connection to frames: what is sent in which order, what each frame carries, what becomes of faults."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from streamscope.errors import ConfigError, SourceError
from streamscope.types import Frame
from streamscope_drivers.miniscope.camera import Property
from streamscope_drivers.miniscope.devices import command
from streamscope_drivers.miniscope.ring import ROOM
from tests.drivers.miniscope.conftest import WAYS, Rig

LED_OFF = [bytes.fromhex("20 01 FF"), bytes.fromhex("58 00 72 FF")]


def packets(rig):
    return [packet for _, packet in rig.model.packets]


def true_losses(rig):
    """Return what is missing before each frame that was handed over, as the model knows it."""
    number = {sent.crc: sent.number for sent in rig.model.sent}
    return np.diff([number[zlib.crc32(frame.image)] for frame in rig.frames]) - 1


@pytest.mark.parametrize("kind", ["v4", "v4-bno", "v4-2c", "v3", "minicam"])
def test_a_start_sends_what_the_official_program_sends_and_the_light_stays_off(rig, kind):
    r = rig(kind, way="windows")
    known = r.kind
    sent = packets(r)
    first = [command(line) for line in (*known.link, *known.start, *known.dark)]
    assert sent[: len(first)] == first
    dark = [
        part
        for name, v in r.values.items()
        if name not in known.lights
        for part in known.settings[name].commands(v)
    ]
    assert sent[len(first) :] == 2 * dark  # scopes forget what they are told first
    assert r.model.lost_packets == []
    assert (r.model.lost_writes, r.model.overflows) == (0, 0)
    assert r.model.light == 0
    assert not r.model.recording
    assert r.connection.abi == 2
    assert r.connection.doubts == []


def test_the_light_goes_on_last_and_no_dark_frame_is_handed_over(rig):
    r = rig(values={"led": 30, "fps": 30})
    assert r.model.light == 0
    frames = r.run(20)
    assert r.model.light == pytest.approx(0.3, abs=0.01)
    assert r.model.recording  # the sync output counts frames
    assert len({frame.image.mean().round() for frame in frames}) == 1
    assert frames[0].image.mean() > 20


@pytest.mark.parametrize("way", WAYS)
def test_every_frame_is_the_picture_that_was_sent_with_its_number_and_time(rig, way):
    r = rig(way=way, values={"led": 30, "fps": 30})
    frames = r.run(200)
    sent = {s.crc: s for s in r.model.sent}
    of = [sent[zlib.crc32(frame.image)] for frame in frames]
    assert np.diff([s.number for s in of]).tolist() == [1] * 199
    assert [frame.index for frame in frames] == list(range(200))
    assert not any(frame.gap for frame in frames)
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(200) * 0.033, atol=2e-3)
    assert all(0 <= frame.t_capture_ns - s.ended_ns < 5e6 for frame, s in zip(frames, of, strict=True))
    counters = [frame.hw for frame in frames]
    if way == "linux, old firmware":
        assert counters == [None] * 200
        assert "inferred from the clock" in r.connection.doubts[0]
    else:
        assert np.diff(counters).tolist() == [1] * 199


@pytest.mark.parametrize("way", WAYS)
def test_lost_frames_are_counted_as_the_sensor_counts_them(rig, way):
    r = rig(way=way, values={"led": 30})
    rng = np.random.default_rng(5)
    start = r.model._number
    r.model.dropped = {int(k) for k in start + 20 + np.flatnonzero(rng.random(500) < 0.03)}
    r.run(520 - len(r.model.dropped))
    truth, found = true_losses(r), np.array([frame.gap for frame in r.frames[1:]])
    assert truth.sum() > 8
    if way == "windows":  # a counter that is read late is believed when its offset lasts
        assert found.sum() == truth.sum()
    else:
        np.testing.assert_array_equal(found, truth)
    inferred = [bool(frame.meta.get("gap_inferred")) for frame in r.frames if frame.gap]
    assert set(inferred) == {way == "linux, old firmware"}


def test_the_counter_wraps_and_nothing_is_lost(rig):
    r = rig(way="windows", values={"led": 30})
    r.model._counter = 65500
    r.capture._losses._expected = None
    frames = r.run(100)
    counters = [frame.hw for frame in frames]
    assert max(counters) == 65535
    assert min(counters) == 0
    assert not any(frame.gap for frame in frames)


def test_a_full_ring_loses_the_newest_frames_and_says_so_once_in_each_episode(rig):
    assert ROOM >= 128
    r = rig(room=8, values={"led": 30})
    r.run(30, take=False)
    kept = len(r.capture.ring)
    assert kept == 8
    assert r.capture.lost_in_ring > 10
    frames = r.run(20)
    assert [f.index for f in frames] == list(range(20))
    assert frames[8].gap == r.capture.lost_in_ring - 0
    np.testing.assert_array_equal([f.gap for f in frames[1:]], true_losses(r))
    assert [frame for frame, _ in r.told("overrun")] == [8]
    r.run(30, take=False)
    assert len(r.told("overrun")) == 2


def test_a_setting_is_sent_at_once_and_named_with_the_frame_that_shows_it(rig):
    r = rig(values={"led": 30})
    r.run(20)
    replies = []
    for led in (35, 40, 45, 60):  # a slider that is dragged
        r.capture.set({"led": led}, replies.append)
    before = len(r.model.packets)
    frames = r.run(20)
    (seen, fields), *more = r.told("setting")
    assert more == []
    assert fields == {"setting": "led", "value": 60.0}
    assert replies == [seen] * 4
    assert len(r.model.packets) - before == 2
    means = np.array([frame.image.mean() for frame in frames])
    assert means[seen - 1] == pytest.approx(means[0], abs=0.5)
    assert means[seen] > 1.8 * means[0]
    before = len(r.model.writes)
    r.capture.set({"led": 60})
    r.run(5)
    assert len(r.model.writes) == before  # nothing changed, nothing is sent
    with pytest.raises(ConfigError, match="expected a number from 0 to 100"):
        r.capture.set({"led": 200})


@pytest.mark.parametrize("way", WAYS)
def test_another_frame_rate_is_no_loss_and_is_verified(rig, way):
    r = rig(way=way, values={"led": 30, "fps": 20})
    r.run(20)
    for fps in (10, 30, 15):
        r.capture.set({"fps": fps})
        r.run(40)
    assert sum(frame.gap for frame in r.frames) == 0
    assert np.diff([f.time_s for f in r.frames[-5:]]) == pytest.approx(0.06667, abs=1e-3)
    assert r.told("no_effect") == []


def test_a_setting_without_effect_is_noticed(rig):
    r = rig(values={"led": 30, "fps": 20})
    r.run(5)
    r.model._deserializer.clear()  # the link is gone, frames go on
    r.capture.set({"fps": 10, "led": 90})
    r.run(30)
    texts = [fields["text"] for _, fields in r.told("no_effect")]
    assert len(texts) == 2
    assert any("fps was set to 10.0, but frames come at 20.0 Hz" in text for text in texts)
    assert any("led was set to 90.0, but the picture did not change" in text for text in texts)


def test_orientation_comes_with_each_frame_and_a_sensor_that_falls_silent_is_said_once(rig):
    r = rig("v4-bno", values={"led": 30})
    frames = r.run(50)
    assert all(frame.meta["orientation_ok"] for frame in frames)
    norms = np.linalg.norm([frame.meta["orientation"] for frame in frames], axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)
    r.model.silent_orientation = True
    r.run(20)
    assert not r.frames[-1].meta["orientation_ok"]
    assert len(r.told("no_orientation")) == 1
    r.model.silent_orientation = False
    r.run(5)
    assert r.frames[-1].meta["orientation_ok"]
    assert "orientation" not in rig("v4", values={"led": 30}).run(3)[-1].meta


@pytest.mark.parametrize("way", ["windows", "linux, open ephys", "linux, extension unit"])
def test_each_edge_of_the_trigger_is_an_event_with_its_frame_and_time(rig, way):
    r = rig(way=way, values={"led": 30})
    start = r.model._number + 20
    r.model.trigger_at = {start: True, start + 10: False}
    frames = r.run(60)
    edges = r.told("input")
    assert [fields["level"] for _, fields in edges] == [1, 0]
    assert edges[1][0] - edges[0][0] == 10
    for at, fields in edges:
        assert fields["t_ns"] == frames[at].t_capture_ns
    assert [f.meta["inputs"] for f in frames[edges[0][0] - 1 : edges[0][0] + 1]] == [0, 1]


def test_the_end_turns_light_and_sync_output_off(rig):
    r = rig(values={"led": 30})
    r.run(5)
    r.capture.end()
    for _ in range(4):
        r.capture.step()
    assert r.model.light == 0
    assert not r.model.recording
    assert r.capture.ring.ended
    assert packets(r)[-2:] == LED_OFF
    r.capture.shut()
    assert r.model._camera is None


def test_a_rest_turns_the_light_off_and_what_follows_begins_anew(rig):
    r = rig(way="linux, open ephys", values={"led": 30})
    r.run(20)
    r.capture.rest()
    for _ in range(4):
        r.capture.step()
    assert r.model.light == 0
    assert not r.model.recording
    assert len(r.capture.ring) == 0
    assert not r.capture.ring.ended
    r.clock.sleep(20.0)
    r.frames.clear()
    frames = r.run(20)
    assert [frame.index for frame in frames] == list(range(20))
    assert (frames[0].time_s, sum(frame.gap for frame in frames)) == (0.0, 0)
    assert min(frame.image.mean() for frame in frames) > 20  # none is dark
    assert r.model.recording


def test_a_part_of_the_picture_is_handed_over_as_it_was_and_one_beyond_it_is_refused(rig):
    r = rig(values={"led": 30})
    for roi in ((0, 0, 65, 24), (-1, 0, 40, 24), (40, 0, 32, 24), (0, 0, 8, 24)):
        with pytest.raises(
            ConfigError, match=r"expected left, top, width and height of at least 32 px within 64x24"
        ):
            r.capture.crop(roi)
    whole = r.run(3)[-1].image
    r.capture._roi = (20, 4, 40, 16)  # smaller than a real one may be
    part = r.run(1)[-1].image
    assert r.capture.shape == part.shape == (16, 40)
    assert part.flags.c_contiguous
    np.testing.assert_array_equal(part, whole[4:20, 20:60])


def test_shutting_down_in_the_middle_turns_the_light_off(rig):
    r = rig("v4-2c", values={"led": 30, "led2": 50})
    r.run(5)
    assert r.model.light > 0
    r.capture.shut()
    assert r.model.light == 0
    assert not r.model.recording


def test_the_light_goes_out_also_if_old_frames_wait_in_buffers(rig):
    r = rig(values={"led": 30})
    r.run(5)
    r.clock.sleep(1.0)
    r.capture.shut()
    assert r.model.light == 0


@pytest.mark.parametrize("way", ["windows", "linux, old firmware"])
def test_a_v3_of_before_2020_is_set_by_plain_controls_and_has_no_counter(rig, way):
    r = rig("v3-legacy", way=way, values={"led": 100, "fps": 30, "gain": 40})
    assert r.connection.doubts == []
    assert r.model.packets == []
    frames = r.run(20)
    assert r.model.light == pytest.approx(100 / 255)
    assert r.model.recording
    assert r.model.period_ns == pytest.approx(1e9 / 30, abs=1)
    assert {frame.hw for frame in frames} == {None}
    assert sum(frame.gap for frame in frames) == 0
    r.capture.shut()
    assert r.model.light == 0
    assert not r.model.recording


def test_the_extension_unit_carries_packets_and_the_sync_output(rig):
    r = rig("v4-bno", way="linux, extension unit", values={"led": 30, "gain": "high"})
    assert r.connection.firmware == "1.1.0"
    first = [command(line) for line in (*r.kind.link, *r.kind.start, *r.kind.dark)]
    assert packets(r)[: len(first)] == first
    frames = r.run(10)
    assert r.model.recording
    assert frames[-1].meta["orientation_ok"]
    assert frames[-1].hw is not None
    assert not any(prop == Property.CONTRAST for prop, _ in r.model.writes)
    r.capture.shut()
    assert r.model.light == 0
    assert not r.model.recording


# ---- faults


@pytest.mark.parametrize("seconds", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("way", WAYS)
def test_a_stall_is_a_gap_and_the_session_goes_on(rig, way, seconds):
    r = rig(way=way, values={"led": 30})
    r.run(20)
    r.model.stalls[r.model._number + 1] = seconds
    frames = r.run(40)
    stood = max(np.diff([f.time_s for f in frames]))
    assert stood > min(seconds, 5)  # after two seconds the device counts as lost, and is started again
    assert sum(f.gap for f in frames) == pytest.approx(stood / 0.05 - 1, abs=2)
    assert np.all(np.diff([f.index for f in frames]) == 1)
    assert frames[-1].image.mean() > 20  # the light is on again
    assert bool(r.told("reconnected")) is (seconds > 2)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_that_is_unplugged_comes_back_with_its_settings_and_the_gap_is_known(rig, way):
    r = rig("v4-bno", way=way, values={"led": 30, "fps": 30, "focus": 50, "gain": "high"})
    r.run(50)
    before = dict(r.model.chips[0xEE]), r.model.light, r.model.period_ns
    r.model.unplug()
    r.clock.later(7.0, r.model.plug)
    frames = r.run(50)
    ((at, fields),) = r.told("reconnected")
    assert (at, fields["inferred"]) == (50, True)
    away = frames[50].time_s - frames[49].time_s
    assert frames[50].gap == pytest.approx(away * 1e5 / 3300 - 1, abs=2)
    assert frames[50].meta["gap_inferred"]
    assert sum(f.gap for f in frames) == frames[50].gap
    assert (dict(r.model.chips[0xEE]), r.model.light, r.model.period_ns) == before
    assert frames[50].image.mean() > 20
    assert r.model.n_opened == 2


def test_a_new_attempt_comes_after_one_to_five_seconds(rig):
    r = rig(values={"led": 30})
    r.run(5)
    r.model.unplug()
    waits, connect = [], r.capture._connect

    def attempt(values, shape):
        waits.append(r.clock())
        if len(waits) == 8:
            r.model.plug()
        return connect(values, shape)

    r.capture._connect = attempt
    r.run(5)
    steps = np.diff(waits) / 1e9
    assert steps.round(1).tolist() == [2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0]
    assert r.capture.trouble == ""


def test_a_counter_that_is_reset_is_said_and_loses_nothing(rig):
    r = rig(way="windows", values={"led": 30})
    r.model._counter = 40000
    r.capture._losses._expected = None
    r.run(20)
    r.model.reset_counter()
    r.run(20)
    assert len(r.told("counter_reset")) == 1
    assert sum(f.gap for f in r.frames) == 0


def test_duplicated_frozen_and_corrupted_frames_are_kept_as_they_came(rig):
    r = rig(way="linux, open ephys", values={"led": 30})
    n = r.model._number + 10
    r.model.duplicated, r.model.frozen, r.model.corrupted = {n}, {n + 5}, {n + 10}
    frames = r.run(40)
    crcs = [zlib.crc32(frame.image) for frame in frames]
    assert crcs == [s.crc for s in r.model.sent if s.crc in crcs][: len(crcs)]
    assert sum(bool(f.meta.get("duplicate")) for f in frames) == 1
    assert len(r.told("duplicate")) == 1
    ((at, _),) = r.told("frozen")
    assert crcs[at] == crcs[at - 1]
    assert not frames[at].meta.get("duplicate")
    assert sum(f.gap for f in frames) == 0


def test_frames_of_another_size_are_lost_loudly_and_a_lasting_one_is_a_lost_device(rig):
    r = rig(way="windows", values={"led": 30})
    r.run(10)
    r.model.bad_size = True
    for _ in range(5):
        r.capture.step()
    r.model.bad_size = False
    r.run(20)
    assert len(r.told("bad_frame")) == 1
    assert sum(f.gap for f in r.frames) == 5
    r.model.bad_size = True
    for _ in range(79):
        r.capture.step()
    assert r.told("disconnected") == []
    r.capture._stopped.set()
    r.capture.step()
    assert len(r.told("disconnected")) == 1


def test_frames_that_cannot_be_fetched_are_said_and_lost(rig, monkeypatch):
    r = rig(way="windows", values={"led": 30})
    r.run(10)
    with monkeypatch.context() as patch:
        patch.setattr(r.connection.camera, "retrieve", lambda: (False, None))
        for _ in range(4):
            r.capture.step()
    r.run(20)
    ((_, fields),) = r.told("bad_frame")
    assert "could not be fetched" in fields["text"]
    assert sum(f.gap for f in r.frames) == 4


def test_an_error_of_the_thread_reaches_who_takes_frames_and_the_light_is_off(monkeypatch):
    r = Rig(values={"led": 30})
    broken = []

    def breaks(*_):
        if len(broken) > 5:
            raise ValueError("a fault")
        broken.append(r.capture.begin())

    monkeypatch.setattr(r.capture._effects, "frame", breaks)
    r.capture.run()
    assert r.model.light == 0
    with pytest.raises(ValueError, match="a fault"):
        list(iter(lambda: r.capture.ring.take(0), None))
    assert r.capture.ring.ended


def test_the_wall_clock_that_is_set_is_an_event(rig):
    r = rig(values={"led": 30})
    r.run(5)
    r.wall_ns += 3_600_000_000_000
    r.run(5)
    ((_, fields),) = r.told("clock")
    assert fields["seconds"] == pytest.approx(3600)
    assert np.diff([f.time_s for f in r.frames]).max() < 0.06


@pytest.mark.parametrize("way", ["windows", "linux", "linux, old firmware"])
def test_a_packet_that_another_program_left_half_sent_spoils_none_of_ours(way):
    r, clean = Rig(way=way), Rig(way=way)
    camera = r.model.open()
    for prop in (Property.CONTRAST, Property.GAMMA):
        camera.set(prop, 0x0120)  # and then that program was ended
        r.clock.sleep(0.001)
    camera.release()
    r.open()
    clean.open()
    assert packets(r) == packets(clean)
    assert r.model.lost_packets == []
    assert r.model.light == 0


REFUSED = [
    ({"plugged": False}, "there is no camera 0|camera 0 does not open"),
    ({"busy": True}, "there is no camera 0|camera 0 does not open"),
    ({"stalls": {0: 60.0}}, "no picture came within 2 s, expected 64x24 px of a v4"),
    ({"layout": "bgr"}, "expected raw YUY2"),
]


@pytest.mark.parametrize(("faults", "message"), REFUSED, ids=["absent", "busy", "no picture", "converted"])
def test_a_device_that_cannot_be_used_is_refused_in_one_sentence(faults, message):
    r = Rig()
    for name, value in faults.items():
        setattr(r.model, name, value)
    with pytest.raises(SourceError, match=message):
        r.capture.open()
    assert r.model._camera is None


def test_a_scope_of_another_type_is_noticed(rig):
    r = rig(way="windows", shape=(48, 80))
    assert r.connection.doubts == ["frames are 80x48 px, expected 64x24 of a v4; is --device the right type?"]
    assert r.run(3)[-1].image.shape == (48, 80)
    r = Rig("v3", way="windows", values={"fps": 60})
    r.model.sensor = "v4"
    r.capture.open()
    assert any("frames come at 30.3 Hz, expected 60.0" in doubt for doubt in r.capture._connection.doubts)


def test_frames_are_frames(rig):
    frame = rig(values={"led": 30}).run(1)[0]
    assert isinstance(frame, Frame)
    assert frame.image.dtype == np.uint8
    assert frame.image.shape == (24, 64)


class Decoded:
    """A webcam that gives compressed frames until they are decoded for it."""

    def __init__(self, camera):
        self._camera, self._convert = camera, False

    def __getattr__(self, name):
        return getattr(self._camera, name)

    def set(self, prop, value):
        if prop == Property.CONVERT_RGB:
            self._convert = bool(value)
        return self._camera.set(prop, value)

    def retrieve(self):
        ok, raw = self._camera.retrieve()
        picture = raw.reshape(24, 64, 2)[:, :, 0]
        return ok, np.repeat(picture[:, :, None], 3, axis=2) if self._convert else np.zeros(
            (1, 777), np.uint8
        )


@pytest.mark.parametrize("compressed", [False, True])
def test_any_other_camera_gives_its_luma_and_its_own_rate(compressed):
    r = Rig("webcam")
    opens = r.model.open
    if compressed:
        r.model.open = lambda index, backend: Decoded(opens(index, backend))
    r.capture.open()
    assert r.capture._connection.fps == pytest.approx(1e5 / 3300, rel=0.01)
    assert r.capture._connection.senses.name == "none"
    frames = r.run(20)
    assert frames[-1].image.shape == (24, 64)
    assert np.diff([f.time_s for f in frames]) == pytest.approx(0.033, abs=1e-3)
    assert r.model.packets == []
    r.capture.shut()
