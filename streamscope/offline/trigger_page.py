"""One HTML page on the decisions of a session, whole in itself: it opens without internet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.storage.aside import written_aside
from streamscope.types import BLOCKED, DRY, REAL, SHAM, Decision, DoubleArray, OutputReport

MOST_POINTS = 50_000  # of a line; of a longer one, the extremes of each piece are drawn
AROUND_S = (-2.0, 4.0)  # about a pulse
QUANTILES = ((50, "p50"), (95, "p95"), (99, "p99"), (99.9, "p99.9"), (100, "max"))
# told apart without colour too
LOOKS = {
    REAL: ("#0072b2", "circle"),
    SHAM: ("#e69f00", "diamond"),
    DRY: ("#009e73", "triangle"),
    BLOCKED: ("#999999", "x"),
}


@dataclass(frozen=True, slots=True)
class RuleStory:
    """One rule over a session."""

    name: str
    wants: str  # in words
    signals: Mapping[str, DoubleArray]  # value on every frame, (T,)
    levels: Mapping[str, Sequence[float]]  # of each signal, that conditions of the rule have
    decisions: Sequence[Decision]
    armed: Sequence[tuple[float, float]]  # from and until, s


@dataclass(frozen=True, slots=True)
class TriggerStory:
    """Everything on the page."""

    title: str
    facts: Sequence[tuple[str, str]]
    time_s: DoubleArray  # (T,)
    rules: Sequence[RuleStory]
    outputs: Sequence[OutputReport]
    happened: Sequence[tuple[int, float, str]]  # frame, s, in words


def write_page(story: TriggerStory, path: Path) -> None:
    """Write the page."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    sections, plots = _sections(story)
    script, places = components(plots) if plots else ("", ())
    body = "".join(places[part] if isinstance(part, int) else part for part in sections)
    head = (
        f'<meta charset="utf-8"><title>{escape(story.title)}</title><style>{_STYLE}</style>'
        + Resources(mode="inline", components=["bokeh"]).render()
        + script
    )
    with written_aside(path) as aside:
        aside.write_text(
            f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head><body>{body}</body></html>\n",
            encoding="utf-8",
        )


def _sections(story: TriggerStory) -> tuple[list[str | int], list[Any]]:
    """Return the page from top to bottom, text or the number of a plot, and the plots."""
    plots: list[Any] = []

    def place(plot: Any) -> list[str | int]:
        if plot is None:
            return []
        plots.append(plot)
        return [len(plots) - 1]

    parts: list[str | int] = [f"<h1>{escape(story.title)}</h1>", _table(("", ""), story.facts)]
    parts += ["<h2>Decisions</h2>", _counts(story.rules)]
    shared = None
    for rule in story.rules:
        figures, shared = _traces(rule, story.time_s, shared)
        parts.append(f"<h2>{escape(rule.name)}</h2><p>{escape(rule.wants)}</p>")
        for figure in (*figures, _around(rule, story.time_s)):
            parts += place(figure)
    parts += ["<h2>Latency</h2>", _latency_table(story), *place(_histogram(story))]
    rows = [(frame, f"{t:.2f}", text) for frame, t, text in story.happened]
    parts += ["<h2>What happened to the rules</h2>", _table(("frame", "s", "what"), rows)]
    return parts, plots


def latencies_ms(story: TriggerStory) -> dict[str, DoubleArray]:
    """Return the delays of the decisions, ms: frame to decision, and on to each output and back."""
    decisions = {d.number: d for rule in story.rules for d in rule.decisions}
    out = {"frame to decision": [d.t_decision_ns - d.t_capture_ns for d in decisions.values()]}
    for report in story.outputs:
        decision = decisions.get(report.number)
        if decision is None or not report.t_written_ns:
            continue
        whole = report.t_written_ns - decision.t_capture_ns
        out.setdefault(f"decision to {report.output}", []).append(
            report.t_written_ns - decision.t_decision_ns
        )
        out.setdefault(f"frame to {report.output}", []).append(whole)
        if report.t_acknowledged_ns:
            back = report.t_acknowledged_ns - report.t_written_ns
            out.setdefault(f"{report.output} acknowledged", []).append(back)
    return {name: np.array(values, float) / 1e6 for name, values in out.items() if values}


