"""What a session's rules did, gathered for one page: signals on every frame, decisions, latencies, what happened."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from streamscope.errors import StorageError
from streamscope.offline.trigger_page import RuleStory, TriggerStory, write_page
from streamscope.session.replaying import Comparison, replay_decisions
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.live import EventRecord
from streamscope.storage.session_folder import SessionFolder
from streamscope.trigger.arming import ARMED, BOUND, DISARMED, MARK, STOPPED
from streamscope.trigger.engine import Triggers
from streamscope.trigger.settings import LevelCondition, Rules, conditions_of, signal_of, signals_of
from streamscope.types import Decision, DoubleArray, FrameResult
from streamscope.wire.schema import EVENT_GAP, EVENT_OUTPUT, EVENT_OVERLOAD

PAGE = "triggers.html"
_SHOWN = (ARMED, DISARMED, BOUND, STOPPED, MARK, EVENT_OUTPUT, EVENT_GAP, EVENT_OVERLOAD)


def write_trigger_report(session: SessionFolder, out: Path | None = None) -> Path:
    """Write the page on a session's decisions and return where it is.

    Raises
    ------
    StorageError
        If the session had no rules, or the page cannot be written.
    """
    story = gather(session)
    path = out or session.folder / PAGE
    try:
        write_page(story, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); give another with --out") from error
    return path


def gather(session: SessionFolder) -> TriggerStory:
    """Return everything that the page shows."""
    values: list[dict[str, float]] = []

    def seen(result: FrameResult, triggers: Triggers) -> None:
        values.append(dict(triggers.values))

    comparison = replay_decisions(session, seen)
    with JournalReader(session.journal, session.shape) as journal:
        log, events, time_s = journal.trigger_log(), journal.events(), journal.frames().time_s
    assert log.rules is not None  # or there would be no comparison
    rules = Rules.model_validate(log.rules["rules"])
    stories = [_rule(name, rules, values, log.decisions, events, time_s) for name in rules.rules]
    return TriggerStory(
        title=f"Decisions of {'/'.join(session.folder.resolve().parts[-3:])}",
        facts=list(_facts(session, rules, comparison)),
        time_s=time_s,
        rules=stories,
        outputs=log.outputs,
        happened=[
            (e.frame or 0, _at(time_s, e.frame), _words(e))
            for e in sorted(events, key=lambda e: e.frame or 0)
            if e.kind in _SHOWN
        ],
    )


def _rule(
    name: str,
    rules: Rules,
    values: Sequence[dict[str, float]],
    decisions: Sequence[Decision],
    events: Sequence[EventRecord],
    time_s: DoubleArray,
) -> RuleStory:
    rule = rules.rules[name]
    signals = signals_of(rules, rule)
    levels: dict[str, list[float]] = {}
    for used in conditions_of(rules, rule):
        condition = rules.conditions[used]
        signal = signal_of(rules, condition)
        if isinstance(condition, LevelCondition) and signal is not None:
            levels.setdefault(signal, []).append(condition.level)
    wants = f"when {rule.when}, {rule.fires}" if rule.when else f"at {rule.control.kind} times"
    sham = f", {rule.control.sham:.0%} sham" if rule.control.sham else ""
    outputs = ", ".join(rule.outputs) or "no output"
    return RuleStory(
        name=name,
        wants=f"{wants}; {rule.width_ms:g} ms to {outputs}{sham}",
        signals={s: np.array([v.get(s, math.nan) for v in values]) for s in signals},
        levels=levels,
        decisions=[d for d in decisions if d.rule == name],
        armed=list(_armed(name, events, time_s)),
    )


def _armed(name: str, events: Sequence[EventRecord], time_s: DoubleArray) -> Iterator[tuple[float, float]]:
    since: float | None = None
    for event in events:
        if event.fields.get("rule") != name:
            continue
        if event.kind == ARMED and since is None:
            since = _at(time_s, event.frame)
        elif event.kind == DISARMED and since is not None:
            yield since, _at(time_s, event.frame)
            since = None
    if since is not None and len(time_s):
        yield since, float(time_s[-1])


def _facts(session: SessionFolder, rules: Rules, comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "subject", str(session.ours["config"].get("subject", ""))
    yield "source", str(session.ours["source"].get("spec", ""))
    yield "StreamScope", str(session.ours["version"])
    yield "frames", str(comparison.n_frames)
    yield "seed", str(rules.seed)
    yield (
        "rules",
        ", ".join(f"{d.rule} {d.rule_hash}" for d in _first_of_each(comparison.made)) or "no decision",
    )
    where = comparison.first_difference
    same = f"all {len(comparison.made)} came out again from the journal, bit for bit"
    yield "decisions", same if where is None else f"decision {where} does not come out again from the journal"


def _first_of_each(decisions: Sequence[Decision]) -> list[Decision]:
    return list({d.rule: d for d in reversed(decisions)}.values())


def _at(time_s: DoubleArray, frame: int | None) -> float:
    if frame is None or not len(time_s):
        return 0.0
    return float(time_s[min(max(frame, 0), len(time_s) - 1)])


def _words(event: EventRecord) -> str:
    told = (f"{name} {value}" for name, value in event.fields.items() if value not in ("", {}, None, False))
    return ", ".join([event.kind, *told])
