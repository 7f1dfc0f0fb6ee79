"""What a session will do, checked before anything is bound, compiled or written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from streamscope.config import EngineConfig, SessionConfig, engine_config
from streamscope.errors import ConfigError, StorageError
from streamscope.session.registry import open_movie
from streamscope.storage.session_folder import safe_name
from streamscope.types import Movie

LEAST_FRAMES = 2  # one frame has no motion, no noise and no activity


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A session that can start: everything in here was checked."""

    source: str  # as the user named it
    movie: Movie
    config: SessionConfig
    engine: EngineConfig
    speed: float | None = 1.0  # None: as fast as possible
    loop: int = 1
    refit: bool = True

    @property
    def n_frames(self) -> int:
        """Return the number of frames that will be replayed."""
        return self.movie.info.n_frames * self.loop

    @property
    def frame_ns(self) -> int | None:
        """Return the time between two frames as they are replayed, None at full speed."""
        return None if self.speed is None else round(1e9 / (self.engine.fps * self.speed))


def make_plan(
    source: str, config: SessionConfig, speed: float | None = 1.0, loop: int = 1, refit: bool = True
) -> SessionPlan:
    """Return the plan of a replay, or say what is wrong with what was asked. Writes nothing.

    Raises
    ------
    ConfigError
        If a setting is impossible for this recording.
    SourceError
        If the recording cannot be used.
    StorageError
        If the sessions' folder cannot be written, or the subject's name cannot be a folder.
    """
    if loop < 1:
        raise ConfigError(f"--loop is {loop}, but a recording is played at least once; give --loop 1 or more")
    check_writable(Path(config.out))
    safe_name(config.subject)
    movie = open_movie(source, config.fps, config.um_per_px)
    try:
        info = movie.info
        if info.n_frames < LEAST_FRAMES:
            raise ConfigError(
                f"{source} has {info.n_frames} frames, expected at least {LEAST_FRAMES}; "
                "is it the right recording?"
            )
        engine = engine_config(config, info.shape, info.fps, info.um_per_px)
    except BaseException:
        movie.close()
        raise
    return SessionPlan(source, movie, config, engine, speed, loop, refit)


def parse_speed(text: str) -> float | None:
    """Return the speed of a replay from text such as 1x, 0.5x, 4 or max (None)."""
    if text.strip().lower() == "max":
        return None
    try:
        speed = float(text.strip().lower().removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 1000:
        raise ConfigError(
            f"--speed is {text!r}, expected a number of times real time or max; give e.g. 1x, 4x or max"
        )
    return speed


def check_writable(folder: Path) -> None:
    """Raise StorageError unless `folder`, or where it would be made, can be written. Leaves nothing."""
    existing = folder.absolute()
    while not existing.exists() and existing.parent != existing:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        why = "it is not a folder" if not existing.is_dir() else error.strerror
        raise StorageError(
            f"sessions cannot be written to {folder} ({existing}: {why}); give another folder with --out"
        ) from error
