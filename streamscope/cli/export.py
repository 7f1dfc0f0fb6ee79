"""streamscope export: write a session's traces and footprints to a .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streamscope.offline.export import export_session


def export(
    session: Annotated[Path, typer.Argument(help="Session folder.")],
    out: Annotated[Path, typer.Argument(help="File to write, e.g. traces.npz.")],
    which: Annotated[
        str, typer.Option(help="live: what was published during the session; refit: the offline refit.")
    ] = "live",
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was not confirmed (live) or rejected (refit).")
    ] = False,
) -> None:
    """Write footprints, traces, events and shifts to a .npz file that numpy reads.

    Example: streamscope export StreamScope/mouse1/2026_05_01/14_30_05 traces.npz --which refit
    """
    summary = export_session(session, out, which, everything)
    Console().print(
        f"{summary['path']}: {summary['components']} components, {summary['frames']} frames "
        f"({summary['which']}, {summary['size'] / 1e6:.1f} MB)",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
