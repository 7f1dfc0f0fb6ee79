"""Frames and cells by hand, for tests of rules."""

from __future__ import annotations

import numpy as np

from streamscope.trigger.cells import CellTable
from streamscope.trigger.engine import ARM, Circumstances, Command, Triggers
from streamscope.trigger.reading import checked
from streamscope.types import Footprints, FrameResult, Shift

FPS = 20.0


def table(ids, status=None, changes=(), epoch=1, shape=(20, 20)):
    """One pixel per cell: cell i at pixel i (y 0, x i)."""
    columns = [(np.array([i], np.int32), np.ones(1, np.float32)) for i in ids]
    status = np.ones(len(ids)) if status is None else status
    return CellTable(
        epoch,
        np.array(ids, np.uint32),
        np.array(status, np.uint8),
        np.arange(len(ids), dtype=np.float32) + 5,
        Footprints.from_columns(shape, columns),
        tuple(changes),
    )


def frame(index, c, ids=None, t=None, flags=0, gap=0, age_ms=5.0, shift=None, s=None):
    c = np.atleast_1d(np.asarray(c, np.float32))
    ids = np.arange(1, len(c) + 1) if ids is None else ids
    s = np.zeros_like(c) if s is None else np.asarray(s, np.float32)
    due = int(index * 1e9 / FPS)
    return FrameResult(
        index=index,
        epoch=1,
        t_capture_ns=due,
        t_result_ns=due + int(age_ms * 1e6),
        shift=shift or Shift(),
        ids=np.asarray(ids, np.uint32),
        y=c,
        c=c,
        s=s,
        c_lag=c,
        s_lag=s,
        flags=flags,
        gap=gap,
        time_s=index / FPS if t is None else t,
    )


RULES = {
    "seed": 7,
    "limits": {"first_s": 0, "min_gap_s": 0, "max_duty": 1},
    "signals": {"target": {"kind": "cell", "id": 1}},
    "conditions": {"high": {"kind": "above", "signal": "target", "level": 4, "release": 2}},
    "rules": {"reward": {"when": "high", "refractory_s": 0}},
}


def rules(**changes):
    """RULES with some tables replaced; a table given as `rules__reward` is merged into that entry."""
    values = {**RULES}
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        values[outer] = (
            {**values.get(outer, {}), inner: {**values[outer].get(inner, {}), **value}} if inner else value
        )
    return checked(values, "rules.toml")


def triggers(given=None, ids=(1, 2, 3), paced=True, arm=True, **changes):
    out = Triggers(given or rules(**changes), Circumstances(FPS, 10.0, paced))
    out.adopt(table(ids))
    if arm:
        for name in out.rules.rules:
            out.command(Command(ARM, name))
    return out


def run(engine, traces, start=0, **given):
    """Return the decisions on frames whose first cell has these values."""
    out = []
    for k, value in enumerate(traces):
        row = value if isinstance(value, (list, tuple)) else [value, 0, 0]
        out += engine.decide(frame(start + k, row, **given))
    return out


def outcomes(decisions):
    return [(d.frame, d.outcome, d.reason) for d in decisions]
