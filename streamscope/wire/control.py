"""Requests and replies of the control socket. Sans-IO: frames in, frames out.

A request is ``[request/][header]`` with `v`, `id`, `verb`; the reply ``[reply/][header][buffer]...`` with
the same `id` and `verb`, `ok`, and a `reason` when it is not. A request that is sent again with its id gets
the reply that it got before and is not carried out twice, so a client may repeat what it heard no answer to.

A request may also say for which session it is meant (`sid`) and until when (`before_ns`, the session's monotonic
clock): what lay in a queue for too long, or reaches the session after the one it was sent to, has no effect.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from streamscope.clock import clock_ns
from streamscope.errors import WireError
from streamscope.wire.codec import Arrays, Header, check_version, decode, encode, pack_map, unpack_map
from streamscope.wire.schema import MAX_REQUEST_BYTES, REPLY, REQUEST, VERSION


class Later:
    """The reply to a request that cannot be answered at once; whoever holds it settles it, once."""

    def __init__(self) -> None:
        self._told: Callable[[Mapping[str, Any] | WireError], None] | None = None
        self._outcome: Mapping[str, Any] | WireError | None = None

    def settle(self, outcome: Mapping[str, Any] | WireError) -> None:
        """Answer with these keys, or refuse with this error."""
        self._outcome = outcome
        if self._told is not None:
            self._told(outcome)

    def when_settled(self, told: Callable[[Mapping[str, Any] | WireError], None]) -> None:
        """Call `told` with the outcome, now or later."""
        self._told = told
        if self._outcome is not None:
            told(self._outcome)


Handler: TypeAlias = Callable[[Header], tuple[Mapping[str, Any], Arrays] | Later]
Send: TypeAlias = Callable[[list[bytes]], None]
_Key: TypeAlias = tuple[str, bytes, int | str]  # user, routing id, id

_REMEMBERED_BYTES = 32 * 2**20


class Memory:
    """The newest replies, by the request that they answer.

    Parameters
    ----------
    most : int
        Replies that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._replies: OrderedDict[_Key, tuple[str, list[bytes]]] = OrderedDict()
        self._bytes = 0

    def get(self, key: _Key) -> tuple[str, list[bytes]] | None:
        """Return verb and frames of a reply, None if it is not known (any more)."""
        return self._replies.get(key)

    def keep(self, key: _Key, verb: str, reply: list[bytes]) -> None:
        """Keep a reply; the oldest are forgotten for it."""
        self._replies[key] = (verb, reply)
        self._bytes += sum(map(len, reply))
        while len(self._replies) > self._most or (self._bytes > _REMEMBERED_BYTES and len(self._replies) > 1):
            _, (_, oldest) = self._replies.popitem(last=False)
            self._bytes -= sum(map(len, oldest))


