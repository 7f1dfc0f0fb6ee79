"""The camera's thread: the way of a frame, and what happens when none comes.

`Capture._frame` is the whole way. It waits for nobody but the camera.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from streamscope.errors import ConfigError, SourceError, StreamScopeError
from streamscope.types import ByteArray, Frame
from streamscope_drivers.miniscope.devices import DeviceType, Value
from streamscope_drivers.miniscope.effects import Effects
from streamscope_drivers.miniscope.losses import Losses, Missing
from streamscope_drivers.miniscope.ring import ROOM, Ring
from streamscope_drivers.miniscope.senses import Sense
from streamscope_drivers.miniscope.startup import BUFFERS, FORWARDED, Connection, Timing
from streamscope_drivers.miniscope.watching import Tell, Watch

_log = logging.getLogger(__name__)

RETRY_S = 0.025  # after a grab that failed
GONE_S = 1.5  # of failing, before the device counts as gone
BACK_OFF_S = (1.0, 2.0, 3.0, 4.0, 5.0)  # before each attempt to connect again, the last one for ever
BAD_FRAMES = 80  # in a row, before the device is connected anew
LEAST_SIDE = 32  # px, of the part of a picture that is taken
JOIN_S = 15.0  # a camera may keep its thread that long in one grab


@dataclass
class _Sent:
    """Settings on their way: the DAQ hands them on when the next frame has ended, and the one after shows them."""

    at_ns: int
    changed: Mapping[str, Value]
    replies: Sequence[Callable[[int], None]]
    ended: int = 0  # frames since


Connect: TypeAlias = Callable[[Mapping[str, Value], tuple[int, int] | None], Connection]


class Capture:
    """Owns a device from its connection to the moment when its light is off and it is released.

    Until `begin`, and after `end`, frames are taken and thrown away, with the light off.

    Parameters
    ----------
    kind : DeviceType
        What it is.
    values : mapping
        Settings, checked.
    connect : callable
        Connects with settings, and with the size that frames must have; also after an interruption.
    timing : Timing
        Clocks.
    room : int
        Frames that may wait to be taken.
    """

    def __init__(
        self,
        kind: DeviceType,
        values: Mapping[str, Value],
        connect: Connect,
        timing: Timing | None = None,
        room: int = ROOM,
    ) -> None:
        self.ring: Ring[Frame] = Ring(room)
        self.trouble = ""  # what does not go as it should, in words
        self.values = dict(values)  # as sent last
        self.lost_in_ring = 0
        self._kind = kind
        self._connect = connect
        self._timing = timing or Timing()
        self._stopped = threading.Event()
        self._connected = threading.Event()
        self._running = False  # frames are wanted
        self._resting = False  # they will be wanted again, from number 0
        self._rested = threading.Event()
        self._roi: tuple[int, int, int, int] | None = None  # left, top, width, height
        self._lit = False  # they are being handed over, or will be after `_dark` more
        self._dark = 0
        self._lit_ns = 0  # when the light was turned on
        self._index = 0
        self._first_ns = self._last_ns = 0  # of the frames handed over
        self._skipped = 0  # frames since the last that was handed over
        self._failing_since_ns = self._bad = 0
        self._asked: dict[str, Value] = {}
        self._replies: list[Callable[[int], None]] = []
        self._sent: list[_Sent] = []
        self._lock = threading.Lock()
        self._inferred = False  # the number of skipped frames
        self._watch = Watch(self._timing)
        self._effects = Effects(self._unseen)
        self._thread: threading.Thread | None = None
        self._refused: BaseException | None = None

    # ---- for other threads

    def start(self) -> Connection:
        """Start the thread, wait until the device is connected, and return the connection, to be looked at only.

        Raises
        ------
        SourceError
            If it cannot be connected.
        """
        self._thread = threading.Thread(target=self.run, name="miniscope", daemon=True)
        _running.add(self)
        self._thread.start()
        self._connected.wait()
        if self._refused is not None:
            raise self._refused
        return self._connection

    def crop(self, roi: tuple[int, int, int, int] | None) -> None:
        """Hand over only a part of each picture: left, top, width, height, px; before `begin`.

        Raises
        ------
        ConfigError
            If it does not lie in the picture.
        """
        height, width = self._connection.shape
        if roi is not None:
            x, y, w, h = roi
            if min(x, y) < 0 or min(w, h) < LEAST_SIDE or x + w > width or y + h > height:
                raise ConfigError(
                    f"device.roi is {list(roi)}, expected left, top, width and height of at least {LEAST_SIDE} px "
                    f"within {width}x{height} px; correct it, or leave it out"
                )
        self._roi = roi

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W) of the frames that are handed over."""
        return self._connection.shape if self._roi is None else (self._roi[3], self._roi[2])

    @property
    def roi_metadata(self) -> dict[str, Any]:
        """Return what metaData.json says of the part that is taken, as Miniscope-DAQ-QT does; empty for all."""
        names = ("leftEdge", "topEdge", "width", "height")
        return {} if self._roi is None else {"ROI": dict(zip(names, self._roi, strict=True))}

    def listen(self, tell: Tell) -> None:
        """Have events told: name, frame from which it holds, fields; called in the camera's thread."""
        self._watch.tell = tell

    def begin(self) -> None:
        """Turn the light on and hand frames over."""
        self._running = True

    def end(self) -> None:
        """Turn the light off and hand no more frames over."""
        self._running = False

    def rest(self) -> bool:
        """Turn the light off, and begin with number 0 the next time; waits, and returns whether it is so."""
        self._rested.clear()
        self._resting, self._running = True, False
        return self._thread is None or (self._rested.wait(JOIN_S) and not self._stopped.is_set())

    def set(self, values: Mapping[str, Value], told: Callable[[int], None] | None = None) -> dict[str, Value]:
        """Change settings as soon as the camera's thread gets to it; of several values, the newest counts.

        Parameters
        ----------
        values : mapping
            Names and values.
        told : callable, optional
            Called in the camera's thread with the first frame that shows it.

        Returns
        -------
        dict
            The values as they are kept.

        Raises
        ------
        ConfigError
            If the device has no such setting, or the value is impossible.
        """
        checked = self._kind.check(values)
        with self._lock:
            self._asked.update(checked)
            if told is not None:
                self._replies.append(told)
        return checked

    def close(self) -> None:
        """Turn the light off and let go of the device; waits for it. May be called again."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)
            if thread.is_alive():
                _log.error("the camera does not answer, its light may be on: pull the scope's cable")
        _running.discard(self)

    # ---- the camera's thread

    def run(self) -> None:
        """Connect, take frames until closed, turn the light off; the body of the camera's thread."""
        try:
            self.open()
        except BaseException as error:  # top of the thread: raised again where the device is started
            self._refused = error
            _running.discard(self)
            return
        finally:
            self._connected.set()
        try:
            while not self._stopped.is_set():
                self.step()
        except Exception as error:  # top of the thread: raised again where frames are taken
            self.ring.close(error)
        finally:
            self.shut()

    def open(self) -> None:
        """Connect the device."""
        self._use(self._connect(self.values, None))

    def step(self) -> None:
        """Take one frame, and do what other threads asked for."""
        if self._running != self._lit:
            self._switch()
        if self._resting and not self._lit:
            self._start_over()
        self._frame()
        if self._asked or self._replies:
            self._set()

    def shut(self) -> None:
        """Turn the light off and let go of the device."""
        self._connection.shut()
        self.ring.close()
        self._rested.set()

    def _frame(self) -> None:
        """The way of a frame: grab, stamp, picture, what came with it, what is missing, hand over."""
        c = self._connection
        if not c.camera.grab():
            self._no_frame()
            return
        t_ns = c.stamp(self._timing.clock())
        ok, raw = c.camera.retrieve()
        image = self._picture(raw if ok else None)
        if raw is None or image is None:
            return
        sense = c.senses.read(raw)
        missing = self._losses.before(sense.counter, t_ns, self._timing.clock())
        if self._lit:
            self._watch.frame(self._index, t_ns, sense, missing, c.kind.orientation)
            self._watch.picture(self._index, image, missing.duplicate)
        self._effects.frame(t_ns, image)
        self._failing_since_ns = self._bad = 0
        self._seen(t_ns)
        if self._lit and not self._still_dark(t_ns):
            self._hand_over(image, t_ns, sense, missing)

    def _hand_over(self, image: ByteArray, t_ns: int, sense: Sense, missing: Missing) -> None:
        """Put a frame into the ring; if that is full, the frame is lost, and the next one says so."""
        gap = missing.n + self._skipped if self._index else 0
        if self.ring.full:
            self._skipped = gap + 1
            self.lost_in_ring += 1
            self._watch.overrun(self._index, len(self.ring))
            return
        self._watch.overrun_is_over()
        self._skipped = 0
        if self._index == 0:
            self._first_ns = t_ns
        self._last_ns = t_ns
        time_s = (t_ns - self._first_ns) / 1e9
        meta = _meta(sense, missing.inferred or self._inferred, missing.duplicate)
        self._inferred = False
        if self._roi is not None:
            x, y, w, h = self._roi
            image = image[y : y + h, x : x + w].copy()
        self.ring.put(Frame(self._index, image, t_ns, time_s, gap, sense.counter, meta))
        self._index += 1

    def _seen(self, t_ns: int) -> None:
        """Tell which settings this frame is the first to show."""
        for sent in list(self._sent):
            sent.ended += t_ns > sent.at_ns
            if sent.ended >= FORWARDED or not self._lit:
                self._sent.remove(sent)
                for name, value in sent.changed.items():
                    self._watch.setting(self._index, name, value)
                for told in sent.replies:
                    told(self._index)

    def _still_dark(self, t_ns: int) -> bool:
        """Return whether this frame was exposed before the light was on."""
        if self._dark and t_ns > self._lit_ns:
            self._dark -= 1
            return True
        return self._dark > 0

    def _picture(self, raw: Any) -> ByteArray | None:
        """Return the picture of a frame, None if it is none: said once, and a lasting trouble is a lost device."""
        try:
            if raw is None:
                raise SourceError("a frame was announced, but could not be fetched; check the cables")
            return self._connection.picture(raw)
        except SourceError as error:
            self._bad += 1  # counter and clock will say that it is missing
            if self._bad == 1:
                self._watch.device("bad_frame", self._index, str(error))
            if self._bad >= BAD_FRAMES:
                self._reconnect(f"{self._bad} frames in a row were none")
            return None

    def _no_frame(self) -> None:
        """Try again for a while; then the device is gone."""
        now_ns = self._timing.clock()
        self._failing_since_ns = self._failing_since_ns or now_ns
        if now_ns - self._failing_since_ns >= GONE_S * 1e9:
            self._reconnect("no frame came")
        else:
            self._timing.sleep(RETRY_S)

    def _switch(self) -> None:
        """Turn light and sync output on or off, and count the frames until that is seen."""
        lights = {name: self.values[name] for name in self._kind.lights}
        dark = dict.fromkeys(lights, 0.0)
        self._lit = self._running
        self._connection.tunnel.send(self._kind.commands(lights if self._lit else dark))
        self._connection.sync(self._lit)
        self._lit_ns = self._timing.clock()
        self._dark = self._frames_until_lit() if self._lit and self._kind.lights else 0
        if not self._lit and not self._resting:
            self.ring.close()

    def _start_over(self) -> None:
        """Forget the frames that were handed over."""
        self.ring.clear()
        self._index = self._first_ns = self._last_ns = 0
        self._skipped = self.lost_in_ring = 0
        self._inferred = self._resting = False
        self._rested.set()

    def _frames_until_lit(self) -> int:
        """Return how many frames are none yet; without the kernel's stamps, those in the buffers may be older."""
        return FORWARDED if self._connection.exact_stamps else FORWARDED + BUFFERS

    def _set(self) -> None:
        """Send what was asked for, newest values only."""
        with self._lock:
            asked, self._asked = self._asked, {}
            replies, self._replies = self._replies, []
        changed = {name: value for name, value in asked.items() if value != self.values.get(name)}
        self._expect(changed)
        self.values.update(changed)
        sent = changed if self._lit else {k: v for k, v in changed.items() if k not in self._kind.lights}
        self._connection.tunnel.send(self._kind.commands(sent))
        self._sent.append(_Sent(self._timing.clock(), changed, replies))

    def _expect(self, changed: Mapping[str, Value]) -> None:
        """Look out for the effects of settings that are about to be sent."""
        fps = self._kind.rate_hz(changed)
        if fps is not None:
            self._connection.fps = fps
            self._losses.change_period(1.0 / fps, FORWARDED + 1)
            self._effects.expect_rate("fps", changed["fps"], fps)
        for name in set(changed) & set(self._kind.lights) if self._lit else ():
            self._effects.expect_light(name, float(self.values[name]), float(changed[name]))

    def _unseen(self, text: str) -> None:
        self._watch.device("no_effect", self._index, text)

    # ---- interruptions

    def _use(self, connection: Connection) -> None:
        c = self._connection = connection
        self._losses = Losses(1.0 / c.fps, c.senses.bits, c.senses.exact, c.exact_stamps)
        self._failing_since_ns = self._bad = 0

    def _reconnect(self, reason: str) -> None:
        """Connect again, for as long as it takes; settings and light come back, and what was missed is a gap."""
        self._watch.device(
            "disconnected", self._index, f"the device was lost: {reason}; trying to connect again"
        )
        self._connection.release()
        for wait_s in _back_off():
            self.trouble = f"device lost ({reason}), trying again"
            self._wait(wait_s)
            if self._stopped.is_set():
                return
            try:
                connection = self._connect(self.values, self._connection.shape)
            except StreamScopeError as error:
                _log.info("not connected again yet: %s", error)
            else:
                break
        self.trouble = ""
        self._use(connection)
        self._lit = False
        self._switch_back()

    def _switch_back(self) -> None:
        """Light again if it was on, and count the frames that were missed by the clock."""
        if self._running:
            self._switch()
        now_ns = self._timing.clock()
        missed = (
            round((now_ns - self._last_ns) / 1e9 * self._connection.fps) + self._dark if self._index else 0
        )
        self._skipped += max(0, missed - 1)
        self._inferred = True
        away_s = (now_ns - self._last_ns) / 1e9 if self._index else 0.0
        text = f"the device is back after {away_s:.1f} s, with its settings"
        self._watch.device("reconnected", self._index, text, missed=self._skipped, inferred=True)

    def _wait(self, seconds: float) -> None:
        until_ns = self._timing.clock() + round(seconds * 1e9)
        while self._timing.clock() < until_ns and not self._stopped.is_set():
            self._timing.sleep(0.1)


def _back_off() -> Iterator[float]:
    yield from BACK_OFF_S
    while True:
        yield BACK_OFF_S[-1]


def _meta(sense: Sense, inferred: bool, duplicate: bool) -> dict[str, Any]:
    """Return what a frame carries besides its picture; only what is known."""
    meta: dict[str, Any] = {}
    if sense.orientation is not None:
        o = sense.orientation
        meta["orientation"], meta["orientation_ok"] = (o.w, o.x, o.y, o.z), o.ok
    if sense.inputs is not None:
        meta["inputs"] = sense.inputs
    if sense.device_ms is not None:
        meta["device_ms"] = sense.device_ms
    if inferred:
        meta["gap_inferred"] = True
    if duplicate:
        meta["duplicate"] = True
    return meta


_running: weakref.WeakSet[Capture] = weakref.WeakSet()


@atexit.register
def all_dark() -> None:
    """Turn off the light of every device that is still connected when the program ends."""
    for capture in list(_running):
        capture.close()
