"""What tells two neighbours apart: the events that one of them has without the other.

Over half a minute two different cells can look like one: while one is silent, a little light of the other's events is
all that its trace holds. What either of them showed alone, over minutes, says that they are two.
"""

from __future__ import annotations

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.buffer import FrameBuffer
from streamscope.core.model import Model
from streamscope.types import DoubleArray, LongArray

_LEAST_EVENT_SN = 4.0
_TIMES = 2.0  # larger than the neighbour's activity


class Evidence:
    """Sums of squared activity (noise units) of each component in events that a neighbour does not share."""

    def __init__(self, config: EngineConfig) -> None:
        self._decay = np.exp(-config.detect.block_s / config.shapes.memory_s)
        self.alone: DoubleArray = np.zeros((0, 0))  # (K, K) of component k without j

    def add(self) -> None:
        """Make room for a new component."""
        self.alone = np.pad(self.alone, ((0, 1), (0, 1)))

    def keep(self, positions: LongArray) -> None:
        """Keep only some components, in this order."""
        self.alone = self.alone[np.ix_(positions, positions)]

    def restart(self, k: int) -> None:
        """Forget what is known of a component: it is another one now."""
        self.alone[k], self.alone[:, k] = 0, 0

    def forget(self) -> None:
        """Fade by one block."""
        self.alone *= self._decay

    def observe(self, model: Model, buffer: FrameBuffer, slots: LongArray, which: LongArray) -> None:
        """Add the frames `slots` for all pairs of neighbours of which one is in `which`."""
        activity = buffer.c[slots]
        event = np.where(activity > _LEAST_EVENT_SN * model.sn, activity, 0)
        AtA = model.AtA
        busy, wanted = np.any(event, axis=0), np.zeros(model.n, np.bool_)
        wanted[which] = True
        k, j = np.repeat(np.arange(model.n), np.diff(AtA.indptr)), AtA.bins
        pairs = busy[k] & (wanted[k] | wanted[j]) & (k != j)
        k, j = k[pairs], j[pairs]
        own = np.where(event[:, k] > _TIMES * activity[:, j], event[:, k] / model.sn[k], 0)
        self.alone[k, j] += (own * own).sum(0)
