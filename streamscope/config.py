"""Settings: one frozen model per stage, with unit and range of each field.

Only the cell diameter must be given, or measured on the recording (`AUTO`); fps and um per px come from the
recording where it knows them.
Time constants are in seconds; a stage never sees more than its own model.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamscope.errors import ConfigError

# Decay time constant of a 1-photon population trace, s. Literature half-decays, lengthened because bursts and
# background make effective decays 1.5 to 3 times longer (Chen 2013; Dana 2019; Janelia jGCaMP8 table).
INDICATOR_DECAY_S = {
    "GCaMP6f": 0.6,
    "GCaMP6m": 0.8,
    "GCaMP6s": 1.4,
    "jGCaMP7f": 0.6,
    "jGCaMP7s": 1.5,
    "jGCaMP8f": 0.25,
    "jGCaMP8m": 0.35,
    "jGCaMP8s": 0.7,
}

AUTO = "auto"  # as a cell diameter: measure it; as a crop: find it
NONE = "none"  # as a crop: the whole field
Window: TypeAlias = tuple[int, int, int, int]  # rows y0 to y1 and columns x0 to x1, px


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MotionConfig(Settings):
    """Registration of each frame to a running, anchored template."""

    max_shift_px: float = Field(20.0, gt=0, le=200, description="largest shift that is searched for, px")
    template_s: float = Field(30.0, gt=0, description="memory of the running template, s")
    half_above_px: int = Field(
        320, ge=64, description="fields wider than this are registered at half size, px"
    )
    piecewise: Literal["auto", "on", "off"] = Field(
        "auto", description="a smooth field on top of the shift: auto (where it lowers the residual), on, off"
    )


class BackgroundConfig(Settings):
    """Ring model of the fluctuating background (Zhou et al. 2018) and the static background b0."""

    ring_radius: float = Field(1.75, ge=1.2, le=4, description="inner ring radius, cell diameters")
    history_s: float = Field(
        60.0, gt=5, description="span of the frames that the ring and b0 are fitted on, s"
    )
    n_frames: int = Field(500, ge=50, description="number of frames kept of that span")
    refresh_s: float = Field(10.0, gt=0.5, description="time between two refreshes of ring and b0, s")


class DetectConfig(Settings):
    """Search for new cells in the residual."""

    block_s: float = Field(1.25, gt=0.1, le=10, description="the residual is searched once in this time, s")
    buffer_s: float = Field(10.0, gt=1, description="span of the frames a candidate is fitted on, s")
    filter_s: float = Field(0.3, gt=0, description="time constant of the score's filter, s")
    threshold: float = Field(6.5, gt=1, description="score of a candidate, noise units")
    give_up_s: float = Field(
        120.0, gt=1, description="a provisional component that is silent this long is retired, s"
    )
    max_births_per_block: int = Field(20, ge=1, description="new components in one block")


class ShapesConfig(Settings):
    """Refinement of footprints from sufficient statistics."""

    memory_s: float = Field(120.0, gt=1, description="memory of the statistics, s")


class DeconvolveConfig(Settings):
    """Denoising and events (OASIS; Friedrich et al. 2017)."""

    decay_s: float | None = Field(
        None, gt=0.02, le=10, description="decay of the indicator, s; None: by its name"
    )
    min_event_sn: float = Field(1.5, ge=0, le=10, description="smallest event, noise units")
    lag: int = Field(2, ge=0, le=10, description="delay of the better estimate, frames")


class RefitConfig(Settings):
    """The offline refit at the end of a session."""

    chunk_frames: int = Field(500, ge=50, description="frames in memory at once")
    min_peak_sn: float = Field(
        12.0, ge=0, description="accepted: largest step of the trace over a decay time, over its noise"
    )


class PrepareConfig(Settings):
    """What is done to frames before the engine sees them; a recording has them as they came."""

    crop: str = Field(
        AUTO,
        description="part of the field: auto (the disc of a lens, if one is seen), none, or Y0:Y1,X0:X1, px",
    )
    bin: int = Field(1, ge=1, le=8, description="means of so many x so many pixels")
    bin_frames: int = Field(1, ge=1, le=100, description="means of so many frames")
    blank: str | None = Field(
        None, description="pixels that are no picture, e.g. metadata: Y0:Y1,X0:X1, several after a semicolon"
    )


class Preparation(Settings):
    """A `PrepareConfig` for one recording: what is cut, and where a round aperture lies. All in its pixels."""

    crop: Window | None = None
    disc: tuple[float, float, float] | None = Field(None, description="centre y, x and radius, px")
    bin: int = 1
    bin_frames: int = 1
    blank: tuple[Window, ...] = ()
    source_shape: tuple[int, int] | None = Field(None, description="(H, W) of the frames as they come")

    @property
    def averages(self) -> bool:
        """Return whether a prepared pixel is a mean."""
        return self.bin > 1 or self.bin_frames > 1

    @property
    def changes(self) -> bool:
        """Return whether prepared frames are others than those that come."""
        return self.averages or self.crop is not None or bool(self.blank)

    def window(self, shape: tuple[int, int]) -> Window:
        """Return what is used of frames (H, W): whole blocks, which lie as without a crop."""
        y0, y1, x0, x1 = self.crop or (0, shape[0], 0, shape[1])
        y0, x0 = y0 // self.bin * self.bin, x0 // self.bin * self.bin
        return y0, y0 + (y1 - y0) // self.bin * self.bin, x0, x0 + (x1 - x0) // self.bin * self.bin

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of prepared frames, of frames (H, W)."""
        y0, y1, x0, x1 = self.window(shape)
        return (y1 - y0) // self.bin, (x1 - x0) // self.bin

    def place(self, shape: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        """Return the first row and column of prepared frames in the whole field, and its shape, in their pixels.

        `shape` is that of the prepared frames, if nothing else is known.
        """
        if self.source_shape is None:
            return 0, 0, shape
        y0, _, x0, _ = self.window(self.source_shape)
        height, width = self.source_shape
        return y0 // self.bin, x0 // self.bin, (height // self.bin, width // self.bin)

    def prepared_disc(self) -> tuple[float, float, float] | None:
        """Return centre y, x and radius of the aperture in prepared pixels, None if there is none."""
        if self.disc is None or self.source_shape is None:
            return None
        y0, _, x0, _ = self.window(self.source_shape)
        y, x, radius = self.disc
        half = (self.bin - 1) / 2
        return (y - y0 - half) / self.bin, (x - x0 - half) / self.bin, radius / self.bin


class DeviceConfig(Settings):
    """Settings of a camera, where it has them; the rest is set as its type begins. Its frame rate is `fps`."""

    type: str | None = Field(None, description="what it is, e.g. miniscope:v4; --device wins")
    index: str | None = Field(None, description="which camera it is, as the system counts; --index wins")
    name: str | None = Field(
        None, min_length=1, max_length=100, description="name of its folder in the session"
    )
    roi: tuple[int, int, int, int] | None = Field(
        None, description="part of the picture that is taken: left, top, width, height, px"
    )
    led: float | None = Field(None, ge=0, le=255, description="light: % (V4, MiniCAM) or of 255 (V3)")
    led2: float | None = Field(None, ge=0, le=255, description="light of the second LED, %")
    gain: float | str | None = Field(None, description="gain of the sensor, e.g. low, medium, high")
    focus: float | None = Field(None, ge=-127, le=127, description="focus of the lens, -127 to 127")
    exposure: float | None = Field(None, ge=1, le=255, description="exposure (V3, firmware of before 2020)")


class WireConfig(Settings):
    """The sockets."""

    bind: str = Field(
        "127.0.0.1:5570", description="host:port of the data plane; control +1, latest +2; port 0: free ones"
    )
    keys: str | None = Field(
        None, description="folder of keys: who is not in its allow-list stays out; see: streamscope keys"
    )
    status_hz: float = Field(4.0, gt=0, le=50, description="status messages a second")


class SessionConfig(Settings):
    """Everything a session is run with. Stored beside its results."""

    cell_diameter: str = Field(
        "13um",
        description="cell diameter: a number with um or px, e.g. 13um or 8px, or auto: measured on the recording",
    )
    fps: float | None = Field(None, gt=0, le=1000, description="frame rate, overrides the recording's, Hz")
    um_per_px: float | None = Field(
        None, gt=0, le=50, description="pixel size, overrides the recording's, um"
    )
    indicator: str = Field("GCaMP6f", description="calcium indicator: " + ", ".join(INDICATOR_DECAY_S))
    researcher: str = Field("", max_length=100, description="name of the researcher, for metaData.json")
    study: str = Field(
        "", max_length=100, description="name of the experiment, for metaData.json (experimentName)"
    )
    subject: str = Field("subject", min_length=1, max_length=100, description="name of the animal")
    rois: str | None = Field(
        None, description="regions that are read out instead of cells that are found: grid:24px, or a file"
    )
    compression: Literal["GREY", "FFV1"] = Field(
        "GREY", description="of recordings: GREY is none, FFV1 is lossless and takes a quarter of a core"
    )
    out: str = Field("StreamScope", description="folder that holds the sessions")
    record_on_trigger: int | None = Field(
        None,
        ge=0,
        le=1,
        description="live: record while this trigger input (0, 1) is high; None: all the time",
    )
    cameras: tuple[str, ...] = Field(
        (), description="live: behaviour cameras to record, [NAME=]webcam:INDEX[@WIDTHxHEIGHT[@FPS]]"
    )
    camera_quality: int = Field(
        90, ge=1, le=100, description="JPEG quality of behaviour cameras that do not compress by themselves"
    )
    motion: MotionConfig = MotionConfig()
    background: BackgroundConfig = BackgroundConfig()
    detect: DetectConfig = DetectConfig()
    shapes: ShapesConfig = ShapesConfig()
    deconvolve: DeconvolveConfig = DeconvolveConfig()
    refit: RefitConfig = RefitConfig()
    wire: WireConfig = WireConfig()
    device: DeviceConfig = DeviceConfig()
    prepare: PrepareConfig = PrepareConfig()

    @property
    def device_values(self) -> dict[str, float | str]:
        """Return the settings of the device that were given, the frame rate among them."""
        values = self.device.model_dump(exclude={"type", "index", "name", "roi"})
        return {name: value for name, value in {"fps": self.fps, **values}.items() if value is not None}


class EngineConfig(Settings):
    """What core and offline need: the stage settings, with everything resolved to pixels and frames."""

    cell_diameter_px: float = Field(gt=2, description="cell diameter, px")
    fps: float = Field(gt=0, description="frame rate, Hz")
    decay_s: float = Field(gt=0, description="decay of the indicator, s")
    um_per_px: float | None = None
    bits: int = Field(default=8, ge=8, le=16, description="bits of a pixel; 256 grey levels span them all")
    motion: MotionConfig = MotionConfig()
    background: BackgroundConfig = BackgroundConfig()
    detect: DetectConfig = DetectConfig()
    shapes: ShapesConfig = ShapesConfig()
    deconvolve: DeconvolveConfig = DeconvolveConfig()
    refit: RefitConfig = RefitConfig()
    prepare: Preparation = Preparation()

    @property
    def g(self) -> float:
        """Return the AR(1) coefficient, exp(-1 / (fps decay))."""
        return math.exp(-1.0 / (self.fps * self.decay_s))

    def frames(self, seconds: float) -> int:
        """Return a duration in frames, at least 1."""
        return max(1, round(seconds * self.fps))


def engine_config(
    config: SessionConfig,
    shape: tuple[int, int],
    fps: float | None,
    um_per_px: float | None,
    bits: int = 8,
    binned: int = 1,
) -> EngineConfig:
    """Return the settings of the engine for a recording of `shape`, or say what is missing.

    Parameters
    ----------
    config : SessionConfig
        What the user gave; a diameter that is `AUTO` must have been measured.
    shape : tuple of int
        (H, W) of the frames, px.
    fps, um_per_px : float or None
        What the recording says of itself; the user's values win.
    bits : int
        Of its pixels.
    binned : int
        How many pixels of the source, each way, one of these is the mean of; settings in px are in those.

    Raises
    ------
    ConfigError
        If the frame rate or pixel size is not known, or the diameter makes no sense for the frame.
    """
    fps, motion = frame_rate(config, fps), config.motion
    um_per_px = config.um_per_px or um_per_px
    return EngineConfig(
        cell_diameter_px=diameter_px(config.cell_diameter, shape, um_per_px, binned),
        fps=fps,
        decay_s=config.deconvolve.decay_s or decay_of(config.indicator),
        um_per_px=um_per_px,
        bits=bits,
        motion=motion.model_copy(update={"max_shift_px": motion.max_shift_px / binned}),
        **{name: getattr(config, name) for name in _ENGINE_PARTS},
    )


def frame_rate(config: SessionConfig, fps: float | None) -> float:
    """Return the frame rate, Hz: the user's, or the recording's own `fps`; or say that it is missing."""
    fps = config.fps or fps
    if fps is None:
        raise ConfigError("the recording does not say its frame rate: give it with --fps, e.g. --fps 20")
    return fps


_ENGINE_PARTS = ("background", "detect", "shapes", "deconvolve", "refit")


def parse_windows(text: str, shape: tuple[int, int], name: str) -> tuple[Window, ...]:
    """Return rectangles of a frame (H, W) from text such as 0:1,0:20 or 0:1,0:20;5:6,0:8.

    Parameters
    ----------
    text : str
        Y0:Y1,X0:X1 in px, the last row and column not included; several after a semicolon.
    shape : tuple of int
        (H, W) of the frames.
    name : str
        Of the setting, for messages.

    Raises
    ------
    ConfigError
        If it is none, or not in the frame.
    """
    found = []
    for part in text.split(";"):
        try:
            (y0, y1), (x0, x1) = ([int(n) for n in side.split(":")] for side in part.split(","))
        except ValueError:
            raise ConfigError(
                f"{name} is {text!r}, expected Y0:Y1,X0:X1 in px; give e.g. --{name} 100:500,80:480"
            ) from None
        if not (0 <= y0 < y1 <= shape[0] and 0 <= x0 < x1 <= shape[1]):
            raise ConfigError(
                f"{name} is {text!r}, expected rows within 0:{shape[0]} and columns within 0:{shape[1]}, the first "
                "below the last; are rows given first?"
            )
        found.append((y0, y1, x0, x1))
    return tuple(found)


def decay_of(indicator: str) -> float:
    """Return the decay of an indicator by its name, s."""
    for name, decay_s in INDICATOR_DECAY_S.items():
        if name.lower() == indicator.lower():
            return decay_s
    known = ", ".join(INDICATOR_DECAY_S)
    raise ConfigError(
        f"indicator {indicator!r} is not known (known: {known}); "
        "name one of these, or set decay_s in [deconvolve]"
    )


def diameter_px(text: str, shape: tuple[int, int], um_per_px: float | None, binned: int = 1) -> float:
    """Return the cell diameter in px from text such as 13um or 8px, these being px of the source before `binned`."""
    value, unit = _split_number(text)
    if unit in ("um", "µm", "μm"):
        if um_per_px is None:
            raise ConfigError(
                f"cell diameter {text} is in um, but the recording does not say its pixel size: "
                "give --um-per-px (Miniscope V4: 1.65), or the diameter in px, e.g. --cell-diameter 8px"
            )
        px = value / um_per_px
    elif unit == "px":
        px = value / binned
    else:
        raise ConfigError(
            f"cell diameter {text!r} is not a number with um or px; write e.g. 13um or 8px, or auto"
        )
    largest = min(shape) / 4
    if not 4 <= px <= largest:
        raise ConfigError(
            f"cell diameter {text} is {px:.1f} px, but frames of {shape[0]}x{shape[1]} px need one between "
            f"4 and {largest:.0f} px; check --cell-diameter and --um-per-px"
        )
    return px


def _split_number(text: str) -> tuple[float, str]:
    stripped = text.strip()
    digits = stripped.rstrip("umpxµμ ")
    try:
        return float(digits), stripped[len(digits) :].strip()
    except ValueError:
        return math.nan, ""


def as_toml_dict(config: SessionConfig) -> dict[str, Any]:
    """Return the settings as plain values, for files and messages."""
    return config.model_dump(mode="json", exclude_none=True)


def from_toml(path: Path | None, given: Mapping[str, Any] | None = None) -> SessionConfig:
    """Return the settings of a TOML file, with what the user gave on the command line on top.

    Parameters
    ----------
    path : Path or None
        The file; None means defaults only.
    given : mapping, optional
        Dotted names (`cell_diameter`, `wire.bind`) and values; None as a value means not given.

    Raises
    ------
    ConfigError
        If the file cannot be read, a key is unknown (the nearest known one is named), or a value is
        impossible.
    """
    values = {} if path is None else _read_toml(path)
    where = "the settings" if path is None else str(path)
    for name, value in (given or {}).items():
        if value is not None:
            _put(values, name, value)
    return from_values(values, where)


def from_values(values: Mapping[str, Any], where: str) -> SessionConfig:
    """Return the settings that plain values stand for; `where` they are from, for the message if they are none.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest known one is named), or a value is impossible.
    """
    try:
        return SessionConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_sentence(error, where)) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the settings file {path} cannot be read ({error.strerror}); check --config, "
            "or make a file to start from with: streamscope config --toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML ({error}); correct that line, or see: streamscope config --toml"
        ) from error


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            return  # validation will say that a table was expected here
        values = inner
    values[last] = value


