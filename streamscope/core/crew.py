"""Threads that share the work of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

Result = TypeVar("Result")


class Crew:
    """Does independent pieces of work, in the caller's thread or in several; results come in the order asked for.

    What a piece gives may not depend on the others, so that the number of threads changes nothing but the time.
    Kernels leave the interpreter's lock, so that threads help.

    Parameters
    ----------
    n : int
        How many pieces are done at a time; one: in the caller's thread.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool = ThreadPoolExecutor(n, thread_name_prefix="crew") if n > 1 else None

    def map(self, work: Callable[..., Result], *pieces: Iterable[Any]) -> list[Result]:
        """Return what `work` gives for each piece, as the builtin does."""
        return list(map(work, *pieces) if self._pool is None else self._pool.map(work, *pieces))

    def share(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return where the parts of start..stop begin and end, one for each of the crew; empty ones are left out."""
        edges = [start + (stop - start) * i // self.n for i in range(self.n + 1)]
        return [(a, b) for a, b in pairwise(edges) if a < b]
