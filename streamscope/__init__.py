"""StreamScope: live calcium traces from a 1-photon miniscope, while the animal behaves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamscope._version import __version__

if TYPE_CHECKING:
    from streamscope.wire.client import AsyncSubscriber, Subscriber
    from streamscope.wire.newest import Latest
    from streamscope.wire.tables import components_table, traces_table

__all__ = ["AsyncSubscriber", "Latest", "Subscriber", "__version__", "components_table", "traces_table"]

_HOMES = {
    "AsyncSubscriber": "client",
    "Subscriber": "client",
    "Latest": "newest",
    "components_table": "tables",
    "traces_table": "tables",
}


def __getattr__(name: str) -> Any:
    """Import the clients when they are asked for, so that `import streamscope` stays cheap."""
    if name in _HOMES:
        return getattr(import_module(f"streamscope.wire.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
