"""Values that travel between the floors. Frozen; arrays are read-only by contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
DoubleArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int32]
LongArray: TypeAlias = NDArray[np.int64]
IdArray: TypeAlias = NDArray[np.uint32]
ByteArray: TypeAlias = NDArray[np.uint8]
ImageArray: TypeAlias = NDArray[np.unsignedinteger[Any]]  # as recorded: uint8, or uint16 with more bits
BoolArray: TypeAlias = NDArray[np.bool_]

# Bits of FrameResult.flags, as on the wire.
FLAG_BAD_MOTION = 1  # registration not trusted: last good shift used, frame kept out of learning
FLAG_LATE = 2  # the result left later than one frame period after the frame was due
FLAG_NO_DETECTION = 4  # overload: the learner did not search this frame for new cells
FLAG_NO_LEARNING = 8  # overload: the learner did not see this frame
FLAG_BIG_MOTION = 16  # shift larger than one cell diameter
FLAG_BROKEN = 32  # rows or blocks are not of this picture; with FLAG_BAD_MOTION
FLAG_FROZEN = 64  # the frame before, once more; with FLAG_BAD_MOTION
FLAG_SATURATED = 128  # more than 1 % of the pixels have the largest value


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as it came from the source."""

    index: int  # position in the recording, contiguous from 0
    image: NDArray[Any]  # (H, W) uint8, or uint16 where the source has more than 8 bits
    t_capture_ns: int  # monotonic; in paced replay the moment at which the frame was due
    time_s: float = 0.0  # recorded time since the first frame, s
    gap: int = 0  # frames missing before this one
    hw: int | None = None  # hardware counter
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shift:
    """Where the reference content is seen in a frame: (y, x) is seen at (y + dy, x + dx), plus the field there."""

    dy: float = 0.0  # px
    dx: float = 0.0  # px
    quality: float = 1.0  # correlation with the template, -1..1
    ok: bool = True
    # (gy, gx, 2) px at nodes corner to corner, mean over the frame 0; None: rigid
    field: FloatArray | None = None
    flags: int = 0  # of FrameResult.flags, those that are known with the shift


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Everything that is known of one frame when its traces leave. Arrays have one value per component."""

    index: int
    epoch: int
    t_capture_ns: int
    t_result_ns: int
    shift: Shift
    ids: IdArray
    y: FloatArray  # signed, demixed, sn units
    c: FloatArray  # denoised, causal
    s: FloatArray  # events, causal
    c_lag: FloatArray  # denoised value for frame index - lag
    s_lag: FloatArray
    lag: int = 2
    flags: int = 0
    gap: int = 0
    hw: int | None = None
    time_s: float = 0.0

    @staticmethod
    def without_traces(index: int, shift: Shift, gap: int = 0) -> FrameResult:
        """Return what a learner looks at: which frame it is and where the field was."""
        nothing = np.zeros(0, np.float32)
        traces = (nothing, nothing, nothing, nothing, nothing)
        return FrameResult(index, 0, 0, 0, shift, np.zeros(0, np.uint32), *traces, lag=0, gap=gap)


@dataclass(frozen=True, slots=True)
class Tail:
    """The delayed values that no later frame can carry: the last `lag` frames, given out at drain."""

    first_frame: int
    ids: IdArray
    c_lag: FloatArray  # (n <= lag, K)
    s_lag: FloatArray  # (n <= lag, K)


@dataclass(frozen=True, slots=True)
class Footprints:
    """Sparse footprints, column by column; pixels are flattened in C order, p = y * width + x."""

    shape: tuple[int, int]  # (H, W)
    indptr: LongArray  # (K + 1,)
    pixels: IntArray  # (nnz,)
    weights: FloatArray  # (nnz,)

    @property
    def n(self) -> int:
        """Return the number of components."""
        return len(self.indptr) - 1

    def column(self, k: int) -> tuple[IntArray, FloatArray]:
        """Return the pixels and weights of component `k`."""
        part = slice(int(self.indptr[k]), int(self.indptr[k + 1]))
        return self.pixels[part], self.weights[part]

    def select(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Footprints:
        """Return the components at these positions, in this order."""
        return Footprints.from_columns(self.shape, [self.column(int(k)) for k in rows])

    def dense(self) -> FloatArray:
        """Return A as (H, W, K) float32, each footprint scaled to a maximum of 1."""
        out = np.zeros((self.shape[0] * self.shape[1], self.n), np.float32)
        for k in range(self.n):
            pixels, weights = self.column(k)
            if len(weights):
                out[pixels, k] = weights / max(float(weights.max()), 1e-12)
        return out.reshape(*self.shape, self.n)

    def placed(self, top: int, left: int, shape: tuple[int, int]) -> Footprints:
        """Return the footprints in a frame of `shape`, moved by `top` rows and `left` columns, and cut there."""
        if (top, left, shape) == (0, 0, self.shape):
            return self
        columns = []
        for k in range(self.n):
            pixels, weights = self.column(k)
            y, x = pixels // self.shape[1] + top, pixels % self.shape[1] + left
            inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
            columns.append(((y * shape[1] + x)[inside].astype(np.int32), weights[inside]))
        return Footprints.from_columns(shape, columns)

    @staticmethod
    def from_columns(shape: tuple[int, int], columns: list[tuple[IntArray, FloatArray]]) -> Footprints:
        """Return footprints made of (pixels, weights) pairs."""
        lengths = [len(p) for p, _ in columns]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        empty = not columns
        pixels = np.zeros(0, np.int32) if empty else np.concatenate([p for p, _ in columns]).astype(np.int32)
        weights = (
            np.zeros(0, np.float32) if empty else np.concatenate([w for _, w in columns]).astype(np.float32)
        )
        return Footprints(shape, indptr, pixels, weights)


@dataclass(frozen=True, slots=True)
class ComponentEvent:
    """One change in the life of a component; ids are never reused."""

    kind: str  # born, confirmed, merged, retired, rescaled
    id: int
    frame: int  # first frame whose traces follow this change
    into: int | None = None  # merged: the id that lives on
    factor: float | None = None  # rescaled
    y: float | None = None  # centre, px of the reference frame
    x: float | None = None
    snr: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What became of a seed."""

    placed: bool  # or else the session goes on without it
    source: str
    agreement: float  # of the still images, -1..1
    least: float  # agreement that is asked for
    next_id: int  # first id of cells that are new today
    dy: float = 0.0  # px, where the seed's middle is seen today
    dx: float = 0.0
    angle_deg: float = 0.0  # turn about the middle, from x to y
    ids: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()  # ids that are out of today's view

    def fields(self) -> dict[str, Any]:
        """Return plain values, for messages and files."""
        return dataclasses.asdict(self) | {
            "ids": list(self.ids),
            "outside": list(self.outside),
            "text": self.text(),
        }

    def text(self) -> str:
        """Return one sentence for people."""
        if not self.placed:
            return (
                f"the field does not look like that of the seed {self.source} (agreement {self.agreement:.2f}, "
                f"expected {self.least:g} or more), so that all cells are learned anew; check that it is the "
                "same animal, the scope's focus, and that the field lies within half its width of where it was"
            )
        away = f", {len(self.outside)} out of view" if self.outside else ""
        return (
            f"{len(self.ids)} cells from {self.source}, moved by ({self.dy:+.1f}, {self.dx:+.1f}) px, "
            f"turned by {self.angle_deg:+.1f} degrees, agreement {self.agreement:.2f}{away}"
        )


