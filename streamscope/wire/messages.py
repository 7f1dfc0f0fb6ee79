"""Each topic's message to frames and back, on top of the codec. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import WireError
from streamscope.types import ComponentEvent, Decision, FloatArray, FrameResult, Health, IntArray, Tail
from streamscope.wire.codec import Arrays, Header, decode, encode
from streamscope.wire.schema import (
    COMPONENTS,
    EVENT_DRAINED,
    EVENTS,
    IMAGE,
    SHAPE_ARRAYS,
    STATUS,
    TRACE_ARRAYS,
    TRACES,
    TRIGGERS,
    ComponentMessage,
    EventMessage,
    ImageMessage,
    Message,
    Stamp,
    StatusMessage,
    TracesMessage,
    TriggerMessage,
)


def encode_result(stamp: Stamp, result: FrameResult) -> list[bytes]:
    """Return the traces/ message of a frame."""
    header = {
        "sid": stamp.sid,
        "seq": stamp.seq,
        "frame": int(result.index),
        "hw": result.hw,
        "gap": int(result.gap),
        "t_capture_ns": int(result.t_capture_ns),
        "t_result_ns": int(result.t_result_ns),
        "t_publish_ns": stamp.t_publish_ns,
        "epoch": int(result.epoch),
        "shift": [float(result.shift.dy), float(result.shift.dx)],
        "quality": float(result.shift.quality),
        "lag": int(result.lag),
        "flags": int(result.flags),
    }
    arrays = {name: np.asarray(getattr(result, name), dtype) for name, dtype in TRACE_ARRAYS}
    return encode(TRACES, header, arrays)


def encode_component(
    stamp: Stamp, epoch: int, event: ComponentEvent, footprint: tuple[IntArray, FloatArray] | None
) -> list[bytes]:
    """Return the components/ message of one event, with (pixels, weights) when the shape is given."""
    header = _header(stamp, frame=int(event.frame), epoch=epoch)
    for name in ("kind", "id", "into", "factor", "y", "x", "snr", "reason"):
        header[name] = getattr(event, name)
    arrays: dict[str, NDArray[Any]] = {}
    if footprint is not None:
        arrays = {
            name: np.asarray(part, dtype) for (name, dtype), part in zip(SHAPE_ARRAYS, footprint, strict=True)
        }
    return encode(COMPONENTS, header, arrays)


def encode_event(
    stamp: Stamp, name: str, frame: int | None, epoch: int | None, fields: Mapping[str, Any]
) -> list[bytes]:
    """Return the events/ message `name`; fields that are arrays travel as buffers."""
    arrays = {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in fields.items() if key not in arrays}
    header = _header(stamp, frame=frame, epoch=epoch)
    return encode(EVENTS, header | {"name": name, "fields": plain}, arrays)


def encode_tail(stamp: Stamp, epoch: int | None, tail: Tail) -> list[bytes]:
    """Return the events/ message `drained`: the delayed values of frames first_frame, first_frame + 1, ..."""
    fields = {
        "first_frame": int(tail.first_frame),
        "ids": np.asarray(tail.ids, "u4"),
        "c_lag": np.asarray(tail.c_lag, "f4"),
        "s_lag": np.asarray(tail.s_lag, "f4"),
    }
    return encode_event(stamp, EVENT_DRAINED, int(tail.first_frame), epoch, fields)


def encode_decision(stamp: Stamp, epoch: int, decision: Decision) -> list[bytes]:
    """Return the triggers/ message of a decision."""
    fields = decision.fields()
    header = _header(stamp, frame=fields.pop("frame"), epoch=epoch, t_capture_ns=fields.pop("t_capture_ns"))
    return encode(TRIGGERS, header | fields, {})


def encode_status(stamp: Stamp, health: Health) -> list[bytes]:
    """Return the status/ message."""
    header = _header(stamp, frame=int(health.frame), epoch=int(health.epoch))
    return encode(STATUS, header | {"health": dataclasses.asdict(health)}, {})


def encode_image(
    stamp: Stamp, frame: int, epoch: int | None, t_capture_ns: int, image: NDArray[np.uint8]
) -> list[bytes]:
    """Return the image/ message of a picture, (H, W) uint8."""
    header = _header(stamp, frame=frame, epoch=epoch, t_capture_ns=t_capture_ns)
    return encode(IMAGE, header, {"image": np.asarray(image, "u1")})


def decode_message(parts: Sequence[bytes]) -> Message:
    """Return the message in `parts`, of the class of its topic.

    Raises
    ------
    WireError
        If a frame is not what the protocol says. Unknown keys, arrays and topics are no error.
    """
    topic, header, arrays = decode(parts)
    common = {
        "topic": topic,
        "sid": _get(header, "sid", str),
        "seq": _count(header, "seq"),
        "frame": _get(header, "frame", int, type(None)),
        "epoch": _get(header, "epoch", int, type(None)),
        "t_publish_ns": _get(header, "t_publish_ns", int),
        "header": header,
        "arrays": arrays,
    }
    return _BUILDERS.get(topic, _plain_message)(common, header, arrays)


def _plain_message(common: Header, header: Header, arrays: Arrays) -> Message:
    return Message(**common)


def _traces(common: Header, header: Header, arrays: Arrays) -> TracesMessage:
    _count(header, "frame")
    given: dict[str, Any] = {name: _vector(TRACES, arrays, name, dtype) for name, dtype in TRACE_ARRAYS}
    if len({len(array) for array in given.values()}) != 1:
        raise WireError(f"the arrays of a {TRACES} message have different lengths; dropped")
    return TracesMessage(
        **common,
        t_capture_ns=_get(header, "t_capture_ns", int),
        t_result_ns=_get(header, "t_result_ns", int),
        hw=_get(header, "hw", int, type(None)),
        gap=_count(header, "gap"),
        shift=_pair(header, "shift"),
        quality=_number(header, "quality"),
        lag=_count(header, "lag"),
        flags=_count(header, "flags"),
        **given,
    )


def _component(common: Header, header: Header, arrays: Arrays) -> ComponentMessage:
    event = ComponentEvent(
        kind=_get(header, "kind", str),
        id=_count(header, "id"),
        frame=_get(header, "frame", int),
        into=_get(header, "into", int, type(None)),
        factor=_maybe_number(header, "factor"),
        y=_maybe_number(header, "y"),
        x=_maybe_number(header, "x"),
        snr=_maybe_number(header, "snr"),
        reason=_get(header, "reason", str),
    )
    if "pixels" not in arrays and "weights" not in arrays:
        return ComponentMessage(**common, event=event)
    pixels, weights = (_vector(COMPONENTS, arrays, name, dtype) for name, dtype in SHAPE_ARRAYS)
    if len(pixels) != len(weights):
        raise WireError(f"a footprint has {len(pixels)} pixels and {len(weights)} weights; dropped")
    return ComponentMessage(**common, event=event, pixels=pixels.view(np.int32), weights=weights)


def _event(common: Header, header: Header, arrays: Arrays) -> EventMessage:
    return EventMessage(**common, name=_get(header, "name", str), fields=_get(header, "fields", dict))


def _decision(common: Header, header: Header, arrays: Arrays) -> TriggerMessage:
    inputs, outputs = _get(header, "inputs", dict), _get(header, "outputs", list)
    if not all(isinstance(name, str) for name in (*inputs, *outputs)):
        raise WireError("the inputs and outputs of a decision have names; dropped")
    values: dict[str, Any] = {name: read(header, name) for name, read in _DECISION.items()}
    named = tuple((name, _number(inputs, name)) for name in inputs)
    return TriggerMessage(**common, decision=Decision(inputs=named, outputs=tuple(outputs), **values))


def _status(common: Header, header: Header, arrays: Arrays) -> StatusMessage:
    health = _get(header, "health", dict)
    values = {name: reader(health, name) for name, reader in _HEALTH.items()}
    return StatusMessage(**common, health=Health(**values))


def _image(common: Header, header: Header, arrays: Arrays) -> ImageMessage:
    image = arrays.get("image")
    if image is None or image.dtype != np.uint8 or image.ndim != 2:
        raise WireError(f"an {IMAGE} message carries image, (H, W) u1; this one does not, dropped")
    return ImageMessage(**common, image=image)


def _header(stamp: Stamp, *, frame: int | None, epoch: int | None, t_capture_ns: int | None = None) -> Header:
    header: Header = dict.fromkeys(_COMMON_KEYS)
    header.update(sid=stamp.sid, seq=stamp.seq, frame=frame, t_capture_ns=t_capture_ns)
    header.update(t_publish_ns=stamp.t_publish_ns, epoch=epoch)
    return header


def _get(values: Mapping[str, Any], key: str, *kinds: type) -> Any:
    value = values.get(key)
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = " or ".join("nil" if kind is type(None) else kind.__name__ for kind in kinds)
        raise WireError(f"the key {key} must be {wanted}, came {value!r:.80}; dropped")
    return value


def _text(values: Mapping[str, Any], key: str) -> str:
    return str(_get(values, key, str))


def _integer(values: Mapping[str, Any], key: str) -> int:
    return int(_get(values, key, int))


def _count(values: Mapping[str, Any], key: str) -> int:
    value = _integer(values, key)
    if value < 0:
        raise WireError(f"the key {key} must be 0 or more, came {value}; dropped")
    return value


def _maybe_count(values: Mapping[str, Any], key: str) -> int | None:
    return None if values.get(key) is None else _count(values, key)


def _number(values: Mapping[str, Any], key: str) -> float:
    return float(_get(values, key, float, int))


def _maybe_number(values: Mapping[str, Any], key: str) -> float | None:
    return None if values.get(key) is None else _number(values, key)


def _pair(values: Mapping[str, Any], key: str) -> tuple[float, float]:
    value = values.get(key)
    if not isinstance(value, list) or len(value) != 2:
        raise WireError(f"the key {key} must be two numbers, came {value!r:.80}; dropped")
    pair = {"0": value[0], "1": value[1]}
    return _number(pair, "0"), _number(pair, "1")


def _vector(topic: str, arrays: Arrays, name: str, dtype: str) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.str[1:] != dtype:
        raise WireError(f"a {topic} message needs the array {name}, one dimension of {dtype}; dropped")
    return array


_COMMON_KEYS = (
    "sid",
    "seq",
    "frame",
    "hw",
    "gap",
    "t_capture_ns",
    "t_result_ns",
    "t_publish_ns",
    "epoch",
    "shift",
    "quality",
    "lag",
    "flags",
)
_DECISION: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    **dict.fromkeys(("number", "frame", "seed", "t_capture_ns", "t_decision_ns"), _count),
    **dict.fromkeys(("time_s", "width_ms", "value"), _number),
    **dict.fromkeys(("rule", "outcome", "reason", "control", "rule_hash"), _text),
}
_BUILDERS: Mapping[str, Callable[[Header, Header, Arrays], Message]] = {
    TRACES: _traces,
    COMPONENTS: _component,
    EVENTS: _event,
    TRIGGERS: _decision,
    STATUS: _status,
    IMAGE: _image,
}
_HEALTH: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "state": _text,
    "frame": _integer,
    "n_frames": _maybe_count,
    "fps": _number,
    "age_p50_ms": _number,
    "age_p99_ms": _number,
    "queue": _count,
    "lost": _count,
    "late": _count,
    "cells": _count,
    "provisional": _count,
    "epoch": _count,
    "shift_px": _pair,
    "shed": _text,
    "message": _text,
}
