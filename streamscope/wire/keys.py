"""Keys on disk: pairs of CURVE keys, and the list of those who are let in.

A folder holds ``NAME.key`` (public, to be given away), ``NAME.key_secret`` (both halves, to be kept), in the
format of ZeroMQ's certificates, and ``allowed.txt``, one client a line: name, ``watch`` or ``command``, public
key. The pair ``session`` is that of the sessions of this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from streamscope.errors import WireError
from streamscope.wire.endpoints import is_loopback
from streamscope.wire.names import checked_name

SESSION = "session"  # name of the pair of this machine's sessions
ALLOWED = "allowed.txt"
WATCH, COMMAND = "watch", "command"
MAX_CLIENTS = 1000
_MAX_FILE_BYTES = 2**20
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def default_folder() -> Path:
    """Return where keys are if nobody says otherwise."""
    return Path.home() / ".streamscope" / "keys"


@dataclass(frozen=True, slots=True)
class Pair:
    """A public key and its secret half, in Z85."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """Who is let in."""

    name: str
    public: str
    command: bool  # or may only watch


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client shows, and whom it expects."""

    own: Pair
    server: str  # public key of the session

    def lock(self, socket: zmq.Socket[Any]) -> None:
        """Have a socket show the key and expect that of the session; before it connects."""
        socket.curve_publickey = self.own.public.encode("ascii")
        socket.curve_secretkey = self.own.secret.encode("ascii")
        socket.curve_serverkey = self.server.encode("ascii")


