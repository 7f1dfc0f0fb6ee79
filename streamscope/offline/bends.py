"""The field of every frame of a session: the stage of core/piecewise.py, with a template that no longer changes.

Whether there is a field is decided once, for the whole session, on the frames that the template is made of. Frames
after a frame say as much of its field as frames before it, so that here the filter runs in both directions.

References
----------
Rauch, Tung, Striebel 1965, AIAA Journal 3:1445 (the backward pass).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.kernels.field import warp_field
from streamscope.core.motion import Template
from streamscope.core.piecewise import ON_ABOVE, FieldFilter, FieldFit, Registered
from streamscope.types import BoolArray, DoubleArray, FloatArray

_ADVANCES = 50  # of the filter's covariance; it has settled long before


class Bends:
    """Measures and smooths the fields of a session.

    Parameters
    ----------
    config : EngineConfig
        Settings of the engine.
    shape : tuple of int
        (h, w) of the working image, px.
    factor : int
        Size of its pixels, px of the full frame.
    """

    def __init__(self, config: EngineConfig, shape: tuple[int, int], factor: int) -> None:
        self._mode = config.motion.piecewise
        self._fit = FieldFit(config, shape, factor)
        self._filter = FieldFilter(config, self._fit)
        self._last = np.zeros(self._fit.n_values)
        self.grid, self.n_values = self._fit.grid, self._fit.n_values

    def settle(self, sample: Iterable[Registered], template: Template) -> bool:
        """Learn how far blocks scatter, and return whether the fields of these frames lower the residual."""
        fit = self._fit
        sums = [fit.sums(frame, template) for frame in sample]
        scatter = np.mean([(b * b).sum(1) for b in sums], 0)
        for _ in range(2):
            fit.refresh(template, scatter)
            scatter = np.mean([fit.left_over(b, fit.covariance @ fit.project(b)) for b in sums], 0)
        fit.refresh(template, scatter)
        self._filter.covariance = fit.covariance
        for _ in range(_ADVANCES):
            self._filter.advance(fit.A)
        start = np.zeros(fit.n_values)
        answers = [fit.cross_check(b, start) for b in sums]
        confirmed, promised = np.sum(answers, 0)
        return self._mode == "on" or (self._mode == "auto" and bool(confirmed > ON_ABOVE * promised))

    def measure(self, frame: Registered, template: Template, row: FloatArray) -> DoubleArray:
        """Return the right side of the normal equations of a frame; `frame.moved` becomes what its field makes of it.

        Two Gauss-Newton steps, because there is no field of the frame before to start from. `row` is scratch.
        """
        fit = self._fit
        u = fit.covariance @ fit.project(fit.sums(frame, template))
        warp_field(frame.image, frame.dy, frame.dx, fit.as_field(u), row, frame.moved)
        return np.asarray(fit.project(fit.sums(frame, template)) + fit.A @ u)

    def smooth(self, measured: DoubleArray, trusted: BoolArray) -> FloatArray:
        """Return the fields of consecutive frames; the first goes on from the last of the call before.

        Parameters
        ----------
        measured : ndarray, shape (n, values), float64
            From `measure`.
        trusted : ndarray, shape (n,), bool
            Where False, the frame says nothing.

        Returns
        -------
        ndarray, shape (n, gy, gx, 2), float32
            Px of the full frame.
        """
        keep, P, A = self._filter.keep, self._filter.covariance, self._fit.A
        u = np.empty_like(measured)
        for t, (z, ok) in enumerate(zip(measured, trusted, strict=True)):
            start = keep * self._last
            u[t] = start + P @ (z - A @ start) if ok else start
            self._last = u[t].copy()
        back = keep * P @ np.linalg.inv(self._filter.predicted())
        for t in range(len(u) - 2, -1, -1):
            u[t] += back @ (u[t + 1] - keep * u[t])
        return np.stack([self._fit.factor * self._fit.as_field(one) for one in u])
