"""From stamps to the time of each frame and to what was lost before it; what is repaired is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamscope.types import BoolArray, DoubleArray, IntArray, LongArray
from streamscope_drivers.recording import Timing, regular
from streamscope_drivers.stamps import Stamps

LATE = 1.5  # an interval longer than this many median intervals has lost frames in it
WRAP = 1 << 16
WILD = 100  # a jump of the counter that the clock must confirm: it is rebased when the device reconnects
LASTING = 3  # frames: a counter that is ahead for fewer was read too early
RATE_TOLERANCE = 0.1  # nominal and measured frame rate may differ by this fraction: stamps are whole ms
GLITCH = 10  # median intervals that a clock is off at least, when it jumps and returns
RETURNS = 3  # median intervals by which the two jumps may differ
DISORDER = (
    2  # frames after which stamps that are out of order have caught up; otherwise the clock was set back
)
FIRST_MS = (
    1000.0  # a first interval longer than this, and than GLITCH others, is none: the first stamp is wrong
)


@dataclass(frozen=True, slots=True)
class TimeBase:
    """The clock of a recording."""

    fps: float | None  # None: not known
    timing: Timing
    warnings: tuple[str, ...]  # repairs and doubts

    @property
    def n_frames(self) -> int:
        """Return the number of frames that have a time."""
        return len(self.timing.times_s)


def nominal(n_frames: int, fps: float | None, *warnings: str) -> TimeBase:
    """Return the clock of a recording without stamps: evenly spaced frames, nothing known to be lost."""
    return TimeBase(fps, regular(n_frames, fps), warnings)


def time_base(
    stamps: Stamps,
    counts: Sequence[int],
    rate: float | None = None,
    fps: float | None = None,
    per_file: int | None = None,
) -> TimeBase:
    """Return the clock of the frames of a recording with stamps.

    Parameters
    ----------
    stamps : Stamps
        As they were written.
    counts : sequence of int
        Whole frames in each file of the recording.
    rate : float or None
        Frame rate that the recording's metadata say, Hz.
    fps : float or None
        The user's frame rate, Hz; replaces rate and times.
    per_file : int or None
        Frames that each file but the last was meant to hold, if known.
    """
    stamps = _cut_short(_every_frame(stamps, sum(counts)), counts, per_file)
    n_video = sum(counts)
    n_frames = min(n_video, len(stamps.times_ms))
    said = [*stamps.warnings, *_unequal(stamps, n_video)]
    stamps = stamps.take(np.arange(n_frames))
    times_s, repairs = since_first(stamps.times_ms)
    if n_frames > 1 and times_s[-1] == 0:
        return nominal(
            n_frames, fps or rate, *said, f"the clock in {stamps.name} stands still: frames are evenly spaced"
        )
    gap = lost_frames(times_s, stamps.counter) if stamps.missing is None else stamps.missing.astype(np.int32)
    lost = _lost(gap, stamps)
    if fps:
        timing = Timing(regular(n_frames, fps).times_s, gap, stamps.counter)
        return TimeBase(fps, timing, (*said, *lost))
    found, doubts = _rate(times_s, rate)
    return TimeBase(found, Timing(times_s, gap, stamps.counter), (*said, *repairs, *lost, *doubts))


def since_first(times_ms: DoubleArray) -> tuple[DoubleArray, list[str]]:
    """Return times since the first frame, s, that never go back, and what was repaired.

    The first stamps of a recording are often negative: those frames waited in a buffer when it began.
    """
    steps = np.diff(times_ms)
    if not (steps > 0).any():
        return np.zeros(len(times_ms)), []
    usual = float(np.median(steps[steps > 0]))
    said: list[str] = []
    for repair in (_first_stamp, _glitches, _set_back):
        steps, more = repair(steps, usual)
        said += more
    times, more = _in_order(np.concatenate([[0.0], np.cumsum(steps)]), usual)
    return times / 1000.0, said + more


def _first_stamp(steps: DoubleArray, usual: float) -> tuple[DoubleArray, list[str]]:
    """Replace the first interval if it is absurd."""
    first = float(steps[0])
    if 0 <= first <= max(FIRST_MS, GLITCH * usual):
        return steps, []
    return np.concatenate([[usual], steps[1:]]), [
        f"the first time stamp is {abs(first) / 1000:.1f} s {'before' if first > 0 else 'after'} the second, "
        "which is not credible: the median interval is used there"
    ]


def _glitches(steps: DoubleArray, usual: float) -> tuple[DoubleArray, list[str]]:
    """Put back the clock where it jumps and later returns by as much; jitter is shared by the two ends."""
    excess, steps = steps - usual, steps.copy()
    ahead = list(np.flatnonzero(excess >= (GLITCH - RETURNS) * usual))
    n, where = 0, ""
    for back in np.flatnonzero(excess <= -GLITCH * usual):
        fits = [f for f in ahead if abs(excess[f] + excess[back]) <= RETURNS * usual]
        if not fits:
            continue
        other = min(fits, key=lambda f: (f > back, abs(f - back)))  # the last one before, else the next
        ahead.remove(other)
        off = (excess[other] - excess[back]) / 2
        steps[back] += off
        steps[other] -= off
        n += 1
        sign = "-" if other > back else "+"
        where = where or f"{sign}{off / 1000:.1f} s, frames {min(back, other) + 1} to {max(back, other)}"
    if n == 0:
        return steps, []
    return steps, [f"the clock jumps and returns {n} times, first by {where}: it is put back there"]


def _set_back(steps: DoubleArray, usual: float) -> tuple[DoubleArray, list[str]]:
    """Replace intervals at which the clock was set back for good."""
    times = np.concatenate([[0.0], np.cumsum(steps)])
    steps, frames = steps.copy(), []
    for k in np.flatnonzero(steps < 0):
        soon = times[k + 1 : k + 1 + DISORDER]
        if soon.max() <= times[k]:
            steps[k] = usual
            frames.append(int(k) + 1)
    if not frames:
        return steps, []
    return steps, [
        f"the time stamps go back {len(frames)} times, first at frame {frames[0]}: "
        "the median interval is used there"
    ]


def _in_order(times: DoubleArray, usual: float) -> tuple[DoubleArray, list[str]]:
    """Spread frames whose stamps repeat or are out of order evenly up to the next stamp."""
    highest = np.maximum.accumulate(times)
    own = np.concatenate([[True], np.diff(highest) > 0])
    if own.all():
        return times, []
    at = np.flatnonzero(own)
    end, last = len(times), float(highest[-1])
    ends = np.append(at, end), np.append(highest[at], last + usual * (end - at[-1]))
    first = int(np.argmin(own))
    return np.interp(np.arange(end), *ends), [
        f"{int((~own).sum())} time stamps repeat the one before or are out of order, first at frame {first}: "
        "these frames are spread evenly up to the next stamp"
    ]


def lost_frames(times_s: DoubleArray, counter: LongArray | None) -> IntArray:
    """Return the number of frames missing before each, by the counter where there is one, else by the clock.

    Parameters
    ----------
    times_s : ndarray, shape (T,)
        Times since the first frame, s.
    counter : ndarray, shape (T,), or None
        Hardware frame counter, of 16 bits or more, -1 where it could not be read.
    """
    by_clock = _lost_by_clock(times_s)
    if counter is None or np.sum(counter >= 0) < 2:
        return by_clock
    return _lost_by_counter(counter, by_clock)


def _lost_by_clock(times_s: DoubleArray) -> IntArray:
    """Return losses where an interval is too long and the next one does not make up for it."""
    steps = np.diff(times_s)
    gap = np.zeros(len(times_s), np.int32)
    median = float(np.median(steps)) if len(steps) else 0.0
    if median <= 0:
        return gap
    both = steps + np.append(steps[1:], median)
    lost = (steps > LATE * median) & (both > (LATE + 1) * median)
    gap[1:][lost] = np.round(steps[lost] / median).astype(np.int32) - 1
    return gap


def _lost_by_counter(counter: LongArray, by_clock: IntArray) -> IntArray:
    """Return losses by which the unwrapped counter runs ahead of the frames, and stays ahead."""
    read = np.flatnonzero(counter >= 0)
    ahead = np.zeros(len(read), np.int64)
    for k in range(1, len(read)):
        before, now = read[k - 1], read[k]
        step = int(counter[now] - counter[before]) % WRAP
        step -= WRAP if step > WRAP // 2 else 0
        lost = step - int(now - before)
        seen = int(by_clock[before + 1 : now + 1].sum())
        ahead[k] = ahead[k - 1] + (lost if abs(lost) <= max(WILD, 2 * seen) else seen)
    gap = np.zeros(len(counter), np.int32)
    most = 0
    for k in range(1, len(read)):
        lasting = int(ahead[k : k + LASTING].min())
        if lasting > most:
            gap[read[k]] = lasting - most
            most = lasting
    return gap


def _every_frame(stamps: Stamps, n_video: int) -> Stamps:
    """Return stamps with a row for each frame, if lines of frames that are in the video are not in the file."""
    numbers = stamps.numbers
    if numbers is None or len(numbers) < 2 or stamps.missing is not None:
        return stamps
    at = numbers - numbers[0]
    holes = int(at[-1]) + 1 - len(at)
    if not 0 < holes <= n_video - len(at) or (np.diff(at) <= 0).any():
        return stamps
    every = np.arange(int(at[-1]) + 1)
    counter = None
    if stamps.counter is not None:
        counter = np.full(len(every), -1, np.int64)
        counter[at] = stamps.counter
    first = int(numbers[0]) + int(np.argmin(np.isin(every, at)))
    said = f"{stamps.name} has no line for {holes} frames, first for {first}: their times are interpolated"
    return Stamps(
        stamps.name,
        np.interp(every, at, stamps.times_ms),
        counter,
        None,
        every + numbers[0],
        (*stamps.warnings, said),
    )


def _cut_short(stamps: Stamps, counts: Sequence[int], per_file: int | None) -> Stamps:
    """Return the stamps of frames that are in the video, if a file before the last one lacks frames."""
    short = [k for k, n in enumerate(counts[:-1]) if per_file and n < per_file]
    if not short or not per_file or any(n > per_file for n in counts):
        return stamps
    rows = np.concatenate([k * per_file + np.arange(n) for k, n in enumerate(counts)])
    rows = rows[rows < len(stamps.times_ms)]
    lost = sum(per_file - counts[k] for k in short)
    said = (
        f"{len(short)} files are shorter than {per_file} frames, first number {short[0]} with {counts[short[0]]}: "
        f"the {lost} others count as missing"
    )
    return replace(stamps.take(rows), warnings=(*stamps.warnings, said))


def _unequal(stamps: Stamps, n_video: int) -> list[str]:
    n_rows = len(stamps.times_ms)
    if n_rows == n_video:
        return []
    used = min(n_rows, n_video)
    return [f"{stamps.name} has {n_rows} frames and the video {n_video}: the first {used} are used"]


def _lost(gap: IntArray, stamps: Stamps) -> list[str]:
    places: BoolArray = gap > 0
    if not places.any():
        return []
    by = "clock" if stamps.counter is None or np.sum(stamps.counter >= 0) < 2 else "frame counter"
    by = by if stamps.missing is None else "recording"
    return [
        f"{int(gap.sum())} frames are missing in {int(places.sum())} places, first before frame "
        f"{int(np.argmax(places))}, says the {by}"
    ]


def _rate(times_s: DoubleArray, rate: float | None) -> tuple[float | None, list[str]]:
    """Return the nominal frame rate, or the measured one if the stamps contradict it."""
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return rate, []
    usual = steps[steps <= LATE * np.median(steps)]
    measured = float(1.0 / usual.mean())
    if rate is None:
        return measured, []
    if abs(measured / rate - 1) <= RATE_TOLERANCE:
        return rate, []
    return measured, [
        f"the metadata say {rate:g} fps, but the time stamps say {measured:.1f}: the time stamps are used"
    ]
