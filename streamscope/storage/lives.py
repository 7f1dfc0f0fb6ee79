"""How each component's life ended: status, reason and last footprint, from epochs and component events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.storage.live import EpochRecord, LiveComponents
from streamscope.types import ComponentEvent, Footprints, IdArray, IntArray, LongArray

Column = tuple[IntArray, NDArray[np.float32]]
EpochArrays = Callable[[int, tuple[str, ...] | None], dict[str, NDArray[Any]]]

_FOOTPRINT_ARRAYS = ("ids", "A_indptr", "A_pixels", "A_weights", "shape")


def epochs_in_use(epochs: Sequence[EpochRecord], n_frames: int) -> list[EpochRecord]:
    """Return the epochs that at least one of `n_frames` frames was inferred with, by number."""
    return [e for e in epochs if e.adopted_frame < n_frames]


def components_of(
    ids: IdArray,
    first: LongArray,
    last: LongArray,
    epochs: Sequence[int],
    arrays: EpochArrays,
    events: Sequence[ComponentEvent],
) -> LiveComponents:
    """Return the components with the status that they ended with.

    Parameters
    ----------
    ids, first, last : ndarray, shape (K,)
        Ids ever published, first and last frame of each.
    epochs : sequence of int
        Numbers of the epochs in use, rising; the last one says who is alive.
    arrays : callable
        Gives the named arrays of an epoch.
    events : sequence of ComponentEvent
        In order.
    """
    status, reasons = _ends(events)
    if epochs:
        alive = arrays(epochs[-1], ("ids", "status"))
        for id_, code in zip(alive["ids"].tolist(), alive["status"].tolist(), strict=True):
            status[id_], reasons[id_] = ("confirmed" if code else "provisional"), ""
    shape, columns = _last_footprints(ids, epochs, arrays)
    return LiveComponents(
        ids=ids,
        status=tuple(status.get(i, "retired") for i in ids.tolist()),
        reasons=tuple(reasons.get(i, "") for i in ids.tolist()),
        avail=first,
        last=last,
        footprints=Footprints.from_columns(shape, columns),
    )


def _ends(events: Sequence[ComponentEvent]) -> tuple[dict[int, str], dict[int, str]]:
    status: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for event in events:
        if event.kind == "merged":
            why = f"merged into {event.into} at frame {event.frame}"
        elif event.kind == "retired":
            why = f"retired at frame {event.frame}"
        else:
            continue
        status[event.id] = event.kind
        reasons[event.id] = f"{why}: {event.reason}" if event.reason else why
    return status, reasons


def _last_footprints(
    ids: IdArray, epochs: Sequence[int], arrays: EpochArrays
) -> tuple[tuple[int, int], list[Column]]:
    """Return the frame shape and each id's footprint in the last epoch that held it (empty if none)."""
    missing = set(ids.tolist())
    found: dict[int, Column] = {}
    shape = (0, 0)
    for number in reversed(epochs):
        if not missing and shape != (0, 0):
            break
        held = missing.intersection(arrays(number, ("ids",))["ids"].tolist())
        if held or shape == (0, 0):
            footprints, order = _footprints(arrays(number, _FOOTPRINT_ARRAYS))
            shape = footprints.shape
            found |= {i: footprints.column(order[i]) for i in held}
            missing -= held
    empty = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    return shape, [found.get(i, empty) for i in ids.tolist()]


def _footprints(arrays: dict[str, NDArray[Any]]) -> tuple[Footprints, dict[int, int]]:
    height, width = (int(n) for n in arrays["shape"])
    footprints = Footprints((height, width), arrays["A_indptr"], arrays["A_pixels"], arrays["A_weights"])
    return footprints, {int(i): k for k, i in enumerate(arrays["ids"])}
