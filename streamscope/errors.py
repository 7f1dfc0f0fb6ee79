"""Every error that StreamScope raises on purpose.

::

    StreamScopeError
    +-- ConfigError     a setting that is unknown, out of range or impossible
    +-- SourceError     a recording or camera that cannot be used
    +-- StageError      numbers that break a stage's contract
    +-- WireError       sockets, messages, versions
    +-- StorageError    journal, session file, folders

A message says what was expected, what came, and what to do. The command line prints it as one sentence and
ends with exit code 2.
"""

from __future__ import annotations


class StreamScopeError(Exception):
    """Base of all errors that a user can act on."""


class ConfigError(StreamScopeError):
    """A setting that is unknown, out of range or impossible."""


class SourceError(StreamScopeError):
    """A recording or camera that cannot be used."""


class StageError(StreamScopeError):
    """Numbers that break a stage's contract."""


class WireError(StreamScopeError):
    """Sockets, messages, versions."""


class StorageError(StreamScopeError):
    """Journal, session file, folders."""
