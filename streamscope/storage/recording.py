"""The recording of a session: every frame that came, as it came, in the layout of Miniscope-DAQ-QT.

<session>/<device>/0.avi 1.avi ..., timeStamps.csv, metaData.json: any Miniscope tool opens it. Frames are
uncompressed; each file is finished before the next begins, and what was written can be read after any crash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from streamscope._version import __version__
from streamscope.errors import StorageError
from streamscope.storage.avi import GRAY_FILES, MOST_BYTES, Ffv1Avi, GrayAvi, frame_bytes
from streamscope.storage.room import LEAST_BYTES, Room, gigabytes, room_for
from streamscope.storage.rows import milliseconds, write_whole
from streamscope.storage.session_folder import METADATA_NAME, SessionFolder, note_recording
from streamscope.storage.source_record import describe_files
from streamscope.types import Frame, LongArray, MovieInfo

STAMPS_NAME = "timeStamps.csv"
ORIENTATION_NAME = "headOrientation.csv"
ORIENTATION_COLUMNS = "Time Stamp (ms),qw,qx,qy,qz"
COLUMNS = "Frame Number,Time Stamp (ms),Buffer Index,DAQ Frame Number,Frames Missing"  # the last one is ours
FRAMES_PER_FILE = 1000


class Recording:
    """The recording that is being made. One thread owns it, from the first frame to `close`.

    Parameters
    ----------
    session : SessionFolder
        Where to; it was made with the device's name.
    info : MovieInfo
        What is recorded. What a Miniscope folder says of its device is passed on.
    fps, um_per_px : float, float or None
        Of the session.
    frames_per_file : int, optional
        Fewer if a file would become too large for old readers.
    compression : str
        GREY: none; FFV1: lossless.

    Raises
    ------
    StorageError
        From every method, if it cannot be written. What was recorded before stays.
    """

    def __init__(
        self,
        session: SessionFolder,
        info: MovieInfo,
        fps: float,
        um_per_px: float | None = None,
        frames_per_file: int = FRAMES_PER_FILE,
        compression: str = "GREY",
    ) -> None:
        if session.recording_folder is None:
            raise StorageError(f"{session.folder} was made for a session that is not recorded")
        self.folder = session.recording_folder
        self.shape = info.shape
        self.n_frames = 0
        self._fps = fps
        self._per_file = max(1, min(frames_per_file, MOST_BYTES // frame_bytes(info.shape)))
        self._kind = GRAY_FILES[compression]
        self._video: GrayAvi | Ffv1Avi | None = None
        self._orientation: FileIO | None = None  # made with the first frame that has one
        with self._errors():
            self.folder.mkdir()
            metadata = _device_metadata(info, self.folder, self._per_file, compression, fps, um_per_px)
            text = json.dumps(metadata, indent=4, ensure_ascii=False, default=str) + "\n"
            (self.folder / METADATA_NAME).write_text(text, encoding="utf-8")
            self._stamps = FileIO(self.folder / STAMPS_NAME, "x")
            self._stamps.write(COLUMNS.encode() + b"\n")

    def append(self, frame: Frame, waiting: int = 0) -> None:
        """Add a frame, with the number of frames that wait behind it."""
        image = np.ascontiguousarray(frame.image)
        if image.shape != self.shape or image.dtype != np.uint8:
            raise StorageError(
                f"frame {frame.index} is {image.shape} of {image.dtype}, expected {self.shape} of uint8; was the "
                "camera's resolution changed?"
            )
        with self._errors():
            video = self._video
            if video is None or video.n_frames == self._per_file:
                video = self._next_file()
            video.write(image)
            hw = -1 if frame.hw is None else frame.hw
            row = f"{frame.index},{milliseconds(frame.time_s)},{waiting},{hw},{frame.gap}\n"
            write_whole(self._stamps, row.encode())
            if frame.meta.get("orientation_ok"):
                self._write_orientation(frame)
        self.n_frames += 1

    def commit(self) -> Room:
        """Make everything so far survive a power cut, and return what room the disk has for more.

        Raises
        ------
        StorageError
            Also when little room is left, so that journal and results still find some.
        """
        with self._errors():
            if self._video is not None:
                self._video.commit()
            for table in self._tables():
                os.fsync(table.fileno())
        room = room_for(self.folder, self.shape, self._fps)
        if room.too_little and room.free is not None:
            raise StorageError(
                f"{self.folder} has {gigabytes(room.free)} free, expected at least {gigabytes(LEAST_BYTES)}, which "
                "are left to the results; make room before the next session"
            )
        return room

    def close(self) -> None:
        """Finish the files; may be called again."""
        with self._errors():
            try:
                self._finish_video()
            finally:
                for table in self._tables():
                    with table:
                        os.fsync(table.fileno())

    def _tables(self) -> list[FileIO]:
        """Return the tables beside the video that are open."""
        tables = (self._stamps, self._orientation)
        return [table for table in tables if table is not None and not table.closed]

    def _write_orientation(self, frame: Frame) -> None:
        if self._orientation is None:
            self._orientation = FileIO(self.folder / ORIENTATION_NAME, "x")
            self._orientation.write(ORIENTATION_COLUMNS.encode() + b"\n")
        parts = ",".join(f"{part:.6f}" for part in frame.meta["orientation"])
        write_whole(self._orientation, f"{milliseconds(frame.time_s)},{parts}\n".encode())

    def _next_file(self) -> GrayAvi | Ffv1Avi:
        self._finish_video()
        path = self.folder / f"{self.n_frames // self._per_file}.avi"
        self._video = self._kind(path, self.shape, self._fps)
        return self._video

    def _finish_video(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be written ({error.strerror or error}); check the disk's space, its cable and "
                "the folder's permissions before the next session"
            ) from error


def finish_recording(
    session: SessionFolder, recording: Recording, received: int, stopped: str
) -> SessionFolder:
    """Note in metaData.json what was recorded, and return the session.

    Parameters
    ----------
    session : SessionFolder
        The session.
    recording : Recording
        Closed.
    received : int
        Frames that came.
    stopped : str
        Why the recording ended before the session did; empty if it did not.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    videos = sorted(recording.folder.glob("*.avi"), key=lambda path: int(path.stem))
    facts = {
        "complete": recording.n_frames == received,
        "n_frames": recording.n_frames,
        "not_recorded": received - recording.n_frames,
        "stopped": stopped,
        "files": describe_files((*videos, recording.folder / STAMPS_NAME), session.folder),
    }
    return note_recording(session, facts)


