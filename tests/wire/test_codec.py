"""Bytes to messages and back; whatever comes in, nothing but WireError comes out."""

from __future__ import annotations

import dataclasses
import math
import time

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamscope.errors import WireError
from streamscope.types import ComponentEvent, FrameResult, Health, Shift, Tail
from streamscope.wire.codec import decode, encode, unpack_map
from streamscope.wire.latest import HEAD_BYTES, pack_latest, unpack_latest
from streamscope.wire.messages import (
    decode_message,
    encode_component,
    encode_event,
    encode_image,
    encode_result,
    encode_status,
    encode_tail,
)
from streamscope.wire.schema import DTYPES, TOPICS, TRACES, VERSION, Message, Stamp

few = settings(max_examples=50)
STAMP = Stamp("sid", 4, 1_000)
names = st.text("abcdefghijklmnop_", min_size=1, max_size=12)
# Letters of one to four bytes and what JSON-like formats stumble over. All of Unicode would be tabled first: 5 s.
texts = st.text('aZ0 \t\n\0"\\/é€漢😀', max_size=20)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats() | st.none() | st.booleans() | texts
values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)
)
arrays = st.dictionaries(
    names,
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda dtype: hnp.arrays(
            DTYPES[dtype], hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
        )
    ),
    max_size=4,
)
counts = st.integers(0, 2**31)
floats = st.floats(width=32)


@st.composite
def results(draw):
    k = draw(st.integers(0, 6))
    vector = hnp.arrays(np.float32, k, elements=floats)
    return FrameResult(
        index=draw(counts),
        epoch=draw(counts),
        t_capture_ns=draw(counts),
        t_result_ns=draw(counts),
        shift=Shift(draw(floats), draw(floats), draw(floats)),
        ids=draw(hnp.arrays(np.uint32, k)),
        y=draw(vector),
        c=draw(vector),
        s=draw(vector),
        c_lag=draw(vector),
        s_lag=draw(vector),
        lag=draw(st.integers(0, 10)),
        flags=draw(st.integers(0, 31)),
        gap=draw(st.integers(0, 1000)),
        hw=draw(st.none() | counts),
    )


