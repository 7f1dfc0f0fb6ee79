"""What tells two neighbours apart: the events that one of them has without the other.

Over half a minute two different cells can look like one: while one is silent, a little light of the other's events is
all that its trace holds. What either of them showed alone, over minutes, says that they are two.
"""

from __future__ import annotations

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.buffer import FrameBuffer
from streamscope.core.model import Model
from streamscope.types import BoolArray, DoubleArray, LongArray

_LEAST_EVENT_SN = 4.0
_TIMES = 2.0  # larger than the neighbour's activity
_NEAR_DIAMETERS, _MOST_OVERLAP = 1.5, 0.3  # of neighbours whose light a component can be made of
_BRIGHTER = 1.25  # than each of them, in an event of its own
_ENOUGH = 500.0  # squared activity that tells
_LEAST_OWN_PART, _LEAST_OWN = 0.1, 1000.0  # of it in events of its own: a cell has this part, or this much


class Evidence:
    """Sums of squared activity (noise units) of each component in events that neighbours do not share."""

    def __init__(self, config: EngineConfig) -> None:
        self._decay = np.exp(-config.detect.block_s / config.shapes.memory_s)
        self._near = _NEAR_DIAMETERS * config.cell_diameter_px
        self.alone: DoubleArray = np.zeros((0, 0))  # (K, K) of component k without j
        self.whole: DoubleArray = np.zeros(0)  # in all events
        self.own: DoubleArray = np.zeros(0)  # in those in which no neighbour outshines it

    def add(self) -> None:
        """Make room for a new component."""
        self.alone = np.pad(self.alone, ((0, 1), (0, 1)))
        self.whole, self.own = np.append(self.whole, 0.0), np.append(self.own, 0.0)

    def keep(self, positions: LongArray) -> None:
        """Keep only some components, in this order."""
        self.alone = self.alone[np.ix_(positions, positions)]
        self.whole, self.own = self.whole[positions], self.own[positions]

    def restart(self, k: int) -> None:
        """Forget what is known of a component: it is another one now."""
        self.alone[k], self.alone[:, k] = 0, 0
        self.whole[k] = self.own[k] = 0

    def forget(self) -> None:
        """Fade by one block."""
        for sums in (self.alone, self.whole, self.own):
            sums *= self._decay

    def outshone(self, model: Model, known: BoolArray) -> BoolArray:
        """Return which components (K,), of those `known` for long, are hardly ever the brightest around.

        Neighbours that cover them do not count: they share their light. Such a component is made of its neighbours'
        light: what their footprints leave around them, or between them. Of two such neighbours it is the weaker one.
        """
        few = (self.own < _LEAST_OWN_PART * self.whole) & (self.own < _LEAST_OWN)
        few &= (self.whole > _ENOUGH) & known
        out = np.zeros(model.n, np.bool_)
        for k in np.flatnonzero(few)[np.argsort(model.peak[few], kind="stable")].tolist():
            out[k] = not out[self._around(model, k)].any()
        return out

    def judge_anew(self, model: Model, k: int) -> None:
        """Forget how bright the neighbours of a component were beside it: it is no cell."""
        around = self._around(model, k)
        self.whole[around] = self.own[around] = 0

    def observe(self, model: Model, buffer: FrameBuffer, slots: LongArray, which: LongArray) -> None:
        """Add the frames `slots`: of the components `which`, and of all pairs of neighbours of which one is in it."""
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
        for i in np.flatnonzero(busy & wanted).tolist():
            around = np.take(activity, self._beside(model, i), axis=1).max(1, initial=0)
            squares = (event[:, i] / model.sn[i]) ** 2
            self.whole[i] += squares.sum()
            self.own[i] += squares[activity[:, i] > _BRIGHTER * around].sum()

    def _around(self, model: Model, k: int) -> BoolArray:
        """Return which components (K,) are near another one."""
        near = np.hypot(*(model.centres - model.centres[k]).T) < self._near
        near[k] = False
        return np.asarray(near)

    def _beside(self, model: Model, k: int) -> LongArray:
        """Return the neighbours of a component that hardly overlap it."""
        near = self._around(model, k)
        row = slice(model.AtA.indptr[k], model.AtA.indptr[k + 1])
        near[model.AtA.bins[row][model.AtA.values[row] > _MOST_OVERLAP]] = False
        return np.asarray(np.flatnonzero(near), np.int64)
