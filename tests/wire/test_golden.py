"""The bytes of version 1. If one of these changes, other people's clients break: that is a new version.

Each file in tests/golden/wire holds one message, one frame a line, in hexadecimal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamscope.types import ComponentEvent, Decision, Footprints, FrameResult, Health, Shift, Tail
from streamscope.wire.codec import decode
from streamscope.wire.commands import Commands
from streamscope.wire.control import Control, decode_reply, encode_request
from streamscope.wire.latest import pack_latest, unpack_latest
from streamscope.wire.messages import (
    decode_message,
    encode_component,
    encode_decision,
    encode_event,
    encode_image,
    encode_result,
    encode_status,
    encode_tail,
)
from streamscope.wire.schema import Arm, Disarm, Mark, Stamp, TracesMessage, TriggerMessage
from streamscope.wire.snapshot import read_snapshot, snapshot_arrays

GOLDEN = Path(__file__).parents[1] / "golden" / "wire"
MANUAL = Path(__file__).parents[2] / "docs" / "wire-protocol.md"
STAMP = Stamp("0123456789abcdef0123456789abcdef", 41, 3_000_000_000)


class Table:
    """Two components, as an epoch would hold them."""

    number, frame = 6, 120
    ids = np.array([3, 8], np.uint32)
    status = np.array([1, 0], np.uint8)
    born_at = np.array([60, 110], np.int64)
    snr = np.array([9.5, 4.25], np.float32)
    footprints = Footprints.from_columns(
        (4, 5),
        [
            (np.array([6, 7], np.int32), np.array([1.0, 1.0], np.float32)),
            (np.array([12], np.int32), np.array([0.5], np.float32)),
        ],
    )


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


DECISION = Decision(
    number=3,
    rule="reward",
    frame=41,
    time_s=2.05,
    outcome="blocked",
    reason="refractory_s",
    control="rule",
    width_ms=10.0,
    value=4.25,
    inputs=(("target", 4.25), ("motion", 0.5)),
    outputs=("laser",),
    rule_hash="0123456789abcdef",
    seed=2**63 - 1,
    t_capture_ns=1_000_000_000,
    t_decision_ns=2_000_000_000,
)


def sample_result(ids: list[int], hw: int | None = 1042) -> FrameResult:
    k = len(ids)
    given = [column(*values[:k]) for values in ((-0.5, 2.0), (0.0, 1.5), (0.0, 1.0), (0.25, 3.0), (0.0, 2.5))]
    return FrameResult(
        41,
        6,
        1_000_000_000,
        2_000_000_000,
        Shift(0.5, -1.25, 0.875),
        np.array(ids, np.uint32),
        *given,
        flags=2,
        gap=1,
        hw=hw,
    )


def snapshot_reply() -> list[bytes]:
    state = {"epoch": 6, "frame": 41, "shape": (4, 5), "next_seq": {"traces/": 42, "components/": 5}}
    control = Control(STAMP.sid, {"snapshot": lambda request: (state, snapshot_arrays(Table()))})
    return control.answer(b"client", encode_request("r1", "snapshot"))


def hold_reply() -> list[bytes]:
    control = Control(STAMP.sid, {"freeze": lambda request: ({"frame": 1200}, {})})
    return control.answer(b"client", encode_request("r1", "freeze"))


def messages() -> dict[str, list[bytes]]:
    born = ComponentEvent("born", 8, 111, y=2.0, x=2.0, snr=4.25, reason="transient")
    merged = ComponentEvent("merged", 8, 200, into=3, reason="overlap 0.9, correlation 0.95")
    health = Health("RUNNING", 41, None, 20.0, 3.5, 9.25, 1, 2, 3, 2, 1, 6, (0.5, -1.25), "detection", "")
    lagged = np.array([[0.25, 3.0], [0.5, 2.0]], np.float32)
    tail = Tail(40, np.array([3, 8], np.uint32), lagged, lagged / 2)
    refused = Control(STAMP.sid, {}).answer(b"client", encode_request("r1", "stop"))
    return {
        "traces": encode_result(STAMP, sample_result([3, 8])),
        "traces_no_cells": encode_result(STAMP, sample_result([], hw=None)),
        "component_born": encode_component(STAMP, 6, born, Table.footprints.column(1)),
        "component_merged": encode_component(STAMP, 6, merged, None),
        "event_gap": encode_event(STAMP, "gap", 41, 6, {"n": 1}),
        "event_frozen": encode_event(STAMP, "frozen", 1200, 6, {"cells": 2}),
        "event_thawed": encode_event(STAMP, "thawed", 2400, 6, {"cells": 2}),
        "event_drained": encode_tail(STAMP, 6, tail),
        "trigger": encode_decision(STAMP, 6, DECISION),
        "status": encode_status(STAMP, health),
        "image": encode_image(STAMP, 41, 6, 1_000_000_000, np.arange(6, dtype=np.uint8).reshape(2, 3)),
        "latest": [pack_latest(41, 3_000_000_000, sample_result([3, 8]))],
        "request_hello": encode_request("r1", "hello", client="golden"),
        "request_freeze": encode_request("r1", "freeze"),
        "request_thaw": encode_request("r1", "thaw"),
        "request_mark": encode_request("r2", "mark", sid=STAMP.sid, before_ns=4_000_000_000, text="tone on"),
        "request_arm": encode_request(
            "r3", "arm", sid=STAMP.sid, rule="licks", cells={"": 3}, dry=False, text="golden"
        ),
        "request_disarm": encode_request("r4", "disarm", rule=None),
        "event_mark": encode_event(STAMP, "mark", 41, 6, {"text": "tone on", "t_ns": 3_000_000_000}),
        "reply_freeze": hold_reply(),
        "reply_snapshot": snapshot_reply(),
        "reply_refused": refused,
    }


def test_golden_commands_are_read():
    got = []
    commands = Commands(dict.fromkeys(("mark", "arm", "disarm"), lambda request: got.append(request) or {}))
    control = Control(STAMP.sid, commands.verbs(), clock=lambda: 4_000_000_000)
    for name in ("mark", "arm", "disarm"):
        assert decode(control.answer(b"client", golden(f"request_{name}")))[1]["ok"]
    assert got == [Mark("tone on"), Arm("licks", {"": 3}, by="golden"), Disarm(None)]
    assert decode_message(golden("event_mark")).fields == {"text": "tone on", "t_ns": 3_000_000_000}


def golden(name: str) -> list[bytes]:
    return [bytes.fromhex(line) for line in (GOLDEN / f"{name}.hex").read_text("ascii").split("\n")[:-1]]


@pytest.mark.parametrize("name", sorted(messages()))
def test_the_bytes_of_each_message_are_those_of_version_1(name):
    assert [part.hex() for part in messages()[name]] == [part.hex() for part in golden(name)]


def test_every_golden_file_is_tested():
    assert sorted(path.stem for path in GOLDEN.glob("*.hex")) == sorted(messages())


@pytest.mark.parametrize("name", ["traces", "request_hello"])
def test_the_manual_shows_the_golden_bytes(name):
    shown = MANUAL.read_text("utf-8")
    assert "\n".join(part.hex() for part in golden(name)) in shown


def test_golden_traces_are_read():
    got = decode_message(golden("traces"))
    assert isinstance(got, TracesMessage)
    assert (got.sid, got.seq, got.frame, got.epoch, got.hw, got.gap, got.lag, got.flags) == (
        STAMP.sid,
        41,
        41,
        6,
        1042,
        1,
        2,
        2,
    )
    assert (got.t_capture_ns, got.t_result_ns, got.t_publish_ns) == (10**9, 2 * 10**9, 3 * 10**9)
    assert (got.shift, got.quality) == ((0.5, -1.25), 0.875)
    assert got.ids.tolist() == [3, 8]
    assert got.y.tolist() == [-0.5, 2.0]
    assert got.c.tolist() == [0.0, 1.5]
    assert got.s.tolist() == [0.0, 1.0]
    assert got.c_lag.tolist() == [0.25, 3.0]
    assert got.s_lag.tolist() == [0.0, 2.5]


def test_golden_traces_without_cells_are_read():
    got = decode_message(golden("traces_no_cells"))
    assert (len(got.ids), len(got.s_lag), got.hw) == (0, 0, None)


def test_golden_component_messages_are_read():
    born = decode_message(golden("component_born"))
    assert born.event == ComponentEvent("born", 8, 111, y=2.0, x=2.0, snr=4.25, reason="transient")
    assert (born.pixels.tolist(), born.weights.tolist()) == ([12], [0.5])
    merged = decode_message(golden("component_merged"))
    assert (merged.event.into, merged.pixels) == (3, None)


def test_golden_events_status_and_image_are_read():
    assert decode_message(golden("event_gap")).fields == {"n": 1}
    drained = decode_message(golden("event_drained"))
    assert drained.fields == {"first_frame": 40}
    assert drained.arrays["c_lag"].tolist() == [[0.25, 3.0], [0.5, 2.0]]
    health = decode_message(golden("status")).health
    assert (health.state, health.n_frames, health.shift_px, health.shed) == (
        "RUNNING",
        None,
        (0.5, -1.25),
        "detection",
    )
    assert decode_message(golden("image")).image.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_golden_decision_is_read():
    got = decode_message(golden("trigger"))
    assert isinstance(got, TriggerMessage)
    assert got.decision == DECISION
    assert (got.frame, got.epoch, got.t_publish_ns) == (41, 6, STAMP.t_publish_ns)


def test_golden_freezing_and_thawing_are_read():
    for name, frame in (("frozen", 1200), ("thawed", 2400)):
        event = decode_message(golden(f"event_{name}"))
        assert (event.name, event.frame, event.fields) == (name, frame, {"cells": 2})
    header, _ = decode_reply(golden("reply_freeze"), "r1")
    assert (header["verb"], header["ok"], header["frame"]) == ("freeze", True, 1200)


def test_golden_latest_record_is_read():
    got = unpack_latest(golden("latest")[0])
    assert (got.frame, got.seq, got.hw, got.shift) == (41, 41, 1042, (0.5, -1.25))
    assert got.c_lag.tolist() == [0.25, 3.0]


def test_golden_snapshot_is_read():
    snapshot = read_snapshot(*decode_reply(golden("reply_snapshot"), "r1"))
    assert (snapshot.epoch, snapshot.shape, snapshot.next_seq["traces/"]) == (6, (4, 5), 42)
    cell = snapshot.cells[3]
    assert (cell.status, cell.born_at, cell.snr, cell.y, cell.x) == ("confirmed", 60, 9.5, 1.0, 1.5)
    assert (snapshot.cells[8].status, snapshot.cells[8].pixels.tolist()) == ("provisional", [12])
