"""`streamscope replay`: play a recording as if it were the camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamscope.cli.options import (
    Bin,
    Bind,
    BinFrames,
    Blank,
    Config,
    Crop,
    DryRun,
    FreezeAfter,
    Indicator,
    Keys,
    Listeners,
    Out,
    OutputDrivers,
    Refit,
    Rois,
    RulesFile,
    SeedFile,
    Subject,
    rules_of,
)

if TYPE_CHECKING:
    from streamscope.session.plan import SessionPlan
    from streamscope.session.runner import Outcome
    from streamscope.trigger.settings import Rules


def replay(
    source: Annotated[
        str,
        typer.Argument(
            help="Miniscope-DAQ-QT session or device folder, AVI/MKV/MP4 file, file.h5:/dataset, .npy file, "
            "or synthetic:NAME."
        ),
    ],
    speed: Annotated[str, typer.Option(help="Times real time, e.g. 1x or 4x, or max.")] = "1x",
    cell_diameter: Annotated[
        str | None,
        typer.Option(
            help="Cell diameter, e.g. 13um or 8px, or auto: measured on the recording.", show_default="13um"
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frame rate, Hz; overrides the recording's.", show_default=False)
    ] = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Pixel size, um; overrides the recording's.", show_default=False)
    ] = None,
    indicator: Indicator = None,
    config: Config = None,
    out: Out = None,
    subject: Subject = None,
    bind: Bind = None,
    keys: Keys = None,
    loop: Annotated[int, typer.Option(help="Play the recording so many times.")] = 1,
    freeze_after: FreezeAfter = None,
    seed: SeedFile = None,
    crop: Crop = None,
    bin_px: Bin = None,
    bin_frames: BinFrames = None,
    blank: Blank = None,
    rois: Rois = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write every frame into the session folder, without loss.")
    ] = False,
    refit: Refit = True,
    rules: RulesFile = None,
    dry_run: DryRun = False,
    output: OutputDrivers = None,
    listener: Listeners = None,
) -> None:
    """Play a recording as if it were the camera: live traces on the wire, then a refitted session file.

    Ctrl-C once ends the session well, refit included; twice leaves the refit out.

    Example: streamscope replay /data/mouse1/2026_05_01/14_30_05 --speed 1x --cell-diameter 13um
    """
    given = {
        "cell_diameter": cell_diameter,
        "fps": fps,
        "um_per_px": um_per_px,
        "indicator": indicator,
        "out": None if out is None else str(out),
        "subject": subject,
        "rois": rois,
        "prepare.crop": crop,
        "prepare.bin": bin_px,
        "prepare.bin_frames": bin_frames,
        "prepare.blank": blank,
        "wire.bind": bind,
        "wire.keys": None if keys is None else str(keys),
    }
    decides = rules_of(rules, dry_run, output, listener)
    run_plan(plan_of(source, config, given, speed, loop, refit, freeze_after, seed, record, decides))


def plan_of(
    source: str,
    config: Path | None,
    given: dict[str, Any],
    speed: str,
    loop: int = 1,
    refit: bool = True,
    freeze_after: str | None = None,
    seed: Path | None = None,
    record: bool = False,
    rules: Rules | None = None,
) -> SessionPlan:
    """Return the plan of what the command line asks for, or raise StreamScopeError."""
    from streamscope.config import from_toml
    from streamscope.session.plan import make_plan, parse_speed

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    settings = from_toml(config, given)
    return make_plan(
        source, settings, parse_speed(speed), loop, refit, tell, freeze_after, seed, record, rules
    )


def run_plan(plan: SessionPlan) -> Outcome:
    """Run a session with its progress in the terminal, say what came out, and return how it ended."""
    from streamscope.cli.progress import Progress, tell_diameter, tell_outcome, tell_room, tell_warnings
    from streamscope.session.runner import run_session

    tell_warnings(plan.info)
    tell_diameter(plan)
    tell_room(plan)
    try:
        with Progress() as progress:
            outcome = run_session(plan, progress)
    finally:
        plan.close()
    tell_outcome(outcome)
    return outcome