def recorded_frames(session: SessionFolder) -> LongArray:
    """Return the frame of the session that each recorded frame is, (T,), rising.

    Raises
    ------
    StorageError
        If the session was not recorded, or its time stamps cannot be read.
    """
    if session.recording_folder is None:
        raise StorageError(f"{session.folder} was not recorded; only a session of replay --record is")
    path = session.recording_folder / STAMPS_NAME
    try:
        whole = path.read_bytes().decode("utf-8").rpartition("\n")[0]  # a killed program leaves half a row
        return np.array([int(row.split(",")[0]) for row in whole.splitlines()[1:]], np.int64)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read ({error}), expected rows that begin with the number of a frame; put it back"
        ) from error


def _device_metadata(
    info: MovieInfo, folder: Path, per_file: int, compression: str, fps: float, um_per_px: float | None
) -> dict[str, Any]:
    passed_on: Mapping[str, Any] = info.meta if "deviceName" in info.meta else {}
    return {
        "deviceType": "",
        "deviceID": 0,
        **passed_on,
        "deviceName": info.device,
        "deviceDirectory": folder.resolve().as_posix(),
        "framesPerFile": per_file,
        "compression": compression,
        "frameRate": fps,
        "streamscope": {"version": __version__, "um_per_px": um_per_px},
    }
