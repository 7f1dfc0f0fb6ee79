"""Freezing and thawing as the loop sees it: who asked, what was ordered, and from which frame it holds."""

from __future__ import annotations

from collections.abc import Callable

from streamscope.errors import WireError
from streamscope.session.lanes import Held
from streamscope.wire.control import Later


class Freezing:
    """Turns requests into orders to the learner, and answers them when the order has taken effect.

    Owned by the loop. A request for what is so already, or was ordered already, makes no second order.

    Parameters
    ----------
    order : callable
        Called with True to freeze, False to thaw; each order comes back as one `Held`.
    """

    def __init__(self, order: Callable[[bool], None]) -> None:
        self._order = order
        self._held = Held(frozen=False, frame=0)
        self._ordered: list[tuple[bool, list[Later]]] = []  # under way, oldest first, and who waits
        self._ended = False

    def ask(self, frozen: bool) -> Later:
        """Return the reply to a request: the key `frame`, the first for which it holds.

        Raises
        ------
        WireError
            If no further frame will come.
        """
        reply = Later()
        if self._ended:
            raise WireError("the session is ending; only while it runs is anything learned")
        last = self._ordered[-1][0] if self._ordered else self._held.frozen
        if last != frozen:
            self._ordered.append((frozen, []))
            self._order(frozen)
        if self._ordered:
            self._ordered[-1][1].append(reply)
        else:
            reply.settle({"frame": self._held.frame})
        return reply

    def took_effect(self, held: Held) -> bool:
        """Take note of what came out of the pipeline, answer who waits, and return whether it is news."""
        news = held.frozen != self._held.frozen
        if news:
            self._held = held
        if held.asked:
            for reply in self._ordered.pop(0)[1]:
                reply.settle({"frame": self._held.frame})
        return news

    def end(self) -> None:
        """Refuse what is under way, and what may still come: there is no further frame."""
        self._ended = True
        for _, waiting in self._ordered:
            for reply in waiting:
                reply.settle(WireError("the session ended before it took effect"))
        self._ordered.clear()
