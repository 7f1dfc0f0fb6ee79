"""What a session tells whoever watches it, e.g. the terminal."""

from __future__ import annotations

from pathlib import Path

from streamscope.session.machine import State
from streamscope.types import Health
from streamscope.wire.endpoints import Endpoints


class Observer:
    """Hear of a session's progress; every method may be overridden, all are called in the loop's thread.

    They must return within about a millisecond: the same thread publishes the results.
    """

    def bound(self, endpoints: Endpoints) -> None:
        """The sockets are bound, and this is where they are heard."""

    def warming(self, what: str, done: int, total: int) -> None:
        """Kernels are being compiled, `done` of `total` so far."""

    def started(self, folder: Path) -> None:
        """The session writes to `folder`, and frame 0 is about to leave."""

    def health(self, health: Health) -> None:
        """The session stands like this, several times a second."""

    def state(self, state: State) -> None:
        """The session moved to another state."""

    def refitting(self, stage: str, fraction: float) -> None:
        """The refit is in `stage`, `fraction` (0..1) of it done."""
