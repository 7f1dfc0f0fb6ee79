"""The rules of a session where frames are: in the pipeline thread, after a result and before anybody hears of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from streamscope.clock import clock_ns
from streamscope.core.epoch import Epoch
from streamscope.errors import ConfigError, WireError
from streamscope.session.acting import Outputs
from streamscope.trigger.cells import CHANGES, CellTable
from streamscope.trigger.engine import ARM, DISARM, MARK, STOP, Circumstances, Command, Triggers
from streamscope.trigger.settings import Rules
from streamscope.trigger.signals import Quaternion
from streamscope.types import ComponentEvent, Decision, FrameResult, OutputReport
from streamscope.wire.control import Later
from streamscope.wire.schema import EVENT_DEVICE, EVENT_INPUT, Arm, Disarm

RULES, EPOCH, COMMAND, ORIENTATION = "rules", "epoch", "command", "orientation"  # kinds of Told
DISARMING = ("disconnected", "reconnected", "counter_reset")  # what happens to a device and disarms all rules
MOST_WAITING = 1000  # commands that may wait for the next frame


@dataclass(frozen=True, slots=True)
class Told:
    """Something that the rules were told beside the frames, for the journal."""

    frame: int
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision on its way out."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the rules, and how each rule stands after it."""

    kind: str
    frame: int
    fields: dict[str, Any]
    standing: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """The outcome of what somebody asked, on its way back."""

    reply: Later
    outcome: Mapping[str, Any] | WireError


RuleItem: TypeAlias = Told | Decided | Happened | Answered | OutputReport


class Triggering:
    """Tells the rules what happens, writes what they decide, and keeps what is needed to replay it.

    `ask`, `note` and `stop` may be called in any thread; the rest belongs to the pipeline thread.

    Parameters
    ----------
    rules : Rules
        With their seed.
    circumstances : Circumstances
    outputs : Outputs
        Open.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(
        self,
        rules: Rules,
        circumstances: Circumstances,
        outputs: Outputs,
        clock: Callable[[], int] = clock_ns,
    ) -> None:
        self._triggers = Triggers(rules, circumstances)
        self._outputs = outputs
        self._clock = clock
        self._asked: deque[tuple[Command, Later | None]] = deque()
        self._told: list[RuleItem] = [
            Told(0, RULES, {"rules": rules.model_dump(mode="json"), "circumstances": asdict(circumstances)})
        ]
        self._ended = False

    def ask(self, command: Command) -> Later:
        """Return the reply to a command; it comes with the next frame.

        Raises
        ------
        WireError
            If no frame will come, or too many commands wait for one.
        """
        if self._ended or len(self._asked) >= MOST_WAITING:
            why = "is ending" if self._ended else "has not had a frame for long"
            raise WireError(f"the session {why}, expected frames to come; rules are asked with each")
        reply = Later()
        self._asked.append((command, reply))
        if command.kind == STOP:
            self._outputs.stop()  # lines do not wait for the next frame
        return reply

    def note(self, command: Command) -> None:
        """Have something done with the next frame that nobody waits for: a mark, or disarming."""
        if len(self._asked) < MOST_WAITING:
            self._asked.append((command, None))

    def adopt(self, epoch: Epoch, frame: int) -> list[RuleItem]:
        """Tell the rules of the cells that are there from `frame` on; return what came of it."""
        table = table_of(epoch)
        self._told.append(
            Told(frame, EPOCH, {"epoch": epoch.number, "changes": [asdict(c) for c in table.changes]})
        )
        self._triggers.adopt(table)
        return self._out()

    def decide(self, result: FrameResult, meta: Mapping[str, Any]) -> list[RuleItem]:
        """Return what the rules decide on a frame; what is fast is written before this returns."""
        while self._asked:
            self._obey(result.index, *self._asked.popleft())
        orientation = _orientation(meta) if self._triggers.watches_orientation else None
        if orientation is not None:
            self._told.append(Told(result.index, ORIENTATION, {"q": orientation}))
        decisions = self._triggers.decide(result, orientation)
        if decisions:
            now_ns = self._clock()
            decisions = [replace(d, t_decision_ns=now_ns) for d in decisions]
            for decision in decisions:
                self._outputs.write_fast(decision)
        self._outputs.alive(self._triggers.armed)
        return [*self._out(), *map(Decided, decisions)]

    def end(self) -> list[RuleItem]:
        """Lines low, and refuse what still waits: there is no further frame."""
        self._ended = True
        self._outputs.alive(False)
        refused = WireError("the session ended before it took effect")
        waiting = [Answered(reply, refused) for _, reply in self._asked if reply is not None]
        self._asked.clear()
        return [*self._out(), *waiting]

    def _obey(self, frame: int, command: Command, reply: Later | None) -> None:
        outcome: Mapping[str, Any] | WireError
        try:
            outcome = {"frame": frame, **self._triggers.command(command)}
            if command.kind == MARK:
                fields = {"text": command.text, "t_ns": self._clock()}
                outcome = {"frame": frame, "t_ns": fields["t_ns"]}
                self._told.append(Happened(MARK, frame, fields, self._triggers.describe()))
            self._told.append(Told(frame, COMMAND, asdict(command)))
        except ConfigError as error:
            outcome = WireError(str(error))
        if reply is not None:
            self._told.append(Answered(reply, outcome))

    def _out(self) -> list[RuleItem]:
        """Return, once, what has to be passed on."""
        out, self._told = self._told, []
        said = self._triggers.said()
        if said:
            standing = self._triggers.describe()
            out += [Happened(s.kind, s.frame, dict(s.fields), standing) for s in said]
        return out


def table_of(epoch: Epoch) -> CellTable:
    """Return what the rules need of an epoch."""
    changes = tuple(event for event in epoch.events if event.kind in CHANGES)
    return CellTable(epoch.number, epoch.ids, epoch.status, epoch.snr, epoch.footprints, changes)


def command_after(event: str, fields: Mapping[str, Any]) -> Command | None:
    """Return what an event of the device means to the rules, None if nothing."""
    if event == EVENT_INPUT:
        return Command(MARK, text=f"input{fields.get('input')}={fields.get('level')}")
    if event == EVENT_DEVICE and fields.get("what") in DISARMING:
        return Command(DISARM, text=f"device {fields['what']}")
    return None


def arm_command(request: Arm) -> Command:
    """Return what a client's request to arm means to the rules."""
    cells, levels = tuple(request.cells.items()), tuple(request.levels.items())
    return Command(ARM, request.rule, cells, levels, request.dry, request.by or "a client")


def disarm_command(request: Disarm) -> Command:
    """Return what a client's request to disarm means to the rules."""
    by = request.by or "a client"
    if request.emergency:
        return Command(STOP, text=by)
    return Command(DISARM, request.rule or "", text=f"disarmed by {by}")


def _orientation(meta: Mapping[str, Any]) -> Quaternion | None:
    if not meta.get("orientation_ok"):
        return None
    w, x, y, z = map(float, meta["orientation"])
    return (w, x, y, z) if np.isfinite((w, x, y, z)).all() else None


def changes_of(fields: Mapping[str, Any]) -> tuple[ComponentEvent, ...]:
    """Return the changes that were noted with an epoch."""
    return tuple(ComponentEvent(**change) for change in fields["changes"])
