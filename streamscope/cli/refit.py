"""`streamscope refit`: refit a session from its recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def refit(
    session: Annotated[Path, typer.Argument(help="Session folder, as replay printed it.")],
) -> None:
    """Refit a session from its recording and put the result into its session.h5, in place of an older one.

    Example: streamscope refit StreamScope/mouse1/2026_05_01/14_30_05
    """
    from streamscope.cli.progress import Progress, refit_line
    from streamscope.session.refitting import refit_from_source
    from streamscope.storage.session_folder import open_session

    folder = open_session(session)
    with Progress() as progress:
        result = refit_from_source(folder, progress.refitting)
    typer.echo(refit_line(result.status))
    typer.echo(f"result   {folder.result}")
