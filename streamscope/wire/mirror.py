"""What a client knows of a session: decoded messages, what was lost, the component table. Sans-IO.

The Clone pattern: subscribe first, ask for the snapshot, drop what is older than it, apply what is newer;
after a hole in components/, ask again rather than for a repetition.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from streamscope.errors import WireError
from streamscope.types import ComponentEvent
from streamscope.wire.messages import decode_message
from streamscope.wire.schema import (
    COMPONENTS,
    EVENT_CLOSED,
    WELCOME,
    ComponentMessage,
    EventMessage,
    Message,
    TracesMessage,
)
from streamscope.wire.snapshot import Cell, Snapshot

_TOPIC = re.compile(r"[a-z][a-z0-9_-]{0,62}/")
_STATUS_AFTER = {"born": "provisional", "confirmed": "confirmed", "merged": "merged", "retired": "retired"}


class Mirror:
    """Follows one session from its messages.

    Parameters
    ----------
    topics : collection of str
        What `feed` hands out; other messages only keep the table current.
    """

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = frozenset(topics)
        self.sid: str | None = None  # None until the first snapshot
        self.epoch = 0
        self.shape: tuple[int, int] | None = None  # (H, W) of the reference frame
        self.cells: dict[int, Cell] = {}  # every component known so far, by id; retired ones stay
        self.lost: Counter[str] = Counter()  # messages lost, by topic
        self.closed = False  # the session said goodbye
        self.needs_snapshot = True  # to be asked for before the next message is used
        self.incomplete = False  # a snapshot was needed and could not be had: components may be missing
        self.elsewhere = True  # nothing is known yet of the session whose messages come
        self._expected: dict[str, int] = {}
        self._ids = b""
        self._unnamed: set[int] = set()

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Take over the state of the session; the first one also decides where the messages begin."""
        if snapshot.sid != self.sid:
            self._forget()
            self.sid = snapshot.sid
            self._expected = dict(snapshot.next_seq)
        else:
            self._expected[COMPONENTS] = snapshot.next_seq.get(COMPONENTS, 0)
        gone = {
            i: cell if cell.status in ("merged", "retired") else dataclasses.replace(cell, status="retired")
            for i, cell in self.cells.items()
            if i not in snapshot.cells
        }
        self.cells = {**gone, **snapshot.cells}
        self.epoch = snapshot.epoch
        self.shape = snapshot.shape
        self.needs_snapshot = self.incomplete = self.elsewhere = False

    def do_without_snapshot(self) -> bool:
        """Go on without the snapshot that was needed; False when nothing can be used before it is taken."""
        if self.elsewhere:
            return False
        self.needs_snapshot = False
        self.incomplete = True
        return True

    def feed(self, parts: Sequence[bytes]) -> Message | None:
        """Return the message in `parts` if it is of the chosen topics, and learn from it in any case.

        None also for what is older than the snapshot. Look at `needs_snapshot` afterwards.

        Raises
        ------
        WireError
            If the frames are not a message of this protocol version.
        """
        if len(parts) == 1 and parts[0] == WELCOME:
            return None
        message = decode_message(parts)
        if (
            message.sid != self.sid
        ):  # another session at the same address: its snapshot will be newer than this
            self.needs_snapshot = self.elsewhere = True
            return None
        expected = self._expected.get(message.topic, message.seq)
        if message.seq < expected:
            return None
        self._expected[message.topic] = message.seq + 1
        missed = message.seq - expected
        if missed:
            self.lost[message.topic] += missed
            message = dataclasses.replace(message, missed=missed)
        self._learn(message)
        return message if message.topic in self._topics else None

    def _learn(self, message: Message) -> None:
        if isinstance(message, TracesMessage):
            self._check_names(message)
        elif isinstance(message, ComponentMessage):
            self.needs_snapshot |= message.missed > 0 and not self.incomplete
            self._apply(message)
        elif isinstance(message, EventMessage):
            self.closed |= message.name == EVENT_CLOSED

    def _check_names(self, message: TracesMessage) -> None:
        ids = message.ids.tobytes()
        if ids == self._ids:
            return
        self._ids = ids
        unknown = set(message.ids.tolist()) - self.cells.keys() - self._unnamed
        if unknown:
            self._unnamed |= unknown  # asked for once
            self.needs_snapshot = not self.incomplete

    def _apply(self, message: ComponentMessage) -> None:
        event = message.event
        cell = self.cells.get(event.id) or Cell(event.id, "provisional", event.frame)
        self.cells[event.id] = dataclasses.replace(cell, **_changes(event, message))
        if message.epoch is not None:
            self.epoch = max(self.epoch, message.epoch)

    def _forget(self) -> None:
        self.cells.clear()
        self.lost.clear()
        self.closed = False
        self._ids = b""
        self._unnamed.clear()


def _changes(event: ComponentEvent, message: ComponentMessage) -> dict[str, Any]:
    given = {
        "status": _STATUS_AFTER.get(event.kind),
        "into": event.into,
        "y": event.y,
        "x": event.x,
        "snr": event.snr,
        "pixels": message.pixels,
        "weights": message.weights,
    }
    return {name: value for name, value in given.items() if value is not None}


def checked_topics(topics: str | Collection[str]) -> tuple[str, ...]:
    """Return the topics as a tuple, or say what is wrong with one."""
    chosen = (topics,) if isinstance(topics, str) else tuple(topics)
    for topic in chosen:
        if not _TOPIC.fullmatch(topic):
            raise WireError(
                f"topic {topic!r:.80} must end in a slash, with one word of small letters before it, e.g. traces/"
            )
    return chosen
