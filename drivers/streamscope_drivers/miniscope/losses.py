"""How many frames are missing before one: from the hardware's counter, or else inferred from the clock."""

from __future__ import annotations

from dataclasses import dataclass

LASTING = (
    5  # frames for which an offset must last where counter and clock are read late: more than wait in buffers
)
STALL_PERIODS, STALL_S = 8, 0.5  # beyond what buffers can hide: time without frames counts as frames


@dataclass(frozen=True, slots=True)
class Missing:
    """What is missing before a frame."""

    n: int = 0
    inferred: bool = False  # from the clock
    duplicate: bool = False  # this frame came before; only an exact counter can tell
    reset: bool = False  # the counter began anew


class Losses:
    """Watches counter and clock, frame by frame.

    A counter that is read after its frame may already be ahead, and a frame that was taken late makes a long interval
    and then a short one. Only an offset that lasts is a loss; where both are exact, it is said at once.

    Parameters
    ----------
    period_s : float
        Time between two frames, s.
    bits : int
        Of the counter, at which it wraps; 0 if there is none.
    exact_counter, exact_clock : bool
        Whether they belong to the very frame (hidden in it; the kernel's stamp).
    """

    def __init__(
        self, period_s: float, bits: int = 0, exact_counter: bool = False, exact_clock: bool = False
    ) -> None:
        self.period_ns = round(period_s * 1e9)
        self._wrap = 1 << bits if bits else 0
        self._exact_counter, self._exact_clock = exact_counter, exact_clock
        self._offsets = _Lasting(1 if exact_counter else LASTING)
        self._late = _Lasting(1 if exact_clock else LASTING)
        self._expected: int | None = None
        self._lateness = 0.0  # periods
        self._last_ns: int | None = None
        self._offset = 0  # of the counter from what was expected, frames
        self._agreed_ns = 0  # when the counter was last as expected
        self._settling = 0  # frames during which intervals say nothing
        self._next_period_ns = 0

    def change_period(self, period_s: float, settled_after: int) -> None:
        """Take note of another frame rate; for some frames intervals say nothing."""
        self._next_period_ns = round(period_s * 1e9)
        self._settling = settled_after

    def before(self, counter: int | None, t_ns: int, read_ns: int | None = None) -> Missing:
        """Return what is missing before a frame that was stamped at `t_ns`, and its counter read at `read_ns`."""
        if counter is not None and read_ns is not None and self._exact_clock and not self._exact_counter:
            counter = (counter - (read_ns - t_ns) // self.period_ns) % self._wrap  # frames that came since
        if self._last_ns is None:
            self._last_ns, self._agreed_ns, self._expected = t_ns, t_ns, self._next(counter)
            return Missing()
        periods = 1.0 if self._settling else (t_ns - self._last_ns) / self.period_ns
        self._last_ns = t_ns
        self._settle()
        by_time = max(0, round(periods) - 1)
        missing = self._by_counter(counter, by_time, t_ns) if self._wrap else self._by_clock(periods)
        counted = 2 * self._offset > by_time  # the counter went on meanwhile, and is about to say how far
        if by_time > missing.n + 1 and self._stalled(periods) and not counted:
            self._forget_lateness()
            self._offsets.clear()
            self._expected = self._next(counter)
            return Missing(by_time, inferred=True, reset=missing.reset)
        return missing

    def _settle(self) -> None:
        self._settling = max(0, self._settling - 1)
        if self._settling == 0 and self._next_period_ns:
            self.period_ns, self._next_period_ns = self._next_period_ns, 0
            self._forget_lateness()

    def _forget_lateness(self) -> None:
        self._lateness = 0.0
        self._late.clear()

    def _stalled(self, periods: float) -> bool:
        return periods > STALL_PERIODS and periods * self.period_ns > STALL_S * 1e9

    def _by_counter(self, counter: int | None, by_time: int, t_ns: int) -> Missing:
        if counter is None or self._expected is None:  # a read that failed says nothing; the next one will
            known = self._expected if counter is None else counter
            self._expected = self._next(known)
            return Missing()
        offset = (counter - self._expected + self._wrap // 2) % self._wrap - self._wrap // 2
        self._offset = offset
        if offset == 0:
            self._agreed_ns = t_ns
        there_was_time_for = (t_ns - self._agreed_ns) / self.period_ns
        if abs(offset) > 2 * there_was_time_for + 2 * LASTING + 2:
            self._agreed_ns, self._offset = t_ns, 0
            self._expected = self._next(counter)
            self._offsets.clear()
            return Missing(by_time, inferred=by_time > 0, reset=True)
        at_once = self._exact_clock and 0 < offset <= by_time  # the kernel's stamps say the same
        lasting = offset if at_once else self._offsets.add(offset)
        if at_once:
            self._offsets.clear()
        self._expected = (self._expected + 1 + lasting) % self._wrap
        return Missing(max(0, lasting), duplicate=lasting < 0 and self._exact_counter)

    def _by_clock(self, periods: float) -> Missing:
        self._lateness = self._lateness * (0.9 if self._lateness < 0.5 else 1.0) + periods - 1
        n = max(0, self._late.add(round(self._lateness)))
        self._lateness -= n
        return Missing(n, inferred=n > 0)

    def _next(self, counter: int | None) -> int | None:
        return None if counter is None or not self._wrap else (counter + 1) % self._wrap


class _Lasting:
    """Gives out an offset once it was there for a number of frames; the least of them, with its sign."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._seen: list[int] = []

    def add(self, offset: int) -> int:
        """Return the offset that lasted, 0 if none did, and count from there."""
        if self._seen and (offset > 0) != (self._seen[0] > 0):
            self.clear()
        if offset == 0:
            return 0
        self._seen.append(offset)
        if len(self._seen) < self._frames:
            return 0
        lasted = min(self._seen, key=abs)
        self.clear()
        return lasted

    def clear(self) -> None:
        """Forget what was seen."""
        self._seen = []
