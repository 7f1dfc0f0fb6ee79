"""Options that commands share which run a session, or talk to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from streamscope.errors import ConfigError

if TYPE_CHECKING:
    from streamscope.trigger.settings import Rules

Endpoint: TypeAlias = Annotated[
    str, typer.Option(help="Address that the session printed when it began.", metavar="HOST:PORT")
]
Keys: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Folder of keys, or a .key_secret file; see: streamscope keys",
        show_default="none on this machine, else ~/.streamscope/keys",
    ),
]
DeviceType: TypeAlias = Annotated[
    str,
    typer.Option(
        help="miniscope:TYPE, with v4, v4-bno, v4-2c, v3, v3-legacy, minicam, siminiscope, lfov, webcam or "
        "webcam-WIDTHxHEIGHT."
    ),
]
Index: TypeAlias = Annotated[
    str,
    typer.Option(help="Which camera (see: streamscope devices), or model: a dry run without hardware."),
]
DeviceOfFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="miniscope:TYPE; the types: streamscope devices", show_default="device.type of the settings file"
    ),
]
IndexOfFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Which camera (see: streamscope devices), or model: a dry run without hardware.",
        show_default="0",
    ),
]
Led: TypeAlias = Annotated[
    float | None, typer.Option(help="Light, % (V3: of 255).", show_default="0: dark", min=0)
]
Led2: TypeAlias = Annotated[
    float | None, typer.Option(help="Light of the second LED, %.", show_default=False)
]
Gain: TypeAlias = Annotated[
    str | None, typer.Option(help="Gain of the sensor, e.g. low, medium, high.", show_default="low")
]
Focus: TypeAlias = Annotated[
    float | None, typer.Option(help="Focus of the lens, -127 to 127 (V4).", show_default="0")
]
DeviceFps: TypeAlias = Annotated[
    float | None, typer.Option(help="Frame rate, Hz; one that the scope has.", show_default="20 (V4)")
]
Indicator: TypeAlias = Annotated[
    str | None, typer.Option(help="Calcium indicator, e.g. GCaMP6s.", show_default="GCaMP6f")
]
Config: TypeAlias = Annotated[
    Path | None, typer.Option(help="Settings file; see: streamscope config --toml", show_default=False)
]
Out: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder that holds the sessions.", show_default="StreamScope")
]
Subject: TypeAlias = Annotated[str | None, typer.Option(help="Name of the animal.", show_default="subject")]
Bind: TypeAlias = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of the stream; port 0: free ones.", show_default="127.0.0.1:5570"),
]
FreezeAfter: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="When to stop learning, e.g. 60s, or 1200 (frames); see: streamscope freeze",
        metavar="SECONDS|FRAMES",
        show_default=False,
    ),
]
SeedFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Session folder, session.h5 or exported .npz whose cells to begin with, names kept.",
        show_default=False,
    ),
]
Crop: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Part of the field: auto (the disc of a GRIN lens, if one is seen), none, or rows and columns.",
        metavar="auto|none|Y0:Y1,X0:X1",
        show_default="auto",
    ),
]
Bin: TypeAlias = Annotated[
    int | None, typer.Option("--bin", help="Use means of N x N pixels.", show_default="1", min=1, max=8)
]
BinFrames: TypeAlias = Annotated[
    int | None, typer.Option(help="Use means of N frames.", show_default="1", min=1, max=100)
]
Blank: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Pixels that are no picture, e.g. metadata.", metavar="Y0:Y1,X0:X1", show_default=False
    ),
]
RulesFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        help="Rules that decide on each frame; armed with: streamscope arm RULE",
        show_default=False,
    ),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Rules decide and note, but nothing is written.")
]
OutputDrivers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="NAME=DRIVER:...",
        help="What an output of the rules is here, e.g. laser=fake:",
        show_default=False,
    ),
]
Listeners: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--listener",
        metavar="NAME=DRIVER:...",
        help="Who is told every decision, e.g. log=csv:decisions.csv",
        show_default=False,
    ),
]
Rois: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Read out these regions from frame 0 and learn nothing: square tiles, or a label image or "
        "boolean masks (.npy, .npz, .tif, .png).",
        metavar="grid:24px|FILE",
        show_default=False,
    ),
]
Refit: TypeAlias = Annotated[bool, typer.Option("--refit/--no-refit", help="Refit the recording at the end.")]


def rules_of(
    file: Path | None, dry_run: bool, outputs: list[str] | None, listeners: list[str] | None
) -> Rules | None:
    """Return the rules that the command line asks for, or raise StreamScopeError; None if it asks for none."""
    if file is None:
        if dry_run or outputs or listeners:
            raise ConfigError(
                "--dry-run, --output and --listener concern rules; give them with --rules FILE.toml"
            )
        return None
    from streamscope.session.rules import parse_named, session_rules

    return session_rules(
        file, parse_named(outputs or [], "--output"), parse_named(listeners or [], "--listener"), dry_run
    )
