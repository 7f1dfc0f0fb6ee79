"""`streamscope keys`: make keys, and say who is let in beyond this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streamscope.errors import ConfigError
from streamscope.wire.keys import (
    ALLOWED,
    COMMAND,
    SESSION,
    WATCH,
    Client,
    checked_public,
    default_folder,
    make_pair,
    read_allowed,
    read_public,
    write_allowed,
)
from streamscope.wire.names import checked_name


class Action(StrEnum):
    """What to do."""

    NEW = "new"
    ALLOW = "allow"
    REVOKE = "revoke"
    LIST = "list"


def keys(
    action: Annotated[Action, typer.Argument(help="what to do")],
    name: Annotated[
        str | None,
        typer.Argument(help="whose key; new without a name: that of this machine's sessions"),
    ] = None,
    key: Annotated[
        str | None, typer.Argument(help="allow: NAME.key, the file that the client sent, or its 40 letters")
    ] = None,
    command: Annotated[
        bool,
        typer.Option("--command", help="allow: may also arm, freeze, set, mark and stop, not only watch"),
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--keys", help="Folder of keys.", show_default="~/.streamscope/keys")
    ] = None,
) -> None:
    """Make keys and say who is let in, for sessions that other machines can reach.

    Where the session runs: keys new; keys allow alice alice.key; then replay or live with --bind 0.0.0.0:5570.
    Where alice sits: keys new alice; she sends alice.key, and gets session.key into the same folder.

    Example: streamscope keys allow alice alice.key --command
    """
    where = folder or default_folder()
    if action is Action.NEW:
        _new(where, name or SESSION)
    elif action is Action.LIST:
        _list(where)
    elif name is None:
        raise ConfigError(
            f"{action.value} needs the name of a client, e.g. streamscope keys {action.value} alice"
        )
    elif action is Action.ALLOW:
        _allow(where, checked_name(name, "a client"), key, command)
    else:
        _revoke(where, name)


def _new(where: Path, name: str) -> None:
    pair = make_pair(where, name)
    typer.echo(f"public key {pair.public} in {where / name}.key: give it away")
    typer.echo(f"secret key in {where / name}.key_secret: keep it")


def _allow(where: Path, name: str, key: str | None, command: bool) -> None:
    if name == SESSION:
        raise ConfigError(f"{SESSION} is the key of the sessions themselves, which may do everything")
    clients = read_allowed(where)
    known = clients.get(name)
    if key is None and known is None:
        raise ConfigError(
            f"the key of {name} is not known; give it: streamscope keys allow {name} {name}.key"
        )
    public = known.public if key is None and known is not None else checked_public(str(key))
    other = next((c.name for c in clients.values() if c.public == public and c.name != name), None)
    if other is not None:
        raise ConfigError(f"this key is let in already, as {other}; a key has one name")
    write_allowed(where, clients | {name: Client(name, public, command)})
    typer.echo(f"{name} may {COMMAND if command else WATCH}")


def _revoke(where: Path, name: str) -> None:
    clients = read_allowed(where)
    if name not in clients:
        raise ConfigError(
            f"{name} is not let in, only {', '.join(clients) or 'nobody'}; see: streamscope keys list"
        )
    write_allowed(where, {other: client for other, client in clients.items() if other != name})
    typer.echo(
        f"{name} can command nothing from now on, and no longer connect; who watches does so until the session ends"
    )


def _list(where: Path) -> None:
    for path in sorted(where.glob("*.key")):
        kept = " (with its secret)" if path.with_suffix(".key_secret").exists() else ""
        typer.echo(f"key    {path.stem:16s} {read_public(path)}{kept}")
    clients = read_allowed(where)
    for client in clients.values():
        typer.echo(f"allow  {client.name:16s} {client.public} {COMMAND if client.command else WATCH}")
    if not clients:
        typer.echo(f"allow  nobody: {where / ALLOWED} is empty or not there")
