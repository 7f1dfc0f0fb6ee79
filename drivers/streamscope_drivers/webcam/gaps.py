"""How many pictures of a webcam are missing before one: inferred from intervals, since webcams count nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate
from statistics import median

from streamscope.types import Picture

AROUND = 8  # intervals before and after one that say what the rate was there
LONG = 1.5  # intervals: what is longer lacks pictures


def with_gaps(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Yield pictures with the number of those missing before each, eight pictures later than they come.

    The rate of a webcam falls when its picture gets dark, for good: an interval is long only if it is longer than
    those before it and those after it. Pictures that were fetched late are followed by short intervals, and lack
    none: what lasts is a loss.
    """
    waiting: deque[tuple[Picture, int]] = deque()  # and the interval before each
    before: deque[int] = deque(maxlen=AROUND)
    last_ns = None
    for picture in pictures:
        waiting.append((picture, 0 if last_ns is None else picture.t_ns - last_ns))
        last_ns = picture.t_ns
        if len(waiting) > AROUND:
            yield _judged(waiting, before)
    while waiting:
        yield _judged(waiting, before)


def _judged(waiting: deque[tuple[Picture, int]], before: deque[int]) -> Picture:
    picture, step = waiting.popleft()
    missing = _missing(step, list(before), [s for _, s in waiting])
    if step:
        before.append(step // (missing + 1))
    return replace(picture, gap=missing) if missing else picture


def _missing(step: int, before: list[int], after: list[int]) -> int:
    period = max((median(side) for side in (before, after) if len(side) >= AROUND // 2), default=0)
    if not period or step <= LONG * period:
        return 0
    behind = (elapsed - k * period for k, elapsed in enumerate(accumulate((step, *after)), 1))
    return round(min(behind) / period)
