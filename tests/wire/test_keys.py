"""Keys on disk, the list of who is let in, and the command that writes both."""

from __future__ import annotations

import os
import stat

import pytest
import zmq.auth
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.errors import WireError
from streamscope.wire.keys import (
    Client,
    ServerKeys,
    client_keys,
    make_pair,
    read_allowed,
    read_pair,
    server_keys,
    write_allowed,
)


def keys(folder, *words):
    return CliRunner().invoke(app, ["keys", *words, "--keys", str(folder)])


def test_two_machines_are_introduced_to_each_other(tmp_path):
    rig, laptop = tmp_path / "rig", tmp_path / "laptop"
    assert keys(rig, "new").exit_code == 0
    assert keys(laptop, "new", "alice").exit_code == 0
    assert keys(rig, "allow", "alice", str(laptop / "alice.key")).output == "alice may watch\n"
    (laptop / "session.key").write_bytes((rig / "session.key").read_bytes())

    server, shown = ServerKeys(rig), client_keys(laptop)
    assert shown.server == server.pair.public
    assert server.who(shown.own.public) == "alice"
    assert not server.may_command("alice")
    assert keys(rig, "allow", "alice", "--command").output == "alice may command\n"
    assert server.may_command("alice")  # read again as it stands now
    assert f"allow  alice            {shown.own.public} command" in keys(rig, "list").output
    assert keys(rig, "revoke", "alice").exit_code == 0
    assert server.who(shown.own.public) is None
    assert not server.may_command("alice")
    assert client_keys(rig).own == server.pair  # on the rig itself: the owner
    assert server.may_command("session")


def test_key_files_are_those_of_zeromq_and_the_secret_is_for_its_owner_alone(tmp_path):
    pair = make_pair(tmp_path, "alice")
    public, secret = zmq.auth.load_certificate(tmp_path / "alice.key_secret")
    assert (public.decode(), secret.decode()) == (pair.public, pair.secret)
    assert pair.secret not in repr(pair)
    assert pair.secret not in (tmp_path / "alice.key").read_text()
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "alice.key_secret").stat().st_mode) == 0o600
        (tmp_path / "alice.key_secret").chmod(0o644)
        with pytest.raises(WireError, match=r"others can read the secret key.*chmod 600"):
            read_pair(tmp_path / "alice.key_secret")


def test_a_pair_is_never_overwritten(tmp_path):
    first = make_pair(tmp_path, "session")
    result = keys(tmp_path, "new")
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert read_pair(tmp_path / "session.key_secret") == first


@pytest.mark.parametrize("name", ["../alice", "a/b", "#", "", "x" * 65, ".hidden", "al ice"])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path, name):
    with pytest.raises(WireError, match="must be a name"):
        make_pair(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alice", "must be NAME watch|command"),
        ("alice root {key}", "must be NAME watch|command"),
        ("alice watch short", "must be NAME watch|command"),
        ("../alice watch {key}", "must be a name"),
        ("alice watch {key}\nalice command {key}", "twice"),
        ("alice watch {key}\nbob command {key}", "twice"),
        ("session command {key}", "twice"),
    ],
)
def test_a_list_that_is_half_understood_lets_nobody_in(tmp_path, line, reason):
    pair = make_pair(tmp_path, "session")
    friend = make_pair(tmp_path / "other", "friend").public
    write_allowed(tmp_path, {"friend": Client("friend", friend, command=True)})
    server = ServerKeys(tmp_path)
    assert server.who(friend) == "friend"
    with (tmp_path / "allowed.txt").open("a") as file:
        file.write(line.replace("{key}", pair.public) + "\n")
    with pytest.raises(WireError, match=reason.replace("|", r"\|")):
        read_allowed(tmp_path)
    assert server.who(friend) is None
    assert not server.may_command("friend")


def test_others_may_reach_a_session_only_with_keys_and_a_list(tmp_path, monkeypatch):
    monkeypatch.setattr("streamscope.wire.keys.default_folder", lambda: tmp_path)
    assert server_keys("127.0.0.1", None) is None
    with pytest.raises(
        WireError, match=r"cannot bind to 0\.0\.0\.0, .* CURVE keys and an allow-list.*keys new"
    ):
        server_keys("0.0.0.0", None)
    make_pair(tmp_path, "session")
    with pytest.raises(WireError, match=r"cannot bind to rig-3.*nobody is let in.*streamscope keys allow"):
        server_keys("rig-3", None)
    friend = make_pair(tmp_path / "other", "friend").public
    write_allowed(tmp_path, {"friend": Client("friend", friend, command=False)})
    found = server_keys("0.0.0.0", None)
    assert found is not None
    assert found.who(friend) == "friend"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["allow"], "needs the name of a client"),
        (["allow", "alice"], "key of alice is not known"),
        (["allow", "alice", "no/such.key"], "neither a public key of 40 letters nor a file"),
        (["allow", "session", "x"], "key of the sessions themselves"),
        (["revoke", "alice"], "is not let in, only nobody"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, words, reason):
    result = keys(tmp_path, *words)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_without_a_key_a_client_is_told_what_to_do(tmp_path):
    with pytest.raises(WireError, match=r"one secret key was expected .* streamscope keys new NAME"):
        client_keys(tmp_path)
    make_pair(tmp_path, "alice")
    with pytest.raises(WireError, match=r"copy that file from the machine where the session runs"):
        client_keys(tmp_path)
