"""The Clone pattern without sockets."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope.errors import WireError
from streamscope.types import ComponentEvent
from streamscope.wire.messages import encode_component, encode_event, encode_result
from streamscope.wire.mirror import Mirror, checked_topics
from streamscope.wire.schema import COMPONENTS, EVENT_CLOSED, TOPICS, TRACES, WELCOME, Stamp
from streamscope.wire.snapshot import centres, read_snapshot, snapshot_arrays


def snapshot(table, sid="a", **next_seq):
    header = {
        "sid": sid,
        "epoch": table.number if table else 0,
        "frame": 5,
        "shape": list(table.footprints.shape) if table else None,
        "next_seq": dict.fromkeys(TOPICS, 0) | {name + "/": n for name, n in next_seq.items()},
    }
    return read_snapshot(header, snapshot_arrays(table))


def component(seq, event, footprint=None, sid="a", epoch=2):
    return encode_component(Stamp(sid, seq, 0), epoch, event, footprint)


@pytest.fixture
def mirror(table):
    joined = Mirror((TRACES,))
    joined.take_snapshot(snapshot(table(1, [3, 8]), traces=10, components=4))
    return joined


def test_the_snapshot_holds_the_whole_table(mirror):
    assert sorted(mirror.cells) == [3, 8]
    assert (mirror.cells[8].status, mirror.cells[8].born_at, mirror.cells[8].snr) == ("confirmed", 7, 9.0)
    assert (mirror.cells[3].y, mirror.cells[3].x) == (0.0, 3.75)
    assert mirror.cells[3].pixels.tolist() == [3, 4]
    assert (mirror.sid, mirror.epoch, mirror.shape, mirror.needs_snapshot) == ("a", 1, (8, 10), False)


def test_the_snapshot_of_a_session_without_cells_is_empty():
    mirror = Mirror((TRACES,))
    mirror.take_snapshot(snapshot(None))
    assert (mirror.cells, mirror.shape) == ({}, None)


def test_what_is_older_than_the_snapshot_is_dropped(mirror, result):
    assert mirror.feed(encode_result(Stamp("a", 9, 0), result(9, [99]))) is None
    assert not mirror.needs_snapshot
    assert mirror.feed(component(3, ComponentEvent("retired", 3, 1))) is None
    assert mirror.cells[3].status == "provisional"
    assert mirror.feed(encode_result(Stamp("a", 10, 0), result(10, [3, 8]))).frame == 10


def test_events_keep_the_table_current(mirror):
    shape = np.array([40, 41], np.int32), np.array([1.0, 2.0], np.float32)
    mirror.feed(component(4, ComponentEvent("born", 9, 50, y=4.0, x=0.5, snr=5.0), shape))
    assert (mirror.cells[9].status, mirror.cells[9].born_at, mirror.cells[9].y) == ("provisional", 50, 4.0)
    assert mirror.cells[9].pixels.tolist() == [40, 41]
    mirror.feed(component(5, ComponentEvent("confirmed", 9, 60)))
    assert (mirror.cells[9].status, mirror.cells[9].snr) == ("confirmed", 5.0)
    mirror.feed(component(6, ComponentEvent("merged", 3, 70, into=8)))
    assert (mirror.cells[3].status, mirror.cells[3].into) == ("merged", 8)
    mirror.feed(component(7, ComponentEvent("retired", 8, 80), epoch=5))
    assert (mirror.cells[8].status, mirror.epoch) == ("retired", 5)
    mirror.feed(component(8, ComponentEvent("rescaled", 9, 90, factor=1.5)))
    assert mirror.cells[9].status == "confirmed"
    assert not mirror.needs_snapshot


def test_a_hole_is_counted_and_told_with_the_message(mirror, result):
    mirror.feed(encode_result(Stamp("a", 10, 0), result(10, [3])))
    assert mirror.feed(encode_result(Stamp("a", 14, 0), result(14, [3]))).missed == 3
    assert mirror.lost == {TRACES: 3}
    assert not mirror.needs_snapshot


def test_a_hole_in_components_asks_for_the_snapshot_and_keeps_what_was_retired(mirror, table):
    mirror.feed(component(6, ComponentEvent("born", 12, 90)))
    assert mirror.needs_snapshot
    mirror.take_snapshot(snapshot(table(4, [8, 12]), traces=20, components=7))
    assert {i: cell.status for i, cell in mirror.cells.items()} == {
        3: "retired",
        8: "provisional",
        12: "confirmed",
    }
    assert mirror.lost == {COMPONENTS: 2}


def test_messages_after_a_second_snapshot_are_not_dropped(mirror, table, result):
    mirror.take_snapshot(snapshot(table(4, [8]), traces=20, components=7))
    assert mirror.feed(encode_result(Stamp("a", 10, 0), result(10, [8]))).missed == 0


def test_an_id_that_cannot_be_named_asks_for_the_snapshot_once(mirror, table, result):
    mirror.feed(encode_result(Stamp("a", 10, 0), result(10, [3, 77])))
    assert mirror.needs_snapshot
    mirror.take_snapshot(snapshot(table(2, [3, 8]), traces=11, components=4))
    mirror.feed(encode_result(Stamp("a", 11, 0), result(11, [3, 77])))
    mirror.feed(encode_result(Stamp("a", 12, 0), result(12, [3, 8, 77])))
    assert not mirror.needs_snapshot


def test_without_a_snapshot_one_goes_on_but_not_into_another_session(mirror, table, result):
    mirror.feed(encode_result(Stamp("a", 10, 0), result(10, [77])))
    assert mirror.do_without_snapshot()
    assert (mirror.incomplete, mirror.needs_snapshot) == (True, False)
    mirror.feed(encode_result(Stamp("a", 11, 0), result(11, [78])))
    assert not mirror.needs_snapshot
    mirror.feed(encode_result(Stamp("b", 0, 0), result(0, [])))
    assert not mirror.do_without_snapshot()
    mirror.take_snapshot(snapshot(table(0, []), sid="b"))
    assert not mirror.incomplete


def test_another_session_at_the_same_address_begins_anew(mirror, table, result):
    assert mirror.feed(encode_result(Stamp("b", 0, 0), result(0, []))) is None
    assert mirror.needs_snapshot
    mirror.take_snapshot(snapshot(table(0, []), sid="b", traces=1))
    assert (mirror.sid, mirror.cells) == ("b", {})
    assert mirror.feed(encode_result(Stamp("b", 1, 0), result(1, []))).frame == 1


def test_the_goodbye_and_the_welcome_are_understood(mirror):
    assert mirror.feed([WELCOME]) is None
    assert not mirror.closed
    assert mirror.feed(encode_event(Stamp("a", 0, 0), EVENT_CLOSED, 9, 1, {})) is None
    assert mirror.closed


def test_the_centre_of_an_empty_footprint_is_nan_and_of_others_weighted(table):
    y, x = centres(table(1, [12, 20]).footprints)
    np.testing.assert_allclose([y, x], [[1, 2], [2.75, 0.75]])
    empty = table(1, []).footprints
    assert centres(empty)[0].shape == (0,)
    none, one = np.zeros(0, np.int32), np.ones(1, np.int32)
    columns = [(pixels, pixels.astype(np.float32)) for pixels in (none, one, none, none, one, none)]
    y, x = centres(type(empty).from_columns((2, 2), columns))
    np.testing.assert_array_equal(y, [np.nan, 0, np.nan, np.nan, 0, np.nan])
    np.testing.assert_array_equal(x, [np.nan, 1, np.nan, np.nan, 1, np.nan])


@pytest.mark.parametrize(
    "change",
    [
        {"ids": np.zeros(3, "u4")},
        {"ids": np.zeros(2, "f4")},
        {"indptr": np.array([0, 4, 2], "u4")},
        {"indptr": np.array([1, 2, 4], "u4")},
        {"indptr": np.array([0, 2, 9], "u4")},
        {"weights": np.zeros(1, "f4")},
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(table, change):
    header = {"sid": "a", "epoch": 1, "frame": 5, "shape": [8, 10], "next_seq": {}}
    with pytest.raises(WireError, match="snapshot"):
        read_snapshot(header, snapshot_arrays(table(1, [3, 8])) | change)


@pytest.mark.parametrize(
    "change",
    [
        {"sid": 3},
        {"epoch": None},
        {"frame": "x"},
        {"shape": [0, 1]},
        {"next_seq": {"a/": -1}},
        {"next_seq": 4},
    ],
)
def test_a_snapshot_with_wrong_keys_is_refused(table, change):
    header = {"sid": "a", "epoch": 1, "frame": 5, "shape": [8, 10], "next_seq": {}}
    with pytest.raises(WireError, match="snapshot"):
        read_snapshot(header | change, snapshot_arrays(table(1, [3, 8])))


def test_a_topic_without_its_slash_is_refused():
    assert checked_topics("traces/") == ("traces/",)
    with pytest.raises(WireError, match="must end in a slash"):
        checked_topics(["traces/", "events"])
