"""`streamscope demo`: the whole job on a simulated recording, compared with its truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamscope.cli.comparison import Comparison
    from streamscope.testing.synth import SynthConfig
    from streamscope.types import ByteArray

SIZE_PX = 608
LEAST_PX, MOST_PX = 128, 2048
PICTURE = "demo.png"


def demo(
    speed: Annotated[str, typer.Option(help="Times real time, e.g. 1x, or max.")] = "1.5x",
    size: Annotated[
        int, typer.Option(min=LEAST_PX, max=MOST_PX, help="Width and height of the frames, px.")
    ] = SIZE_PX,
    out: Annotated[Path, typer.Option(help="Folder for the recording and the session.")] = Path(
        "StreamScope"
    ),
    bind: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of the stream; port 0: free ones.", show_default="127.0.0.1:5570"),
    ] = None,
) -> None:
    """Show the whole job: simulate a minute of recording, replay it live, refit it, compare with the truth.

    The recording is kept and used again by the next demo.

    Example: streamscope demo --speed 2x --size 400
    """
    from streamscope.cli.replay import plan_of, run_plan
    from streamscope.session.plan import check_writable, parse_speed

    parse_speed(speed)
    check_writable(out)
    recording = make_recording(out, size)
    given = {"subject": "demo", "out": str(out), "wire.bind": bind}
    outcome = run_plan(plan_of(str(recording), None, given, speed))
    if outcome.folder is not None:
        _show_comparison(outcome.folder, recording)


def make_recording(out: Path, size: int) -> Path:
    """Return the folder of the simulated recording, made if it is not there already."""
    from streamscope.testing.daq_qt import write_recording
    from streamscope.testing.synth import Scene

    config = _config(size)
    folder = out / f"demo_recording_{size}x{size}_{config.fps:g}fps"
    if folder.exists():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a demo that was stopped while it wrote
    scene = Scene(config)
    try:
        with _bar(f"simulating {config.n_frames} frames of {size}x{size} px") as advance:
            frames = (advance(scene.frame(k), k / config.n_frames) for k in range(config.n_frames))
            write_recording(part, frames, config.fps, scene.truth)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _config(size: int) -> SynthConfig:
    """Return the demo's simulation for another frame size: as many cells for each square millimetre."""
    from streamscope.testing.synth import PRESETS

    config = PRESETS["demo"]
    share = size * size / (config.height * config.width)
    names = ("n_near", "n_far", "n_deep")
    numbers = {name: max(4, round(share * getattr(config, name))) for name in names}
    return replace(config, height=size, width=size, **numbers)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[ByteArray, float], ByteArray]]:
    """Show a progress bar; the function that is given passes its first argument through."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=1.0)

        def advance(frame: ByteArray, fraction: float) -> ByteArray:
            progress.update(task, completed=fraction)
            return frame

        yield advance


def tell(comparison: Comparison) -> None:
    """Write how live and refit compare with the truth."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "cells", "precision", "recall", "trace correlation (median)", "motion error, px", box=None
    )
    for found in comparison.found:
        result = found.score
        table.add_row(
            found.name,
            str(result.n_components),
            f"{result.precision:.3f}",
            f"{result.recall:.3f} of {result.n_targets}",
            f"{result.trace_correlation:.4f}",
            f"{result.motion_rms_px:.3f}",
        )
    console = Console(highlight=False)
    console.print("compared with the truth of the simulation:")
    console.print(table)


def _show_comparison(folder: Path, recording: Path) -> None:
    """Say how the session compares with the truth and draw it, if there is a refit to draw."""
    from streamscope.cli.comparison import compare

    comparison = compare(folder, recording)
    tell(comparison)
    if comparison.correlation_image is not None:
        from streamscope.cli.picture import draw

        draw(comparison, folder / PICTURE)
        typer.echo(f"picture  {folder / PICTURE}")