def setting_names(model: type[BaseModel] = SessionConfig, prefix: str = "") -> list[str]:
    """Return the dotted name of every setting."""
    names = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def nearest(name: str) -> str:
    """Return the known setting, or table of settings, whose dotted name looks most like `name`."""
    names = setting_names()
    known = [*dict.fromkeys(other.partition(".")[0] for other in names), *names]
    table, _, last = name.rpartition(".")
    beside = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == table}
    anywhere = {other.rpartition(".")[2]: other for other in reversed(known)}
    for candidates, cutoff in ((beside, 0.6), (anywhere, 0.7), (beside or anywhere, 0.0)):
        found = difflib.get_close_matches(last, candidates, 1, cutoff=cutoff)
        if found:
            return candidates[found[0]]
    return known[0]


def _sentence(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return (
            f"{where}: {name} is not a setting; did you mean {nearest(name)}? All of them: streamscope config"
        )
    got = repr(first["input"])
    got = got if len(got) < 60 else got[:57] + "..."
    return f"{where}: {name} is {got}, but {_expected(first['msg'])}; see: streamscope config"


def _expected(message: str) -> str:
    return (
        message.removeprefix("Input ")
        .removeprefix("Value error, ")
        .strip()
        .rstrip(".")
        .replace("should be", "it should be", 1)
    )