@dataclass(frozen=True, slots=True)
class MovieInfo:
    """What is known of a recording before its first frame is read."""

    source: str  # as the user named it
    files: tuple[Path, ...]
    shape: tuple[int, int]  # (H, W)
    n_frames: int
    fps: float | None  # None: the recording does not say, the user must
    um_per_px: float | None = None
    device: str = "Miniscope"
    warnings: tuple[str, ...] = ()  # repairs and doubts, each one sentence
    meta: Mapping[str, Any] = field(default_factory=dict)
    live: bool = False  # a camera: its frames come once, and `n_frames` is not known (0)
    bits: int = 8  # of a pixel: 8 for uint8, 9 to 16 for uint16

    @property
    def saturation(self) -> int:
        """Return the largest value that a pixel can have."""
        return (1 << self.bits) - 1


class Movie(Protocol):
    """A recording whose frames can be read again, in any order."""

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the recording."""

    @property
    def times_s(self) -> DoubleArray:
        """Return the recorded time of each frame since the first, (T,), s."""

    @property
    def gap(self) -> IntArray:
        """Return the number of frames missing before each frame, (T,)."""

    @property
    def hw(self) -> LongArray | None:
        """Return the hardware counter of each frame, (T,), if there is one."""

    def read(self, start: int, stop: int) -> ImageArray:
        """Return frames start..stop as (n, H, W), uint8, or uint16 where `info.bits` is more than 8."""

    def close(self) -> None:
        """Release files."""


class Source(Protocol):
    """A camera, or a recording played again: yields frames, never waits for anybody but the clock."""

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the stream."""

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Yield frames until the end or until `stopped()` is true."""

    def close(self) -> None:
        """Release the camera or file."""


class Device(Source, Protocol):
    """A camera that is connected: a source that can be set while it runs, and that says what happens to it."""

    @property
    def settings(self) -> Mapping[str, float | str]:
        """Return the settings as they are now."""

    @property
    def trouble(self) -> str:
        """Return what does not go as it should, in words; empty if all is well."""

    def listen(self, tell: Callable[[str, int, dict[str, Any]], None]) -> None:
        """Have events told, in any thread: name, frame from which it holds, fields."""

    def set(
        self, values: Mapping[str, float | str], told: Callable[[int], None]
    ) -> Mapping[str, float | str]:
        """Change settings soon and return them; `told` is called in any thread with the first frame that shows it.

        Raises ConfigError if there is no such setting, or the value is impossible.
        """

    def look(self, seconds: float) -> Iterator[Frame]:
        """Turn the light on, yield the frames of so many seconds, and turn it off again; before `frames`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one rule decided on one frame. All values are plain, so that any format can carry them."""

    number: int  # in the session, contiguous from 0, over all rules
    rule: str
    frame: int
    time_s: float  # recorded time of the frame since the first, s
    outcome: str  # real, sham, dry, blocked
    reason: str  # why it is not real; empty if it is
    control: str  # what drew it: rule, random, yoked
    width_ms: float  # of the pulse that it asks for
    value: float  # of the first input; NaN if there is none
    inputs: tuple[tuple[str, float], ...]  # every signal that the rule watches, and its value on this frame
    outputs: tuple[str, ...]  # names of the outputs that act on it
    rule_hash: str  # of the rule with everything that it uses, 16 hexadecimal digits
    seed: int  # of the session's random numbers
    t_capture_ns: int  # monotonic, of the frame
    t_decision_ns: int = 0  # monotonic, when it was decided

    def fields(self) -> dict[str, Any]:
        """Return plain values, for messages and files; `inputs` as a map."""
        return dataclasses.asdict(self) | {"inputs": dict(self.inputs), "outputs": list(self.outputs)}


REAL, SHAM, DRY, BLOCKED = "real", "sham", "dry", "blocked"  # outcomes


@dataclass(frozen=True, slots=True)
class OutputReport:
    """What became of a decision at an output."""

    output: str  # its name in the session
    number: int  # of the decision; -1 if it concerns none
    t_written_ns: int = 0  # monotonic, when the last byte was handed over; 0 if it was not
    t_acknowledged_ns: int = 0  # monotonic, when the other side confirmed it; 0 if it does not
    trouble: str = ""  # what does not go as it should, in words; empty if all is well


class Output(Protocol):
    """Where decisions go: something that acts (a TTL line), or somebody who is told (MQTT, LSL, a file).

    Made by `open_output(spec, name, tell)` of the entry points `streamscope.outputs`; `spec` is NAME:REST as the user
    gave it. `tell` takes an `OutputReport`, may be called in any thread and never waits. No method may wait for the
    outside world: what an output has to say goes through a bounded queue of its own, to a thread or task of its own.
    It raises ConfigError or SourceError when it is opened, and nothing afterwards.
    """

    @property
    def fast(self) -> bool:
        """Return whether it is written in the pipeline thread, before anything is published; else in the loop's."""

    def write(self, decision: Decision) -> bool:
        """Take a decision over, at once; False if there is no room for it or nobody to take it (which is counted)."""

    def alive(self, armed: bool) -> None:
        """Hear, once a frame and from any thread, that the session goes on; False: every line low now.

        An output that acts lets its lines go low when it has not heard this for its own limit of time.
        """

    def describe(self) -> Mapping[str, Any]:
        """Return plain values: `spec`, `written`, `dropped`, `trouble`, `latency_ms` (p50, p95, p99, max), ..."""

    def close(self) -> None:
        """Lines low; write what is under way for at most a second; release everything."""


