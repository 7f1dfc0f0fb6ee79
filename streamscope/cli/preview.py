"""`streamscope preview`: look at a device while its light, gain and focus are set; nothing is recorded."""

from __future__ import annotations

from pathlib import Path

import typer

from streamscope.cli.options import Bind, Config, DeviceFps, DeviceType, Focus, Gain, Index, Keys, Led, Led2


def preview(
    device: DeviceType,
    index: Index = "0",
    led: Led = None,
    led2: Led2 = None,
    gain: Gain = None,
    focus: Focus = None,
    fps: DeviceFps = None,
    config: Config = None,
    bind: Bind = None,
    keys: Keys = None,
) -> None:
    """Look at a connected Miniscope without recording: sharpness, brightness, losses, orientation.

    In a second terminal: streamscope set led=15 focus=-20. Ctrl-C turns the light off and prints the settings as a
    command line for live.

    Example: streamscope preview --device miniscope:v4 --led 10
    """
    from streamscope.cli.sight import SightScreen, settings_lines
    from streamscope.config import from_toml
    from streamscope.session.preview import run_preview
    from streamscope.session.registry import open_device

    given = {
        "fps": fps,
        "wire.bind": bind,
        "wire.keys": None if keys is None else str(keys),
        "device.led": led,
        "device.led2": led2,
        "device.gain": gain,
        "device.focus": focus,
    }
    settings = from_toml(config, given)
    values = {"fps": settings.fps, **settings.device.model_dump()}
    typer.echo(f"device   {device}, camera {index}: connecting", err=True)
    watched = open_device(device, index, {name: v for name, v in values.items() if v is not None})
    with SightScreen(watched.info) as screen:
        folder = None if settings.wire.keys is None else Path(settings.wire.keys)
        run_preview(watched, settings.wire.bind, screen.show, screen.bound, folder)
    for line in settings_lines(device, index, watched.settings, config):
        typer.echo(line)
