"""What a journal holds of the rules of its session."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamscope.types import Decision, OutputReport


@dataclass(frozen=True, slots=True)
class TriggerInput:
    """Something that the rules were told before a frame, beside its result."""

    frame: int
    kind: str  # rules, epoch, command, orientation
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TriggerLog:
    """The rules of a session, from what they were told to when it was written."""

    inputs: tuple[TriggerInput, ...]  # in the order in which they came
    decisions: tuple[Decision, ...]
    outputs: tuple[OutputReport, ...]

    @property
    def rules(self) -> Mapping[str, Any] | None:
        """Return what the session began with: rules, seed, circumstances; None if it had no rules."""
        return next((i.fields for i in self.inputs if i.kind == "rules"), None)


def read_trigger_log(db: sqlite3.Connection) -> TriggerLog:
    """Return what the tables of an open journal hold; nothing if it has none."""
    if not db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'decisions'").fetchone()[0]:
        return TriggerLog((), (), ())
    inputs = db.execute("SELECT frame, kind, fields FROM trigger_inputs ORDER BY number")
    decisions = db.execute(
        "SELECT number, frame, rule, outcome, t_decision_ns, fields FROM decisions ORDER BY number"
    )
    outputs = db.execute(
        "SELECT output, decision, t_written_ns, t_acknowledged_ns, trouble FROM outputs ORDER BY number"
    )
    return TriggerLog(
        tuple(TriggerInput(frame, kind, json.loads(fields)) for frame, kind, fields in inputs),
        tuple(_decision(row) for row in decisions),
        tuple(OutputReport(*row) for row in outputs),
    )


def _decision(row: tuple[int, int, str, str, int, str]) -> Decision:
    number, frame, rule, outcome, t_decision_ns, fields = row
    values = json.loads(fields)
    values["inputs"] = tuple(values["inputs"].items())
    values["outputs"] = tuple(values["outputs"])
    return Decision(
        number=number, frame=frame, rule=rule, outcome=outcome, t_decision_ns=t_decision_ns, **values
    )
