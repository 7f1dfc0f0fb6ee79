"""Options that commands share which run a session, or talk to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

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
Refit: TypeAlias = Annotated[bool, typer.Option("--refit/--no-refit", help="Refit the recording at the end.")]
