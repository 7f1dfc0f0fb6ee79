"""Sources by name: entry points of the group streamscope.sources, loaded when they are used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from streamscope.errors import SourceError
from streamscope.types import Movie, Source

GROUP = "streamscope.sources"
DEFAULT = "replay"


def open_movie(spec: str, fps: float | None = None, um_per_px: float | None = None) -> Movie:
    """Return the recording that SOURCE names.

    Parameters
    ----------
    spec : str
        `NAME:...` for the source of that name, anything else is a path for `replay`.
    fps, um_per_px : float or None
        The user's values; they win over the recording's.

    Raises
    ------
    SourceError
        If the recording cannot be used, or StreamScope is not properly installed.
    """
    opener = _load(_entry(spec))
    return cast(Movie, opener(spec, fps=fps, um_per_px=um_per_px))


def play(movie: Movie, speed: float | None, loop: int) -> Source:
    """Return a source that plays a recording; `speed` None is as fast as possible."""
    replay = import_module(_entry("").module).Replay
    return cast(Source, replay(movie, speed, loop))


def _entry(spec: str) -> EntryPoint:
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    name, colon, _ = spec.partition(":")
    if colon and name in known:
        return known[name]
    if DEFAULT not in known:
        raise SourceError(
            "no source of recordings is installed, expected at least replay; "
            "install StreamScope again: pip install streamscope"
        )
    return known[DEFAULT]


def _load(entry: EntryPoint) -> Callable[..., Any]:
    try:
        return cast("Callable[..., Any]", entry.load())
    except (ImportError, AttributeError) as error:
        raise SourceError(
            f"the source {entry.name} could not be loaded ({error}); is its package installed?"
        ) from error
