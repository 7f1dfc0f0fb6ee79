"""Writes 8-bit gray frames into AVI or MKV files that any Miniscope tool opens."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av

from streamscope.types import ByteArray

HEADER_FPS = 60  # what Miniscope software writes whatever the real rate; timeStamps.csv has the times
CODECS = {"rawvideo": "GREY", "ffv1": "FFV1"}  # PyAV's name: what metaData.json calls it


class GrayVideoWriter:
    """One video file, written frame by frame.

    Parameters
    ----------
    path : Path
        Its suffix chooses the container.
    shape : tuple of int
        (H, W) of the frames, px.
    codec : str
        A key of `CODECS`: rawvideo is fastest, ffv1 lossless and about half as large.
    header_fps : int
        Frame rate in the header.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int], codec: str = "rawvideo", header_fps: int = HEADER_FPS
    ) -> None:
        self._container = av.open(str(path), "w")
        self._stream = cast(Any, self._container.add_stream(codec, rate=header_fps))
        self._stream.height, self._stream.width = shape
        self._stream.pix_fmt = "gray"

    def __enter__(self) -> GrayVideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: ByteArray) -> None:
        """Append one frame, (H, W) uint8."""
        frame = av.VideoFrame.from_ndarray(image, format="gray")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left and the index."""
        self._container.mux(self._stream.encode())
        self._container.close()
