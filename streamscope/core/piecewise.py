"""Piecewise-rigid registration: a smooth field of small displacements on top of the rigid shift.

After the rigid step each block of the band-passed image tells, by one Gauss-Newton step on the template, how far it
is from where it should be, and how sure it is of that. A Kalman filter makes one field of all blocks: nodes apart by
some cell diameters, linear between them, prior smooth in space and forgetting in time. Blocks vote with the inverse
of their own residual scatter, so that the flicker of cells does not pass for movement; where nothing can be seen
the field follows its neighbours and its past, and in the end goes to zero.

Whether there is anything to correct is asked of the recording. Blocks are split like the squares of a chessboard;
the field of the white ones must lower the residual of the black ones, and the other way round. Noise and flicker,
which differ from block to block, cannot pass this test; bending of the tissue does.

Sources: Lucas and Kanade 1981 for the step; the piecewise-rigid model is that of NoRMCorre (Pnevmatikakis and
Giovannucci 2017), which clips wild patches instead of weighing them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.kernels import field as kernels
from streamscope.types import DoubleArray, FloatArray

# Cell diameters.
_BLOCK = 2.0  # a cell's flicker must not reach far into the next block
_NODES_APART = 8.0
_MARGIN = 1.5  # the band-pass looks so far, and finds what the sensor's edge makes up
_PRIOR_SD = 0.045
_PRIOR_REACH = 16.0
_MOST_NODES, _MOST_BLOCKS = 7, 20  # along each side: what a refresh costs grows with both

# Times the memory of the template.
_SETTLED = 1 / 6  # before, it says nothing of bends
_SCATTER = 1 / 3  # memory of how far blocks scatter

_MEMORY_S = 0.35  # within which a bend is forgotten
_EVERY = 4  # the question whether there are bends is put to one in so many frames
_RULE_MEMORY = 100  # questions
_FEWEST_QUESTIONS = 20
ON_ABOVE, _OFF_BELOW = 0.5, 0.2  # share of the promised gain that the other blocks confirm
_REFRESH = 32  # frames looked at, after which the normal equations are made again


class Reference(Protocol):
    """What frames are registered to; images (h, w) float32."""

    mean: FloatArray
    weight: FloatArray
    clip: FloatArray


@dataclass(frozen=True, slots=True)
class Registered:
    """A band-passed image after the rigid step."""

    image: FloatArray  # (h, w) as filtered
    moved: FloatArray  # (h, w) translated by the shift
    dy: float  # px of this image
    dx: float
    gain: float  # against the template
    weight: FloatArray | None = None  # (h, w) votes of this frame; None: those of the template


class FieldFit:
    """Finds the field of one frame: what blocks say of it, and how much that is worth.

    A field is a vector of 2 gy gx displacements (dy, dx) by node, float64, px of the working image.
    """

    def __init__(self, config: EngineConfig, shape: tuple[int, int], factor: int) -> None:
        diameter = config.cell_diameter_px / factor
        self.shape, self.factor = shape, factor
        self.block = math.ceil(max(_BLOCK * diameter, max(shape) / _MOST_BLOCKS))
        self.margin = math.ceil(_MARGIN * diameter)
        self.grid = grid_of(shape, diameter)
        self.n_values = 2 * self.grid[0] * self.grid[1]
        self._n_blocks = (-(-shape[0] // self.block), -(-shape[1] // self.block))
        lines = [
            _hats(n, self.block, nodes, size)
            for n, nodes, size in zip(self._n_blocks, self.grid, shape, strict=True)
        ]
        self._hats = np.asarray(np.kron(*lines), np.float64)  # (blocks, nodes)
        self._pairs = [(line[:, :, None] * line[:, None, :]).reshape(len(line), -1) for line in lines]
        board = (np.add.outer(*(np.arange(n) for n in self._n_blocks)) % 2).ravel()
        self._colours = (board == 0, board == 1)
        self.prior = _prior(self.grid, shape, diameter)
        self._precision = _inverse(self.prior)
        self.information = np.zeros((*self._n_blocks, 3), np.float32)
        self.noise = np.zeros(len(board))

    def refresh(self, reference: Reference, scatter: DoubleArray) -> None:
        """Make the normal equations anew.

        Parameters
        ----------
        reference : Reference
            The template.
        scatter : ndarray, shape (blocks,), float64
            Mean squared residual of each block's sums.
        """
        kernels.block_information(reference.mean, reference.weight, self.block, self.information)
        trace = self.information[..., 0].ravel() + self.information[..., 2].ravel() + 1e-12
        self.noise = scatter / trace + scatter.sum() / trace.sum() + 1e-12
        self.prepare()

    def prepare(self) -> None:
        """Derive everything from `information` and `noise`."""
        self._H = self.information.reshape(-1, 3).astype(np.float64)
        halves = [self._normal(colour / self.noise) for colour in self._colours]
        self.A = halves[0] + halves[1]
        self.covariance = _inverse(self.A + self._precision)
        self._halves = [(A, _inverse(A + self._precision)) for A in halves]

    def _normal(self, votes: DoubleArray) -> DoubleArray:
        """Return the normal matrix of blocks that vote with these weights.

        It is hats' diag(weights) hats; hats are products of one along y and one along x, and so are their pairs.
        """
        (gy, gx), (y_pairs, x_pairs) = self.grid, self._pairs
        out: DoubleArray = np.empty_like(self.prior)
        for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 1))):
            weights = (self._H[:, k] * votes).reshape(self._n_blocks)
            part = (y_pairs.T @ weights @ x_pairs).reshape(gy, gy, gx, gx).swapaxes(1, 2)
            out[i::2, j::2] = out[j::2, i::2] = part.reshape(gy * gx, gy * gx)
        return out

    def sums(self, frame: Registered, reference: Reference) -> DoubleArray:
        """Return what drives each block: sums of weight, gradient and clipped residual, (blocks, 2)."""
        h, w = self.shape
        y0, y1 = _inside(h, frame.dy, self.margin)
        x0, x1 = _inside(w, frame.dx, self.margin)
        out = np.zeros((*self._n_blocks, 2), np.float32)
        if y0 < y1 and x0 < x1:
            kernels.block_sums(
                frame.moved,
                reference.mean,
                np.float32(frame.gain),
                reference.weight if frame.weight is None else frame.weight,
                reference.clip,
                (y0, y1, x0, x1),
                self.block,
                out,
            )
        return -out.reshape(-1, 2).astype(np.float64)

    def project(self, sums: DoubleArray, colour: int | None = None) -> DoubleArray:
        """Return the right side of the normal equations, of all blocks or those of one colour."""
        votes = 1 / self.noise if colour is None else self._colours[colour] / self.noise
        return (self._hats.T @ (sums * votes[:, None])).ravel()

    def left_over(self, sums: DoubleArray, step: DoubleArray) -> DoubleArray:
        """Return the squared sums that stay in each block after a step of the field, (blocks,)."""
        u = self._hats @ step.reshape(-1, 2)
        H = self._H
        dy = sums[:, 0] - H[:, 0] * u[:, 0] - H[:, 1] * u[:, 1]
        dx = sums[:, 1] - H[:, 1] * u[:, 0] - H[:, 2] * u[:, 1]
        return np.asarray(dy * dy + dx * dx)

    def cross_check(self, sums: DoubleArray, start: DoubleArray) -> tuple[float, float]:
        """Return how much the field of each colour lowers the residual of the other, and how much it promised.

        Both are log-likelihood ratios times two. They agree if there is a field, and the first is negative on
        average if there is none.
        """
        (A0, P0), (A1, P1) = self._halves
        z0, z1 = self.project(sums, 0) + A0 @ start, self.project(sums, 1) + A1 @ start
        u0, u1 = P0 @ z0, P1 @ z1
        promised = float(u1 @ A0 @ u1 + u0 @ A1 @ u0)
        return 2 * float(z0 @ u1 + z1 @ u0) - promised, promised

    def as_field(self, u: DoubleArray) -> FloatArray:
        """Return a vector as a field (gy, gx, 2), px of the working image."""
        return u.reshape(*self.grid, 2).astype(np.float32)


class FieldFilter:
    """Stationary Kalman filter of the field: each node forgets towards zero, all nodes together are smooth."""

    def __init__(self, config: EngineConfig, fit: FieldFit) -> None:
        self.keep = math.exp(-1 / (_MEMORY_S * config.fps))
        self.covariance = fit.prior
        self._prior = fit.prior

    def predicted(self) -> DoubleArray:
        """Return the covariance of the next field before its frame is seen."""
        return np.asarray(self.keep**2 * self.covariance + (1 - self.keep**2) * self._prior)

    def advance(self, A: DoubleArray) -> None:
        """Let the covariance take one step towards the one that frames of this information lead to."""
        self.covariance = _inverse(_inverse(self.predicted()) + A)


class Piecewise:
    """Follows the field frame by frame, and decides whether there is one."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int], factor: int) -> None:
        self._fit = FieldFit(config, shape, factor)
        self._filter = FieldFilter(config, self._fit)
        self._mode = config.motion.piecewise
        self._start = config.frames(_SETTLED * config.motion.template_s)
        self._memory = config.frames(_SCATTER * config.motion.template_s)
        self._row = np.zeros(shape[1] + 3, np.float32)
        self._u = np.zeros(self._fit.n_values)
        self._scatter = np.zeros(len(self._fit.noise))
        self._n = self._n_seen = self._n_asked = 0
        self._confirmed = self._promised = 0.0
        self.on = self._mode == "on"

    @property
    def field(self) -> FloatArray | None:
        """Return the field of the last frame, (gy, gx, 2), px of the full frame; None while the motion is rigid."""
        started = self.on and self._n_seen > 0
        return self._fit.factor * self._fit.as_field(self._u) if started else None

    def update(self, frame: Registered, reference: Reference) -> FloatArray | None:
        """Find the field of one frame; `frame.moved` is moved again, by shift and field, if there is one.

        Parameters
        ----------
        frame : Registered
            Of a frame that the rigid step trusts.
        reference : Reference
            The template that it was registered to.

        Returns
        -------
        ndarray, shape (gy, gx, 2), float32, or None
            (dy, dx) at nodes that span the frame corner to corner, px of the full frame, to be added to the shift.
            None while the motion is rigid.
        """
        self._n += 1
        ask = self._n % _EVERY == 0
        if self._mode == "off" or self._n < self._start or not (self.on or ask):
            return None
        start = self._filter.keep * self._u if self.on else np.zeros_like(self._u)
        if self.on and self._n_seen:
            self._move(frame, start)
        sums = self._fit.sums(frame, reference)
        self._refresh(reference, sums)
        covariance = self._filter.covariance if self.on else self._fit.covariance
        step = covariance @ self._fit.project(sums)
        self._remember(self._fit.left_over(sums, step))
        if ask:
            self._decide(*self._fit.cross_check(sums, start))
        if not self.on:
            return None
        self._u = start + step
        self._move(frame, self._u)
        return self.field

    def _move(self, frame: Registered, u: DoubleArray) -> None:
        field = self._fit.as_field(u)
        kernels.warp_field(frame.image, frame.dy, frame.dx, field, self._row, frame.moved)

    def _refresh(self, reference: Reference, sums: DoubleArray) -> None:
        """Renew the normal equations in growing, then regular intervals."""
        if self._n_seen == 0:
            self._scatter = (sums * sums).sum(1)
        n = self._n_seen
        if n % _REFRESH == 0 or (n < _REFRESH and n & (n - 1) == 0):
            self._fit.refresh(reference, self._scatter)
            if self.on:
                self._filter.advance(self._fit.A)

    def _remember(self, left_over: DoubleArray) -> None:
        self._n_seen += 1
        self._scatter += (left_over - self._scatter) / min(self._n_seen, self._memory)

    def _decide(self, confirmed: float, promised: float) -> None:
        """Weigh the answer of one frame, and go over to the field or back."""
        self._n_asked += 1
        rate = 1 / min(self._n_asked, _RULE_MEMORY)
        self._confirmed += rate * (confirmed - self._confirmed)
        self._promised += rate * (promised - self._promised)
        if self._mode != "auto" or self._n_asked < _FEWEST_QUESTIONS:
            return
        was_on = self.on
        self.on = self._confirmed > (_OFF_BELOW if was_on else ON_ABOVE) * self._promised
        if self.on and not was_on:
            self._u[:] = 0.0
            self._filter.covariance = self._fit.covariance

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {
            "n": self._n,
            "n_seen": self._n_seen,
            "n_asked": self._n_asked,
            "confirmed": self._confirmed,
            "promised": self._promised,
            "on": int(self.on),
            "u": self._u.copy(),
            "scatter": self._scatter.copy(),
            "information": self._fit.information.copy(),
            "noise": self._fit.noise.copy(),
            "covariance": self._filter.covariance.copy(),
        }

    @classmethod
    def from_state(
        cls,
        config: EngineConfig,
        shape: tuple[int, int],
        factor: int,
        state: dict[str, np.ndarray | float | int],
    ) -> Piecewise:
        """Return a stage that goes on where `state` was taken."""
        self = cls(config, shape, factor)
        self._n, self._n_seen, self._n_asked = (int(state[k]) for k in ("n", "n_seen", "n_asked"))
        self._confirmed, self._promised = float(state["confirmed"]), float(state["promised"])
        self.on = bool(state["on"])
        self._u, self._scatter = np.array(state["u"]), np.array(state["scatter"])
        self._filter.covariance = np.array(state["covariance"])
        self._fit.information, self._fit.noise = np.array(state["information"]), np.array(state["noise"])
        if self._n_seen:
            self._fit.prepare()
        return self