OpensOutput: TypeAlias = Callable[[str, str, Callable[[OutputReport], None]], Output]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a behaviour camera."""

    t_ns: int  # when it came, by the clock of `Frame.t_capture_ns`
    jpeg: bytes
    gap: int = 0  # pictures missing before it


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What is known of a behaviour camera before its first picture."""

    name: str  # of its folder
    source: str  # as the user named it
    shape: tuple[int, int]  # (H, W)
    fps: float  # as measured
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


class BehaviourCamera(Protocol):
    """A camera that is connected and looks at the animal."""

    @property
    def info(self) -> CameraInfo:
        """Return what is known of it."""

    @property
    def trouble(self) -> str:
        """Return what does not go as it should, in words; empty if all is well."""

    @property
    def waiting(self) -> int:
        """Return the number of pictures that wait to be taken."""

    def listen(self, tell: Callable[[str, str, dict[str, Any]], None]) -> None:
        """Have events told, in any thread: what happened, one sentence, fields."""

    def pictures(self, stopped: Callable[[], bool]) -> Iterator[Picture]:
        """Yield pictures, also after interruptions, until `stopped()` is true; then the camera is given back."""

    def close(self) -> None:
        """Give the camera back; may be called again."""


@dataclass(frozen=True, slots=True)
class Kinetics:
    """The time constants of an indicator in a session."""

    decay_s: float  # s
    rise_s: float = 0.06  # s; before one is fitted
    confidence: float = 0.0  # share of the cells that agree with the fit, 0..1; 0 if it was given
    fitted: bool = False  # or else given

    def array(self) -> DoubleArray:
        """Return the four values as an array, (4,)."""
        return np.array([self.decay_s, self.rise_s, self.confidence, self.fitted], np.float64)

    @classmethod
    def from_array(cls, values: NDArray[np.generic]) -> Kinetics:
        """Return what `array` was called on."""
        decay_s, rise_s, confidence, fitted = (float(v) for v in values)
        return cls(decay_s, rise_s, confidence, bool(fitted))


