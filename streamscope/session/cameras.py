"""Behaviour cameras beside the scope: a thread each that writes what comes, and fails alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamscope.clock import clock_ns
from streamscope.errors import ConfigError, StreamScopeError
from streamscope.session.recorder import COMMIT_S
from streamscope.session.registry import open_camera
from streamscope.session.tapped import Tapped
from streamscope.storage.camera_recording import CameraRecording
from streamscope.storage.session_folder import folder_name
from streamscope.types import BehaviourCamera, CameraInfo, Frame, Picture, Source

NAME = "BehavCam"  # of a camera that was given none; further ones are BehavCam_2, ...
Tell = Callable[[str, str, dict[str, Any]], None]


class Since:
    """The time since the first frame of the scope, once there is one."""

    def __init__(self) -> None:
        self.start_ns: int | None = None

    def tap(self, source: Source) -> Source:
        """Return a source whose first frame is time 0."""
        return Tapped(source, self._note)

    def _note(self, frame: Frame) -> None:
        if self.start_ns is None:
            self.start_ns = frame.t_capture_ns

    def __call__(self, t_ns: int) -> float | None:
        """Return the time of a moment, s, None if it is before."""
        start_ns = self.start_ns
        return None if start_ns is None or t_ns < start_ns else (t_ns - start_ns) / 1e9


def always(t_ns: int) -> bool:
    """Return that the picture of any moment is to be recorded."""
    return True


class CameraLane:
    """Writes the pictures of one camera; the body of a thread. Whatever fails ends this recording only.

    Parameters
    ----------
    camera : BehaviourCamera
        Connected; given back at the end.
    session : Path
        Folder of the session.
    since : Since
        What times count from; pictures from before are left out.
    wanted : callable
        Whether the picture of a moment, ns, is to be recorded.
    tell : callable
        Called in any thread with what happened, a sentence, and fields.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(
        self,
        camera: BehaviourCamera,
        session: Path,
        since: Since,
        wanted: Callable[[int], bool],
        tell: Tell,
        clock: Callable[[], int] = clock_ns,
    ) -> None:
        self.info: CameraInfo = camera.info
        self.stopped = ""  # why nothing is recorded any more
        self._camera = camera
        self._session = session
        self._since = since
        self._wanted = wanted
        self._tell = tell
        self._clock = clock
        self._ended = threading.Event()
        self._next = 0  # number of the next picture of the session
        self._n_frames = self._missing = 0
        self._skipped = 0  # pictures before the next that is recorded, lost ones included
        camera.listen(tell)

    @property
    def trouble(self) -> str:
        """Return what does not go as it should, in words."""
        trouble = f"not recorded any more: {self.stopped}" if self.stopped else self._camera.trouble
        return f"{self.info.name}: {trouble}" if trouble else ""

    def stop(self) -> None:
        """Record what came until now, and no more."""
        self._ended.set()

    def facts(self) -> dict[str, Any]:
        """Return what is noted of the recording."""
        height, width = self.info.shape
        return {
            "source": self.info.source,
            "shape": [height, width],
            "fps": self.info.fps,
            "n_frames": self._n_frames,
            "missing": self._missing,
            "stopped": self.stopped,
            "start_ns": self._since.start_ns,
        }

    def run(self) -> None:
        """Record until `stop`, and give the camera back."""
        try:
            recording = CameraRecording(self._session, self.info)
            try:
                self._record(recording)
                recording.close()
            finally:
                with suppress(StreamScopeError):  # the same disk; what was written can be read all the same
                    recording.close()
        except Exception as error:  # top of the thread: the session goes on
            known = isinstance(error, StreamScopeError)
            self.stopped = str(error) if known else f"{type(error).__name__}: {error}"
            self._tell(
                "recording_stopped", f"recording stopped: {self.stopped}", {"recorded": self._n_frames}
            )
        finally:
            self._camera.close()

    def _record(self, recording: CameraRecording) -> None:
        committed_ns = self._clock()
        for picture in self._camera.pictures(self._ended.is_set):
            time_s = self._since(picture.t_ns)
            if time_s is None:
                continue
            self._one(recording, picture, time_s)
            if self._clock() - committed_ns >= COMMIT_S * 1e9:
                recording.commit()
                committed_ns = self._clock()

    def _one(self, recording: CameraRecording, picture: Picture, time_s: float) -> None:
        """Record a picture if it is to be; what is not counts as missing before the next."""
        number = self._next + picture.gap if self._next else 0
        gap = picture.gap if self._next else 0
        self._next = number + 1
        if not self._wanted(picture.t_ns):
            self._skipped += 1 + gap
            return
        self._missing += gap
        whole = Picture(picture.t_ns, picture.jpeg, gap + self._skipped)
        self._skipped = 0
        recording.append(number, time_s, whole, self._camera.waiting)
        self._n_frames += 1


def open_cameras(sources: Sequence[str], quality: int, taken: str) -> list[BehaviourCamera]:
    """Return the cameras that are named, connected; none stays open if one cannot be.

    Parameters
    ----------
    sources : sequence of str
        `[NAME=]DRIVER:INDEX...` of each.
    quality : int
        Of JPEG pictures, 1 to 100.
    taken : str
        Name of the scope's folder.

    Raises
    ------
    ConfigError
        If one is named wrongly, or as another or the scope.
    SourceError
        If one cannot be used.
    """
    cameras: list[BehaviourCamera] = []
    try:
        for name, source in named(sources, taken):
            cameras.append(open_camera(source, name, quality))
    except BaseException:
        for camera in cameras:
            camera.close()
        raise
    return cameras


def named(sources: Sequence[str], taken: str = "") -> list[tuple[str, str]]:
    """Return name and source of each camera; none is called as another or `taken`, in whatever case.

    Raises
    ------
    ConfigError
        If a name is no name, or was given twice.
    """
    out: list[tuple[str, str]] = []
    names = {taken.casefold()}
    for number, text in enumerate(sources, 1):
        given = re.fullmatch(r"([^=:]+)=(.+)", text.strip())
        usual = NAME if number == 1 else f"{NAME}_{number}"
        name = folder_name(given[1]) if given else usual
        if name.casefold() in names or (given and name != given[1].strip().replace(" ", "_")):
            raise ConfigError(
                f"the camera {text!r} cannot be called {given[1] if given else name!r}, expected another name of "
                "letters, digits, - and _ for each; write e.g. side=webcam:0"
            )
        names.add(name.casefold())
        out.append((name, given[2] if given else text.strip()))
    return out
