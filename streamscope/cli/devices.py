"""`streamscope devices`: the cameras that the system lists, and the types of device."""

from __future__ import annotations

import typer


def devices() -> None:
    """List the cameras of this computer, and the types of device that are known.

    Example: streamscope devices
    """
    from streamscope.session.registry import list_devices

    listing = list_devices()
    for line in listing.cameras or ("no camera is listed (Windows lists none: try --index 0, 1, 2)",):
        typer.echo(line)
    typer.echo("")
    typer.echo(f"types    {', '.join(listing.types)}")
    typer.echo("use      streamscope live --device TYPE --index NUMBER; without hardware: --index model")
    typer.echo("beside   behaviour cameras: --camera webcam:NUMBER; without hardware: --camera webcam:model")