def grid_of(shape: tuple[int, int], diameter: float) -> tuple[int, int]:
    """Return the number of nodes (gy, gx) for an image of `shape` with cells of `diameter`, both in the same px."""
    gy, gx = (min(max(round((n - 1) / (_NODES_APART * diameter)) + 1, 2), _MOST_NODES) for n in shape)
    return gy, gx


def leveled(field: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the means (..., 2) over the frame of fields (..., gy, gx, 2), and the fields without them."""
    weights = np.outer(*(_trapezoid(n) for n in field.shape[-3:-1])).astype(np.float32)
    mean = (field * weights[:, :, None]).sum((-3, -2))
    return mean, field - mean[..., None, None, :]


def _trapezoid(nodes: int) -> DoubleArray:
    """Return the share that each of the nodes along a side has in the mean of what is linear between them."""
    share = np.ones(nodes)
    share[0] = share[-1] = 0.5
    return np.asarray(share / share.sum())


def _hats(n_blocks: int, block: int, nodes: int, size: int) -> DoubleArray:
    """Return the share of each node at the middle of each block along one side, (n_blocks, nodes)."""
    middle = np.minimum((np.arange(n_blocks) + 0.5) * block - 0.5, size - 1)
    at = middle / (size - 1) * (nodes - 1)
    return np.asarray(np.maximum(1 - np.abs(at[:, None] - np.arange(nodes)), 0), np.float64)


def _prior(grid: tuple[int, int], shape: tuple[int, int], diameter: float) -> DoubleArray:
    """Return the covariance of the field before anything is seen, px squared."""
    lines = [np.linspace(0, size - 1, nodes) for nodes, size in zip(grid, shape, strict=True)]
    y, x = (axis.ravel() for axis in np.meshgrid(*lines, indexing="ij"))
    distance = np.hypot(y[:, None] - y, x[:, None] - x) / diameter
    one = (_PRIOR_SD * diameter) ** 2 * np.exp(-distance / _PRIOR_REACH)
    return np.asarray(np.kron(one, np.eye(2)), np.float64)


def _inverse(matrix: DoubleArray) -> DoubleArray:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _inside(n: int, d: float, margin: int) -> tuple[int, int]:
    """Return the rows or columns of a moved image that the sensor saw, but for its margin."""
    return max(math.ceil(-d), 0) + margin, min(math.floor(n - d), n) - margin
