"""The rules of a session again, from its journal: the same ones, to check them, or others, to try them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ValidationError

from streamscope.errors import ConfigError, StorageError
from streamscope.session.triggering import COMMAND, EPOCH, ORIENTATION, RULES, changes_of
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import SessionFolder
from streamscope.storage.trigger_log import TriggerInput
from streamscope.trigger.cells import CHANGES, CellTable
from streamscope.trigger.engine import ARM, MARK, Circumstances, Command, Triggers
from streamscope.trigger.settings import Rules
from streamscope.trigger.signals import Quaternion
from streamscope.types import ComponentEvent, Decision, Footprints, FrameResult

_TABLE = ("ids", "status", "snr", "shape", "A_indptr", "A_pixels", "A_weights")
Seen = Callable[[FrameResult, Triggers], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Decisions that were made in a session, beside those that come out again."""

    n_frames: int
    made: tuple[Decision, ...]
    again: tuple[Decision, ...]

    @property
    def first_difference(self) -> int | None:
        """Return the number of the first decision that differs in any bit of any value, None if none does."""
        for number, (a, b) in enumerate(zip(self.made, self.again, strict=False)):
            if _bits(a) != _bits(b):
                return number
        return None if len(self.made) == len(self.again) else min(len(self.made), len(self.again))


def replay_decisions(session: SessionFolder, seen: Seen | None = None) -> Comparison:
    """Return the decisions of a session and those that its rules make again of what its journal holds.

    `seen` is called after each frame with its result and the rules.

    Raises
    ------
    StorageError
        If the session had no rules, or the journal cannot be read.
    """
    with JournalReader(session.journal, session.shape) as journal:
        log = journal.trigger_log()
        if log.rules is None:
            raise StorageError(
                f"{session.folder} had no rules, expected some; see: streamscope triggers simulate"
            )
        again = _decisions(journal, _triggers(log.rules), log.inputs, seen=seen)
        # rules that saw a frame whose result the journal lost in a crash are not compared there
        made = tuple(d for d in log.decisions if d.frame < journal.n_frames)
        return Comparison(journal.n_frames, made, tuple(again))


def simulate(
    session: SessionFolder,
    rules: Rules,
    cells: Sequence[tuple[str, int]] = (),
    arm_at_s: float = 0.0,
    seen: Seen | None = None,
) -> list[Decision]:
    """Return what other rules would have decided in a session, all of them armed at one moment.

    Marks and the orientation of the head come from the journal, as far as they are there. Rules that were disarmed,
    because of a late frame or a change of a cell, are armed again with the next frame: what counts here is how often
    a rule would fire.

    Parameters
    ----------
    session : SessionFolder
        Finished, or still running.
    rules : Rules
        With a seed.
    cells : sequence of (str, int)
        Cells of signals that leave theirs open; an empty name for the only one.
    arm_at_s : float
        When they are armed, s.
    seen : callable, optional
        Called after each frame with its result and the rules.

    Raises
    ------
    ConfigError
        If a rule cannot be armed at all.
    """
    with JournalReader(session.journal, session.shape) as journal:
        log = journal.trigger_log()
        around = Circumstances(session.engine.fps, session.engine.cell_diameter_px, paced=False)
        if log.rules is not None:
            around = Circumstances(**log.rules["circumstances"])
        arming = _Arming(Triggers(rules, around), tuple(cells), arm_at_s)
        out = _decisions(journal, arming.triggers, _inputs(journal, log.inputs), arming.before, seen)
    arming.check()
    return out


class _Arming:
    """Keeps every rule armed from a moment on."""

    def __init__(self, triggers: Triggers, cells: tuple[tuple[str, int], ...], arm_at_s: float) -> None:
        self.triggers, self._cells, self._at_s = triggers, cells, arm_at_s
        self._refused: dict[str, str] = {}  # why a rule was never armed

    def before(self, result: FrameResult) -> None:
        """Arm what is not armed."""
        if result.time_s < self._at_s:
            return
        for name, rule in self.triggers.describe().items():
            if rule["armed"]:
                continue
            open_ = tuple((s, i) for s, i in self._cells if s in ("", *rule["cells"]))
            given = open_ if any(cell is None for cell in rule["cells"].values()) else ()
            try:
                self.triggers.command(Command(ARM, name, given, text="simulation"))
                self._refused[name] = ""
            except ConfigError as error:
                self._refused.setdefault(name, str(error))

    def check(self) -> None:
        """Raise ConfigError if a rule could never be armed."""
        for reason in filter(None, self._refused.values()):
            raise ConfigError(reason)


