"""What a client received, handed over to pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from streamscope.errors import WireError
from streamscope.wire.schema import TRACE_ARRAYS, Message, TracesMessage
from streamscope.wire.snapshot import Cell

if TYPE_CHECKING:
    import pandas as pd

_VALUES = tuple(name for name, _ in TRACE_ARRAYS if name != "ids")
_COLUMNS = ("status", "born_at", "snr", "y", "x", "into", "n_pixels")


def traces_table(messages: Iterable[Message], value: str = "c") -> pd.DataFrame:
    """Return one row for each traces/ message, one column for each cell that any of them has.

    Parameters
    ----------
    messages : iterable of Message
        As received; those of other topics are passed over.
    value : str
        y, c, s, c_lag or s_lag. The latter two stand at the frame of their message, `lag` after the one that they
        describe.

    Returns
    -------
    DataFrame
        float32; index `frame`, columns `id`, NaN where a cell was not there. A frame that was not received has no
        row.

    Raises
    ------
    WireError
        If there is no such value, or pandas is not installed.
    """
    if value not in _VALUES:
        raise WireError(f"a traces/ message has no {value!r:.40}, expected one of {', '.join(_VALUES)}")
    pandas = _pandas()
    traces = [message for message in messages if isinstance(message, TracesMessage)]
    ids = np.unique(np.concatenate([np.zeros(0, np.uint32), *(message.ids for message in traces)]))
    table = np.full((len(traces), len(ids)), np.nan, np.float32)
    for row, message in zip(table, traces, strict=True):
        row[np.searchsorted(ids, message.ids)] = getattr(message, value)
    frames = pandas.Index([message.frame for message in traces], name="frame", dtype="int64")
    return pandas.DataFrame(table, index=frames, columns=pandas.Index(ids, name="id"))


def components_table(components: Mapping[int, Cell]) -> pd.DataFrame:
    """Return one row for each component that a subscriber knows, merged and retired ones too; index `id`."""
    pandas = _pandas()
    rows = [
        [cell.status, cell.born_at, cell.snr, cell.y, cell.x, cell.into, _n_pixels(cell)]
        for cell in components.values()
    ]
    index = pandas.Index(list(components), name="id", dtype="int64")
    return pandas.DataFrame(rows, index=index, columns=list(_COLUMNS))


def _n_pixels(cell: Cell) -> int | None:
    return None if cell.pixels is None else len(cell.pixels)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise WireError(f"tables need the package pandas ({error}): pip install pandas") from error
    return pandas
