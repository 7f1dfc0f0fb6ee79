"""One video file: how many whole frames it has, and how to get at each of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ImageArray, LongArray
from streamscope_drivers.grayscale import dtype_of, gray_of

_log = logging.getLogger(__name__)

READ_ON = 24  # frames decoded and dropped rather than sought: about the distance of two key frames


class DamagedClipError(SourceError):
    """A frame that should be in a file cannot be had from it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What is known of one video file before its frames are read."""

    path: Path
    shape: tuple[int, int]  # (H, W)
    n_frames: int  # whole frames
    stamps: LongArray | None  # (n_frames,) presentation stamps in order; None: they are 0, 1, 2 ...
    seekable: bool  # False: cut off before its index was written, frames are reached by reading on
    header_fps: float | None
    dtype: Any = np.uint8  # of the frames, or uint16

    @property
    def deep(self) -> str:
        """Return words for a depth of more than 8 bits."""
        return "" if self.dtype == np.uint8 else " with more than 8 bits"


class ClipReader:
    """An open video file. Reading on is fast, going elsewhere is a seek.

    Parameters
    ----------
    clip : Clip
        The file.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.position = 0  # the frame that comes next
        self._open()

    def frame(self, n: int) -> ImageArray:
        """Return frame `n`, (H, W) uint8 or uint16.

        Raises
        ------
        SourceError
            If it cannot be decoded, has another size than the first, or is in colour.
        """
        if not self.position <= n <= self.position + READ_ON:
            self._go_near(n)
        while True:
            number, frame = self._decode()
            if number == n:
                return self._gray(n, frame)
            if number > n:
                raise DamagedClipError(
                    f"frame {n} of {self.clip.path} is missing, the decoder went on to frame {number}; "
                    "the file is damaged, copy it again or re-encode it"
                )

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _open(self) -> None:
        self._container = _open_container(self.clip.path)
        self._stream = _video_stream(self._container, self.clip.path)
        self._stream.thread_type = "AUTO"
        self._frames: Iterator[Any] = self._container.decode(self._stream)
        self.position = 0

    def _go_near(self, n: int) -> None:
        if self.clip.seekable:
            stamp = n if self.clip.stamps is None else int(self.clip.stamps[n])
            self._container.seek(stamp, stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
            self.position = n
        elif n < self.position:
            self.close()
            self._open()

    def _decode(self) -> tuple[int, Any]:
        try:
            frame = next(self._frames)
        except StopIteration:
            raise DamagedClipError(
                f"{self.clip.path} was expected to hold {self.clip.n_frames} frames, but ended at frame "
                f"{self.position}; the file is damaged, copy it again or re-encode it"
            ) from None
        except av.error.FFmpegError as error:
            raise DamagedClipError(
                f"frame {self.position} of {self.clip.path} could not be decoded ({error.strerror}); "
                "the file is damaged or its codec is not supported, re-encode it e.g. with FFV1"
            ) from error
        number = self._number(frame)
        self.position = number + 1
        return number, frame

    def _number(self, frame: Any) -> int:
        if self.clip.stamps is not None:
            return int(np.searchsorted(self.clip.stamps, frame.pts))
        return int(frame.pts) if self.clip.seekable else self.position

    def _gray(self, n: int, frame: Any) -> ImageArray:
        if (frame.height, frame.width) != self.clip.shape:
            was = "x".join(map(str, self.clip.shape))
            raise SourceError(
                f"frame {n} of {self.clip.path} is {frame.height}x{frame.width} px, but the recording began "
                f"with {was}; was the camera's resolution changed? Split the recording there"
            )
        image = gray_of(frame, f"frame {n} of {self.clip.path}")
        if image.dtype != self.clip.dtype:
            raise SourceError(
                f"frame {n} of {self.clip.path} is {image.dtype}, but the recording began with "
                f"{np.dtype(self.clip.dtype)}; re-encode it, e.g. with FFV1"
            )
        return image


def probe(path: Path) -> Clip:
    """Return what a video file holds, after decoding its first and its last frame.

    Parameters
    ----------
    path : Path
        AVI, MKV, MP4 or anything else that FFmpeg reads. A file that was cut off (a crash, a full disk) is
        used as far as whole frames go.

    Returns
    -------
    Clip
        With `n_frames` 0 if there is no whole frame.

    Raises
    ------
    SourceError
        If it is no video, its codec is unknown, or its frames cannot be used.
    """
    if path.stat().st_size == 0:  # opened by a program that crashed before its first frame
        return Clip(path, (0, 0), 0, None, False, None)
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        shape = (stream.codec_context.height, stream.codec_context.width)
        rate = None if stream.average_rate is None else float(stream.average_rate)
        is_avi = container.format.name == "avi"
        dtype = dtype_of(stream.codec_context.format)
        announced = stream.frames
    if is_avi and announced and _is_complete_avi(path):
        clip = Clip(path, shape, announced, None, True, rate, dtype)
        if _last_can_be_sought(clip):
            return clip
    stamps = _stamps(path)
    clip = Clip(path, shape, len(stamps), None if is_avi else stamps, not is_avi, rate, dtype)
    if len(stamps) and not _last_can_be_sought(clip):
        return replace(clip, seekable=False)
    return clip


def _open_container(path: Path) -> Any:
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(
            f"a video was expected, but {path} could not be read as one ({error.strerror}); is it complete, "
            "and a Miniscope recording, a video, an HDF5 or a .npy file?"
        ) from error


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise SourceError(f"a video was expected, but {path} holds no picture; choose another file")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise SourceError(
            f"the codec of {path} is not known to FFmpeg, so it cannot be read; re-encode it, e.g. with FFV1"
        )
    return stream


def _last_can_be_sought(clip: Clip) -> bool:
    """Return whether the last frame is where it should be; what is wrong with the first is raised."""
    reader = ClipReader(clip)
    try:
        reader.frame(0)
        if clip.seekable:
            reader.frame(clip.n_frames - 1)
        return clip.seekable
    except DamagedClipError:
        if reader.position == 0:
            raise
        return False
    finally:
        reader.close()


def _stamps(path: Path) -> LongArray:
    """Return the presentation stamps of all whole frames, in order, without decoding."""
    stamps: list[int] = []
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    break
                if packet.size and packet.pts is not None and not packet.is_discard:
                    stamps.append(packet.pts)
        except av.error.FFmpegError as error:
            _log.warning("%s is cut off after %d frames (%s)", path, len(stamps), error.strerror)
    return np.sort(np.array(stamps, np.int64))


def _is_complete_avi(path: Path) -> bool:
    """Return whether the RIFF chunks of a file end where the file ends, so that its header can be trusted."""
    size = path.stat().st_size
    at = 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(8)
            if head[:4] not in (b"RIFF", b"JUNK"):
                return at > 0
            length = int.from_bytes(head[4:], "little")
            if length == 0:
                return False
            at += 8 + length + length % 2
    return at <= size + 1
