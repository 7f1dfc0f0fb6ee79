"""`streamscope fit-decoder`: weights for a decoder signal, from a session and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def fit_decoder(
    session: Annotated[Path, typer.Argument(help="Session folder, finished or still running.")],
    labels: Annotated[
        Path, typer.Option(help="CSV with the columns frame (or time_s) and label; two values, or numbers.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, for a rules file.")] = Path("decoder.json"),
    trace: Annotated[
        Literal["y", "c", "s", "c_lag", "s_lag"], typer.Option(help="Live trace, as in the rules file.")
    ] = "c",
    strength: Annotated[float, typer.Option(help="Of the ridge that keeps weights small.", min=1e-6)] = 1.0,
) -> None:
    """Fit a linear or logistic decoder on the live traces of a session's confirmed cells.

    The score is that of blocks of the session, each predicted from the others. Needs scikit-learn:
    pip install 'streamscope[decoder]'

    Example: streamscope fit-decoder SESSION --labels licks.csv --out lick.json
    """
    from streamscope.offline.decoder import fit_decoder as fitted
    from streamscope.storage.session_folder import open_session

    decoder = fitted(open_session(session), labels, trace, strength)
    decoder.write(out)
    score = "area under the curve" if decoder.link == "logistic" else "R2"
    typer.echo(
        f"{out}: {decoder.link}, {len(decoder.cells)} cells, {decoder.n_frames} frames, "
        f"{score} {decoder.score:.3f} on blocks that it was not fitted on"
    )
