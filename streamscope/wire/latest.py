"""The newest-frame record: one frame, fixed layout, for Bonsai, MATLAB and microcontroller bridges.

One frame, because a socket set to keep only the newest message (CONFLATE) keeps only the last frame of a
message of several. Little-endian; 88 bytes, then six arrays of n values each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from streamscope.errors import WireError
from streamscope.types import FloatArray, FrameResult, IdArray
from streamscope.wire.schema import LATEST, TRACE_ARRAYS, VERSION

_HEAD = struct.Struct("<7sBIIqqqqfffIIIqQ")
HEAD_BYTES = _HEAD.size  # 88


@dataclass(frozen=True, slots=True)
class LatestRecord:
    """What a latest/ record holds. Arrays are (n,), in the order of `ids`."""

    seq: int
    frame: int
    epoch: int
    t_capture_ns: int
    t_result_ns: int
    t_publish_ns: int
    shift: tuple[float, float]
    quality: float
    flags: int
    gap: int
    lag: int
    hw: int | None
    ids: IdArray
    y: FloatArray
    c: FloatArray
    s: FloatArray
    c_lag: FloatArray
    s_lag: FloatArray


def pack_latest(seq: int, t_publish_ns: int, result: FrameResult) -> bytes:
    """Return the record of a frame."""
    head = _HEAD.pack(
        LATEST,
        VERSION[0],
        len(result.ids),
        result.epoch,
        result.index,
        result.t_capture_ns,
        result.t_result_ns,
        t_publish_ns,
        result.shift.dy,
        result.shift.dx,
        result.shift.quality,
        result.flags,
        result.gap,
        result.lag,
        -1 if result.hw is None else result.hw,
        seq,
    )
    parts = [np.asarray(getattr(result, name), "<" + dtype).tobytes() for name, dtype in TRACE_ARRAYS]
    return head + b"".join(parts)


def unpack_latest(record: bytes) -> LatestRecord:
    """Return what a record holds, or raise WireError.

    A record longer than its n asks for is valid: later minor versions add arrays at the end.
    """
    if len(record) < HEAD_BYTES or not record.startswith(LATEST):
        raise WireError(f"a latest/ record has {HEAD_BYTES} bytes or more and begins with latest/; dropped")
    head = _HEAD.unpack_from(record)
    major, n, epoch, frame, t_capture_ns, t_result_ns, t_publish_ns, dy, dx, quality = head[1:11]
    flags, gap, lag, hw, seq = head[11:]
    if major != VERSION[0]:
        raise WireError(
            f"a latest/ record of version {major} is not understood here, which speaks {VERSION[0]}"
        )
    if len(record) < HEAD_BYTES + 4 * n * len(TRACE_ARRAYS):
        raise WireError(f"a latest/ record of {n} cells is cut off at {len(record)} bytes; dropped")
    arrays = {
        name: np.frombuffer(record, "<" + dtype, n, HEAD_BYTES + 4 * n * k)
        for k, (name, dtype) in enumerate(TRACE_ARRAYS)
    }
    return LatestRecord(
        seq=seq,
        frame=frame,
        epoch=epoch,
        t_capture_ns=t_capture_ns,
        t_result_ns=t_result_ns,
        t_publish_ns=t_publish_ns,
        shift=(dy, dx),
        quality=quality,
        flags=flags,
        gap=gap,
        lag=lag,
        hw=None if hw < 0 else hw,
        **arrays,
    )
