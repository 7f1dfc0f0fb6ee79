"""The states of a session, and what moves it from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from streamscope.errors import StageError


class State(Enum):
    """Where a session stands."""

    IDLE = "idle"  # everything is checked, sockets are bound, kernels compile
    RUNNING = "running"
    DRAINING = "draining"  # the source has ended; what is under way is finished
    REFITTING = "refitting"
    DONE = "done"
    FAILED = "failed"


class Event(Enum):
    """What can happen to a session."""

    START = "start"
    END = "end"  # the source has no further frames
    STOP = "stop"  # the user wants to stop
    DRAINED = "drained"  # live results are complete and a refit follows
    KEPT = "kept"  # live results are complete and no refit follows
    REFITTED = "refitted"
    ERROR = "error"


# A user who stops once gets the refit; one who stops again wants to leave.
# END and STOP may both come, in any order.
TABLE: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.START): State.RUNNING,
    (State.IDLE, Event.STOP): State.DONE,
    (State.RUNNING, Event.END): State.DRAINING,
    (State.RUNNING, Event.STOP): State.DRAINING,
    (State.DRAINING, Event.END): State.DRAINING,
    (State.DRAINING, Event.STOP): State.DRAINING,
    (State.DRAINING, Event.DRAINED): State.REFITTING,
    (State.DRAINING, Event.KEPT): State.DONE,
    (State.REFITTING, Event.REFITTED): State.DONE,
    (State.REFITTING, Event.STOP): State.REFITTING,
    (State.REFITTING, Event.KEPT): State.DONE,
    (State.DONE, Event.STOP): State.DONE,
    (State.FAILED, Event.STOP): State.FAILED,
    (State.FAILED, Event.END): State.FAILED,
    **{(state, Event.ERROR): State.FAILED for state in State},
}


class Machine:
    """Hold the state of a session and move it by `TABLE`.

    Parameters
    ----------
    changed : callable, optional
        Called with the new state after each change.
    """

    def __init__(self, changed: Callable[[State], None] | None = None) -> None:
        self.state = State.IDLE
        self._changed = changed

    def send(self, event: Event) -> State:
        """Move to the state that follows `event` and return it.

        Raises
        ------
        StageError
            If this event cannot happen in this state: a fault of the program.
        """
        before = self.state
        try:
            self.state = TABLE[before, event]
        except KeyError:
            raise StageError(
                f"a session that is {before.value} cannot take the event {event.value}"
            ) from None
        if self._changed is not None and self.state is not before:
            self._changed(self.state)
        return self.state
