"""What clients may ask a session to do: each request read once into a value, and who carries it out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from streamscope.errors import WireError
from streamscope.wire.codec import Arrays, Header
from streamscope.wire.control import Handler, Later
from streamscope.wire.names import checked_name, checked_text
from streamscope.wire.schema import (
    COMMANDS,
    MAX_CELLS,
    MAX_MARK,
    Arm,
    Command,
    Disarm,
    Hold,
    Mark,
    Set,
    Stop,
)

CommandHandler: TypeAlias = Callable[[Any], Mapping[str, Any] | Later]


class Commands:
    """The registry of those who carry out commands: one handler for each verb.

    A handler is called in the loop's thread with the request as a value of `wire.schema` (`arm` with an `Arm`, and so
    on). It returns the keys of the reply, or `Later` when they are not known yet, or raises WireError to refuse.
    A verb without a handler is refused with the reason.

    Parameters
    ----------
    handlers : mapping of str to callable, optional
        Those that are known from the beginning.
    """

    def __init__(self, handlers: Mapping[str, CommandHandler] | None = None) -> None:
        self._handlers: dict[str, CommandHandler] = {}
        for verb, handler in (handlers or {}).items():
            self.register(verb, handler)

    def register(self, verb: str, handler: CommandHandler) -> None:
        """Have `handler` carry out `verb` from now on."""
        if verb not in COMMANDS:
            raise WireError(f"{verb!r} is no command, expected one of {', '.join(COMMANDS)}")
        self._handlers[verb] = handler

    def verbs(self) -> dict[str, Handler]:
        """Return what `Control` calls for each verb."""
        return {verb: self._caller(verb) for verb in COMMANDS}

    def _caller(self, verb: str) -> Handler:
        def call(request: Header) -> tuple[Mapping[str, Any], Arrays] | Later:
            handler = self._handlers.get(verb)
            if handler is None:
                raise WireError(_WITHOUT_HANDLER[verb])
            outcome = handler(_READERS[verb](request))
            return outcome if isinstance(outcome, Later) else (outcome, {})

        return call


def _mark(request: Header) -> Mark:
    return Mark(checked_text(request.get("text"), "mark's key text", MAX_MARK))


def _arm(request: Header) -> Arm:
    rule = checked_name(request.get("rule"), "arm's key rule")
    cells = request.get("cells") or {}
    if (
        not isinstance(cells, dict)
        or len(cells) > MAX_CELLS
        or not all(type(cell) is int and 0 <= cell < 2**32 for cell in cells.values())
    ):
        raise WireError(
            f"arm's key cells must be a map of at most {MAX_CELLS} signals and ids of cells, came {cells!r:.80}"
        )
    for signal in cells:
        if signal:  # "": the only signal that is open
            checked_name(signal, "a signal")
    levels = _numbers(request.get("levels") or {}, "levels")
    return Arm(rule, cells, levels, _flag(request, "dry"), _by(request))


def _numbers(values: Any, key: str) -> dict[str, float]:
    """Return a map of names and finite numbers."""
    if not isinstance(values, dict) or len(values) > MAX_CELLS:
        raise WireError(
            f"arm's key {key} must be a map of at most {MAX_CELLS} names and numbers, came {values!r:.80}"
        )
    for name, value in values.items():
        if name:  # "": the only condition with a level
            checked_name(name, "a condition")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise WireError(f"arm's key {key} must map names to numbers, came {value!r:.80}")
    return {name: float(value) for name, value in values.items()}


def _disarm(request: Header) -> Disarm:
    rule = request.get("rule")
    name = None if rule is None or rule == "" else checked_name(rule, "disarm's key rule")
    return Disarm(name, _flag(request, "emergency"), _by(request))


def _flag(request: Header, key: str) -> bool:
    value = request.get(key)
    if value is not None and not isinstance(value, bool):
        raise WireError(f"the key {key} must be true or false, came {value!r:.80}")
    return bool(value)


def _by(request: Header) -> str:
    text = request.get("text")
    return "" if text is None or text == "" else checked_text(text, "the key text", MAX_MARK)


def _set(request: Header) -> Set:
    values = request.get("values")
    if not isinstance(values, dict):
        raise WireError("set needs the key values, a map of names and values, e.g. {'led': 30}")
    for name, value in values.items():
        checked_name(name, "the name of a setting")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise WireError(f"setting {name} must be a number or a word, came {value!r:.80}")
    return Set(values)


_READERS: Mapping[str, Callable[[Header], Command]] = {
    "mark": _mark,
    "arm": _arm,
    "disarm": _disarm,
    "freeze": lambda request: Hold(frozen=True),
    "thaw": lambda request: Hold(frozen=False),
    "set": _set,
    "stop": lambda request: Stop(),
}
_HOLD = "this session can be neither frozen nor thawed: nothing is learned in it"
_RULES = "this session has no rules that could be armed or disarmed"
_WITHOUT_HANDLER: Mapping[str, str] = {
    "mark": "this session keeps no marks",
    "arm": _RULES,
    "disarm": _RULES,
    "freeze": _HOLD,
    "thaw": _HOLD,
    "set": "this session has no device that could be set",
    "stop": "this session cannot be stopped from outside; use Ctrl-C where it runs",
}
