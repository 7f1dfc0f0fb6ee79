"""`streamscope triggers`: check a rules file, replay decisions, try other rules, report on a session."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamscope.cli.arm import Cells, read_cell
from streamscope.errors import ConfigError, StreamScopeError

if TYPE_CHECKING:
    from streamscope.storage.session_folder import SessionFolder
    from streamscope.trigger.settings import Rules
    from streamscope.types import Decision

triggers = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rules on traces: check, simulate, replay, report.\n\nExample: streamscope triggers check rules.toml",
)
Session = Annotated[Path, typer.Argument(help="Session folder.")]


@triggers.command()
def check(file: Annotated[Path, typer.Argument(help="Rules file.")]) -> None:
    """Check a rules file and say in words what it asks for.

    Example: streamscope triggers check rules.toml
    """
    from streamscope.session.rules import session_rules
    from streamscope.trigger.arming import rule_hash
    from streamscope.trigger.settings import signals_of

    rules = session_rules(file)
    for name, rule in rules.rules.items():
        wants = f"when {rule.when}" if rule.when else f"by {rule.control.kind} times"
        watched = ", ".join(s.removesuffix(" mirrored") for s in signals_of(rules, rule))
        acts = f"{', '.join(rule.outputs) or 'no output'}, {rule.width_ms:g} ms"
        dry = ", dry run" if rule.dry_run or rules.dry_run else ""
        sham = f", {rule.control.sham:.0%} sham" if rule.control.sham else ""
        typer.echo(
            f"{name:<16} {wants}; watches {watched or 'nothing'}; {acts}{sham}{dry}  [{rule_hash(rules, name)}]"
        )
    limits = rules.limits
    typer.echo(
        f"{'caps':<16} {limits.pulses_per_minute} pulses a minute, {limits.min_gap_s:g} s apart, "
        f"{limits.max_duty:.0%} of the time, {limits.session_total} in a session, for each output and rule"
    )


@triggers.command()
def replay(session: Session) -> None:
    """Let a session's rules decide again from its journal, and compare every decision bit for bit.

    Ends with exit code 2 if one differs.

    Example: streamscope triggers replay StreamScope/mouse1/2026_05_01/14_30_05
    """
    from streamscope.session.replaying import replay_decisions
    from streamscope.storage.session_folder import open_session

    comparison = replay_decisions(open_session(session))
    n = len(comparison.made)
    where = comparison.first_difference
    if where is None:
        typer.echo(f"all {n} decisions on {comparison.n_frames} frames came out again, bit for bit")
        return
    pair = [d[where] if where < len(d) else None for d in (comparison.made, comparison.again)]
    typer.echo(f"made   {pair[0]}\nagain  {pair[1]}")
    raise StreamScopeError(
        f"decision {where} of {n} differs; was the journal changed, or written by another version of StreamScope?"
    )


@triggers.command()
def simulate(
    session: Session,
    rules: Annotated[Path, typer.Option(help="Rules to try.")],
    cell: Cells = None,
    arm_at: Annotated[float, typer.Option(help="When all rules are armed, s.", min=0)] = 0.0,
    last: Annotated[
        float | None,
        typer.Option(help="Count the last so many seconds only.", min=1, show_default="all of it"),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Try several levels of a condition.", metavar="CONDITION=LEVEL,LEVEL,...", show_default=False
        ),
    ] = None,
) -> None:
    """Say what other rules would have done in a session, finished or still running. Nothing is written.

    A rule that a late frame or a change of its cell would have disarmed is armed again at once: what counts here is
    how often it would fire.

    Example: streamscope triggers simulate SESSION --rules new.toml --cell 42 --sweep high=3,4,5
    """
    from streamscope.session.rules import session_rules
    from streamscope.storage.session_folder import open_session
    from streamscope.trigger.settings import conditions_of

    given = session_rules(rules, dry_run=True)
    folder = open_session(session)
    cells = [read_cell(text) for text in cell or []]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("rule", "pulses", "a minute", "median gap, s", "sham", "blocked, and why"):
        table.add_column(heading)
    swept = (sweep or "").partition("=")[0].strip()
    for label, variant in _variants(given, sweep):
        decisions, seconds = _simulated(folder, variant, cells, arm_at, last)
        concerned = [
            n for n, rule in variant.rules.items() if not swept or swept in conditions_of(variant, rule)
        ]
        for name in concerned:
            table.add_row(*_row(f"{name}{label}", [d for d in decisions if d.rule == name], seconds))
    Console().print(table)


@triggers.command()
def report(
    session: Session,
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="triggers.html in the session's folder")
    ] = None,
) -> None:
    """Write one page on a session's decisions: over the traces, their latency, and what was real, sham or blocked.

    Example: streamscope triggers report StreamScope/mouse1/2026_05_01/14_30_05
    """
    from streamscope.session.trigger_report import write_trigger_report
    from streamscope.storage.session_folder import open_session

    path = write_trigger_report(open_session(session), out)
    typer.echo(f"report   {path.as_posix()}")


def _variants(rules: Rules, sweep: str | None) -> list[tuple[str, Rules]]:
    """Return the rules with each level that is to be tried, and what to call them."""
    from streamscope.trigger.settings import with_levels

    if sweep is None:
        return [("", rules)]
    name, _, levels = sweep.partition("=")
    try:
        numbers = [float(level) for level in levels.split(",")]
    except ValueError:
        numbers = []
    condition: Any = rules.conditions.get(name.strip())
    if not numbers or not hasattr(condition, "level"):
        known = ", ".join(n for n, c in rules.conditions.items() if hasattr(c, "level")) or "none"
        raise ConfigError(
            f"--sweep is {sweep!r}, expected CONDITION=LEVEL,LEVEL,... of a condition with a level: {known}"
        )
    return [(f", {name.strip()} {level:g}", with_levels(rules, {name.strip(): level})) for level in numbers]


def _simulated(
    folder: SessionFolder, rules: Rules, cells: list[tuple[str, int]], arm_at_s: float, last_s: float | None
) -> tuple[list[Decision], float]:
    """Return the decisions that count, and over how many seconds."""
    from streamscope.session.replaying import simulate as simulated

    end = [0.0]
    decisions = simulated(folder, rules, cells, arm_at_s, lambda result, _: end.__setitem__(0, result.time_s))
    start = arm_at_s if last_s is None else max(arm_at_s, end[0] - last_s)
    return [d for d in decisions if d.time_s >= start], max(end[0] - start, 1e-9)


def _row(name: str, decisions: list[Decision], seconds: float) -> tuple[str, ...]:
    from streamscope.types import BLOCKED, SHAM

    pulses = [d for d in decisions if d.outcome not in (BLOCKED, SHAM)]
    shams = sum(d.outcome == SHAM for d in decisions)
    times = sorted(d.time_s for d in pulses)
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    median = f"{gaps[len(gaps) // 2]:.1f}" if gaps else "-"
    reasons = Counter(d.reason for d in decisions if d.outcome == BLOCKED)
    why = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common(3)) or "-"
    return name, str(len(pulses)), f"{60 * len(pulses) / seconds:.1f}", median, str(shams), Text(why).plain
