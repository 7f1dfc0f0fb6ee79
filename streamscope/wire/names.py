"""Names that come from outside and become topics, paths or lines on a terminal: what they may consist of."""

from __future__ import annotations

import re
from typing import Any

from streamscope.errors import WireError
from streamscope.wire.schema import MAX_NAME

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # no slash, no wildcard (# + *), no dot in front


def checked_name(value: Any, what: str) -> str:
    """Return `value` when it can be a name: letters, digits, ``_``, ``-`` and ``.``, which is not the first.

    Parameters
    ----------
    value : Any
        What came.
    what : str
        What it names, for the message.

    Raises
    ------
    WireError
        If it is none.
    """
    if not isinstance(value, str) or len(value) > MAX_NAME or not _NAME.fullmatch(value):
        raise WireError(
            f"{what} must be a name of 1 to {MAX_NAME} letters, digits, _, - and . (not the first), "
            f"came {value!r:.80}"
        )
    return value


def checked_text(value: Any, what: str, longest: int) -> str:
    """Return `value` when it is a text of one line that a terminal can print, or raise WireError."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise WireError(
            f"{what} must be a text of 1 to {longest} letters on one line, without control characters, "
            f"came {value!r:.80}"
        )
    return value
