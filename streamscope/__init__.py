"""StreamScope: live calcium traces from a 1-photon miniscope, while the animal behaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamscope._version import __version__

if TYPE_CHECKING:
    from streamscope.wire.client import AsyncSubscriber, Subscriber

__all__ = ["AsyncSubscriber", "Subscriber", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the clients when they are asked for, so that `import streamscope` stays cheap."""
    if name in ("AsyncSubscriber", "Subscriber"):
        from streamscope.wire import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
