"""A client that joins late, loses messages and sees sessions end: in the end it knows what the session knows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from streamscope.types import ComponentEvent
from streamscope.wire.messages import encode_component, encode_event, encode_result
from streamscope.wire.mirror import Mirror
from streamscope.wire.schema import COMPONENTS, EVENTS, TRACES, Stamp

from .conftest import _result as result
from .conftest import _table as table
from .test_mirror import snapshot


class Sessions:
    """One session after the other at the same address; keeps what was sent, and what was so after each message."""

    def __init__(self) -> None:
        self.number = 0
        self.sent = []  # topic, frames, session
        self.states = []  # what the snapshot would have held after each message
        self._begin()

    def _begin(self):
        self.number += 1
        self.sid = f"session-{self.number}"
        self.seq = Counter()
        self.alive, self.epoch, self.frame, self.last_id = [], 0, 0, 0

    def _send(self, topic, encode, *args):
        stamp = Stamp(self.sid, self.seq[topic], 0)
        self.seq[topic] += 1
        self.sent.append((topic, encode(stamp, *args), self.sid))
        self.states.append((self.sid, table(self.epoch, list(self.alive), (400, 400)), dict(self.seq)))

    def do(self, action):
        if action == "restart":
            self._send(EVENTS, encode_event, "closed", None, self.epoch, {})
            self._begin()
        elif action == "born":
            self.epoch += 1
            self.last_id += 1
            self.alive.append(self.last_id)
            self._component("born", self.last_id)
        elif action in ("retired", "merged") and self.alive:
            self.epoch += 1
            gone = self.alive.pop(0)
            into = self.alive[0] if action == "merged" and self.alive else None
            self._component("merged" if into else "retired", gone, into)
        elif action == "frame":
            self._send(TRACES, encode_result, result(self.frame, list(self.alive), epoch=self.epoch))
            self.frame += 1

    def _component(self, kind, cell, into=None):
        self._send(
            COMPONENTS, encode_component, self.epoch, ComponentEvent(kind, cell, self.frame, into=into), None
        )

    def snapshot(self, at):
        """Return what a snapshot that is asked for now, and answered a little later, holds."""
        sid, now, seq = self.states[min(at, len(self.states) - 1)]
        return snapshot(now, sid, **{topic[:-1]: n for topic, n in seq.items()})


ACTIONS = st.sampled_from(["frame"] * 4 + ["born"] * 3 + ["retired"] * 3 + ["merged"] * 2 + ["restart"])
DELIVERED = st.sampled_from([True, True, False])
HISTORY = st.lists(st.tuples(ACTIONS, DELIVERED), min_size=12, max_size=40)


@settings(max_examples=60)
@given(HISTORY, st.integers(0, 10), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_whatever_is_lost_the_end_is_right_and_what_was_lost_is_known(history, joined, lags):
    sessions = Sessions()
    arrives = []
    for action, delivered in [*history, ("born", True), ("frame", True)]:
        before = len(sessions.sent)
        sessions.do(action)
        arrives += [delivered] * (len(sessions.sent) - before)
    mirror = Mirror((TRACES,))
    lag = iter(lags * 100)
    handed_out = []
    for k in range(min(joined, len(arrives) - 2), len(arrives)):
        if not arrives[k]:
            continue
        if mirror.sid is None:  # the first thing that a client does once it hears anything
            mirror.take_snapshot(sessions.snapshot(k + next(lag)))
        message = mirror.feed(sessions.sent[k][1])
        if mirror.needs_snapshot:
            mirror.take_snapshot(sessions.snapshot(k + next(lag)))
        if message is not None:
            handed_out.append(message)
    assert mirror.sid == sessions.sid
    living = {cell.id for cell in mirror.cells.values() if cell.status in ("provisional", "confirmed")}
    assert living == set(sessions.alive)
    mine = [message for message in handed_out if message.sid == sessions.sid]
    frames = [message.frame for message in mine]
    assert frames == sorted(set(frames))  # none twice, none out of order
    assert all(message.seq == message.frame for message in mine)
    if frames:
        between = range(frames[0], frames[-1] + 1)
        assert sum(message.missed for message in mine[1:]) == len(between) - len(frames)
