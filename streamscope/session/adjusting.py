"""Settings of a device as the loop sees them: who asked, and from which frame they are seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from streamscope.errors import ConfigError, WireError
from streamscope.types import Device
from streamscope.wire.control import Later


class Adjusting:
    """Hands requests to a device, and answers them when it has said from which frame they are seen.

    Owned by the loop.

    Parameters
    ----------
    device : Device or None
        None: there is nothing to set.
    """

    def __init__(self, device: Device | None) -> None:
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Later] = set()

    def ask(self, values: Mapping[str, Any]) -> Later:
        """Return the reply to a request: `values` as they are kept, and `frame`, the first that shows them.

        Raises
        ------
        WireError
            If there is no device, or it cannot be set so.
        """
        if self._device is None:
            raise WireError("a recording is played, expected a device; only a device has settings")
        if not values or not all(isinstance(v, int | float | str) for v in values.values()):
            raise WireError(f"the settings are {dict(values)!r:.100}, expected names with numbers or words")
        reply = Later()
        kept: dict[str, float | str] = {}

        def told(frame: int) -> None:
            self._loop.call_soon_threadsafe(self._settle, reply, {"frame": frame, "values": kept})

        self._waiting.add(reply)
        try:
            kept |= self._device.set(values, told)
        except ConfigError as error:
            self._waiting.discard(reply)
            raise WireError(str(error)) from error
        return reply

    def end(self) -> None:
        """Refuse what is under way: there is no further frame."""
        for reply in list(self._waiting):
            self._settle(reply, WireError("the session ended before it took effect"))

    def _settle(self, reply: Later, outcome: Mapping[str, Any] | WireError) -> None:
        if reply in self._waiting:
            self._waiting.discard(reply)
            reply.settle(outcome)
