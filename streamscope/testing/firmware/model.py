"""The model itself: registers, bus, frames, and the handles through which a system gives access to it."""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.testing.firmware.clocks import Clock, RealClock
from streamscope.testing.firmware.optics import through_lens
from streamscope.testing.firmware.pictures import moving_bars
from streamscope.types import ByteArray

# OpenCV's numbers of the properties that mean something to the firmware.
POS_MSEC, WIDTH, HEIGHT, CONVERT_RGB, BUFFERSIZE = 0, 3, 4, 16, 38
BRIGHTNESS, CONTRAST, SATURATION, HUE, GAIN, EXPOSURE, SHARPNESS, GAMMA = 10, 11, 12, 13, 14, 15, 20, 22
PAN, TILT = 33, 34
PROCESSING_UNIT = (BRIGHTNESS, CONTRAST, SATURATION, HUE, GAIN, SHARPNESS, GAMMA)
CAMERA_TERMINAL = (EXPOSURE, PAN, TILT)

QUEUE = 64  # packets that the firmware can hold; it does not look whether there is room
SHORTEST_NS = 100_000  # between two control writes; the second of two that are closer is lost
GRAB_TIMEOUT_S = 1.0
POWER_UP_EXPOSURE = 3300  # units of 10 µs
Q14 = 16384
LEGACY_RATES = {0x11: 5, 0x12: 10, 0x13: 15, 0x14: 20, 0x15: 30, 0x16: 60}  # SATURATION, Hz


@dataclass(frozen=True, slots=True)
class Sent:
    """One frame that was handed over, as it was."""

    number: int  # of the sensor, from 0 since the model was made; never reset
    counter: int  # of the firmware, 16 bits
    crc: int  # of its picture
    ended_ns: int


@dataclass(frozen=True, slots=True)
class _Shot:
    """What a frame is made from when it is looked at."""

    number: int
    counter: int
    light: float
    ended_ns: int
    state: tuple[int, int, tuple[int, int, int, int]]  # device time ms, inputs, quaternion