class Control:
    """Answers requests with the given verbs; whatever comes in, it answers and goes on.

    Parameters
    ----------
    sid : str
        The session, named in every reply.
    verbs : mapping of str to callable
        Each takes the request's header and returns keys and arrays of the reply, or `Later`, or raises
        WireError.
    commands : collection of str
        The verbs among them that need the right to command. Their replies are remembered for longer.
    may_command : callable, optional
        Says of a user, the name of the key that it showed, whether it has that right. None: everyone has.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(
        self,
        sid: str,
        verbs: Mapping[str, Handler],
        *,
        commands: Collection[str] = (),
        may_command: Callable[[str], bool] | None = None,
        clock: Callable[[], int] = clock_ns,
    ) -> None:
        self._sid = sid
        self._verbs = verbs
        self._commands = frozenset(commands)
        self._may_command = may_command
        self._clock = clock
        self._told = Memory(256)
        self._done = Memory(16_384)  # apart, so that many questions do not make a command be forgotten
        self._under_way: dict[_Key, str] = {}  # verbs of the requests whose reply comes later
        self.malformed = 0  # requests that could not be read

    def answer(
        self, client: bytes, parts: Sequence[bytes], send: Send | None = None, user: str = ""
    ) -> list[bytes]:
        """Return the frames of the reply to the request in `parts` of `client`, its routing id.

        No frames when the reply comes later: then `send` is called with them once, unless it is None.
        `user` is the name of the key that the client showed, if keys are asked for.
        """
        try:
            header, request_id, verb = _read_request(parts)
        except WireError as error:
            self.malformed += 1
            return self._refusal(None, "", str(error))
        key = (user, client, request_id)
        known = self._done.get(key) or self._told.get(key)
        before, reply = known or (self._under_way.get(key), [])
        if before is None:
            return self._begin(key, header, verb, send)
        if before != verb:
            return self._refusal(
                request_id, verb, f"id {request_id!r} was used for {before}; give each request a new id"
            )
        return reply

    def _begin(self, key: _Key, header: Header, verb: str, send: Send | None) -> list[bytes]:
        try:
            self._check(header, verb, key[0])
            outcome = self._verbs[verb](header)
        except WireError as error:
            return self._end(key, verb, error)
        if not isinstance(outcome, Later):
            return self._end(key, verb, *outcome)
        self._under_way[key] = verb

        def end(values: Mapping[str, Any] | WireError) -> None:
            reply = self._end(key, verb, values)
            if send is not None:
                send(reply)

        outcome.when_settled(end)
        return []

    def _check(self, header: Header, verb: str, user: str) -> None:
        """Refuse what this session does not understand, and what it may not or need not do for this client."""
        check_version(header.get("v"))
        if verb not in self._verbs:
            raise WireError(f"verb {verb!r:.40} is not known; known are {', '.join(self._verbs)}")
        if verb in self._commands and self._may_command is not None and not self._may_command(user):
            raise WireError(
                f"the key {user!r} may watch, not command; where the session runs: "
                f"streamscope keys allow {user} --command"
            )
        sid, before_ns = header.get("sid"), header.get("before_ns")
        if sid is not None and sid != self._sid:
            raise WireError(f"it was meant for session {sid!r:.80}, this is {self._sid}; say hello again")
        if before_ns is not None:
            if type(before_ns) is not int:
                raise WireError(f"the key before_ns must be a time in ns, came {before_ns!r:.80}")
            if self._clock() > before_ns:
                late_ms = (self._clock() - before_ns) / 1e6
                raise WireError(f"it came {late_ms:.0f} ms too late; send it again if it is still wanted")

    def _end(
        self, key: _Key, verb: str, outcome: Mapping[str, Any] | WireError, arrays: Arrays | None = None
    ) -> list[bytes]:
        """Return the reply to a request, and remember it."""
        try:
            if isinstance(outcome, WireError):
                raise outcome
            head = self._head(key[2], verb) | {"ok": True, "reason": None, **outcome}
            reply = encode(REPLY, head, arrays or {})
        except WireError as error:
            reply = self._refusal(key[2], verb, str(error))
        self._under_way.pop(key, None)
        (self._done if verb in self._commands else self._told).keep(key, verb, reply)
        return reply

    def _refusal(self, request_id: int | str | None, verb: str, reason: str) -> list[bytes]:
        return encode(REPLY, self._head(request_id, verb[:64]) | {"ok": False, "reason": reason[:1000]}, {})

    def _head(self, request_id: int | str | None, verb: str) -> Header:
        return {"sid": self._sid, "id": request_id, "verb": verb}


def encode_request(request_id: int | str, verb: str, **fields: Any) -> list[bytes]:
    """Return the frames of a request."""
    return [REQUEST.encode(), pack_map({"v": VERSION, "id": request_id, "verb": verb, **fields})]


def decode_reply(parts: Sequence[bytes], request_id: int | str) -> tuple[Header, Mapping[str, Any]] | None:
    """Return header and arrays of the reply to `request_id`, or None when it answers another request.

    Raises
    ------
    WireError
        If the frames are no reply, or the request was refused: then with the reason that was given.
    """
    topic, header, arrays = decode(parts)
    if topic != REPLY:
        raise WireError(f"expected a reply/ on the control socket, came {topic}")
    if header.get("id") != request_id:
        return None
    if header.get("ok") is not True:
        raise WireError(f"the session refused {header.get('verb')!r:.40}: {header.get('reason')!s:.1000}")
    return header, arrays


def _read_request(parts: Sequence[bytes]) -> tuple[Header, int | str, str]:
    if len(parts) != 2 or parts[0] != REQUEST.encode() or len(parts[1]) > MAX_REQUEST_BYTES:
        raise WireError(f"a request is two frames, {REQUEST} and a msgpack map; came {len(parts)} frames")
    header = unpack_map(parts[1])
    request_id, verb = header.get("id"), header.get("verb")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str) or len(str(request_id)) > 64:
        raise WireError("a request needs the key id, a number or a text of at most 64 letters")
    if not isinstance(verb, str):
        raise WireError("a request needs the key verb, a text, e.g. hello")
    return header, request_id, verb
