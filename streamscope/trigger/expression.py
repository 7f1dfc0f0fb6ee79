"""Conditions put together with `and`, `or`, `not` and brackets, in a logic that knows "not known"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

Truth: TypeAlias = bool | None  # None: not known, e.g. of a cell that is not there
RESERVED = ("and", "or", "not")
MOST = 200  # words of an expression

_WORD = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|[()])")


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: the name of a condition, or an operator on others."""

    operator: str  # name, not, and, or
    name: str = ""
    parts: tuple[Expression, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return the names in it, in order of appearance, each once."""
        if self.operator == "name":
            return (self.name,)
        return tuple(dict.fromkeys(name for part in self.parts for name in part.names()))

    def evaluate(self, truth: Mapping[str, Truth]) -> Truth:
        """Return what it is, given what the conditions are; not known wherever that could change it."""
        if self.operator == "name":
            return truth[self.name]
        values = [part.evaluate(truth) for part in self.parts]
        if self.operator == "not":
            return None if values[0] is None else not values[0]
        decides = self.operator == "or"  # one true part decides an or, one false part an and
        if decides in values:
            return decides
        return None if None in values else not decides


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """Return the expression in a text; ValueError, with the place, if it is none."""
    words = _words(text)
    if len(words) > MOST:
        raise ValueError(f"an expression has at most {MOST} words, this one has {len(words)}")
    reader = _Reader(text, words)
    out = reader.alternatives()
    if reader.word:
        raise ValueError(f"{text!r}: {reader.word!r} is not expected there; write e.g. a and not (b or c)")
    return out


def _words(text: str) -> list[str]:
    words: list[str] = []
    at = 0
    while text[at:].strip():
        found = _WORD.match(text, at)
        if found is None:
            raise ValueError(
                f"{text!r}: {text[at:].strip()[:10]!r} is no name; write e.g. a and not (b or c)"
            )
        words.append(found[1])
        at = found.end()
    return words


class _Reader:
    def __init__(self, text: str, words: list[str]) -> None:
        self._text = text
        self._words = [*words, ""]
        self._at = 0

    @property
    def word(self) -> str:
        return self._words[self._at]

    def alternatives(self) -> Expression:
        return self._joined("or", lambda: self._joined("and", self._one))

    def _joined(self, operator: str, inner: Callable[[], Expression]) -> Expression:
        parts = [inner()]
        while self.word == operator:
            self._at += 1
            parts.append(inner())
        return parts[0] if len(parts) == 1 else Expression(operator, parts=tuple(parts))

    def _one(self) -> Expression:
        word = self.word
        self._at += 1
        if word == "not":
            return Expression("not", parts=(self._one(),))
        if word == "(":
            inner = self.alternatives()
            if self.word != ")":
                raise ValueError(f"{self._text!r}: a bracket is not closed")
            self._at += 1
            return inner
        if not word or word in (")", *RESERVED):
            raise ValueError(
                f"{self._text!r}: the name of a condition is missing before {word or 'its end'!r}"
            )
        return Expression("name", word)
