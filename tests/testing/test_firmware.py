"""The model of the firmware does what the firmware's source says, whoever writes to it."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope.testing.firmware import (
    CONTRAST,
    EXPOSURE,
    GAIN,
    GAMMA,
    HEIGHT,
    HUE,
    PAN,
    POS_MSEC,
    SATURATION,
    SHARPNESS,
    TILT,
    WIDTH,
    Model,
    VirtualClock,
)

SHAPE = (24, 64)
LINK = ("03C0 101F 0000", "03B0 2005 0000", "03C0 B007 0000", "05C0 2008 A0EE", "05C0 2010 58EE")
LED_10 = ("0320 E501 0000", "0458 7200 00E5")
FPS_20 = "0521 C900 8813"


class Rig:
    """An opened model, and how to write packets to it."""

    def __init__(self, **options):
        self.clock = VirtualClock()
        self.model = Model(shape=SHAPE, clock=self.clock, **options)
        self.camera = self.model.open()

    def write(self, *packets, pause_s=128e-6):
        for packet in packets:
            for prop, word in zip((CONTRAST, GAMMA, SHARPNESS), packet.split(), strict=True):
                assert self.camera.set(prop, int(word, 16))
                self.clock.sleep(pause_s)

    def frames(self, n):
        for _ in range(n):
            assert self.camera.grab()
            yield self.camera.retrieve()[1]

    def run(self, n):
        return list(self.frames(n))


def test_a_packet_goes_out_when_the_next_frame_has_ended():
    rig = Rig()
    rig.run(3)
    rig.write(*LINK, *LED_10)
    assert rig.model.packets == []
    assert rig.model.light == 0
    rig.run(1)
    assert [frame for frame, _ in rig.model.packets] == [4] * 7
    assert rig.model.packets[-1][1] == bytes.fromhex("58 00 72 E5")
    assert rig.model.light == pytest.approx(26 / 255)
    assert rig.model.chips[0xA0] == {0: 0x72, 1: 0xE5}  # its true address; 0x58 is an alias


@pytest.mark.parametrize("missing", range(5))
def test_a_chip_behind_the_link_is_not_reached_until_everything_on_the_way_is_set(missing):
    rig = Rig()
    rig.write(*LINK[:missing], *LINK[missing + 1 :], *LED_10)
    rig.run(2)
    assert rig.model.light == 0
    assert rig.model.lost_packets


def test_the_frame_rate_follows_the_exposure_and_has_a_ceiling():
    rig = Rig()
    assert rig.model.period_ns == 33_000_000
    rig.write(*LINK, FPS_20)
    rig.run(4)
    started_ns = rig.clock()
    rig.run(20)
    assert (rig.clock() - started_ns) / 20 == pytest.approx(50e6, rel=0.01)
    rig.write("0521 C900 E803")  # 10 ms, shorter than the sensor can read out
    rig.run(1)
    assert rig.model.period_ns == 33_000_000


def test_words_that_come_too_fast_are_lost_and_the_packet_with_them():
    rig = Rig()
    rig.write(*LINK, pause_s=50e-6)
    rig.run(2)
    assert rig.model.lost_writes > 0
    assert len(rig.model.packets) < len(LINK)


def test_the_first_word_begins_a_packet_anew():
    rig = Rig()
    rig.camera.set(CONTRAST, 0x1234)
    rig.clock.sleep(1e-3)
    rig.write(*LINK)
    rig.run(1)
    assert len(rig.model.packets) == len(LINK)


def test_the_queue_holds_64_packets():
    rig = Rig()
    rig.model.stalls[0] = 60.0
    rig.write(*[LINK[0]] * 70)
    assert rig.model.overflows == 6


def test_linux_reads_what_was_written_last_and_windows_asks_the_device():
    cached, fresh = Rig(api="v4l2-cached"), Rig(api="windows")
    for rig in (cached, fresh):
        rig.run(5)
        rig.write(LINK[0])
    assert cached.camera.get(CONTRAST) == 0x03C0
    assert fresh.camera.get(CONTRAST) == 5
    assert cached.camera.get(EXPOSURE) == -1.0
    assert fresh.camera.get(EXPOSURE) == 0.0
    assert Rig(api="v4l2-abi2", abi=1).camera.get(EXPOSURE) == -1.0


def test_the_camera_terminal_has_counter_and_orientation_from_2023_on():
    rig = Rig(api="v4l2-abi2", bno=True)
    link = (*LINK[:3], "08C1 EE20 50A0", "10C1 EE20 5058", "0350 0C3D 0000", "02FE 0000 0000")
    rig.write(*link)
    rig.run(200)
    assert rig.camera.get(EXPOSURE) == 200
    pan, tilt = int(rig.camera.get(PAN)), int(rig.camera.get(TILT))
    w, x, y, z = np.array([pan, pan >> 16, tilt, tilt >> 16]).astype(np.int16)
    assert (x, y) == (0, 0)
    assert np.hypot(float(w), float(z)) == pytest.approx(16384, abs=2)
    assert w == round(np.cos(2.0) * 16384) < 0


def test_the_version_is_told_once():
    rig = Rig(api="windows", abi=2)
    rig.camera.set(SATURATION, 2)
    assert (rig.camera.get(HUE), rig.camera.get(HUE)) == (2, 0)
    assert not rig.model.recording
    rig.clock.sleep(1e-3)
    rig.camera.set(SATURATION, 1)
    assert rig.model.recording


def test_the_trigger_is_read_through_gamma():
    rig = Rig(api="windows")
    assert rig.camera.get(GAMMA) == 0
    rig.model.trigger = True
    assert rig.camera.get(GAMMA) == 1


def test_the_picture_is_in_the_even_bytes_and_its_light_follows_led_gain_and_exposure():
    rig = Rig(layout="pairs", pictures=lambda n: np.full(SHAPE, 40, np.uint8))
    dark = rig.run(1)[0]
    assert dark.shape == (*SHAPE, 2)
    assert not dark[:, :, 1].any()
    assert dark[:, :, 0].mean() == 2  # the black level
    rig.write(*LINK, *LED_10, FPS_20, "0521 CC00 E100")
    rig.run(2)
    low = rig.run(2)[-1][:, :, 0].mean()
    rig.write("0521 CC00 E400")
    medium = rig.run(3)[-1][:, :, 0].mean()
    assert low == pytest.approx(2 + 40 * 0.34, abs=1)
    assert medium == pytest.approx(2 + 80 * 0.34, abs=1)


def test_the_open_ephys_firmware_hides_its_state_in_the_odd_bytes():
    rig = Rig(api="oe", layout="pairs")
    rig.model.trigger = True
    raw = rig.run(4)[-1]
    words = raw.reshape(-1)[1:40:2].copy().view("<u4")
    assert words[0] == 3
    assert words[1] == rig.model.sent[-1].ended_ns // 1_000_000
    assert words[2] == 1


def test_faults_come_as_they_are_ordered():
    rig = Rig(api="windows", layout="pairs")
    rig.model.dropped = {3, 4}
    rig.model.duplicated = {6}
    rig.model.stalls = {8: 0.5}
    raw = rig.run(10)
    assert [sent.number for sent in rig.model.sent] == [0, 1, 2, 5, 6, 6, 7, 8, 9, 10]
    assert len(raw) == 10
    gaps = np.diff([sent.ended_ns for sent in rig.model.sent]) / 33e6
    assert gaps.round(1).tolist() == [1, 1, 3, 1, 0, 1, pytest.approx(16.2, abs=0.1), 1, 1]


def test_frames_that_nobody_takes_are_lost_when_the_buffers_are_full():
    rig = Rig(api="windows")
    rig.run(1)
    rig.clock.sleep(1.0)
    rig.run(6)
    assert [sent.number for sent in rig.model.sent][:5] == [0, 1, 2, 3, 4]
    assert rig.model.sent[5].number > 20


def test_a_box_that_is_unplugged_gives_nothing_and_comes_back_as_new():
    rig = Rig(api="v4l2-abi2")
    rig.write(*LINK, *LED_10)
    rig.run(5)
    rig.model.unplug()
    assert not rig.camera.grab()
    assert not rig.camera.set(CONTRAST, 1)
    assert rig.camera.get(EXPOSURE) == -1.0
    assert not rig.model.open().isOpened()
    rig.model.plug()
    rig.camera.release()
    rig.camera = rig.model.open()
    rig.run(3)
    assert rig.model.light == 0
    assert rig.camera.get(EXPOSURE) == 3


def test_one_program_at_a_time_holds_it():
    rig = Rig()
    assert not rig.model.open().isOpened()
    rig.camera.release()
    assert rig.model.open().isOpened()


def test_size_and_time_of_a_frame_are_told():
    rig = Rig()
    rig.run(3)
    assert (rig.camera.get(WIDTH), rig.camera.get(HEIGHT)) == (SHAPE[1], SHAPE[0])
    assert rig.camera.get(POS_MSEC) == pytest.approx(1000 + 3 * 33)
    assert rig.camera.get(GAIN) == 0
