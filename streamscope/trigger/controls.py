"""What draws pulses in place of a condition: chance with a seed, or another session; and which are left out."""

from __future__ import annotations

import hashlib
import math

from streamscope.trigger.settings import Control


def uniform(seed: int, *where: str | int) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments, on every machine."""
    text = "/".join(map(str, (seed, *where)))
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


class Shams:
    """Which of a rule's pulses are left out: the stated share of every block, in an order drawn from the seed."""

    def __init__(self, control: Control, seed: int, rule: str) -> None:
        self._control, self._seed, self._rule = control, seed, rule
        self._n = 0

    def next(self) -> bool:
        """Return whether the next pulse is a sham."""
        block, place = divmod(self._n, self._control.block)
        self._n += 1
        drawn = [uniform(self._seed, self._rule, "sham", block, k) for k in range(self._control.block)]
        rank = sorted(range(len(drawn)), key=drawn.__getitem__).index(place)
        return rank < self._in_block(block)

    def _in_block(self, block: int) -> int:
        """Return how many shams a block has, so that the share is kept over the blocks too."""
        share = self._control.sham * self._control.block
        return math.floor((block + 1) * share + 0.5) - math.floor(block * share + 0.5)


class RandomTimes:
    """Pulses at chance: intervals are exponential, counted from the moment of arming."""

    def __init__(self, mean_interval_s: float, seed: int, rule: str) -> None:
        self._mean_s, self._seed, self._rule = mean_interval_s, seed, rule
        self._n = 0
        self._next = math.inf

    def armed(self, t: float) -> None:
        """Begin anew at `t`."""
        self._next = t + self._interval()

    def due(self, t: float) -> bool:
        """Return whether a pulse is due now."""
        if t < self._next:
            return False
        while self._next <= t:  # a long frame makes one pulse, not several
            self._next += self._interval()
        return True

    def _interval(self) -> float:
        self._n += 1
        return max(1e-6, -self._mean_s * math.log1p(-uniform(self._seed, self._rule, "interval", self._n)))


class YokedTimes:
    """Pulses at the times, since arming, at which another session had them."""

    def __init__(self, times_s: tuple[float, ...]) -> None:
        self._times = tuple(sorted(times_s))
        self._began = math.inf
        self._n = 0

    def armed(self, t: float) -> None:
        """Begin anew at `t`."""
        self._began, self._n = t, 0

    def due(self, t: float) -> bool:
        """Return whether a pulse is due now."""
        before = self._n
        while self._n < len(self._times) and self._began + self._times[self._n] <= t + 1e-9:
            self._n += 1
        return self._n > before


def draws(control: Control, seed: int, rule: str) -> RandomTimes | YokedTimes | None:
    """Return what draws the pulses of a rule, None if its condition does."""
    if control.kind == "random" and control.mean_interval_s is not None:
        return RandomTimes(control.mean_interval_s, seed, rule)
    if control.kind == "yoked":
        return YokedTimes(control.times_s or ())
    return None
