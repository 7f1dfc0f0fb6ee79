"""`streamscope doctor`: look at a device and write a report that can be sent to us."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    device: Annotated[str, typer.Option(help="miniscope:TYPE, as for live.")],
    index: Annotated[
        str,
        typer.Option(help="Which camera (see: streamscope devices), or model: a dry run without hardware."),
    ] = "0",
    seconds: Annotated[float, typer.Option(help="How long to measure the rate of frames.", min=0.1)] = 10.0,
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("streamscope-doctor.txt"),
) -> None:
    """Connect a device, its light off, and write down how it is reached, what it tells, and how steady it is.

    Example: streamscope doctor --device miniscope:v4 --index 0
    """
    from streamscope._version import __version__
    from streamscope.errors import SourceError, StorageError
    from streamscope.session.registry import examine_device, list_devices

    typer.echo(f"device   {device}, camera {index}: connecting", err=True)
    problem: SourceError | None = None
    try:
        lines = examine_device(device, index, seconds)
    except SourceError as error:
        problem, lines = error, [*list_devices().cameras, f"{'problem':<18} {error}"]
    text = "\n".join((f"{'streamscope':<18} {__version__}", *lines)) + "\n"
    typer.echo(text, nl=False)
    try:
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the report cannot be written to {report} ({error.strerror}); give another place with --report"
        ) from error
    typer.echo(f"report   {report}; please send it with what you saw", err=True)
    if problem is not None:
        raise problem