def _traces(rule: RuleStory, time_s: DoubleArray, shared: Any) -> tuple[list[Any], Any]:
    """Return one figure for each signal of a rule, its decisions on it, and the time axis that all share."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d
    from bokeh.models.annotations import BoxAnnotation, Span
    from bokeh.plotting import figure

    figures = []
    for name, values in (rule.signals or {"": np.zeros(len(time_s))}).items():
        empty: dict[str, Any] = {} if np.isfinite(values).any() else {"y_range": (0.0, 1.0)}
        plot = figure(
            height=220,
            sizing_mode="stretch_width",
            x_axis_label="recorded time, s",
            y_axis_label=(name or "decisions") + (", never known" if empty else ""),
            tools="xpan,xwheel_zoom,box_zoom,reset,save",
            active_drag="xpan",
            x_range=shared or Range1d(start=0.0, end=float(time_s[-1]) if len(time_s) else 1.0),
            **empty,
        )
        shared = plot.x_range if shared is None else shared
        for start, stop in rule.armed:
            plot.add_layout(BoxAnnotation(left=start, right=stop, fill_color="#0072b2", fill_alpha=0.06))
        x, y = _thinned(time_s, values)
        plot.line(x, y, color="#444444", line_width=1)
        for level in rule.levels.get(name, ()):
            plot.add_layout(Span(location=level, dimension="width", line_dash="dashed", line_color="#d55e00"))
        for outcome, (colour, marker) in LOOKS.items():
            at = {d.number: dict(d.inputs).get(name, 0.0) for d in rule.decisions}
            chosen = [d for d in rule.decisions if d.outcome == outcome and not np.isnan(at[d.number])]
            if not chosen:
                continue
            source = {
                "x": [d.time_s for d in chosen],
                "y": [at[d.number] for d in chosen],
                "frame": [d.frame for d in chosen],
                "outcome": [outcome] * len(chosen),
                "reason": [d.reason for d in chosen],
            }
            points = plot.scatter(
                "x",
                "y",
                source=ColumnDataSource(source),
                marker=marker,
                size=9,
                color=colour,
                legend_label=outcome,
            )
            told = [("", "@outcome @reason"), ("frame", "@frame"), ("s", "@x{0.00}"), ("value", "@y{0.00}")]
            plot.add_tools(HoverTool(renderers=[points], tooltips=told))
        if plot.legend:
            legend = plot.legend[0]
            legend.update(orientation="horizontal", padding=0, border_line_color=None)
            plot.add_layout(legend, "above")  # it hides no decision there
        figures.append(plot)
    return figures, shared


def _around(rule: RuleStory, time_s: DoubleArray) -> Any:
    """Return the mean of the first signal about pulses and about shams, None if there are none."""
    from bokeh.models.annotations import Span
    from bokeh.plotting import figure

    if not rule.signals or len(time_s) < 3:
        return None
    name, values = next(iter(rule.signals.items()))
    step = float(np.median(np.diff(time_s))) or 1.0
    lags = np.arange(round(AROUND_S[0] / step), round(AROUND_S[1] / step) + 1)
    plot = figure(height=220, width=420, x_axis_label="s from the decision", y_axis_label=f"mean of {name}")
    drawn = False
    for outcome in (REAL, SHAM, DRY):
        frames = np.array([d.frame for d in rule.decisions if d.outcome == outcome], int)
        frames = frames[(frames + lags[0] >= 0) & (frames + lags[-1] < len(values))]
        if len(frames):
            mean = np.nanmean(values[frames[:, None] + lags], axis=0)
            plot.line(
                lags * step,
                mean,
                color=LOOKS[outcome][0],
                line_width=2,
                legend_label=f"{outcome}, n {len(frames)}",
            )
            drawn = True
    plot.add_layout(Span(location=0, dimension="height", line_color="#999999"))
    return plot if drawn else None


def _histogram(story: TriggerStory) -> Any:
    from bokeh.plotting import figure

    delays = {name: values[values > 0] for name, values in latencies_ms(story).items()}
    delays = {name: values for name, values in delays.items() if len(values)}
    if not delays:
        return None
    every = np.concatenate(list(delays.values()))
    edges = np.geomspace(max(every.min() * 0.8, 1e-3), every.max() * 1.25, 60)
    plot = figure(
        height=280,
        sizing_mode="stretch_width",
        x_axis_type="log",
        x_axis_label="ms",
        y_axis_label="decisions",
    )
    colours = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999")
    for k, (name, values) in enumerate(delays.items()):
        counts, _ = np.histogram(values, edges)
        plot.step(
            edges[:-1], counts, mode="after", color=colours[k % len(colours)], line_width=2, legend_label=name
        )
    plot.legend.click_policy = "hide"
    return plot


def _counts(rules: Sequence[RuleStory]) -> str:
    rows = []
    for rule in rules:
        of = {outcome: [d for d in rule.decisions if d.outcome == outcome] for outcome in LOOKS}
        reasons: dict[str, int] = {}
        for decision in of[BLOCKED]:
            reasons[decision.reason] = reasons.get(decision.reason, 0) + 1
        most = sorted(reasons.items(), key=lambda pair: -pair[1])
        why = ", ".join(f"{n} {reason}" for reason, n in most)
        rows.append((rule.name, *(len(of[outcome]) for outcome in LOOKS), why))
    return _table(("rule", *LOOKS, "why blocked"), rows)


def _latency_table(story: TriggerStory) -> str:
    rows = []
    for name, values in latencies_ms(story).items():
        rows.append((name, len(values), *(f"{np.percentile(values, q):.3f}" for q, _ in QUANTILES)))
    note = (
        "<p>From the moment at which a frame was grabbed, or was due in a paced replay. Exposure, readout and USB "
        "come before it and are not in these figures; at full speed a frame's age says nothing.</p>"
    )
    return _table(("ms", "n", *(name for _, name in QUANTILES)), rows) + note


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _thinned(x: DoubleArray, y: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return a line of at most `MOST_POINTS` points that still touches every extreme."""
    size = -(-2 * len(y) // MOST_POINTS)
    if size <= 2:
        return x, y
    n = len(y) // size
    pieces = np.where(np.isnan(y[: n * size]), 0.0, y[: n * size]).reshape(n, size)
    at = np.sort(np.stack([pieces.argmin(1), pieces.argmax(1)], 1) + np.arange(n)[:, None] * size, 1).ravel()
    return x[at], y[at]


_STYLE = """
body { font-family: system-ui, sans-serif; margin: 1.5em auto; max-width: 1100px; padding: 0 1em; color: #222; }
table { border-collapse: collapse; font-size: 0.9em; }
th, td { text-align: left; padding: 0.2em 0.8em 0.2em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
h2 { margin: 1.6em 0 0.4em; font-size: 1.2em; }
p { margin: 0.3em 0; }
"""
