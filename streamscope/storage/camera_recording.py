"""The recording of a behaviour camera beside that of the scope, in the layout of Miniscope-DAQ-QT.

<session>/<camera>/0.avi 1.avi ..., timeStamps.csv, metaData.json. Pictures are JPEG, in AVI files that every player
opens. Times count from the first frame of the scope, so that rows of the two tables can be laid side by side.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from streamscope._version import __version__
from streamscope.errors import StorageError
from streamscope.storage.avi import MJPG, Avi
from streamscope.storage.rows import milliseconds, write_whole
from streamscope.storage.session_folder import METADATA_NAME
from streamscope.types import CameraInfo, Picture

STAMPS_NAME = "timeStamps.csv"
COLUMNS = "Frame Number,Time Stamp (ms),Buffer Index,Frames Missing"  # the last one is ours
FRAMES_PER_FILE = 1000
LEAST_FREE_BYTES = 500_000_000  # of the disk, left to the scope


class CameraRecording:
    """The recording that is being made. One thread owns it, from the first picture to `close`.

    Parameters
    ----------
    session : Path
        Folder of the session.
    info : CameraInfo
        The camera; its name is that of the folder that is made.
    frames_per_file : int
        Pictures in one AVI.

    Raises
    ------
    StorageError
        From every method, if it cannot be written. What was recorded before stays.
    """

    def __init__(self, session: Path, info: CameraInfo, frames_per_file: int = FRAMES_PER_FILE) -> None:
        self.folder = session / info.name
        self.n_frames = 0
        self._info = info
        self._per_file = frames_per_file
        self._video: Avi | None = None
        with self._errors():
            self.folder.mkdir()
            self._stamps = FileIO(self.folder / STAMPS_NAME, "x")
            self._stamps.write(COLUMNS.encode() + b"\n")
            self._write_metadata()

    def append(self, number: int, time_s: float, picture: Picture, waiting: int = 0) -> None:
        """Add a picture.

        Parameters
        ----------
        number : int
            Of the picture in the session; numbers that are skipped were not recorded.
        time_s : float
            Since the first frame of the scope, s.
        picture : Picture
            What came.
        waiting : int
            Pictures that wait behind it.
        """
        with self._errors():
            video = self._video
            if video is None or video.n_frames == self._per_file:
                video = self._next_file()
            video.append(picture.jpeg)
            row = f"{number},{milliseconds(time_s)},{waiting},{picture.gap}\n"
            write_whole(self._stamps, row.encode())
        self.n_frames += 1

    def commit(self) -> None:
        """Make everything so far survive a power cut; see that the disk has room for more.

        Raises
        ------
        StorageError
            Also when little room is left: it belongs to the scope.
        """
        with self._errors():
            if self._video is not None:
                self._video.commit()
            os.fsync(self._stamps.fileno())
            free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE_BYTES:
            raise StorageError(
                f"{self.folder} has {free / 1e6:.0f} MB free, expected more than {LEAST_FREE_BYTES / 1e6:.0f} MB, "
                "which are left to the scope; make room before the next session"
            )

    def close(self) -> None:
        """Finish the files; may be called again."""
        with self._errors():
            try:
                self._finish_video()
            finally:
                if not self._stamps.closed:
                    with self._stamps:
                        os.fsync(self._stamps.fileno())

    def _next_file(self) -> Avi:
        self._finish_video()
        path = self.folder / f"{self.n_frames // self._per_file}.avi"
        self._video = Avi(path, self._info.shape, self._info.fps, MJPG)
        return self._video

    def _finish_video(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def _write_metadata(self) -> None:
        metadata = {
            "deviceName": self._info.name,
            **self._info.meta,
            "deviceDirectory": self.folder.resolve().as_posix(),
            "framesPerFile": self._per_file,
            "compression": MJPG.fourcc.decode(),
            "frameRate": round(self._info.fps, 3),
            "streamscope": {"version": __version__, "source": self._info.source},
        }
        text = json.dumps(metadata, indent=4, ensure_ascii=False, default=str) + "\n"
        (self.folder / METADATA_NAME).write_text(text, encoding="utf-8")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be written ({error.strerror or error}); check the disk's space, its cable and "
                "the folder's permissions before the next session"
            ) from error
