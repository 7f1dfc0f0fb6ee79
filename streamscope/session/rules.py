"""The rules that a session is given: read, completed from other sessions, and with a seed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from streamscope.errors import ConfigError
from streamscope.session.registry import output_entry
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.storage.trigger_log import TriggerLog
from streamscope.trigger.engine import ARM
from streamscope.trigger.reading import checked, read_rules
from streamscope.trigger.settings import Rules
from streamscope.types import REAL


def session_rules(
    path: Path,
    outputs: Mapping[str, str] | None = None,
    listeners: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> Rules:
    """Return the rules of a file for a session: complete, with a seed, and with drivers that are there.

    Parameters
    ----------
    path : Path
        The rules file.
    outputs, listeners : mapping, optional
        Names and what they are here, in place of what the file says.
    dry_run : bool
        Nothing is written, whatever the file says.

    Raises
    ------
    ConfigError, SourceError, StorageError
        If the file, a session that a rule is yoked to, or a driver cannot be used.
    """
    rules = read_rules(path, yoked_times)
    changed = rules.model_dump() | {
        "outputs": {**rules.outputs, **(outputs or {})},
        "listeners": {**rules.listeners, **(listeners or {})},
        "dry_run": dry_run or rules.dry_run,
    }
    if changed["seed"] is None:
        changed["seed"] = secrets.randbelow(2**63)
    rules = checked(changed, path.name)
    used = acting_outputs(rules)
    for name, spec in {**rules.outputs, **rules.listeners}.items():
        if name in used or name in rules.listeners:
            output_entry(spec, name)
    return rules


def acting_outputs(rules: Rules) -> set[str]:
    """Return the names of the outputs that some rule may write to."""
    if rules.dry_run:
        return set()
    return {name for rule in rules.rules.values() if not rule.dry_run for name in rule.outputs}


def check_pace(rules: Rules, speed: float | None) -> None:
    """Raise ConfigError if a replay is too fast for what its rules act on: caps count recorded time."""
    real = [name for name in sorted(acting_outputs(rules)) if not rules.outputs[name].startswith("fake:")]
    if real and (speed is None or speed > 1):
        pace = "max" if speed is None else f"{speed:g}x"
        raise ConfigError(
            f"--speed is {pace} and the output {real[0]} acts, expected 1x or slower: the caps of rules count "
            f"recorded time; give --speed 1x, --dry-run, or --output {real[0]}=fake:"
        )


def parse_named(texts: list[str], option: str) -> dict[str, str]:
    """Return names and values of NAME=VALUE, or say which one is none."""
    named = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ConfigError(
                f"{option} is {text!r}, expected NAME=DRIVER:...; write e.g. {option} log=csv:log.csv"
            )
        named[name] = value
    return named


def yoked_times(session: Path, rule: str) -> tuple[float, ...]:
    """Return when, since it was armed, a rule of a session had its real pulses, s."""
    folder = open_session(session)
    with JournalReader(folder.journal, folder.shape) as journal:
        times = tuple(_since_armed(journal.trigger_log(), rule, journal.frames().time_s.tolist()))
    if not times:
        raise ConfigError(
            f"rule {rule} of {session} had no real pulse, expected some to be yoked to; name another"
        )
    return times


def _since_armed(log: TriggerLog, rule: str, time_s: list[float]) -> list[float]:
    armed = [
        i.frame
        for i in log.inputs
        if i.kind == "command" and i.fields["kind"] == ARM and i.fields["rule"] == rule
    ]
    out = []
    for decision in log.decisions:
        before = [frame for frame in armed if frame <= decision.frame]
        if decision.rule == rule and decision.outcome == REAL and before:
            out.append(decision.time_s - time_s[max(before[-1] - 1, 0)])
    return out
