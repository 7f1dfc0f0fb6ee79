"""What a session will do, checked before anything is bound, compiled or written."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from streamscope.config import AUTO, EngineConfig, Preparation, SessionConfig, engine_config, frame_rate
from streamscope.core.prepare import prepared_info
from streamscope.errors import ConfigError, StorageError
from streamscope.session.cameras import open_cameras
from streamscope.session.looking import measured_by_look
from streamscope.session.preparing import n_prepared, preparation_of, prepared_movie
from streamscope.session.registry import open_device, open_movie, play
from streamscope.session.rois import read_rois
from streamscope.session.rules import check_pace
from streamscope.storage.room import Room, check_room, room_for
from streamscope.storage.session_folder import folder_name, safe_name
from streamscope.trigger.settings import Rules
from streamscope.types import BehaviourCamera, Device, Footprints, Movie, MovieInfo, Source

if TYPE_CHECKING:
    from streamscope.core.seed import Seed
    from streamscope.offline.diameter import DiameterEstimate

LEAST_FRAMES = 2  # one frame has no motion, no noise and no activity


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A session that can start: everything in here was checked."""

    source: str  # as the user named it
    movie: Movie | None  # that is replayed
    config: SessionConfig
    engine: EngineConfig
    speed: float | None = 1.0  # None: as fast as possible
    loop: int = 1
    refit: bool = True
    diameter: DiameterEstimate | None = None  # if the user did not know it
    record: bool = False  # whether every frame is written into the session folder
    freeze_at: int | None = None  # frame from which nothing but the static background changes
    seed: Seed | None = None  # cells to begin with
    rois: Footprints | None = None  # regions that are given: nothing is learned
    device: Device | None = None  # that is watched, in place of a movie
    room: Room | None = None  # on the disk, before the start; None if nothing is recorded
    cameras: tuple[BehaviourCamera, ...] = ()  # recorded beside it
    said: tuple[str, ...] = ()  # what there is to say of the preparation of frames
    rules: Rules | None = None  # what decides on each frame

    @property
    def source_info(self) -> MovieInfo:
        """Return what is known of the frames as they come."""
        info, name = self._given.info, self.config.device.name
        return replace(info, device=name) if name and self.device is not None else info

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the frames as the engine sees them."""
        info = prepared_info(self.source_info, self.engine.prepare)
        if self.movie is None:
            return info
        return replace(info, n_frames=self._n_prepared(1), warnings=(*info.warnings, *self.said))

    @property
    def n_frames(self) -> int | None:
        """Return the number of frames that the engine will see; None if a device is watched."""
        return None if self.device is not None else self._n_prepared(self.loop)

    def _n_prepared(self, laps: int) -> int:
        movie, size = cast(Movie, self.movie), self.engine.prepare.bin_frames
        return movie.info.n_frames * laps if size == 1 else n_prepared(movie, self.engine.prepare, laps)

    def open_source(self) -> Source:
        """Return where the frames come from, as they come."""
        given = self._given
        return self.device if self.device is not None else play(cast(Movie, given), self.speed, self.loop)

    def close(self) -> None:
        """Release the movie, or the device and the cameras."""
        self._given.close()
        for camera in self.cameras:
            camera.close()

    @property
    def _given(self) -> Movie | Device:
        given = self.movie if self.device is None else self.device
        if given is None:
            raise ConfigError("a session needs a movie or a device, and has neither")
        return given

    @property
    def frame_ns(self) -> int | None:
        """Return the time between two frames as they are replayed, None at full speed."""
        return None if self.speed is None else round(1e9 / (self.engine.fps * self.speed))


def make_plan(
    source: str,
    config: SessionConfig,
    speed: float | None = 1.0,
    loop: int = 1,
    refit: bool = True,
    tell: Callable[[str], None] | None = None,
    freeze_after: str | None = None,
    seed: Path | None = None,
    record: bool = False,
    rules: Rules | None = None,
) -> SessionPlan:
    """Return the plan of a replay, or say what is wrong with what was asked. Writes nothing.

    Parameters
    ----------
    source : str
        The recording, as the user names it.
    config : SessionConfig
        What the user gave.
    speed : float or None
        Times real time; None: as fast as possible.
    loop : int
        How often the recording is played.
    refit : bool
        Whether to refit it at the end.
    tell : callable, optional
        Called with what is about to be done, if it takes seconds: measuring the cell diameter.
    freeze_after : str, optional
        When to freeze, as the user says it: 60s, or a number of frames.
    seed : Path, optional
        Session folder, session.h5 or exported .npz whose components the session begins with.
    record : bool
        Whether every frame is written into the session folder.
    rules : Rules, optional
        What decides on each frame.

    Raises
    ------
    ConfigError
        If a setting or seed is impossible for this recording, or the cell diameter cannot be measured.
    SourceError
        If the recording cannot be used.
    StorageError
        If the sessions' folder cannot be written, has no room for the recording, or the subject's name cannot be
        a folder.
    """
    if loop < 1:
        raise ConfigError(f"--loop is {loop}, but a recording is played at least once; give --loop 1 or more")
    _not_both(seed, config)
    if rules is not None:
        check_pace(rules, speed)
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
        if record and info.bits > 8:
            raise ConfigError(
                f"{source} has {info.bits} bits per pixel, and recordings in the layout of Miniscope-DAQ-QT have 8; "
                "leave out --record: the session names the original, and refits read it"
            )
        fps = frame_rate(config, info.fps)
        room = _room(config, fps, info.shape, info.n_frames * loop) if record else None
        prepare, said = preparation_of(config, info, movie)
        seen = prepared_movie(movie, prepare)
        info, resolved = replace(seen.info, fps=fps / prepare.bin_frames), config
        diameter = None
        if config.cell_diameter.strip().lower() == AUTO:
            diameter = _measured(seen, fps / prepare.bin_frames, tell)
            resolved = _resolved(config, diameter, prepare)
        engine = _engine(resolved, info, prepare)
        rois = None if config.rois is None else read_rois(config.rois, info.shape, prepare)
        n_frames = info.n_frames * loop
        freeze_at = None if freeze_after is None else parse_freeze(freeze_after, engine, n_frames)
        cells = None if seed is None else _cells(seed, info.shape, engine)
    except BaseException:
        movie.close()
        raise
    return SessionPlan(
        *(source, movie, config, engine, speed, loop, refit, diameter, record, freeze_at, cells, rois),
        room=room,
        rules=rules,
        said=said,
    )


def make_live_plan(
    spec: str,
    index: str,
    config: SessionConfig,
    refit: bool = True,
    record: bool = True,
    freeze_after: str | None = None,
    seed: Path | None = None,
    rules: Rules | None = None,
    tell: Callable[[str], None] | None = None,
) -> SessionPlan:
    """Return the plan of a session that watches a device, which is connected and verified; its light is off.

    Parameters
    ----------
    spec, index : str
        The device, as the user names it, and which camera it is.
    config : SessionConfig
        What the user gave.
    refit : bool
        Whether to refit the recording at the end.
    record : bool
        Whether every frame is written into the session folder.
    freeze_after : str, optional
        When to freeze, as the user says it: 60s, or a number of frames.
    seed : Path, optional
        Session folder, session.h5 or exported .npz whose components the session begins with.
    rules : Rules, optional
        What decides on each frame.
    tell : callable, optional
        Called with what is about to be done, if it takes seconds: measuring the cell diameter, with the light on.

    Raises
    ------
    ConfigError
        If a setting is impossible, or the cell diameter cannot be measured.
    SourceError
        If the device cannot be used.
    StorageError
        If the sessions' folder cannot be written, or has no room.
    """
    _not_both(seed, config)
    if config.cameras and not record:
        raise ConfigError(
            "--camera and --no-record were both given, expected one of them: cameras are there to be recorded; leave "
            "one out"
        )
    check_writable(Path(config.out))
    safe_name(config.subject)
    device = open_device(spec, index, config.device_values, config.um_per_px, config.device.roi)
    try:
        info = device.info
        _check_trigger(config.record_on_trigger, record, info)
        fps = frame_rate(config.model_copy(update={"fps": None}), info.fps)
        prepare, _ = preparation_of(config, info, None)
        seen = prepared_info(info, prepare)
        rois = None if config.rois is None else read_rois(config.rois, seen.shape, prepare)
        diameter, resolved = None, config
        if config.cell_diameter.strip().lower() == AUTO:
            diameter = measured_by_look(device, fps, tell, prepare)
            resolved = _resolved(config, diameter, prepare)
        engine = _engine(resolved, seen, prepare)
        room = _room(config, fps, info.shape) if record else None
        freeze_at = None if freeze_after is None else parse_freeze(freeze_after, engine, sys.maxsize)
        cells = None if seed is None else _cells(seed, seen.shape, engine)
        cameras = tuple(
            open_cameras(
                config.cameras, config.camera_quality, folder_name(config.device.name or info.device)
            )
        )
    except BaseException:
        device.close()
        raise
    return SessionPlan(
        spec,
        None,
        config,
        engine,
        refit=refit and record,
        diameter=diameter,
        record=record,
        freeze_at=freeze_at,
        seed=cells,
        rois=rois,
        device=device,
        room=room,
        cameras=cameras,
        rules=rules,
    )


def _not_both(seed: Path | None, config: SessionConfig) -> None:
    if seed is not None and config.rois is not None:
        raise ConfigError(
            "--seed and --rois were both given, expected one of them: a seed is what learning begins with, and "
            "nothing is learned of given regions; leave one out"
        )


def _room(config: SessionConfig, fps: float, shape: tuple[int, int], n_frames: int | None = None) -> Room:
    """Return the room for a recording of frames as they come, `n_frames` of them where that is known.

    Or say that it is too little.
    """
    room = room_for(_existing(Path(config.out)), shape, fps)
    check_room(room, None if n_frames is None else n_frames / fps)
    return room


def _check_trigger(number: int | None, record: bool, info: MovieInfo) -> None:
    """Raise ConfigError if recording is to wait for an input that is not there."""
    if number is None:
        return
    if not record:
        raise ConfigError(
            "--no-record and --record-on-trigger were both given, expected one of them; leave one out"
        )
    there = int(info.meta.get("triggerInputs", 0))
    if number >= there:
        raise ConfigError(
            f"--record-on-trigger is {number}, expected an input that can be read: there are {there} on this device "
            f"(frame counter from: {info.meta.get('metadataFrom', 'none')}); see docs/howto/live.md"
        )


def _engine(config: SessionConfig, info: MovieInfo, prepare: Preparation) -> EngineConfig:
    """Return the settings of the engine for prepared frames; what the user says in px is in those of the source."""
    known = config.model_copy(update={"fps": None, "um_per_px": None})  # the source was told already
    engine = engine_config(known, info.shape, info.fps, info.um_per_px, info.bits, prepare.bin)
    return engine.model_copy(update={"prepare": prepare})


def _resolved(config: SessionConfig, diameter: DiameterEstimate, prepare: Preparation) -> SessionConfig:
    """Return the settings with a diameter that was measured on prepared frames, in px of the source."""
    in_source = cast(float, diameter.diameter_px) * prepare.bin
    return config.model_copy(update={"cell_diameter": f"{in_source}px"})


def _cells(path: Path, shape: tuple[int, int], engine: EngineConfig) -> Seed:
    from streamscope.session.seeding import read_seed  # opens HDF5, and is seldom needed

    return read_seed(path, shape, engine.um_per_px, engine.prepare)


def _measured(movie: Movie, fps: float, tell: Callable[[str], None] | None) -> DiameterEstimate:
    """Return the cell diameter of a recording, or raise ConfigError with the reason why it cannot be told."""
    from streamscope.offline.diameter import estimate_diameter  # half a second, and needed only here

    if tell is not None:
        tell("estimating the cell diameter")
    estimate = estimate_diameter(movie, fps)
    if estimate.diameter_px is None:
        raise ConfigError(
            f"the cell diameter cannot be told from this recording: {estimate.reason}; "
            "give --cell-diameter, e.g. 13um or 8px"
        )
    return estimate


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


def parse_freeze(text: str, engine: EngineConfig, n_frames: int) -> int:
    """Return the frame from which a session is frozen, from text such as 60s or 1200 (frames).

    Parameters
    ----------
    text : str
        Seconds with an s, or a whole number of frames.
    engine : EngineConfig
        Settings of the engine, for its frame rate and the first moment at which there can be a cell.
    n_frames : int
        Frames that will be replayed.

    Raises
    ------
    ConfigError
        If it is neither, or nothing would be frozen, or nothing but emptiness.
    """
    word = text.strip().lower()
    try:
        frame = round(float(word[:-1]) * engine.fps) if word.endswith("s") else int(word)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--freeze-after is {text!r}, expected seconds or a number of frames; give e.g. 60s or 1200"
        ) from None
    least = 2 * engine.frames(
        engine.detect.block_s
    )  # the first cells are found in one, and used after another
    if not least <= frame < n_frames:
        raise ConfigError(
            f"--freeze-after {text} is frame {frame}, expected one from {least} (before it there are no cells) "
            f"to {n_frames - 1} (the last one); give e.g. --freeze-after {max(least, n_frames // 2)}"
        )
    return frame


def check_writable(folder: Path) -> None:
    """Raise StorageError unless `folder`, or where it would be made, can be written. Leaves nothing."""
    existing = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        why = "it is not a folder" if not existing.is_dir() else error.strerror
        raise StorageError(
            f"sessions cannot be written to {folder} ({existing}: {why}); give another folder with --out"
        ) from error


def _existing(folder: Path) -> Path:
    """Return `folder`, or the nearest folder above it that exists."""
    existing = folder.absolute()
    while not existing.exists() and existing.parent != existing:
        existing = existing.parent
    return existing
