"""`streamscope live`: watch a connected Miniscope."""

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
    DeviceFps,
    DeviceOfFile,
    DryRun,
    Focus,
    FreezeAfter,
    Gain,
    IndexOfFile,
    Indicator,
    Keys,
    Led,
    Led2,
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
    from streamscope.trigger.settings import Rules


def live(
    device: DeviceOfFile = None,
    index: IndexOfFile = None,
    led: Led = None,
    led2: Led2 = None,
    gain: Gain = None,
    focus: Focus = None,
    fps: DeviceFps = None,
    cell_diameter: Annotated[
        str | None,
        typer.Option(
            help="Cell diameter, e.g. 13um or 8px, or auto: measured in 30 s of light before the session.",
            show_default="13um",
        ),
    ] = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Pixel size, um.", show_default="1.65 (V4, first lens)")
    ] = None,
    indicator: Indicator = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]webcam:INDEX[@WIDTHxHEIGHT[@FPS]]",
            help="Behaviour camera to record beside the scope; may be given again.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    out: Out = None,
    subject: Subject = None,
    bind: Bind = None,
    keys: Keys = None,
    freeze_after: FreezeAfter = None,
    seed: SeedFile = None,
    crop: Crop = None,
    bin_px: Bin = None,
    bin_frames: BinFrames = None,
    blank: Blank = None,
    rois: Rois = None,
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Write every frame into the session folder.")
    ] = True,
    record_on_trigger: Annotated[
        int | None,
        typer.Option(
            metavar="INPUT",
            help="Record only while this trigger input (0 or 1) is high; traces go on throughout.",
            show_default=False,
        ),
    ] = None,
    refit: Refit = True,
    rules: RulesFile = None,
    dry_run: DryRun = False,
    output: OutputDrivers = None,
    listener: Listeners = None,
) -> None:
    """Watch a connected Miniscope: live traces on the wire, every frame recorded, a refitted file at the end.

    Ctrl-C once ends the session well, refit included; twice leaves the refit out. The light is off before frame 0
    and after the last frame.

    Example: streamscope live --device miniscope:v4 --led 20 --fps 20 --subject mouse1
    """
    from streamscope.cli.replay import run_plan

    given = {
        "cell_diameter": cell_diameter,
        "fps": fps,
        "um_per_px": um_per_px,
        "indicator": indicator,
        "out": None if out is None else str(out),
        "subject": subject,
        "rois": rois,
        "wire.bind": bind,
        "device.type": device,
        "device.index": index,
        "wire.keys": None if keys is None else str(keys),
        "cameras": tuple(camera) if camera else None,
        "record_on_trigger": record_on_trigger,
        "device.led": led,
        "device.led2": led2,
        "device.gain": gain,
        "device.focus": focus,
        "prepare.crop": crop,
        "prepare.bin": bin_px,
        "prepare.bin_frames": bin_frames,
        "prepare.blank": blank,
    }
    decides = rules_of(rules, dry_run, output, listener)
    run_plan(live_plan(config, given, refit, record, freeze_after, seed, decides))


def live_plan(
    config: Path | None,
    given: dict[str, Any],
    refit: bool = True,
    record: bool = True,
    freeze_after: str | None = None,
    seed: Path | None = None,
    rules: Rules | None = None,
) -> SessionPlan:
    """Return the plan of what the command line asks for, or raise StreamScopeError; the device is connected."""
    from streamscope.config import from_toml
    from streamscope.errors import ConfigError
    from streamscope.session.plan import make_live_plan

    settings = from_toml(config, given)
    device, index = settings.device.type, settings.device.index or "0"
    if device is None:
        raise ConfigError(
            "no device was named, expected --device or device.type in the settings file; give e.g. "
            "--device miniscope:v4"
        )
    typer.echo(f"device   {device}, camera {index}: connecting", err=True)

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    plan = make_live_plan(device, index, settings, refit, record, freeze_after, seed, rules, tell)
    info = plan.info
    typer.echo(
        f"device   {info.shape[1]}x{info.shape[0]} px at {info.meta.get('measuredFrameRate', info.fps)} Hz, "
        f"frame counter from: {info.meta.get('metadataFrom', 'none')}",
        err=True,
    )
    for camera in plan.cameras:
        seen = camera.info
        typer.echo(f"camera   {seen.name}: {seen.shape[1]}x{seen.shape[0]} px at {seen.fps:.1f} Hz", err=True)
        for warning in seen.warnings:
            typer.echo(f"note     {seen.name}: {warning}", err=True)
    return plan
