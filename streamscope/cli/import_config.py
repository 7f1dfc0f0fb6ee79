"""`streamscope import-config`: settings out of a user configuration of Miniscope-DAQ-QT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_config(
    file: Annotated[Path, typer.Argument(help="User configuration of Miniscope-DAQ-QT, .json.")],
    out: Annotated[
        Path | None, typer.Option(help="Settings file to write.", show_default="the terminal")
    ] = None,
    miniscope: Annotated[
        str | None,
        typer.Option(help="Name of the miniscope, where there are several.", show_default="the first"),
    ] = None,
) -> None:
    """Write a settings file for `live` that does what a user configuration of Miniscope-DAQ-QT does.

    What cannot be carried over is listed.

    Example: streamscope import-config 01-Miniscope-V4.json --out rig1.toml
    """
    from streamscope.session.daq_config import import_file

    imported = import_file(file, miniscope)
    for note in imported.notes:
        typer.echo(f"note     {note}", err=True)
    if out is None:
        typer.echo(imported.toml)
    else:
        imported.write(out)
        typer.echo(f"settings {out}; use: streamscope live --config {out}", err=True)
