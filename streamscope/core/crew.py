"""Who does independent pieces of work: the caller, or threads that a session lends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, TypeVar

Result = TypeVar("Result")


class Crew:
    """Does pieces of work one after the other, in the caller's thread.

    What a piece gives may not depend on the others, so that a crew of several threads changes nothing but the
    time. Kernels leave the interpreter's lock, so that threads help.
    """

    n = 1  # pieces that are done at a time

    def map(self, work: Callable[..., Result], *pieces: Iterable[Any]) -> list[Result]:
        """Return what `work` gives for each piece, in their order, as the builtin does."""
        return list(map(work, *pieces))

    def share(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return where the parts of start..stop begin and end, one for each of the crew; empty ones are left out."""
        edges = [start + (stop - start) * i // self.n for i in range(self.n + 1)]
        return [(a, b) for a, b in pairwise(edges) if a < b]