def _decisions(
    journal: JournalReader,
    triggers: Triggers,
    inputs: Sequence[TriggerInput],
    before: Callable[[FrameResult], None] | None = None,
    seen: Seen | None = None,
) -> list[Decision]:
    waiting = deque(inputs)
    out: list[Decision] = []
    for result, _ in journal.results():
        orientation: Quaternion | None = None
        while waiting and waiting[0].frame <= result.index:
            told = waiting.popleft()
            if told.kind == EPOCH:
                triggers.adopt(_table(journal, told))
            elif told.kind == COMMAND:
                pairs = {
                    name: tuple((a, b) for a, b in told.fields.get(name, ())) for name in ("cells", "levels")
                }
                triggers.command(Command(**{**told.fields, **pairs}))
            elif told.kind == ORIENTATION:
                w, x, y, z = told.fields["q"]
                orientation = (w, x, y, z)
        if before is not None:
            before(result)
        out += triggers.decide(result, orientation)
        if seen is not None:
            seen(result, triggers)
    return out


def _triggers(fields: object) -> Triggers:
    assert isinstance(fields, dict)
    try:
        return Triggers(Rules.model_validate(fields["rules"]), Circumstances(**fields["circumstances"]))
    except (ValidationError, KeyError, TypeError) as error:
        raise StorageError(
            f"the rules in the journal are not valid here ({error}); was it changed?"
        ) from error


def _table(journal: JournalReader, told: TriggerInput) -> CellTable:
    arrays = journal.epoch_arrays(told.fields["epoch"], _TABLE)
    height, width = (int(n) for n in arrays["shape"])
    return CellTable(
        told.fields["epoch"],
        np.asarray(arrays["ids"], np.uint32),
        np.asarray(arrays["status"], np.uint8),
        np.asarray(arrays["snr"], np.float32),
        Footprints(
            (height, width), *(np.asarray(arrays[f"A_{name}"]) for name in ("indptr", "pixels", "weights"))
        ),
        changes_of(told.fields),
    )


def _inputs(journal: JournalReader, log: Sequence[TriggerInput]) -> list[TriggerInput]:
    """Return what other rules hear of a session: its cells, marks and orientation, but no commands."""
    if log:
        return [told for told in log if told.kind != RULES and not _is_command(told)]
    told = [*_epochs(journal)]
    for event in journal.events():
        if event.kind == MARK and event.frame is not None:
            fields = {
                "kind": MARK,
                "rule": "",
                "cells": [],
                "dry": False,
                "text": str(event.fields.get("text", "")),
            }
            told.append(TriggerInput(event.frame, COMMAND, fields))
    return sorted(told, key=lambda t: t.frame)


def _is_command(told: TriggerInput) -> bool:
    return told.kind == COMMAND and told.fields["kind"] != MARK


def _epochs(journal: JournalReader) -> Iterator[TriggerInput]:
    """Yield each epoch with the changes that came with it, as near as a session without rules tells them."""
    changes = deque(event for event in journal.component_events() if event.kind in CHANGES)
    for epoch in journal.epochs():
        here: list[ComponentEvent] = []
        while changes and changes[0].frame <= epoch.adopted_frame:
            here.append(changes.popleft())
        fields = {"epoch": epoch.number, "changes": [_plain(change) for change in here]}
        yield TriggerInput(epoch.adopted_frame, EPOCH, fields)


def _plain(change: ComponentEvent) -> dict[str, object]:
    return {name: getattr(change, name) for name in ComponentEvent.__slots__}


def _bits(decision: Decision) -> str:
    """Return a decision as text that differs if any bit does; when it was made is not part of it."""
    return repr(replace(decision, t_decision_ns=0))
