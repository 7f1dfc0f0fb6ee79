"""What travels on the wire, version 1: topics, header keys, array layouts, and the messages as values.

docs/wire-protocol.md says the same for writers of clients in other languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamscope.types import (
    ByteArray,
    ComponentEvent,
    Decision,
    FloatArray,
    Footprints,
    Health,
    IdArray,
    IntArray,
    LongArray,
)

VERSION = (1, 0)  # [major, minor]: a minor adds keys, topics or arrays; a major is refused at hello

TRACES = "traces/"
COMPONENTS = "components/"
EVENTS = "events/"
STATUS = "status/"
IMAGE = "image/"
TRIGGERS = "triggers/"
TOPICS = (TRACES, COMPONENTS, EVENTS, STATUS, IMAGE, TRIGGERS)

WELCOME = b"welcome/"  # one frame, sent to each new subscriber by the socket itself
LATEST = b"latest/"  # prefix of the single-frame records on the third socket
REQUEST = "request/"  # first frame of what a client asks on the control socket
REPLY = "reply/"  # first frame of the answer

WATCHING = ("hello", "snapshot", "ping")  # verbs that change nothing
COMMANDS = ("mark", "arm", "disarm", "freeze", "thaw", "set", "stop")  # verbs that need the right to command

# Names of events/ messages. Others may be added within a major version.
EVENT_GAP = "gap"  # frames were lost before this one: n
EVENT_BAD_MOTION = "bad_motion"  # registration not trusted from this frame on, or trusted again: bad
EVENT_OVERLOAD = "overload"  # a part of the work is shed, or taken up again: shed
EVENT_EPOCH = "epoch"  # a new epoch is used from this frame on: epoch
EVENT_FROZEN = "frozen"  # footprints, ids and background stay as they are from this frame on: cells
EVENT_THAWED = "thawed"  # they may change again from this frame on: cells
EVENT_DRAINED = "drained"  # the delayed values of the last frames: arrays ids, c_lag, s_lag
EVENT_SEED = "seed"  # what became of the components of an earlier session: placed, ids, dy, dx, ...
EVENT_NOT_RECORDED = "not_recorded"  # from this frame on some are missing in the recording: waiting
EVENT_RECORDING_STOPPED = "recording_stopped"  # nothing is recorded from this frame on: recorded, reason
EVENT_RESULTS_STOPPED = "results_stopped"  # from about this frame on no result is kept: reason
EVENT_DISK = "disk"  # the disk that is recorded to is nearly full: free_bytes, lasts_s, text
EVENT_RECORDING = (
    "recording"  # by a trigger, frames are recorded from this one on, or no more: on, input, t_ns
)
EVENT_DEVICE = "device"  # something happened to the device: what, text, ...
EVENT_SETTING = "setting"  # a setting of the device is seen from this frame on: setting, value
EVENT_INPUT = "input"  # an input of the device changed with this frame: input, level, t_ns
EVENT_VIEW = "view"  # of a preview: how sharp and how bright the picture is: sharpness, mean, saturated, ...
EVENT_CAMERA = "camera"  # something happened to a behaviour camera: camera, what, text, ...
EVENT_STATE = "state"  # the session changed its state: state
EVENT_MARK = "mark"  # something a user or device marked: text
EVENT_ARMED = "armed"  # a rule may act from this frame on: rule, cells, dry, by, hash
EVENT_DISARMED = "disarmed"  # a rule acts no more from this frame on: rule, reason
EVENT_BOUND = "bound"  # the cell that a signal means was confirmed: signal, cell
EVENT_EMERGENCY_STOP = "emergency_stop"  # no rule can be armed any more: by
EVENT_OUTPUT = "output"  # an output of decisions has trouble, or none any more: output, text
EVENT_CLOSED = "closed"  # the last message: the publisher closes its sockets

DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
}
TRACE_ARRAYS = (("ids", "u4"), ("y", "f4"), ("c", "f4"), ("s", "f4"), ("c_lag", "f4"), ("s_lag", "f4"))
SHAPE_ARRAYS = (("pixels", "u4"), ("weights", "f4"))

MAX_MESSAGE_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
MAX_REQUEST_BYTES = 2**20
MAX_ARRAYS = 64
MAX_NESTING = 8  # maps and lists within each other, in a header
MAX_MARK = 200  # letters of a mark
MAX_NAME = 64  # letters of the name of a rule or of a key
MAX_CELLS = 100  # that one request names
MAX_DIMENSIONS = 3

STATUS_NAMES = {0: "provisional", 1: "confirmed"}


class EpochLike(Protocol):
    """What the snapshot needs of an epoch: the component table at a frame boundary."""

    @property
    def number(self) -> int:
        """Return the number of the epoch."""

    @property
    def frame(self) -> int:
        """Return the last frame that it was learned from."""

    @property
    def ids(self) -> IdArray:
        """Return the ids, (K,)."""

    @property
    def status(self) -> ByteArray:
        """Return 0 (provisional) or 1 (confirmed) of each, (K,)."""

    @property
    def born_at(self) -> LongArray:
        """Return the frame at which each was born, (K,)."""

    @property
    def snr(self) -> FloatArray:
        """Return the signal to noise ratio of each, (K,)."""

    @property
    def footprints(self) -> Footprints:
        """Return the footprints, in the order of `ids`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Ask to keep a text with the frame that is published now."""

    text: str


@dataclass(frozen=True, slots=True)
class Arm:
    """Ask to arm a rule, for these cells if its file leaves open which it watches, and at these levels."""

    rule: str
    cells: Mapping[str, int] = field(default_factory=dict)  # ids, by signal; "": the only one
    levels: Mapping[str, float] = field(default_factory=dict)  # by condition; "": the only one
    dry: bool = False  # decide and note, but write nothing
    by: str = ""  # who asks, for the journal


@dataclass(frozen=True, slots=True)
class Disarm:
    """Ask to disarm a rule; None: all of them."""

    rule: str | None = None
    emergency: bool = False  # every line low at once, and nothing can be armed afterwards
    by: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask to freeze what is learned (`freeze`), or to thaw it (`thaw`)."""

    frozen: bool


