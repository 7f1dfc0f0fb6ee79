"""Commands: read into values, refused when they make no sense, handed to whoever carries them out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.errors import WireError
from streamscope.wire.commands import Commands
from streamscope.wire.control import Control, Later, decode_reply, encode_request
from streamscope.wire.names import checked_name
from streamscope.wire.schema import COMMANDS, Arm, Disarm, Hold, Mark, Set, Stop


class Recorder:
    """Takes every command."""

    def __init__(self) -> None:
        self.got = []
        self.control = Control("sid", Commands(dict.fromkeys(COMMANDS, self.take)).verbs(), commands=COMMANDS)

    def take(self, request):
        self.got.append(request)
        return {"frame": 7}

    def ask(self, verb, **fields):
        request_id = f"{verb} {fields}"[:64]
        reply = decode_reply(
            self.control.answer(b"me", encode_request(request_id, verb, **fields)), request_id
        )
        return reply[0]


@pytest.mark.parametrize(
    ("verb", "fields", "request_"),
    [
        ("mark", {"text": "tone on"}, Mark("tone on")),
        ("arm", {"rule": "licks-1"}, Arm("licks-1")),
        (
            "arm",
            {"rule": "licks-1", "cells": {"": 42, "b": 0}, "levels": {"up": 4}, "dry": True, "text": "me"},
            Arm("licks-1", {"": 42, "b": 0}, {"up": 4.0}, dry=True, by="me"),
        ),
        ("disarm", {"emergency": True, "text": "me"}, Disarm(None, emergency=True, by="me")),
        ("disarm", {"rule": "licks-1"}, Disarm("licks-1")),
        ("disarm", {}, Disarm(None)),
        ("disarm", {"rule": ""}, Disarm(None)),
        ("freeze", {}, Hold(frozen=True)),
        ("thaw", {}, Hold(frozen=False)),
        ("set", {"values": {"led": 30, "gain": "low"}}, Set({"led": 30, "gain": "low"})),
        ("stop", {}, Stop()),
    ],
)
def test_a_command_reaches_its_handler_as_a_value(verb, fields, request_):
    session = Recorder()
    assert session.ask(verb, **fields)["frame"] == 7
    assert session.got == [request_]


@pytest.mark.parametrize(
    ("verb", "fields", "reason"),
    [
        ("mark", {}, "text of 1 to 200 letters"),
        ("mark", {"text": "x" * 201}, "text of 1 to 200 letters"),
        ("mark", {"text": "\x1b]0;owned\x07"}, "without control characters"),
        ("mark", {"text": "two\nlines"}, "on one line"),
        ("arm", {}, "arm's key rule must be a name"),
        ("arm", {"rule": "../../etc/passwd"}, "must be a name"),
        ("arm", {"rule": "all/#"}, "must be a name"),
        ("arm", {"rule": "r", "cells": 42}, "map of at most 100 signals"),
        ("arm", {"rule": "r", "cells": {"a": True}}, "map of at most 100 signals"),
        ("arm", {"rule": "r", "cells": {"a": -1}}, "map of at most 100 signals"),
        ("arm", {"rule": "r", "cells": {str(k): 1 for k in range(101)}}, "map of at most 100 signals"),
        ("arm", {"rule": "r", "cells": {"../a": 1}}, "a signal must be a name"),
        ("arm", {"rule": "r", "levels": {"up": "high"}}, "must map names to numbers"),
        ("arm", {"rule": "r", "levels": {"up": float("nan")}}, "must map names to numbers"),
        ("arm", {"rule": "r", "levels": 4}, "map of at most 100 names"),
        ("arm", {"rule": "r", "dry": "no"}, "must be true or false"),
        ("disarm", {"emergency": 1}, "must be true or false"),
        ("disarm", {"text": "\x1b[2J"}, "without control characters"),
        ("disarm", {"rule": ["r"]}, "must be a name"),
        ("set", {}, "needs the key values"),
        ("set", {"values": {"led": True}}, "must be a number or a word"),
        ("set", {"values": {"led": [1]}}, "must be a number or a word"),
        ("set", {"values": {"../led": 1}}, "must be a name"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_and_reaches_nobody(verb, fields, reason):
    session = Recorder()
    with pytest.raises(WireError, match=reason):
        session.ask(verb, **fields)
    assert session.got == []


def test_a_handler_can_come_later_and_answer_later():
    commands, later = Commands(), Later()
    control = Control("sid", commands.verbs(), commands=COMMANDS)
    with pytest.raises(WireError, match="no rules that could be armed"):
        decode_reply(control.answer(b"me", encode_request(1, "arm", rule="r")), 1)
    commands.register("arm", lambda request: later)
    sent = []
    assert control.answer(b"me", encode_request(2, "arm", rule="r"), sent.append) == []
    later.settle({"frame": 9})
    assert decode_reply(sent[0], 2)[0]["frame"] == 9
    with pytest.raises(WireError, match="'fire' is no command"):
        commands.register("fire", lambda request: {})


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@given(
    st.sampled_from(COMMANDS), st.dictionaries(st.sampled_from(["text", "rule", "cells", "values"]), _PLAIN)
)
def test_whatever_a_command_holds_it_is_carried_out_once_or_refused(verb, fields):
    session = Recorder()
    try:
        session.ask(verb, **fields)
    except WireError:
        assert session.got == []
    else:
        session.ask(verb, **fields)
        assert len(session.got) == 1


@given(st.text(max_size=70))
def test_a_name_is_neither_a_path_nor_a_wildcard(text):
    try:
        name = checked_name(text, "it")
    except WireError:
        return
    assert name.isascii()
    assert name not in (".", "..")
    assert not set(name) & set("/\\+#*? \0:")


def test_marking_prints_the_frame(running):
    result = CliRunner().invoke(app, ["mark", "tone on", "--endpoint", running.endpoint])
    assert (result.exit_code, result.output) == (0, "marked frame 41\n")
    assert running.marks == ["tone on"]


def test_stopping_asks_once(running):
    result = CliRunner().invoke(app, ["stop", running.endpoint])
    assert result.exit_code == 0
    assert "takes no further frames" in result.output
    assert running.stops == 1
