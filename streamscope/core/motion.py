"""Registration of each frame to a running, anchored template: rigid, and a smooth field where that is not enough.

The template is the running mean of registered, band-passed frames. It contains neither the current frame nor
anything of the factorisation, so that no part of it moves with the frame. Pixels vote with the inverse of
their own residual variance: cells that flicker lose their vote, vessels and tissue keep it.

Sources: phase-free correlation by FFT, then Gauss-Newton on the template (Lucas and Kanade 1981), with
residuals clipped pixel by pixel (Huber). The reference online method lets the current frame into its own
template, which pulls its estimate towards zero; see docs/decisions.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import scipy.fft

from streamscope.config import EngineConfig
from streamscope.core.kernels import warp
from streamscope.core.piecewise import Piecewise, Registered
from streamscope.core.quality import FrameQuality, edge_margin, row_jump, strange_share
from streamscope.types import DoubleArray, FloatArray, Shift

_REFRESH_FRAMES = 8  # the template's spectrum is renewed this often, once it is settled
_CLIP_SD = 2.0
_NEWTON_STEPS = 2
_LARGEST_STEP_PX = 0.7
_HALVE_FROM_PX = 200
_LARGEST_DRIFT_PX = 0.03
_LEAST_STRUCTURE_ADU = 0.5  # a frame without any is no reference


class BandPass:
    """Difference of two blurs at working resolution; the wide one is taken at half of it."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int]) -> None:
        self.factor = 2 if max(shape) > config.motion.half_above_px else 1
        self.shape = (shape[0] // self.factor, shape[1] // self.factor)
        diameter = config.cell_diameter_px / self.factor
        self._inner_sigma = max(diameter / 4, 1.2)
        # Two passes of a box of width n have the variance (n^2 - 1) / 6 of a Gaussian.
        self._outer_box = 2 * round((math.sqrt(6 * (max(diameter, 5.0) / 2) ** 2 + 1) - 1) / 2) + 1

    def __call__(self, image: FloatArray) -> FloatArray:
        """Return the band-passed image (h, w) of a raw image (H, W)."""
        h, w = self.shape
        if self.factor == 2:
            halved = cv2.resize(image[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA)
            image = np.asarray(halved, np.float32)
        inner = cv2.GaussianBlur(image, (0, 0), self._inner_sigma, borderType=cv2.BORDER_REFLECT_101)
        box = (self._outer_box, self._outer_box)
        small = cv2.resize(image, (-(-w // 2), -(-h // 2)), interpolation=cv2.INTER_AREA)
        outer = cv2.resize(cv2.blur(cv2.blur(small, box), box), (w, h), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.subtract(inner, outer), np.float32)


def _coarse(image: FloatArray) -> FloatArray:
    """Return an image at half size if it is large: the peak is only where Gauss-Newton starts from."""
    h, w = image.shape
    if min(h, w) < _HALVE_FROM_PX:
        return image
    return np.asarray(
        cv2.resize(image[: h - h % 2, : w - w % 2], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    )


def _window(shape: tuple[int, int]) -> FloatArray:
    """Return a window of `shape` with raised-cosine flanks of 10 %."""
    return np.outer(*(_flanks(n) for n in shape)).astype(np.float32)


def _flanks(n: int) -> DoubleArray:
    edge = max(2, n // 10)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    out = np.ones(n)
    out[:edge], out[n - edge :] = ramp, ramp[::-1]
    return out


class Template:
    """What frames are registered to: mean image, residual variance, and what is derived from them."""

    def __init__(self, first: FloatArray) -> None:
        self.mean = first.copy()
        self._window = _window(first.shape)
        self.variance = np.full_like(first, float(first.var()) + 1e-6)
        self.refresh()

    def refresh(self) -> None:
        """Renew weights, clip levels and the weighted spectrum from mean and variance."""
        level = float(self.variance.mean()) + 1e-12
        # The window weighs pixels and does not touch images: a window on the image would stay behind when the
        # content moves, and pull the estimate to zero.
        self.weight = self._window * level / (self.variance + 0.2 * level)
        self.clip: FloatArray = np.asarray(_CLIP_SD * np.sqrt(self.variance), np.float32)
        self.weighted = self.weight * self.mean
        self.spectrum = np.conj(scipy.fft.rfft2(_coarse(self.weighted - self.weighted.mean())))
        self.energy = float((self.weight * self.mean * self.mean).sum()) + 1e-12

    def follow(self, moved: FloatArray, gain: float, rate: float) -> None:
        """Let a registered frame into the running means."""
        warp.update_template(moved, np.float32(gain), np.float32(rate), self.mean, self.variance)


class Matcher:
    """Finds the shift of one band-passed image against a template."""

    def __init__(self, shape: tuple[int, int], max_shift_px: float) -> None:
        self.max_lag = int(min(math.ceil(max_shift_px), shape[0] // 3, shape[1] // 3))
        self.moved = np.zeros(shape, np.float32)
        self.gain = 1.0
        self._cross = 0.0
        self._row = np.zeros(shape[1] + 3, np.float32)
        self._sums = np.zeros(6, np.float64)
        self._window = _window(_coarse(np.zeros(shape, np.float32)).shape)

    def coarse(self, image: FloatArray, template: Template) -> tuple[float, float, bool]:
        """Return the shift at the correlation's peak, and whether the peak lies inside the window."""
        small = _coarse(image) * self._window
        factor = image.shape[0] // small.shape[0]
        product = scipy.fft.rfft2(small) * template.spectrum
        m = -(-self.max_lag // factor)
        lags = np.r_[-m : m + 1]
        rows = scipy.fft.ifft(product, axis=0, overwrite_x=True)[lags]  # only these lags are looked at
        window = scipy.fft.irfft(rows, n=small.shape[1], axis=1)[:, lags]
        iy, ix = divmod(int(window.argmax()), 2 * m + 1)
        inside = 0 < iy < 2 * m and 0 < ix < 2 * m
        if not inside:
            return float(factor * (iy - m)), float(factor * (ix - m)), False
        dy = _peak(window[iy - 1, ix], window[iy, ix], window[iy + 1, ix])
        dx = _peak(window[iy, ix - 1], window[iy, ix], window[iy, ix + 1])
        return factor * (iy - m + dy), factor * (ix - m + dx), True

    def refine(
        self, image: FloatArray, template: Template, dy: float, dx: float, steps: int = _NEWTON_STEPS
    ) -> tuple[float, float, float]:
        """Return the shift after Gauss-Newton steps and the weighted correlation there.

        Leaves the registered image in `moved` and its gain against the template in `gain`.
        """
        start = (dy, dx)
        sums = self._sums
        warp.translate(image, dy, dx, self._row, self.moved)
        self.gain = self._gain_of(template)
        for _ in range(steps):
            warp.newton_sums(
                self.moved, template.mean, np.float32(self.gain), template.weight, template.clip, sums
            )
            a11, a12, a22, b1, b2, _ = sums
            determinant = a11 * a22 - a12 * a12
            if determinant <= 1e-12 * (a11 + a22) ** 2 or self.gain <= 0:
                break
            dy -= _bounded((a22 * b1 - a12 * b2) / determinant / self.gain)
            dx -= _bounded((a11 * b2 - a12 * b1) / determinant / self.gain)
            if abs(dy - start[0]) > 1.5 or abs(dx - start[1]) > 1.5:
                dy, dx = start  # the step left the peak: distrust it
            warp.translate(image, dy, dx, self._row, self.moved)
            self.gain = self._gain_of(template)
        return dy, dx, self._agreement(template)

    def _gain_of(self, template: Template) -> float:
        self._cross = float(np.vdot(template.weighted, self.moved))
        return max(self._cross / template.energy, 0.05)

    def _agreement(self, template: Template) -> float:
        own = float(np.vdot(template.weight * self.moved, self.moved)) + 1e-12
        return self._cross / math.sqrt(own * template.energy)


def _peak(left: float, middle: float, right: float) -> float:
    """Return the vertex of a parabola through three samples, within half a sample."""
    curvature = left - 2 * middle + right
    return 0.0 if curvature >= 0 else float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5))


def _bounded(step: float) -> float:
    return min(max(step, -_LARGEST_STEP_PX), _LARGEST_STEP_PX)


class Motion:
    """Registers frames one by one; the first frame is the reference."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int]) -> None:
        self._band_pass = BandPass(config, shape)
        factor = self._band_pass.factor
        self._matcher = Matcher(self._band_pass.shape, config.motion.max_shift_px / factor)
        self._memory = config.frames(config.motion.template_s)
        self._template: Template | None = None
        self._anchor: FloatArray | None = None
        self._n = 0
        self._last = (0.0, 0.0)
        self._quality = FrameQuality()
        self._margin = edge_margin(config.motion.max_shift_px, shape[0])
        self._piecewise = Piecewise(config, self._band_pass.shape, factor)

    def update(self, image: FloatArray) -> Shift:
        """Register one frame and let it into the template afterwards.

        Parameters
        ----------
        image : ndarray, shape (H, W), float32
            The frame as the sensor saw it, hot pixels repaired.

        Returns
        -------
        Shift
            In px of the full frame, with a field while the motion is not rigid. Not `ok` if the frame does not
            look like the template; then the last good shift is repeated and the template is left alone.
        """
        factor = self._band_pass.factor
        filtered = self._band_pass(image)
        if self._template is None:
            if float(np.ptp(filtered)) < _LEAST_STRUCTURE_ADU:
                return Shift(quality=0.0, ok=False)
            self._template = Template(filtered)
            self._n = 1
            return Shift()
        template = self._template
        dy, dx, inside = self._matcher.coarse(filtered, template)
        dy, dx, quality = self._matcher.refine(filtered, template, dy, dx)
        jump = row_jump(image, self._margin)
        if not (inside and self._quality.credible(quality, jump, self._strange)):
            last = (factor * self._last[0], factor * self._last[1])
            return Shift(*last, quality, ok=False, field=self._piecewise.field)
        self._last = (dy, dx)
        matcher = self._matcher
        field = self._piecewise.update(Registered(filtered, matcher.moved, dy, dx, matcher.gain), template)
        self._quality.remember(quality, jump)
        self._learn()
        return Shift(factor * dy, factor * dx, quality, field=field)

    def _strange(self) -> float:
        assert self._template is not None
        matcher, template = self._matcher, self._template
        return strange_share(matcher.moved, matcher.gain, template.mean, template.clip)

    def _learn(self) -> None:
        self._n += 1
        template = self._template
        assert template is not None
        template.follow(self._matcher.moved, self._matcher.gain, 1.0 / min(self._n, self._memory))
        if self._n < 100 or self._n % _REFRESH_FRAMES == 0:
            template.refresh()
        if self._n == self._memory:
            self._anchor = template.mean.copy()
        elif self._anchor is not None and self._n % self._memory == 0:
            self._pull_back(template)

    def _pull_back(self, template: Template) -> None:
        """Undo a drift of the template against the anchor, so that a random walk cannot accumulate."""
        assert self._anchor is not None
        anchor = Template(self._anchor)
        matcher = Matcher(self._anchor.shape, 2)
        dy, dx, agreement = matcher.refine(template.mean, anchor, 0.0, 0.0, steps=4)
        if agreement > 0.5 and math.hypot(dy, dx) > _LARGEST_DRIFT_PX:
            template.mean = matcher.moved.copy()
            template.refresh()

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        out: dict[str, np.ndarray | float | int] = {
            "n": self._n,
            "last": np.array(self._last),
        }
        if self._template is not None:
            out |= {"mean": self._template.mean.copy(), "variance": self._template.variance.copy()}
            out |= {"spectrum": self._template.spectrum.copy(), "energy": self._template.energy}
            out |= {"weight": self._template.weight.copy(), "clip": self._template.clip.copy()}
            out["weighted"] = self._template.weighted.copy()
        if self._anchor is not None:
            out["anchor"] = self._anchor.copy()
        for stage, held in (("quality", self._quality.state()), ("piecewise", self._piecewise.state())):
            out |= {f"{stage}.{name}": value for name, value in held.items()}
        return out

    @classmethod
    def from_state(
        cls, config: EngineConfig, shape: tuple[int, int], state: dict[str, np.ndarray | float | int]
    ) -> Motion:
        """Return a stage that goes on where `state` was taken."""
        self = cls(config, shape)
        self._n = int(state["n"])
        last = np.asarray(state["last"])
        self._last = (float(last[0]), float(last[1]))
        if "mean" in state:
            template = Template(np.array(state["mean"]))
            for name in ("variance", "spectrum", "weight", "weighted", "clip"):
                setattr(template, name, np.array(state[name]))
            template.energy = float(state["energy"])
            self._template = template
        if "anchor" in state:
            self._anchor = np.array(state["anchor"])
        shape, factor = self._band_pass.shape, self._band_pass.factor
        self._quality = FrameQuality.from_state(_part(state, "quality."))
        self._piecewise = Piecewise.from_state(config, shape, factor, _part(state, "piecewise."))
        return self


def _part(state: dict[str, np.ndarray | float | int], prefix: str) -> dict[str, np.ndarray | float | int]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
