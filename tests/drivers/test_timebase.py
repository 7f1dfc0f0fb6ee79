"""Clocks that jump, stand, repeat and lose lines, put right and named."""

import numpy as np
import pytest

from streamscope.testing.daq_qt import DaqSettings, write_recording
from streamscope_drivers.replay import open_movie
from streamscope_drivers.stamps import Stamps
from streamscope_drivers.timebase import since_first, time_base

PERIOD_MS = 50.0


def true_ms(n=200, seed=4):
    """Return stamps of an even clock with the jitter of a real one, whole ms, from below 0."""
    jitter = np.random.default_rng(seed).integers(-6, 7, n)
    return np.round(np.arange(n) * PERIOD_MS + jitter - 73)


def stamps(times_ms, counter=None, numbers=None, missing=None):
    return Stamps("stamps.csv", np.asarray(times_ms, float), counter, missing, numbers, ())


def seconds(times_ms):
    return (times_ms - times_ms[0]) / 1000


@pytest.mark.parametrize("off_s", [-128.0, 128.0, -3.0, 4000.0])
@pytest.mark.parametrize("runs", [[(40, 41)], [(40, 95)], [(10, 12), (60, 90), (91, 150)]])
def test_a_clock_that_jumps_and_returns_is_put_back(off_s, runs):
    good = true_ms()
    written = good.copy()
    for start, stop in runs:
        written[start:stop] += 1000 * off_s
    times, said = since_first(written)
    assert np.abs(times - seconds(good)).max() <= 0.013  # half of the jitter at the two ends of a run
    assert (np.diff(times) > 0).all()
    inside = np.ones(len(good), bool)
    for start, stop in runs:
        inside[start:stop] = False
    assert np.allclose(times[inside], seconds(good)[inside])
    assert len(said) == 1
    start, stop = runs[0]
    assert f"jumps and returns {len(runs)} times, first by {'-' if off_s < 0 else '+'}" in said[0]
    assert f"frames {start} to {stop - 1}" in said[0]


def test_frames_lost_beside_a_glitch_stay_lost():
    good = true_ms()
    good[120:] += 4 * PERIOD_MS
    written = good.copy()
    written[40:95] -= 128_000
    base = time_base(stamps(written), [200])
    assert np.flatnonzero(base.timing.gap).tolist() == [120]
    assert base.timing.gap[120] == 4
    assert "4 frames are missing in 1 places, first before frame 120, says the clock" in base.warnings[1]


@pytest.mark.parametrize("wrong_ms", [-2_147_483_648.0, 4_294_000_000.0, -86_000.0])
def test_a_first_stamp_that_is_not_credible_is_replaced(wrong_ms):
    good = true_ms()
    written = good.copy()
    written[0] = wrong_ms
    times, said = since_first(written)
    assert np.allclose(np.diff(times)[1:], np.diff(good)[1:] / 1000)
    assert times[1] == pytest.approx(PERIOD_MS / 1000, abs=0.005)
    assert len(said) == 1
    assert said[0].startswith("the first time stamp is ")


def test_negative_first_stamps_need_no_repair():
    times, said = since_first(true_ms())
    assert np.allclose(times, seconds(true_ms()))
    assert said == []


def test_a_clock_that_is_set_back_for_good_goes_on_with_the_median_interval():
    good = true_ms()
    written = good.copy()
    written[100:] -= 777_000
    times, said = since_first(written)
    assert np.abs(times - seconds(good)).max() < 0.02
    assert "go back 1 times, first at frame 100" in said[0]


def test_repeats_and_disorder_are_spread_up_to_the_next_stamp():
    written = np.arange(30) * PERIOD_MS
    written[[8, 9]] = written[7]
    written[20] -= 60
    times, said = since_first(written)
    expected = np.arange(30) * PERIOD_MS / 1000
    assert np.allclose(times, expected)
    assert "3 time stamps repeat the one before or are out of order, first at frame 8" in said[0]


def test_repeats_at_the_end_go_on_with_the_median_interval():
    written = np.arange(10) * PERIOD_MS
    written[8:] = written[7]
    times, _ = since_first(written)
    assert np.allclose(times, np.arange(10) * PERIOD_MS / 1000)


def test_a_clock_that_stands_still_is_none():
    base = time_base(stamps(np.full(10, 7.0)), [10], rate=20.0)
    assert np.allclose(base.timing.times_s, np.arange(10) / 20)
    assert "stands still" in base.warnings[0]