@dataclass
class Model:
    """One scope behind one DAQ box, plugged in until `unplug`.

    Parameters
    ----------
    sensor : str
        `v4`, `v3` or `mt9p031`: which chips are behind the link; `v3-legacy`: firmware of before 2020.
    shape : tuple of int
        (H, W) that the box delivers, whatever is asked for.
    api : str
        How the system hands properties on: `v4l2-cached` (reads of the processing unit give what was written last),
        `v4l2-abi2` (the camera terminal is read fresh), `windows` (every read is fresh), `oe` (cached, and the
        state is in the odd bytes of the first 20 pixels of each frame).
    abi : int
        Of the firmware; 2 and above have the camera terminal.
    bno : bool
        Whether there is a sensor of orientation.
    layout : str
        Shape of a raw frame: `row` (1, 2 H W), `pairs` (H, W, 2), `bgr` (H, W, 3).
    clock : Clock
        Its time.
    pictures : callable, optional
        Gives the picture of a frame at full light, (H, W) uint8.
    sharp_at : float, optional
        Focus at which the picture is sharp; None: it is at any.
    """

    sensor: str = "v4"
    shape: tuple[int, int] = (608, 608)
    api: str = "v4l2-cached"
    abi: int = 2
    bno: bool = False
    layout: str = "row"
    clock: Clock = field(default_factory=RealClock)
    pictures: Callable[[int], ByteArray] | None = None
    sharp_at: float | None = None  # focus; None: at any
    # What a test may change at any time, in frame numbers of the sensor:
    dropped: set[int] = field(default_factory=set)  # transferred, counted, and lost on the way
    duplicated: set[int] = field(default_factory=set)  # handed over twice
    frozen: set[int] = field(default_factory=set)  # shows the picture of the one before
    corrupted: set[int] = field(default_factory=set)  # cut into shifted stripes
    stalls: dict[int, float] = field(default_factory=dict)  # seconds without frames before this one
    counter_read_ahead: set[int] = field(default_factory=set)  # the counter was read one too late
    silent_orientation: bool = False
    trigger: bool = False  # level of the input
    trigger_at: dict[int, bool] = field(default_factory=dict)
    busy: bool = False  # another program holds it
    controls_carry: bool = True  # packets through the three controls; or else through the extension unit only
    stale_terminal: bool = False  # kernels of 6.10.3 and later with the stock firmware
    bad_size: bool = False  # a frame of another size comes
    # What a test may look at:
    sent: list[Sent] = field(default_factory=list)
    writes: list[tuple[int, float]] = field(default_factory=list)  # every property written
    packets: list[tuple[int, bytes]] = field(default_factory=list)  # (frame, packet) when forwarded
    lost_packets: list[bytes] = field(default_factory=list)  # nobody was at their address
    lost_writes: int = 0  # they came too fast
    overflows: int = 0  # packets beyond the queue's end
    reset_requests: int = 0
    n_opened: int = 0

    def __post_init__(self) -> None:
        self.plugged = True
        self._number = 0
        self._next_end_ns = 0
        self._camera: ModelCamera | None = None
        self._make = self.pictures or moving_bars(self.shape)
        self._power_up()

    def open(self, index: int = 0, backend: Any = None) -> ModelCamera:
        """Return a handle, as `cv2.VideoCapture` would be; it is not opened if the box is away or held."""
        return ModelCamera(self)

    def unplug(self) -> None:
        """Pull the cable: the handle is dead, and everything in the box and in the scope is forgotten."""
        self.plugged = False
        self._camera = None
        self._power_up()

    def plug(self) -> None:
        """Put the cable back."""
        self.plugged = True

    def reset_counter(self) -> None:
        """Let the frame counter begin again, as after a watchdog of the firmware."""
        self._counter = 0

    @property
    def chips(self) -> dict[int, dict[int, int]]:
        """Return the registers that were written, by the true address of the chip."""
        return self._chips

    @property
    def light(self) -> float:
        """Return how bright the light is, 0 (off) to 1: the first LED's, or the second's if that is brighter."""
        if self.sensor == "v4":
            mcu = self._chips.get(0x20, {})
            return max((255 - mcu.get(led, 255)) / 255 for led in (1, 2))
        if self.sensor == "v3":
            return self._chips.get(0x98, {}).get(0, 0) / 0xFF0
        if self.sensor == "v3-legacy":
            return self._chips.get(0, {}).get(HUE, 0) / 255
        return self._chips.get(0x6C, {}).get(0xA0, 0) / 31

    @property
    def recording(self) -> bool:
        """Return whether the sync output is on."""
        return self._recording

    @property
    def period_ns(self) -> int:
        """Return the time between two frames as the sensor is set, ns."""
        if self.sensor == "v4":
            return max(POWER_UP_EXPOSURE, self._sensor.get(201, POWER_UP_EXPOSURE)) * 10_000
        if self.sensor == "v3":
            h, v = self._sensor.get(5, 94), self._sensor.get(6, 545)
            return round((752 + h) * (480 + v) / 26.6e6 * 1e9)
        if self.sensor == "v3-legacy":
            return round(1e9 / self._sensor.get(9, 20))
        return round(self._sensor.get(9, 1250) / 37500 * 1e9)

    # ---- what is behind the USB plug

    def _power_up(self) -> None:
        self._parts: dict[int, int] = {}
        self._queue: list[bytes] = []
        self._counter = 0
        self._recording = False
        self._reads_bno = False
        self._abi_asked = False
        self._last_write_ns: int | None = None
        self._deserializer: dict[int, int] = {}
        self._serializer: dict[int, int] = {}
        self._chips: dict[int, dict[int, int]] = {}
        self._sensor: dict[int, int] = {}
        self._waiting: deque[_Shot] = deque()
        self._buffers = 4
        self._next_end_ns = 0

    def write(self, prop: int, value: float) -> None:
        """Take a control write of the host."""
        now_ns = self.clock()
        self.writes.append((prop, value))
        too_fast = self._last_write_ns is not None and now_ns - self._last_write_ns < SHORTEST_NS
        self._last_write_ns = now_ns
        if too_fast:
            self.lost_writes += 1
            return
        word = int(value) & 0xFFFF
        if self.sensor == "v3-legacy":
            self._write_legacy(prop, word)
        elif prop == SATURATION:
            self._recording = bool(word & 1)
            self._abi_asked = word == 2
        elif prop in (CONTRAST, GAMMA, SHARPNESS) and self.controls_carry:
            if prop == CONTRAST:
                self._parts = {}
            self._parts[prop] = word
            if len(self._parts) == 3:
                self._complete()

    def open_extension(self, index: int = 0) -> ModelExtension:
        """Return the extension unit of the Open Ephys firmware."""
        return ModelExtension(self)

    def take_slots(self, data: bytes) -> None:
        """Take packets that came through the extension unit: their number, then slots of six bytes."""
        for k in range(data[0]):
            if len(self._queue) >= QUEUE:
                self.overflows += 1
            else:
                self._queue.append(data[1 + 6 * k : 7 + 6 * k])

    def _write_legacy(self, prop: int, word: int) -> None:
        if prop == SATURATION and word in (1, 2):
            self._recording = word == 1
        elif prop == SATURATION and word in LEGACY_RATES:
            self._sensor[9] = LEGACY_RATES[word]
        elif prop in (HUE, GAIN, BRIGHTNESS):
            self._chips.setdefault(0, {})[prop] = word

    def read(self, prop: int) -> int:
        """Answer a control read of the host, as the bits that the firmware sends."""
        self._advance(self.clock())
        if self.sensor == "v3-legacy":
            return 2 * self._input(self._number) if prop == SATURATION else 0
        w, x, y, z = (v & 0xFFFF for v in self._quaternion(self._number))
        if prop == HUE and self._abi_asked:
            self._abi_asked = False
            return self.abi
        counter = (self._counter + (self._number - 1 in self.counter_read_ahead)) & 0xFFFF
        answers = {CONTRAST: counter, GAMMA: int(self._input(self._number)), SATURATION: w, HUE: x, GAIN: y}
        answers |= {BRIGHTNESS: z, EXPOSURE: counter, PAN: w | x << 16, TILT: y | z << 16}
        return answers.get(prop, 0)

    def _complete(self) -> None:
        packet = b"".join(self._parts[p].to_bytes(2, "little") for p in (CONTRAST, GAMMA, SHARPNESS))
        self._parts = {}
        if len(self._queue) >= QUEUE:
            self.overflows += 1
            return
        if any(packet):
            self._queue.append(packet)

    def _forward(self) -> None:
        """Send everything that waits over the bus: the firmware does it when a frame has ended."""
        queue, self._queue = self._queue, []
        for b in queue:
            if b[0] == 0xFE:
                self.packets.append((self._number, bytes((b[0], b[2]))))
                self._command(b[2])
            elif b[0] & 1:
                self.packets.append((self._number, bytes((b[0] & 0xFE,)) + b[1:]))
                self._i2c(b[0] & 0xFE, b[1], b[2:])
            else:
                self.packets.append((self._number, b[:1] + b[2 : b[1] + 1]))
                self._i2c(b[0], b[2], b[3 : b[1] + 1])

    def _command(self, number: int) -> None:
        if number == 0:
            self._reads_bno = True
        elif number == 1:
            self.reset_requests += 1
            self._power_up()

    def _i2c(self, address: int, register: int, data: bytes) -> None:
        if address == 0xC0:
            self._deserializer |= dict(enumerate(data, register))
            return
        mode = self._deserializer.get(0x1F)
        fast = 1 if self.sensor == "mt9p031" else 0
        if mode != (0x10 | fast):  # the clock does not come through
            self.lost_packets.append(bytes((address, register)) + data)
        elif address == 0xB0:
            self._serializer |= dict(enumerate(data, register))
        else:
            self._behind_the_link(address, register, data)

    def _behind_the_link(self, alias: int, register: int, data: bytes) -> None:
        link = self._serializer.get(0x05) == (0x21 if self.sensor == "mt9p031" else 0x20)
        places = [k for k in range(8) if self._deserializer.get(0x10 + k) == alias]
        true = self._deserializer.get(0x08 + places[0]) if places else None
        if not link or self._deserializer.get(0x07) != 0xB0 or true not in self._present():
            self.lost_packets.append(bytes((alias, register)) + data)
            return
        chip = self._chips.setdefault(true, {})
        if true == 0x98:  # a DAC without registers
            chip[0] = register << 8 | data[0]
        elif true == 0x20 and register == 5:
            self._sensor[data[0] << 8 | data[1]] = data[2] << 8 | data[3]
        elif true in (0xB8, 0xBA):  # registers of 16 bits
            pairs = zip(data[::2], data[1::2], strict=False)
            self._sensor |= {register + k: high << 8 | low for k, (high, low) in enumerate(pairs)}
        else:
            chip |= dict(enumerate(data, register))

    def _present(self) -> tuple[int, ...]:
        chips = {"v4": (0x20, 0xEE, 0xA0), "v3": (0xB8, 0x98), "mt9p031": (0xBA, 0x6C)}[self.sensor]
        return (*chips, 0x50) if self.bno else chips

    # ---- frames

    def _advance(self, now_ns: int) -> None:
        """End every frame that is over by `now_ns`; those for which the system has no buffer are lost."""
        if self._camera is None or not self.plugged:
            return
        if self._next_end_ns == 0:
            self._next_end_ns = now_ns + self._wait_ns()
        while self._next_end_ns <= now_ns:
            self._end_frame()
            self._next_end_ns += self._wait_ns()

    def _wait_ns(self) -> int:
        return self.period_ns + round(self.stalls.pop(self._number, 0.0) * 1e9)

    def _end_frame(self) -> None:
        number = self._number
        self.trigger = self.trigger_at.get(number, self.trigger)
        inputs = int(self._input(number))
        state = (self._next_end_ns // 1_000_000 & 0xFFFFFFFF, inputs, self._quaternion(number))
        shot = _Shot(number, self._counter, self._brightness(), self._next_end_ns, state)
        self._number += 1
        self._counter = (self._counter + 1) & 0xFFFF
        self._forward()
        for _ in range(0 if number in self.dropped else 2 if number in self.duplicated else 1):
            if len(self._waiting) < self._buffers:
                self._waiting.append(shot)

    def _brightness(self) -> float:
        """Return the light on the sensor: 1 at 30 % of the LED, lowest gain and 20 fps."""
        if self.sensor != "v4":
            return self.light / 0.3
        gain = {0xE1: 1.0, 0xE4: 2.0, 0x24: 3.5}[self._sensor.get(204, 0xE4)]
        return self.light / 0.3 * gain * self.period_ns / 50e6

    def _input(self, number: int) -> bool:
        return self.trigger

    def _quaternion(self, number: int) -> tuple[int, int, int, int]:
        fused = self._chips.get(0x50, {}).get(0x3D) == 0x0C
        if not self._reads_bno or not fused or self.silent_orientation:
            return (0, 0, 0, 0)
        angle = number / 100
        w, z = round(math.cos(angle) * Q14), round(math.sin(angle) * Q14)
        return (w, 0, 0, z)

    def take(self) -> _Shot | None:
        """Return the next frame, after waiting for it; None if none comes."""
        deadline_ns = self.clock() + round(GRAB_TIMEOUT_S * 1e9)
        while self.plugged:
            now_ns = self.clock()
            self._advance(now_ns)
            if self._waiting:
                return self._waiting.popleft()
            if now_ns >= deadline_ns:
                return None
            self.clock.sleep((min(self._next_end_ns, deadline_ns) - now_ns) / 1e9)
        return None

    def render(self, shot: _Shot) -> NDArray[Any]:
        """Return a frame as the system hands it over, and note its picture."""
        number = shot.number - (shot.number in self.frozen)
        lut = np.clip(np.arange(256) * shot.light + 2, 0, 255).astype(np.uint8)
        picture = through_lens(lut[self._make(number)], self._chips, self.sharp_at)
        if shot.number in self.corrupted:
            rows = picture.reshape(-1, *picture.shape[1:])
            rows[::2] = np.roll(rows[::2], picture.shape[1] // 2, axis=1)
        self.sent.append(Sent(shot.number, shot.counter, zlib.crc32(picture.data), shot.ended_ns))
        raw = np.zeros((*picture.shape, 2), np.uint8)
        raw[:, :, 0] = picture
        if self.api == "oe":
            embed(raw, (shot.number, *shot.state[:2], *_pairs(shot.state[2])))
        if self.bad_size:
            raw = raw[:-2]
        if self.layout == "bgr":
            return np.repeat(raw[:, :, :1], 3, axis=2)
        return raw.reshape(1, -1) if self.layout == "row" else raw


class ModelExtension:
    """The extension unit of a model, as a system gives access to it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.closed = False

    def get(self, selector: int, size: int) -> bytes:
        """Return the version, the only thing that can be read."""
        self._check(selector == 1 and size == 3)
        return bytes((1, 1, 0))

    def set(self, selector: int, data: bytes) -> None:
        """Take packets, or the switch of the sync output."""
        self._check((selector, len(data)) in ((2, 25), (3, 2)) and (selector == 3 or 1 <= data[0] <= 4))
        self._model._advance(self._model.clock())
        if selector == 2:
            self._model.take_slots(data)
        else:
            self._model._recording = bool(data[0] & 1)

    def close(self) -> None:
        """Let go of it."""
        self.closed = True

    def _check(self, known: bool) -> None:
        if not known or self.closed or self._model._camera is None:
            raise OSError(5, "the device does not answer")


class ModelCamera:
    """A handle to a model, with the surface of `cv2.VideoCapture`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._cache = dict.fromkeys(PROCESSING_UNIT, 0.0)
        self._shot: _Shot | None = None
        self._size = {WIDTH: 640.0, HEIGHT: 480.0, CONVERT_RGB: 1.0}
        self._open = model.plugged and not model.busy and model._camera is None
        if self._open:
            model._camera = self
            model.n_opened += 1
            model._waiting.clear()
            model._next_end_ns = 0

    def isOpened(self) -> bool:
        """Return whether there is a camera."""
        return self._open

    @property
    def _alive(self) -> bool:
        return self._open and self._model._camera is self

    def getBackendName(self) -> str:
        """Return the name of the model's variant."""
        return self._model.api

    def grab(self) -> bool:
        """Wait for the next frame; return False if none came."""
        self._shot = self._model.take() if self._alive else None
        if not self._alive:
            self._model.clock.sleep(0.001)
        return self._shot is not None

    def retrieve(self) -> tuple[bool, NDArray[Any] | None]:
        """Return the frame that was grabbed."""
        if self._shot is None:
            return False, None
        return True, self._model.render(self._shot)

    def get(self, prop: int, /) -> float:
        """Return a property."""
        model = self._model
        if not self._alive:
            return -1.0 if model.api != "windows" else 0.0
        if prop in self._size:
            return float({WIDTH: model.shape[1], HEIGHT: model.shape[0]}.get(prop, self._size[prop]))
        if prop == POS_MSEC and model.api != "windows":
            return 0.0 if self._shot is None else self._shot.ended_ns / 1e6
        if model.api == "windows" and prop in PROCESSING_UNIT:
            return float(_signed(prop, model.read(prop)))
        if prop in PROCESSING_UNIT:
            return self._cache[prop]
        if prop in CAMERA_TERMINAL and model.api == "v4l2-abi2" and model.abi >= 2:
            return 0.0 if model.stale_terminal else float(_signed(prop, model.read(prop)))
        return 0.0 if model.api == "windows" else -1.0

    def set(self, prop: int, value: float, /) -> bool:
        """Write a property; return False if it was not taken."""
        model = self._model
        if not self._alive:
            return False
        if prop in self._size:
            self._size[prop] = value
            return True
        if prop == BUFFERSIZE:
            model._buffers = int(value)
            return True
        if prop not in PROCESSING_UNIT:
            return False
        low, high = (-32768, 32767) if prop in (HUE, BRIGHTNESS) else (0, 65535)
        value = min(max(value, low), high)
        self._cache[prop] = value
        model._advance(model.clock())
        model.write(prop, value)
        return True

    def release(self) -> None:
        """Give the camera back."""
        if self._model._camera is self:
            self._model._camera = None
        self._open = False


def embed(raw: NDArray[np.uint8], values: Iterable[int]) -> None:
    """Hide 32-bit words in the odd bytes of the first pixels of a frame (H, W, 2), four pixels each."""
    odd = raw.reshape(-1)[1::2]
    for k, value in enumerate(values):
        odd[4 * k : 4 * k + 4] = np.frombuffer((value & 0xFFFFFFFF).to_bytes(4, "little"), np.uint8)


def _pairs(quaternion: tuple[int, int, int, int]) -> tuple[int, int]:
    w, x, y, z = (v & 0xFFFF for v in quaternion)
    return w | x << 16, y | z << 16


def _signed(prop: int, bits: int) -> int:
    """Return bits as the system declares the control: signed or not, 16 or 32 bits."""
    if prop in (HUE, BRIGHTNESS):
        return bits - 0x10000 if bits & 0x8000 else bits
    if prop in (PAN, TILT):
        return bits - (1 << 32) if bits & 0x80000000 else bits
    return bits