@dataclass(frozen=True, slots=True)
class RefitResult:
    """What the offline refit found. K components, T frames; arrays in the order of `ids`."""

    footprints: Footprints
    ids: IdArray  # (K,) the live id where there was one, new numbers above all live ids otherwise
    C: FloatArray  # (K, T) denoised, a.u. (demixed)
    S: FloatArray  # (K, T) events
    C_raw: FloatArray  # (K, T) signed projection
    sn: FloatArray  # (K,) noise of C_raw
    g: FloatArray  # (K, 2) AR coefficients (second is 0 for AR(1))
    snr: FloatArray  # (K,) peak of C over sn
    status: tuple[str, ...]  # accepted, rejected
    reasons: tuple[str, ...]  # why, one sentence each
    shifts: FloatArray  # (T, 2) dy, dx
    quality: FloatArray  # (T,)
    field: FloatArray  # (T, gy, gx, 2) dy, dx on top of the shifts, px, at nodes corner to corner; 0: rigid
    b0: FloatArray  # (H, W) static background
    mean_image: FloatArray  # (H, W)
    correlation_image: FloatArray  # (H, W) local correlations of the background-free movie
    flags: LongArray | None = None  # (T,) FLAG_BAD_MOTION, FLAG_BIG_MOTION; None: not known
    kinetics: Kinetics | None = None  # what C and S were deconvolved with; None: not known
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # seconds by stage, counts


@dataclass(frozen=True, slots=True)
class Health:
    """How the session stands, published on status/ and shown in the terminal."""

    state: str
    frame: int  # last frame published, -1 before the first
    n_frames: int | None  # expected, None when live
    fps: float
    age_p50_ms: float
    age_p99_ms: float
    queue: int
    lost: int
    late: int
    cells: int
    provisional: int
    epoch: int
    shift_px: tuple[float, float]
    shed: str = ""
    message: str = ""