def test_a_line_that_was_written_twice_counts_once(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    device = write_recording(tmp_path, pixels, 20, settings=DaqSettings())
    lines = (device / "timeStamps.csv").read_text().splitlines()
    lines.insert(6, lines[5])
    (device / "timeStamps.csv").write_text("\n".join(lines) + "\n")
    movie = open_movie(str(tmp_path))
    assert movie.info.n_frames == 12
    assert np.allclose(movie.times_s, np.arange(12) / 20)
    assert movie.gap.sum() == 0
    assert movie.info.warnings == (
        "timeStamps.csv has 1 lines twice, first that of frame 4: one of each is used",
    )
    movie.close()


def test_lines_that_are_not_there_are_interpolated_if_the_video_has_their_frames():
    good = true_ms()
    numbers = np.delete(np.arange(200), [30, 31, 77])
    base = time_base(stamps(good[numbers], counter=numbers + 5, numbers=numbers), [200])
    assert base.n_frames == 200
    assert np.abs(base.timing.times_s - seconds(good)).max() < 0.02
    assert base.timing.gap.sum() == 0
    assert base.timing.hw[[30, 31, 77]].tolist() == [-1, -1, -1]
    assert "has no line for 3 frames, first for 30" in base.warnings[0]


def test_lines_of_frames_that_the_video_lacks_too_are_not_invented():
    numbers = np.delete(np.arange(200), [30, 31])
    base = time_base(stamps(true_ms()[numbers], counter=numbers, numbers=numbers), [198])
    assert base.n_frames == 198
    assert base.timing.gap[30] == 2


def test_a_middle_file_that_lacks_frames_keeps_the_later_ones_in_time(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (50, 16, 24), dtype=np.uint8)
    device = write_recording(tmp_path, pixels, 20, settings=DaqSettings(frames_per_file=20))
    whole = (device / "1.avi").read_bytes()
    (device / "1.avi").write_bytes(whole[: len(whole) * 3 // 5])
    movie = open_movie(str(tmp_path))
    n = movie.info.n_frames - 30
    assert 3 <= n < 20
    assert np.array_equal(movie.read(20 + n, 30 + n), pixels[40:])
    assert movie.times_s[20 + n] == pytest.approx(2.0)
    assert movie.gap[20 + n] == 20 - n
    assert movie.gap.sum() == 20 - n
    assert f"1 files are shorter than 20 frames, first number 1 with {n}" in movie.info.warnings[0]
    movie.close()


def test_frames_missing_in_a_recording_are_counted_through_rows_that_are_left_out():
    given = stamps(np.arange(6) * 50.0, missing=np.array([0, 0, 2, 0, 1, 0]), numbers=np.arange(6))
    assert given.take(np.array([0, 1, 4, 5])).missing.tolist() == [0, 0, 5, 0]


def test_a_recording_without_a_loss_says_nothing():
    base = time_base(stamps(true_ms(), counter=np.arange(200) + 65_400), [200], rate=20.0)
    assert base.warnings == ()
    assert base.fps == 20


@pytest.mark.parametrize("counted", [True, False])
def test_a_recording_with_a_glitch_a_repeat_and_a_cut_line_is_read_with_its_true_times(tmp_path, counted):
    pixels = np.random.default_rng(3).integers(0, 256, (60, 16, 24), dtype=np.uint8)
    device = write_recording(
        tmp_path, pixels, 20, settings=DaqSettings(frames_per_file=25, lost_before={40: 2})
    )
    rows = [line.split(",") for line in (device / "timeStamps.csv").read_text().splitlines()]
    for row in rows[11:31]:
        row[1] = str(int(row[1]) - 128_000)
    rows[51][1] = rows[50][1]
    lines = [",".join(row if counted else row[:3]) for row in rows]
    (device / "timeStamps.csv").write_text("\n".join(lines)[:-1])
    movie = open_movie(str(tmp_path))
    assert movie.info.n_frames == 59
    assert movie.info.fps == 20
    assert np.abs(movie.times_s - (np.arange(59) + 2 * (np.arange(59) >= 40)) / 20).max() < 0.002
    assert np.flatnonzero(movie.gap).tolist() == [40]
    assert movie.gap[40] == 2
    said = " | ".join(movie.info.warnings)
    for words in (
        "last line",
        "59 frames and the video 60",
        "-128.0 s, frames 10 to 29",
        "1 time stamps repeat",
    ):
        assert words in said
    assert (
        f"2 frames are missing in 1 places, first before frame 40, says the {'frame counter' if counted else 'clock'}"
        in said
    )
    assert np.array_equal(movie.read(0, 59), pixels[:59])
    movie.close()