@dataclass(frozen=True, slots=True)
class Set:
    """Ask to change settings of the device."""

    values: Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the session to drain and end."""


Command: TypeAlias = Mark | Arm | Disarm | Hold | Set | Stop


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the publisher adds to a message."""

    sid: str
    seq: int  # of this topic, from 0
    t_publish_ns: int


@dataclass(frozen=True, slots=True)
class Message:
    """Any message; messages of topics that this version does not know arrive as this class."""

    topic: str
    sid: str
    seq: int
    frame: int | None
    epoch: int | None
    t_publish_ns: int
    header: Mapping[str, Any] = field(repr=False)  # the whole map, unknown keys included
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    missed: int = 0  # messages of this topic that were lost before this one


@dataclass(frozen=True, slots=True)
class TracesMessage(Message):
    """The activity of every component in one frame. Arrays are (K,), read-only, in the order of `ids`."""

    t_capture_ns: int = 0
    t_result_ns: int = 0
    hw: int | None = None
    gap: int = 0
    shift: tuple[float, float] = (0.0, 0.0)  # dy, dx, px
    quality: float = 1.0
    lag: int = 2
    flags: int = 0
    ids: IdArray = field(default_factory=lambda: np.zeros(0, np.uint32))
    y: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    c: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    s: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    c_lag: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    s_lag: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))

    def age_ms(self, now_ns: int) -> float:
        """Return the time since the frame was due or grabbed, ms; `now_ns` from time.perf_counter_ns()."""
        return (now_ns - self.t_capture_ns) / 1e6


@dataclass(frozen=True, slots=True)
class ComponentMessage(Message):
    """One change in the life of a component, with its footprint when the shape is new."""

    event: ComponentEvent = field(default_factory=lambda: ComponentEvent("", 0, 0))
    pixels: IntArray | None = None  # (n,) p = y * width + x
    weights: FloatArray | None = None  # (n,)


@dataclass(frozen=True, slots=True)
class EventMessage(Message):
    """Something that happened in the session; `arrays` holds what the event carries."""

    name: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TriggerMessage(Message):
    """What a rule decided on a frame; sent before the traces/ message of that frame."""

    decision: Decision = field(
        default_factory=lambda: Decision(0, "", 0, 0.0, "", "", "", 0.0, 0.0, (), (), "", 0, 0)
    )


@dataclass(frozen=True, slots=True)
class StatusMessage(Message):
    """How the session stands."""

    health: Health = field(
        default_factory=lambda: Health("", -1, None, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, (0.0, 0.0))
    )


@dataclass(frozen=True, slots=True)
class ImageMessage(Message):
    """A picture for the live view, (H, W) uint8; sent now and then, shed first under load."""

    image: ByteArray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
