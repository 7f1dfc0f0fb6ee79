"""Messages to bytes and back. Pure functions, no sockets, no clock, never pickle.

A message is ``[topic][header][buffer]...``: the header a msgpack map whose key ``arrays`` names the buffers
that follow, each raw, little-endian, in C order. Whatever bytes come in, decoding gives a message or raises
WireError; nothing is allocated that the received bytes do not already fill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamscope.errors import WireError
from streamscope.wire.schema import (
    DTYPES,
    MAX_ARRAYS,
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_NESTING,
    VERSION,
)

Header: TypeAlias = dict[str, Any]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_UNPACK_LIMITS: Mapping[str, Any] = {
    "raw": False,
    "strict_map_key": True,
    "max_str_len": 16_384,
    "max_bin_len": 16_384,
    "max_array_len": 4_096,
    "max_map_len": 512,
    "max_ext_len": 0,
}


def encode(topic: str, header: Mapping[str, Any], arrays: Arrays) -> list[bytes]:
    """Return the frames of a message.

    Parameters
    ----------
    topic : str
        Ends in a slash, so that one topic is never the prefix of another.
    header : mapping
        Plain values; `v` and `arrays` are added here.
    arrays : mapping of str to ndarray
        Numbers of 1 to 8 bytes, any layout; sent little-endian in C order.

    Raises
    ------
    WireError
        If a value, dtype or size is not one that receivers accept.
    """
    parts = [topic.encode(), b""]
    layout = []
    for name, array in arrays.items():
        dtype = array.dtype.str[1:]
        if dtype not in DTYPES or array.ndim > MAX_DIMENSIONS:
            raise WireError(
                f"array {name} of {topic} has dtype {array.dtype} and {array.ndim} dimensions; "
                f"the wire carries {', '.join(DTYPES)} with at most {MAX_DIMENSIONS} dimensions"
            )
        layout.append([name, dtype, array.shape])
        parts.append(array.astype(DTYPES[dtype], copy=False).tobytes())
    parts[1] = pack_map({"v": VERSION, **header, "arrays": layout})
    if len(parts) > MAX_ARRAYS + 2 or sum(map(len, parts)) > MAX_MESSAGE_BYTES:
        raise WireError(
            f"a {topic} message of {len(arrays)} arrays and {sum(map(len, parts))} bytes is larger than "
            f"{MAX_ARRAYS} arrays and {MAX_MESSAGE_BYTES} bytes; send less at once"
        )
    return parts


def decode(parts: Sequence[bytes]) -> tuple[str, Header, dict[str, NDArray[Any]]]:
    """Return topic, header and arrays (read-only views of the buffers) of the frames of a message.

    Raises
    ------
    WireError
        If the frames are not a whole message of this major version, within the limits.
    """
    if not 2 <= len(parts) <= MAX_ARRAYS + 2:
        raise WireError(f"a message has 2 to {MAX_ARRAYS + 2} frames, this one has {len(parts)}; dropped")
    if sum(map(len, parts)) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message has at most {MAX_MESSAGE_BYTES} bytes, this one has more; dropped")
    topic = _topic(parts[0])
    header = unpack_map(parts[1])
    check_version(header.get("v"))
    layout = header.get("arrays")
    if not isinstance(layout, list) or len(layout) != len(parts) - 2:
        raise WireError(f"the header of {topic} names other arrays than the {len(parts) - 2} that follow it")
    arrays: dict[str, NDArray[Any]] = {}
    for entry, part in zip(layout, parts[2:], strict=True):
        name, array = _array(topic, entry, part)
        arrays[name] = array
    if len(arrays) != len(layout):
        raise WireError(f"the header of {topic} names an array twice")
    return topic, header, arrays


def pack_map(values: Mapping[str, Any]) -> bytes:
    """Return a msgpack map; NumPy scalars become plain numbers."""
    try:
        packed: bytes = msgpack.packb(values, default=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(
            f"a header value cannot be sent: {error}; use numbers, text, lists and maps"
        ) from error
    if len(packed) > MAX_HEADER_BYTES:
        raise WireError(
            f"a header has at most {MAX_HEADER_BYTES} bytes, not {len(packed)}; send arrays instead"
        )
    return packed


def unpack_map(packed: bytes) -> Header:
    """Return the map in `packed`, or raise WireError."""
    if len(packed) > MAX_HEADER_BYTES:
        raise WireError(f"a header has at most {MAX_HEADER_BYTES} bytes, this one has {len(packed)}; dropped")
    try:
        values = msgpack.unpackb(packed, **_UNPACK_LIMITS)
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.exceptions.UnpackException,
    ) as error:
        raise WireError(f"a header is not msgpack within the limits ({error}); dropped") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise WireError("a header is a msgpack map with text keys, this one is not; dropped")
    if _too_deep(values, MAX_NESTING):
        raise WireError(
            f"a header has at most {MAX_NESTING} lists and maps within each other, this one has more; dropped"
        )
    return values


def _too_deep(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 1 or _too_deep(item, levels - 1) for item in inner if isinstance(item, dict | list))


def check_version(version: Any) -> tuple[int, int]:
    """Return [major, minor] when this reader understands it, or raise WireError that says which it does."""
    if (
        not isinstance(version, list | tuple)
        or len(version) != 2
        or not all(isinstance(part, int) and not isinstance(part, bool) for part in version)
    ):
        raise WireError(f"the key v must be [major, minor], came {version!r}; speak version {VERSION[0]}")
    if version[0] != VERSION[0]:
        raise WireError(
            f"protocol version {version[0]}.{version[1]} is not understood here, which speaks "
            f"{VERSION[0]}.{VERSION[1]}; use the same major version of StreamScope on both sides"
        )
    return version[0], version[1]


def _topic(part: bytes) -> str:
    try:
        topic = part.decode("ascii")
    except UnicodeDecodeError as error:
        raise WireError("the first frame is a topic in ASCII, this one is not; dropped") from error
    if not 2 <= len(topic) <= 64 or not topic.endswith("/"):
        raise WireError(f"a topic has 2 to 64 letters and ends in a slash, not {topic[:64]!r}; dropped")
    return topic


def _array(topic: str, entry: Any, part: bytes) -> tuple[str, NDArray[Any]]:
    if not isinstance(entry, list) or len(entry) != 3:
        raise WireError(f"an array of {topic} must be described as [name, dtype, shape], came {entry!r:.80}")
    name, dtype, shape = entry
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise WireError(f"an array of {topic} must have a name of 1 to 64 letters, came {name!r:.80}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WireError(
            f"array {name!r} of {topic} must have a dtype of {', '.join(DTYPES)}, came {dtype!r:.80}"
        )
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(n) is int and 0 <= n <= MAX_MESSAGE_BYTES for n in shape)
    ):
        raise WireError(f"array {name!r} of {topic} has an impossible shape {shape!r:.80}")
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if expected != len(part):
        raise WireError(
            f"array {name!r} of {topic} needs {expected} bytes for {shape}, came {len(part)}; dropped"
        )
    if not expected:
        return name, np.zeros(shape, DTYPES[dtype])
    return name, np.frombuffer(part, DTYPES[dtype]).reshape(shape)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form on the wire")
