"""AVI files of 8-bit gray frames, raw or FFV1, or of JPEG pictures, written so that a crash leaves what can be read.

Why not with a library: writing takes half the time, every byte can be brought to the disk when it should, and an
error of the disk is known at the frame that it hits (docs/decisions/2026-11-25-recording.md).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any

import av

from streamscope.types import ByteArray

FOURCC = b"GREY"  # what Miniscope-DAQ-QT calls it in metaData.json, and FFmpeg and OpenCV read
MOST_BYTES = 1_900_000_000  # of one file: old readers go no further than 2 GiB
_CHUNK = struct.Struct("<4sI")
_INDEX = struct.Struct("<4sIII")
_HAS_INDEX, _KEY_FRAME = 0x10, 0x10
_HEADER = struct.Struct(
    "<4sI4s"  # RIFF size AVI
    "4sI4s 4sI14I"  # LIST size hdrl, avih
    "4sI4s 4sI4s4sIHH8I4H"  # LIST size strl, strh
    "4sIIIIHH4s5I"  # strf
    "4sI4s"  # LIST size movi
)


@dataclass(frozen=True, slots=True)
class Codec:
    """What the pictures of a file are."""

    fourcc: bytes
    bits: int  # of a pixel, as shown


GREY, MJPG = Codec(FOURCC, 8), Codec(b"MJPG", 24)
FFV1 = Codec(b"FFV1", 8)


def frame_bytes(shape: tuple[int, int]) -> int:
    """Return what one gray frame of (H, W) px takes in the file, index included."""
    size = shape[0] * shape[1]
    return _CHUNK.size + size + size % 2 + _INDEX.size


class Avi:
    """One file, written frame by frame. Until it is closed its sizes are 0, which readers take as "to the end".

    Parameters
    ----------
    path : Path
        The file to make; it must not exist.
    shape : tuple of int
        (H, W) of the frames, px.
    fps : float
        Frame rate for players. The exact times belong into a file beside it.
    codec : Codec
        What the frames are.

    Raises
    ------
    OSError
        From every method, if the disk does not take it. What was written before stays readable.
    """

    def __init__(self, path: Path, shape: tuple[int, int], fps: float, codec: Codec) -> None:
        self.path = path
        self._shape = shape
        self._rate = (round(1000 * fps), 1000)
        self._codec = codec
        self._sizes: list[int] = []  # of the frames, bytes
        self._end = _HEADER.size  # of the last frame
        self._file = FileIO(path, "x")
        self._write(self._header(finished=False))

    @property
    def n_frames(self) -> int:
        """Return the number of frames written."""
        return len(self._sizes)

    def append(self, data: bytes | memoryview) -> None:
        """Append one frame as it is stored."""
        size = memoryview(data).nbytes
        try:
            self._write(_CHUNK.pack(b"00dc", size))
            self._write(data)
            self._write(b"\0" * (size % 2))
        except OSError:
            self._file.truncate(self._end)  # no part of a frame stays
            self._file.seek(self._end)
            raise
        self._sizes.append(size)
        self._end += _room(size)

    def commit(self) -> None:
        """Make everything written so far survive a power cut, counted in the header."""
        self._rewrite_header(finished=False)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the index and the sizes, bring all to the disk, and close."""
        try:
            self._file.seek(self._end)
            self._write(self._index())
            self._rewrite_header(finished=True)
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _index(self) -> bytes:
        rows, at = [], 4
        for size in self._sizes:
            rows.append(_INDEX.pack(b"00dc", _KEY_FRAME, at, size))
            at += _room(size)
        return _CHUNK.pack(b"idx1", _INDEX.size * len(rows)) + b"".join(rows)

    def _rewrite_header(self, *, finished: bool) -> None:
        end = self._file.tell()
        self._file.seek(0)
        self._write(self._header(finished=finished))
        self._file.seek(end)

    def _header(self, *, finished: bool) -> bytes:
        (height, width), (rate, scale), n = self._shape, self._rate, self.n_frames
        fourcc, bits = self._codec.fourcc, self._codec.bits
        picture = height * width * bits // 8
        largest = max([picture, *self._sizes]) + 8
        movi = 4 + self._end - _HEADER.size if finished else 0
        riff = self._end + _CHUNK.size + _INDEX.size * n - 8 if finished else 0
        flags = _HAS_INDEX if finished else 0
        return _HEADER.pack(
            *(b"RIFF", riff, b"AVI "),
            *(b"LIST", 192, b"hdrl", b"avih", 56, round(1e6 * scale / rate), picture * rate // scale, 0),
            *(flags, n, 0, 1, largest, width, height, 0, 0, 0, 0),
            *(b"LIST", 116, b"strl", b"strh", 56, b"vids", fourcc, 0, 0, 0, 0),
            *(scale, rate, 0, n, largest, 0xFFFFFFFF, 0, 0, 0, width, height),
            *(b"strf", 40, 40, width, height, 1, bits, fourcc, picture, 0, 0, 0, 0),
            *(b"LIST", movi, b"movi"),
        )

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._file.write(rest) :]  # a full disk takes a part first, and fails at the next


class GrayAvi(Avi):
    """A file of uncompressed 8-bit gray frames; parameters as of `Avi`."""

    def __init__(self, path: Path, shape: tuple[int, int], fps: float) -> None:
        super().__init__(path, shape, fps, GREY)

    def write(self, image: ByteArray) -> None:
        """Append one frame, (H, W) uint8 in C order."""
        self.append(image.data)


class Ffv1Avi(Avi):
    """A file of losslessly compressed 8-bit gray frames, each by itself; parameters as of `Avi`."""

    def __init__(self, path: Path, shape: tuple[int, int], fps: float) -> None:
        super().__init__(path, shape, fps, FFV1)
        encoder: Any = av.CodecContext.create("ffv1", "w")
        encoder.height, encoder.width = shape
        encoder.pix_fmt, encoder.time_base = "gray", Fraction(1, 1000)
        encoder.gop_size = encoder.thread_count = 1  # each frame is a key frame and comes out at once
        encoder.options = {"level": "1"}  # what a decoder must know is in each frame, and nothing beside it
        self._encoder = encoder

    def write(self, image: ByteArray) -> None:
        """Append one frame, (H, W) uint8 in C order."""
        frame: Any = av.VideoFrame.from_ndarray(image, format="gray")
        frame.pts = self.n_frames
        (packet,) = self._encoder.encode(frame)
        self.append(bytes(packet))


GRAY_FILES: Mapping[str, type[GrayAvi | Ffv1Avi]] = {
    "GREY": GrayAvi,
    "FFV1": Ffv1Avi,
}  # by name in metaData.json


def _room(size: int) -> int:
    """Return what a frame of this size takes, index apart."""
    return _CHUNK.size + size + size % 2