class ServerKeys:
    """The pair of this machine's sessions and who is let in; what changes on disk holds at once.

    Raises
    ------
    WireError
        If there is no pair, or nobody is let in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / f"{SESSION}.key_secret").is_file():
            raise WireError(f"there are no keys in {folder}; make them: streamscope keys new")
        self.pair = read_pair(folder / f"{SESSION}.key_secret")
        self._stamp: tuple[int, int] | None = None
        self._clients: Mapping[str, Client] = {}
        if not self._current():
            raise WireError(
                f"nobody is let in by {folder / ALLOWED}; name somebody: streamscope keys allow NAME NAME.key"
            )

    def who(self, public: str) -> str | None:
        """Return the name of a public key, None if it is not let in."""
        if public == self.pair.public:
            return SESSION
        return next((c.name for c in self._current().values() if c.public == public), None)

    def may_command(self, name: str) -> bool:
        """Return whether the key of this name may command."""
        client = self._current().get(name)
        return name == SESSION or (client is not None and client.command)

    def _current(self) -> Mapping[str, Client]:
        """Return who is let in now; nobody, when the list cannot be read."""
        try:
            status = (self.folder / ALLOWED).stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._clients = read_allowed(self.folder)
                self._stamp = stamp
        except (OSError, WireError):
            self._clients, self._stamp = {}, None
        return self._clients


def server_keys(host: str, folder: Path | None) -> ServerKeys | None:
    """Return the keys with which a session is heard at `host`; None: without, which only this machine may.

    Raises
    ------
    WireError
        If others can reach the host and there are no keys.
    """
    if folder is None and is_loopback(host):
        return None
    try:
        return ServerKeys(folder or default_folder())
    except WireError as error:
        if is_loopback(host):
            raise
        raise WireError(
            f"cannot bind to {host}, which other machines can reach, without CURVE keys and an allow-list: {error}"
        ) from error


def make_pair(folder: Path, name: str) -> Pair:
    """Make a new pair and write its two files; what is there already is not overwritten.

    Raises
    ------
    WireError
        If the name is impossible, or taken, or the folder cannot be written.
    """
    checked_name(name, "a key")
    public, secret = (key.decode("ascii") for key in zmq.curve_keypair())
    files = {
        f"{name}.key_secret": (0o600, f'    public-key = "{public}"\n    secret-key = "{secret}"\n'),
        f"{name}.key": (0o644, f'    public-key = "{public}"\n'),
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, (mode, lines) in files.items():
            text = f'#   StreamScope, key {name}\nmetadata\n    name = "{name}"\ncurve\n{lines}'
            handle = os.open(folder / file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            with open(handle, "w", encoding="ascii", newline="\n") as written:
                written.write(text)
    except FileExistsError as error:
        raise WireError(
            f"{folder / file} is there already, and whoever knows this key would be lost; "
            "choose another name, or remove it yourself"
        ) from error
    except OSError as error:
        raise WireError(
            f"no key can be written to {folder} ({error.strerror}); choose another --keys"
        ) from error
    return Pair(public, secret)


def read_pair(path: Path) -> Pair:
    """Return the pair in a .key_secret file, or raise WireError; it must be readable by its owner alone."""
    text = _text(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise WireError(f"others can read the secret key {path}; let only its owner: chmod 600 {path}")
    return Pair(_key_in(text, "public-key", path), _key_in(text, "secret-key", path))


def read_public(path: Path) -> str:
    """Return the public key in a .key file, or raise WireError."""
    return _key_in(_text(path), "public-key", path)


def checked_public(text: str) -> str:
    """Return a public key, given as its 40 letters or as a .key file."""
    if _Z85.fullmatch(text):
        return text
    path = Path(text)
    if not path.is_file():
        raise WireError(
            f"{text!r:.80} is neither a public key of 40 letters nor a file that holds one, e.g. alice.key"
        )
    return read_public(path)


def read_allowed(folder: Path) -> dict[str, Client]:
    """Return who is let in, by name; nobody when there is no list.

    Raises
    ------
    WireError
        If a line of the list is wrong: a list that is half understood lets nobody in.
    """
    path = folder / ALLOWED
    if not path.exists():
        return {}
    clients: dict[str, Client] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("# "):
            continue
        parts = line.split()
        if len(parts) != 3 or parts[1] not in (WATCH, COMMAND) or not _Z85.fullmatch(parts[2]):
            raise WireError(
                f"line {number} of {path} must be NAME watch|command PUBLIC-KEY; correct it, or use "
                "streamscope keys allow"
            )
        name = checked_name(parts[0], f"line {number} of {path}")
        if name in clients or name == SESSION or parts[2] in {client.public for client in clients.values()}:
            raise WireError(f"line {number} of {path} names a client or a key twice; remove one of them")
        clients[name] = Client(name, parts[2], parts[1] == COMMAND)
    return clients


def write_allowed(folder: Path, clients: Mapping[str, Client]) -> None:
    """Write who is let in; sessions that run see it at once.

    Raises
    ------
    WireError
        If it cannot be written; the list stays as it was.
    """
    if len(clients) > MAX_CLIENTS:
        raise WireError(f"at most {MAX_CLIENTS} clients are let in, not {len(clients)}; remove some")
    lines = [
        f"{client.name} {COMMAND if client.command else WATCH} {client.public}\n"
        for client in clients.values()
    ]
    aside = folder / f"{ALLOWED}.new"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.write_text("# name, what it may, public key\n" + "".join(lines), "ascii")
        os.replace(aside, folder / ALLOWED)
    except OSError as error:
        raise WireError(f"{folder / ALLOWED} cannot be written ({error.strerror})") from error


def keys_to_show(host: str, where: Path | None) -> ClientKeys | None:
    """Return what a client shows to a session at `host`; None: no keys, as on this machine unless they are given."""
    if where is None and is_loopback(host):
        return None
    return client_keys(where or default_folder())


def client_keys(where: Path) -> ClientKeys:
    """Return what a client shows, from a folder with ``session.key`` and one secret key, or from a .key_secret file.

    In a folder with several, that of the sessions is shown if it is there: on the machine that runs them.

    Raises
    ------
    WireError
        If there is none, or more than one.
    """
    folder, secret = where, where / f"{SESSION}.key_secret"
    if where.name.endswith(".key_secret"):
        folder, secret = where.parent, where
    elif not secret.is_file():
        found = sorted(where.glob("*.key_secret"))
        if len(found) != 1:
            there = ", ".join(path.name for path in found) or "none"
            raise WireError(
                f"one secret key was expected in {where}, it holds {there}; make one with streamscope keys new NAME, "
                "or name the file: --keys FOLDER/NAME.key_secret"
            )
        secret = found[0]
    server = folder / f"{SESSION}.key"
    if not server.is_file():
        raise WireError(
            f"there is no {server}; copy that file from the machine where the session runs, it says whom to trust"
        )
    return ClientKeys(read_pair(secret), read_public(server))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise WireError(f"{path} is too large to hold keys; is it the right file?")
        return path.read_text("ascii")
    except OSError as error:
        raise WireError(f"{path} cannot be read ({error.strerror}); is it there, and yours?") from error
    except UnicodeDecodeError as error:
        raise WireError(f"{path} holds no keys; is it the right file?") from error


def _key_in(text: str, name: str, path: Path) -> str:
    found = re.search(rf'^\s*{name}\s*=\s*"(.*)"\s*$', text, re.MULTILINE)
    if found is None or not _Z85.fullmatch(found.group(1)):
        raise WireError(f"{path} holds no {name}; make a new one: streamscope keys new NAME")
    return found.group(1)
