"""The outputs of a session: who gets which decision, in which thread, and what they report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from streamscope.session.registry import open_output
from streamscope.session.rules import acting_outputs
from streamscope.trigger.settings import Rules
from streamscope.types import REAL, Decision, Output, OutputReport

CLOSING_S = 2.0  # how long an output may take to close


class Outputs:
    """Hands decisions to the outputs that act on them, and to the listeners.

    An output that is named by a rule gets that rule's real decisions; a listener gets all of all rules. No output is
    waited for. What has trouble is left alone from then on only by itself: it goes on being asked.

    Parameters
    ----------
    acting, listeners : mapping of str to Output
        By name.
    """

    def __init__(self, acting: Mapping[str, Output], listeners: Mapping[str, Output]) -> None:
        self._acting, self._listeners = dict(acting), dict(listeners)
        self._all = (*self._acting.values(), *self._listeners.values())
        self._lock = threading.Lock()  # between a write and an emergency stop; held for microseconds
        self._stopped = False
        self.refused = 0  # decisions that an output did not take

    def write_fast(self, decision: Decision) -> None:
        """Give a decision to the fast outputs; in the pipeline thread."""
        with self._lock:
            for output in self._takers(decision, fast=True):
                self.refused += not output.write(decision)

    def write_slow(self, decision: Decision) -> None:
        """Give a decision to the others; in the loop's thread, and without the lock: it holds up no frame."""
        for output in self._takers(decision, fast=False):
            self.refused += not output.write(decision)
        if self._stopped:  # meanwhile
            self.stop()

    def alive(self, armed: bool) -> None:
        """Tell every output that acts that the session goes on, and whether any rule is armed."""
        with self._lock:
            for output in self._acting.values():
                output.alive(armed and not self._stopped)

    def stop(self) -> None:
        """Lines low, now, and nothing more is written in this session; in any thread."""
        with self._lock:
            self._stopped = True
            for output in self._acting.values():
                output.alive(False)

    def describe(self) -> dict[str, Any]:
        """Return what each output says of itself."""
        named = {**self._acting, **self._listeners}
        return {name: dict(output.describe()) for name, output in named.items()}

    def close(self) -> None:
        """Close every output, each in a thread of its own, waiting for at most `CLOSING_S`."""
        threads = [threading.Thread(target=_close, args=(output,), daemon=True) for output in self._all]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CLOSING_S)

    def _takers(self, decision: Decision, fast: bool) -> list[Output]:
        named = () if self._stopped or decision.outcome != REAL else decision.outputs
        acting = [self._acting[name] for name in named if name in self._acting]
        return [output for output in (*acting, *self._listeners.values()) if output.fast == fast]


def open_outputs(rules: Rules, tell: Callable[[OutputReport], None]) -> Outputs:
    """Return the outputs of a rules file, open; those that would act only where some rule is not a dry run.

    Raises
    ------
    ConfigError, SourceError
        If there is no such driver, or an output cannot be opened; none stays open then.
    """
    used = acting_outputs(rules)
    opened: dict[str, Output] = {}
    try:
        for name, spec in {**rules.outputs, **rules.listeners}.items():
            if name in used or name in rules.listeners:
                opened[name] = open_output(spec, name, tell)
    except BaseException:
        for output in opened.values():
            _close(output)
        raise
    return Outputs(
        {name: output for name, output in opened.items() if name in used},
        {name: output for name, output in opened.items() if name in rules.listeners},
    )


def _close(output: Output) -> None:
    with suppress(Exception):  # an output that fails to close has nothing to do with the session's results
        output.close()