def same(a: object, b: object) -> bool:
    """Compare plain values so that NaN equals NaN and a tuple equals a list."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def unless_refused(read, came):
    """Return what was read, or None when it was refused as it should be; other errors pass."""
    try:
        return read(came)
    except WireError:
        return None


def assert_traces(got, result: FrameResult) -> None:
    for name in ("ids", "y", "c", "s", "c_lag", "s_lag"):
        np.testing.assert_array_equal(getattr(got, name), getattr(result, name))
        assert getattr(got, name).dtype == getattr(result, name).dtype
    for name in ("epoch", "t_capture_ns", "t_result_ns", "lag", "flags", "gap", "hw"):
        assert getattr(got, name) == getattr(result, name)
    assert same(got.shift, (result.shift.dy, result.shift.dx))
    assert same(got.quality, result.shift.quality)


@few
@given(st.sampled_from(TOPICS), st.dictionaries(names, values, max_size=5), arrays)
def test_what_is_encoded_is_decoded(topic, header, given_arrays):
    header = {key: value for key, value in header.items() if key not in ("v", "arrays")}
    got_topic, got_header, got_arrays = decode(encode(topic, header, given_arrays))
    assert got_topic == topic
    assert same({key: got_header[key] for key in header}, header)
    assert got_arrays.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(got_arrays[name], array)
        assert got_arrays[name].dtype == array.dtype


@few
@given(results())
def test_a_result_survives_the_wire_bit_for_bit(result):
    got = decode_message(encode_result(STAMP, result))
    assert (got.topic, got.sid, got.seq, got.frame, got.t_publish_ns) == (
        TRACES,
        "sid",
        4,
        result.index,
        1_000,
    )
    assert_traces(got, result)


@few
@given(results())
def test_a_result_survives_the_latest_record(result):
    got = unpack_latest(pack_latest(4, 1_000, result))
    assert (got.seq, got.frame, got.t_publish_ns) == (4, result.index, 1_000)
    assert_traces(got, result)


@few
@given(
    st.builds(
        ComponentEvent,
        kind=st.sampled_from(["born", "confirmed", "merged", "retired", "rescaled"]),
        id=counts,
        frame=counts,
        into=st.none() | counts,
        factor=st.none() | floats,
        y=st.none() | floats,
        x=st.none() | floats,
        snr=st.none() | floats,
        reason=texts,
    ),
    st.none() | st.integers(0, 5),
)
def test_a_component_event_survives_the_wire(event, n):
    footprint = None if n is None else (np.arange(n, dtype=np.int32), np.ones(n, np.float32))
    got = decode_message(encode_component(STAMP, 9, event, footprint))
    assert same(dataclasses.astuple(got.event), dataclasses.astuple(event))
    assert (got.frame, got.epoch) == (event.frame, 9)
    assert (got.pixels is None) == (footprint is None)
    if footprint is not None:
        np.testing.assert_array_equal(got.pixels, footprint[0])
        assert got.pixels.dtype == np.int32


def test_events_tail_status_and_image_survive_the_wire():
    event = decode_message(encode_event(STAMP, "gap", 7, 2, {"n": 3, "near": np.arange(3)}))
    assert (event.name, event.frame, event.epoch, event.fields) == ("gap", 7, 2, {"n": 3})
    np.testing.assert_array_equal(event.arrays["near"], np.arange(3))

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    tail = decode_message(encode_tail(STAMP, 2, Tail(98, np.arange(3, dtype=np.uint32), values, values / 2)))
    assert (tail.name, tail.fields["first_frame"]) == ("drained", 98)
    np.testing.assert_array_equal(tail.arrays["s_lag"], values / 2)

    health = Health("RUNNING", 9, None, 20.0, 3.5, 9.0, 1, 0, 2, 40, 5, 6, (0.5, -1.0), "", "fine")
    assert decode_message(encode_status(STAMP, health)).health == health

    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.testing.assert_array_equal(decode_message(encode_image(STAMP, 1, 2, 3, image)).image, image)


def test_numpy_scalars_travel_as_plain_numbers():
    event = ComponentEvent("born", np.int64(5), 7, y=np.float32(2.5), snr=np.float64(4.0))
    got = decode_message(encode_component(STAMP, 1, event, None)).event
    assert (got.id, got.y, got.snr) == (5, 2.5, 4.0)


def test_unknown_keys_arrays_and_topics_are_no_error():
    parts = encode("later/", {"sid": "s", "seq": 0, "t_publish_ns": 1, "new": [1]}, {"a": np.zeros(2)})
    got = decode_message(parts)
    assert type(got) is Message
    assert (got.topic, got.frame, got.header["new"]) == ("later/", None, [1])


@few
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_random_bytes_raise_nothing_but_wire_errors(parts):
    with pytest.raises(WireError):
        decode_message(parts)


@few
@given(results(), st.data())
def test_damaged_messages_raise_nothing_but_wire_errors(result, data):
    parts = encode_result(STAMP, result)
    k = data.draw(st.integers(0, len(parts) - 1))
    damaged = bytearray(parts[k]) or bytearray(b"x")
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    parts[k] = bytes(damaged)
    message = unless_refused(decode_message, parts)
    assert message is None or message.seq >= 0


@few
@given(
    st.dictionaries(st.sampled_from(["sid", "seq", "frame", "shift", "gap", "health", "kind"]), values),
    st.data(),
)
def test_wrong_header_values_raise_nothing_but_wire_errors(header, data):
    topic = data.draw(st.sampled_from(TOPICS))
    full = {"sid": "s", "seq": 0, "frame": 0, "epoch": 0, "t_publish_ns": 0} | header
    message = unless_refused(decode_message, encode(topic, full, {}))
    assert message is None or message.topic == topic


@few
@given(st.binary(max_size=HEAD_BYTES + 200).map(lambda tail: b"latest/\x01" + tail))
def test_random_records_raise_nothing_but_wire_errors(record):
    got = unless_refused(unpack_latest, record)
    assert got is None or len(got.ids) == len(got.s_lag)


def test_lengths_that_the_bytes_do_not_hold_are_refused():
    header = {"v": VERSION, "arrays": [["a", "f4", [2**26]]]}
    with pytest.raises(WireError, match="needs 268435456 bytes"):
        decode([b"x/", msgpack.packb(header), b"1234"])


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (["a", "O", [1]], "dtype"),
        (["a", "f4", [-1]], "impossible shape"),
        (["a", "f4", [1, 1, 1, 1]], "impossible shape"),
        (["a", "f4", [True]], "impossible shape"),
        (["", "f4", [1]], "name"),
        (["a", "f4"], "described"),
        (["a", "f4", [2]], "needs 8 bytes"),
    ],
)
def test_arrays_that_are_not_what_they_say_are_refused(entry, why):
    with pytest.raises(WireError, match=why):
        decode([b"x/", msgpack.packb({"v": VERSION, "arrays": [entry]}), b"1234"])


def test_a_map_bomb_and_an_extension_are_refused():
    for packed in (b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x81" * 5000, msgpack.ExtType):
        bomb = msgpack.packb({"a": msgpack.ExtType(1, b"x")}) if packed is msgpack.ExtType else packed
        with pytest.raises(WireError, match="not msgpack within the limits"):
            unpack_map(bomb)


def test_objects_and_oversized_headers_cannot_be_sent():
    with pytest.raises(WireError, match="dtype"):
        encode("x/", {}, {"a": np.array([object()])})
    with pytest.raises(WireError, match="cannot be sent"):
        encode("x/", {"a": object()}, {})
    with pytest.raises(WireError, match="at most"):
        encode("x/", {"a": "b" * 70_000}, {})


def test_another_major_version_is_refused_and_another_minor_is_not():
    assert decode([b"x/", msgpack.packb({"v": [VERSION[0], 99], "arrays": []})])[1]["v"][1] == 99
    with pytest.raises(WireError, match=r"2\.0 is not understood"):
        decode([b"x/", msgpack.packb({"v": [2, 0], "arrays": []})])


def test_encoding_three_hundred_cells_takes_well_under_a_tenth_of_a_millisecond(result):
    sample = result(5, 300)
    best = math.inf
    for _ in range(5):
        start = time.process_time_ns()
        for _ in range(200):
            encode_result(STAMP, sample)
        best = min(best, (time.process_time_ns() - start) / 200)
    assert best < 100_000
