"""Simulated recordings as movies, `synthetic:NAME`: each frame is made when it is read."""

from __future__ import annotations

from streamscope.errors import SourceError
from streamscope.testing.synth import PRESETS, Scene
from streamscope.types import ByteArray, MovieInfo
from streamscope_drivers.recording import Recording, regular

PREFIX = "synthetic:"


class SyntheticMovie(Recording):
    """A movie that is simulated while it is read; the same frame always has the same bytes.

    Parameters
    ----------
    info : MovieInfo
        Facts of the movie.
    scene : Scene
        What is simulated; its `truth` is what a pipeline should find.
    """

    probed = True  # whatever it is asked for can be made

    def __init__(self, info: MovieInfo, scene: Scene) -> None:
        super().__init__(info, regular(info.n_frames, info.fps))
        self.scene = scene

    def _read(self, start: int, stop: int) -> ByteArray:
        return self.scene.frames(start, stop)

    def close(self) -> None:
        """Do nothing: there is no file."""


def open_movie(spec: str, fps: float | None = None, um_per_px: float | None = None) -> SyntheticMovie:
    """Return the simulated recording that `spec` names.

    Parameters
    ----------
    spec : str
        `synthetic:NAME`, with a name out of `streamscope.testing.synth.PRESETS`.
    fps, um_per_px : float or None
        Replace the simulated values in the movie's facts; the pictures stay the same.

    Raises
    ------
    SourceError
        If there is no simulation of this name.
    """
    name = spec.removeprefix(PREFIX)
    config = PRESETS.get(name)
    if config is None:
        raise SourceError(
            f"no simulation is called {name!r}; known are {', '.join(PRESETS)}: write e.g. {PREFIX}small"
        )
    info = MovieInfo(
        source=f"{PREFIX}{name}",
        files=(),
        shape=(config.height, config.width),
        n_frames=config.n_frames,
        fps=fps or config.fps,
        um_per_px=um_per_px or config.um_per_px,
        device="synthetic",
        meta={"simulation": name, "seed": config.seed},
    )
    return SyntheticMovie(info, Scene(config))
