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
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.config import EngineConfig
from streamscope.core.aperture import depth
from streamscope.core.edges import SensorEdges
from streamscope.core.kernels import edges, filters, warp
from streamscope.core.piecewise import Piecewise, Registered, leveled
from streamscope.core.quality import (
    LASTING_S,
    LEAST_STRUCTURE,
    MOST_SATURATED,
    FrameQuality,
    Look,
    Looker,
    band_agreements,
    strange_shares,
)
from streamscope.types import FLAG_BAD_MOTION, FLAG_SATURATED, DoubleArray, FloatArray, Shift

_INNER, _OUTER = 0.25, 0.42  # standard deviations of the two blurs, cell diameters,
_INNER_PX, _OUTER_PX = (1.2, 2.0), (2.5, 4.0)  # and within these, px at working resolution
_REFRESH_FRAMES = 8  # the template's spectrum is renewed this often, once it is settled
_LEARN_ANEW = 20  # frames that a template weighs that had edges of the sensor in it
_CLIP_SD = 2.0
_STEADINESS = 0.2  # residual variance below this share of the mean earns a pixel no larger vote
_NEWTON_STEPS = 2
_LARGEST_STEP_PX, _LARGEST_WAY_PX = 0.7, 1.5
_SMALLEST_GAIN = 0.05
_HALVE_FROM_PX = 200
_LARGEST_DRIFT_PX = 0.03
_RIM_PX = (8.0, 14.0)  # from the rim of a lens: no votes, full votes; px at working resolution
_LEAST_STRUCTURE_ADU = 0.5  # a frame without any is no reference
_SAME_PLACE = 0.3  # agreement of two scenes from which their distance is known
_TEMPLATE_PARTS = ("mean", "variance", "spectrum", "equations", "weight", "clip")
_SCENES = ("scene", "former", "coming")


class BandPass:
    """Difference of two blurs at working resolution; the wide one is taken at half of it."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int]) -> None:
        self.factor = 2 if max(shape) > config.motion.half_above_px else 1
        self.shape = h, w = shape[0] // self.factor, shape[1] // self.factor
        diameter = config.cell_diameter_px / self.factor
        self._inner = _gaussian_taps(_within(_INNER_PX, _INNER * diameter))
        self._outer = _triangle_taps(_within(_OUTER_PX, _OUTER * diameter))
        half, widths = (-(-h // 2), -(-w // 2)), (2 * (len(self._inner) - 1), 2 * (len(self._outer) - 1))
        self._line = np.zeros(shape[1] + 2, np.float32)
        self._base = np.zeros((h + widths[0], w + widths[0]), np.float32)
        self._small = np.zeros((half[0] + widths[1], half[1] + widths[1]), np.float32)
        self._wide = np.zeros(half, np.float32)
        rows = max(self._base.shape[1], self._small.shape[1])
        self._strip = np.zeros(2 * filters.STRIP * rows, np.float32)
        self._out = np.zeros(self.shape, np.float32)

    def __call__(self, image: NDArray[np.generic]) -> FloatArray:
        """Return the band-passed image (h, w) of an image (H, W), uint8 or float32; the next call fills it again."""
        scratch = self._line, self._strip, self._base, self._small, self._wide
        filters.band_pass(image, self._inner, self._outer, *scratch, self._out)
        return self._out


def _within(limits: tuple[float, float], value: float) -> float:
    low, high = limits
    return min(max(value, low), high)


def _gaussian_taps(sigma: float) -> FloatArray:
    """Return the taps of a Gaussian of at least three `sigma` to each side."""
    at = np.arange(4 * math.ceil(3 * sigma / 4) + 1)
    taps = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(taps / (2 * taps.sum() - taps[0]), np.float32)


def _triangle_taps(sigma: float) -> FloatArray:
    """Return the taps of a triangle with the variance of a Gaussian: (n^2 - 1) / 6 with feet n samples away."""
    n = math.sqrt(6 * sigma**2 + 1)
    taps = np.maximum(0, n - np.arange(4 * math.ceil(n / 4) + 1))
    return np.asarray(taps / (2 * taps.sum() - taps[0]), np.float32)


class Correlation:
    """Correlates images with a template by Fourier transforms, at half size if they are large.

    The peak is only where Gauss-Newton starts from. What is transformed is the largest middle part of the image
    whose sides have no other factors than 2, 3 and 5. Images are multiplied with the votes of their pixels, where not
    all of the field is seen: a rim that stands still would be the strongest of what is in them.
    """

    def __init__(self, shape: tuple[int, int], votes: FloatArray | None = None) -> None:
        self.factor = 2 if min(shape) >= _HALVE_FROM_PX else 1
        self._small = np.zeros((shape[0] // self.factor, shape[1] // self.factor), np.float32)
        self._line = np.zeros(shape[1], np.float32)
        h, w = (_smooth_size(n) for n in self._small.shape)
        self._at = (self._small.shape[0] - h) // 2, (self._small.shape[1] - w) // 2
        self._window = _window((h, w))
        if votes is not None:
            y, x = self._at
            self._window *= votes[:: self.factor, :: self.factor][y : y + h, x : x + w]
        self._flat = np.ones((h, w), np.float32)
        self._image, self._spectrum = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)

    def spectrum_of(self, weighted: FloatArray) -> FloatArray:
        """Return the packed spectrum of a weighted template (h, w)."""
        self._lay_out(weighted, self._flat, 0)
        self._image -= self._image.mean()
        return np.asarray(cv2.dft(self._image), np.float32)

    def at_lags(self, image: FloatArray, spectrum: FloatArray, reach: int) -> FloatArray:
        """Return the correlations (2 reach + 1, 2 reach + 1) at lags of `-reach` to `reach` px of the small image."""
        self._lay_out(image, self._window, reach)
        cv2.dft(self._image, self._spectrum)
        cv2.mulSpectrums(self._spectrum, spectrum, 0, self._spectrum, conjB=True)
        n = 2 * reach + 1
        cv2.dft(self._spectrum, self._image, flags=cv2.DFT_INVERSE, nonzeroRows=n)
        return self._image[:n, :n]

    def _lay_out(self, image: FloatArray, window: FloatArray, lag: int) -> None:
        if self.factor == 2:
            filters.halve(image, 0, self._line, 0, self._small)
            image = self._small
        filters.lay_out(image, window, *self._at, lag, self._image)


def _smooth_size(n: int) -> int:
    """Return the largest number up to `n` that has no other prime factors than 2, 3 and 5."""
    while n > 1 and cv2.getOptimalDFTSize(n) != n:
        n -= 1
    return n


def _window(shape: tuple[int, int]) -> FloatArray:
    """Return a window of `shape` with raised-cosine flanks of 10 %."""
    return np.outer(*(_flanks(n) for n in shape)).astype(np.float32)


def votes_by_place(config: EngineConfig, band_pass: BandPass) -> FloatArray:
    """Return the votes of the pixels of filtered images by their place, (h, w): none near the border of the field.

    Nor near the rim of a lens: it stands still while the tissue moves, and is by far the strongest edge.
    """
    window, disc, factor = _window(band_pass.shape), config.prepare.prepared_disc(), band_pass.factor
    if disc is None:
        return window
    small = ((disc[0] - 0.5) / factor, (disc[1] - 0.5) / factor, disc[2] / factor)
    inside = depth(band_pass.shape, small) - _RIM_PX[0]
    part = np.clip(inside / (_RIM_PX[1] - _RIM_PX[0]), 0, 1)
    return np.asarray(window * (0.5 - 0.5 * np.cos(np.pi * part)), np.float32)


def make_matcher(config: EngineConfig, band_pass: BandPass) -> Matcher:
    """Return a matcher for filtered images."""
    votes = None if config.prepare.disc is None else votes_by_place(config, band_pass)
    return Matcher(band_pass.shape, config.motion.max_shift_px / band_pass.factor, votes)


def _flanks(n: int) -> DoubleArray:
    edge = max(2, n // 10)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    out = np.ones(n)
    out[:edge], out[n - edge :] = ramp, ramp[::-1]
    return out


class Template:
    """What frames are registered to: mean image, residual variance, and what is derived from them."""

    def __init__(self, first: FloatArray, window: FloatArray | None = None) -> None:
        self.mean = first.copy()
        self.variance = np.full_like(first, float(first.var()) + 1e-6)
        self.weight, self.clip = np.zeros_like(first), np.zeros_like(first)
        self.equations = np.zeros(4)  # sums of w gy gy, w gy gx, w gx gx, w mean mean
        self._window = _window(first.shape) if window is None else window
        self._weighted = np.zeros_like(first)
        self._correlation = Correlation((first.shape[0], first.shape[1]))
        self.refresh()

    def refresh(self) -> None:
        """Renew weights, clip levels, normal equations and the weighted spectrum from mean and variance."""
        # The window weighs pixels and does not touch images: a window on the image would stay behind when the
        # content moves, and pull the estimate to zero.
        warp.settle_weights(
            self.variance,
            self._window,
            self.mean,
            _STEADINESS,
            _CLIP_SD,
            self.weight,
            self.clip,
            self._weighted,
        )
        warp.hessian(self.mean, self.weight, self.equations)
        self.equations[3] = float(np.vdot(self._weighted, self.mean)) + 1e-12
        self.spectrum = self._correlation.spectrum_of(self._weighted)

    def follow(self, moved: FloatArray, gain: float, rate: float, kept: FloatArray | None = None) -> None:
        """Let a registered frame into the running means, where `kept` is 1 if it is given."""
        if kept is None:
            warp.update_template(moved, np.float32(gain), np.float32(rate), self.mean, self.variance)
        else:
            edges.follow_where(moved, np.float32(gain), np.float32(rate), kept, self.mean, self.variance)


@dataclass(slots=True)
class Votes:
    """A template with the votes that its pixels have in one frame."""

    mean: FloatArray
    weight: FloatArray
    clip: FloatArray
    equations: DoubleArray


class Matcher:
    """Finds the shift of one band-passed image against a template.

    With `keep`, (h, w) at the places of the sensor, only pixels that are 1 there have a vote.
    """

    def __init__(self, shape: tuple[int, int], max_shift_px: float, votes: FloatArray | None = None) -> None:
        self.max_lag = int(min(math.ceil(max_shift_px), shape[0] // 3, shape[1] // 3))
        self.moved = np.zeros(shape, np.float32)
        self.gain = 1.0
        self._row = np.zeros(shape[1] + 3, np.float32)
        self._start, self._found = np.zeros(2), np.zeros(4)
        self._limits = np.array([_LARGEST_STEP_PX, _LARGEST_WAY_PX, _SMALLEST_GAIN])
        self._correlation = Correlation(shape, votes)
        self.kept: FloatArray | None = None  # what `keep` was, at the places of the template
        self._masked, self._kept, self._votes = (np.ones(shape, np.float32) for _ in range(3))
        self._equations = np.zeros(4)

    def coarse(
        self, image: FloatArray, template: Template, keep: FloatArray | None = None
    ) -> tuple[float, float, bool]:
        """Return the shift at the correlation's peak, and whether the peak lies inside the window."""
        if keep is not None:
            image = np.multiply(image, keep, out=self._masked)
        factor = self._correlation.factor
        m = -(-self.max_lag // factor)
        window = self._correlation.at_lags(image, template.spectrum, m)
        iy, ix = divmod(int(window.argmax()), 2 * m + 1)
        inside = 0 < iy < 2 * m and 0 < ix < 2 * m
        if not inside:
            return float(factor * (iy - m)), float(factor * (ix - m)), False
        near = window[iy - 1 : iy + 2, ix - 1 : ix + 2].tolist()
        dy = _peak(near[0][1], near[1][1], near[2][1])
        dx = _peak(near[1][0], near[1][1], near[1][2])
        return factor * (iy - m + dy), factor * (ix - m + dx), True

    def refine(
        self,
        image: FloatArray,
        template: Template,
        dy: float,
        dx: float,
        steps: int = _NEWTON_STEPS,
        keep: FloatArray | None = None,
    ) -> tuple[float, float, float]:
        """Return the shift after Gauss-Newton steps and the weighted correlation there.

        Leaves the registered image in `moved` and its gain against the template in `gain`.
        """
        self._start[:] = dy, dx
        votes = self._vote(template, dy, dx, keep)
        warp.refine(
            image,
            votes.mean,
            votes.weight,
            votes.clip,
            votes.equations,
            self._start,
            self._limits,
            steps,
            self._row,
            self.moved,
            self._found,
        )
        dy, dx, self.gain, quality = self._found.tolist()
        return dy, dx, quality

    @property
    def weight(self) -> FloatArray | None:
        """Return the votes of the image just registered; None: those of the template."""
        return None if self.kept is None else self._votes

    def reference(self, template: Template) -> Template | Votes:
        """Return a template with the votes of the image just registered; valid until the next one."""
        if self.kept is None:
            return template
        return Votes(template.mean, self._votes, template.clip, self._equations)

    def _vote(self, template: Template, dy: float, dx: float, keep: FloatArray | None) -> Template | Votes:
        """Find and return the votes of an image that lies near (dy, dx)."""
        self.kept = None if keep is None else self._kept
        if keep is None:
            return template
        edges.votes_where(
            template.weight,
            keep,
            round(dy),
            round(dx),
            template.mean,
            template.equations,
            self._kept,
            self._votes,
            self._equations,
        )
        return self.reference(template)


def _peak(left: float, middle: float, right: float) -> float:
    """Return the vertex of a parabola through three samples, within half a sample."""
    curvature = left - 2 * middle + right
    return 0.0 if curvature >= 0 else min(max(0.5 * (left - right) / curvature, -0.5), 0.5)


@dataclass(frozen=True, slots=True)
class Match:
    """Where an image lies on a scene, and how well it fits."""

    dy: float
    dx: float
    agreement: float
    inside: bool  # of the reach of the search
    bands: FloatArray  # (n,) agreement of each band of rows


class Scene:
    """What frames are compared with: a template, and what is usual of frames that look like it.

    Parameters
    ----------
    first : ndarray, shape (h, w), float32
        Band-passed reference.
    memory : int
        Frames of the running means.
    window : ndarray, shape (h, w), float32
        Votes of the pixels by their place.
    """

    def __init__(self, first: FloatArray, memory: int, window: FloatArray) -> None:
        self.template = Template(first, window)
        self._window = window
        self.quality = FrameQuality()
        self.n = 1
        self._memory = memory
        self._anchor: Template | None = None

    def match(self, matcher: Matcher, image: FloatArray, keep: FloatArray | None = None) -> Match:
        """Return where a band-passed image lies; the matcher holds it, registered."""
        template = self.template
        dy, dx, inside = matcher.coarse(image, template, keep)
        dy, dx, agreement = matcher.refine(image, template, dy, dx, keep=keep)
        bands = band_agreements(matcher.moved, template.mean, matcher.reference(template).weight, dy)
        return Match(dy, dx, agreement, inside, bands)

    def judge(self, found: Match, look: Look, matcher: Matcher) -> int:
        """Return 0 if the image just matched is a picture of this scene, else flags that say what it is."""
        template = self.template

        def strange() -> FloatArray:
            return strange_shares(matcher.moved, matcher.gain, template.mean, template.clip)

        flags = self.quality.judge(found.agreement, look, found.bands, strange)
        return flags if found.inside else flags | FLAG_BAD_MOTION

    def learn(self, matcher: Matcher, found: Match, look: Look) -> None:
        """Let the image just matched, which the matcher holds, into template and what is usual."""
        self.quality.remember(found.agreement, look, found.bands)
        self.n += 1
        template = self.template
        template.follow(matcher.moved, matcher.gain, 1.0 / min(self.n, self._memory), matcher.kept)
        if self.n < 100 or self.n % _REFRESH_FRAMES == 0:
            template.refresh()
        if self.n == self._memory:
            self._anchor = Template(template.mean, self._window)
        elif self._anchor is not None and self.n % self._memory == 0:
            self._pull_back(matcher, self._anchor)

    def _pull_back(self, matcher: Matcher, anchor: Template) -> None:
        """Undo a drift of the template against the anchor, so that a random walk cannot accumulate."""
        template = self.template
        dy, dx, agreement = matcher.refine(template.mean, anchor, 0.0, 0.0, steps=4)
        if agreement > 0.5 and math.hypot(dy, dx) > _LARGEST_DRIFT_PX:
            template.mean = matcher.moved.copy()
            template.refresh()

    def move(self, dy: float, dx: float) -> None:
        """Let what was seen at a shift of (dy, dx) be the reference."""
        template, row = self.template, np.zeros(self.template.mean.shape[1] + 3, np.float32)
        for name in ("mean", "variance"):
            old = getattr(template, name)
            moved = np.empty_like(old)
            warp.translate(old, dy, dx, row, moved)
            setattr(template, name, moved)
        template.refresh()

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        out: dict[str, np.ndarray | float | int] = {"n": self.n}
        out |= {name: getattr(self.template, name).copy() for name in _TEMPLATE_PARTS}
        if self._anchor is not None:
            out["anchor"] = self._anchor.mean.copy()
        return out | {f"quality.{name}": value for name, value in self.quality.state().items()}

    @classmethod
    def from_state(cls, memory: int, window: FloatArray, state: dict[str, np.ndarray | float | int]) -> Scene:
        """Return a scene that goes on where `state` was taken."""
        self = cls(np.array(state["mean"]), memory, window)
        for name in _TEMPLATE_PARTS:
            setattr(self.template, name, np.array(state[name]))
        if "anchor" in state:
            self._anchor = Template(np.array(state["anchor"]), window)
        self.n = int(state["n"])
        self.quality = FrameQuality.from_state(_part(state, "quality."))
        return self


class Motion:
    """Registers frames one by one; the first frame is the reference.

    A scene that changes for good, so that no frame looks like the template any more, takes the template's place once
    it has lasted; the one before is remembered, in case it comes back.
    """

    def __init__(self, config: EngineConfig, shape: tuple[int, int]) -> None:
        self._band_pass = BandPass(config, shape)
        factor = self._band_pass.factor
        self._memory = config.frames(config.motion.template_s)
        self._lasting = max(config.frames(LASTING_S), 2)
        self._scene: Scene | None = None
        self._former: Scene | None = None  # the one before
        self._coming: Scene | None = None  # of frames in a row that are alike, but not like the scene
        self._last = (0.0, 0.0)
        self._look = Looker(shape, config.motion.max_shift_px, config.bits)
        self._window = votes_by_place(config, self._band_pass)
        self._matcher = make_matcher(config, self._band_pass)
        self._piecewise = Piecewise(config, self._band_pass.shape, factor)
        self._edges = SensorEdges(self._band_pass.shape, self._memory)

    def update(self, image: NDArray[np.generic]) -> Shift:
        """Register one frame and let it into the template afterwards.

        Parameters
        ----------
        image : ndarray, shape (H, W), uint8 or float32
            The frame as the sensor saw it, hot pixels repaired.

        Returns
        -------
        Shift
            In px of the full frame, with a field while the motion is not rigid. Not `ok` if the frame does not
            look like the template; then the last good shift is repeated and the template is left alone.
        """
        filtered, look, matcher = self._band_pass(image), self._look(image), self._matcher
        light = FLAG_SATURATED if look.saturated > MOST_SATURATED else 0
        if self._scene is None:
            if float(np.ptp(filtered)) < _LEAST_STRUCTURE_ADU:
                return Shift(quality=0.0, ok=False, flags=FLAG_BAD_MOTION | light)
            self._scene = Scene(filtered, self._memory, self._window)
            return Shift(flags=light)
        found = self._scene.match(matcher, filtered, self._edges.keep)
        if flags := self._scene.judge(found, look, matcher):
            again = self._back(filtered, look)
            if again is None:
                self._look_elsewhere(filtered, look)
                return self.repeat(flags | light, found.agreement)
            found = again
        self._coming = None
        self._last = (found.dy, found.dx)
        registered = Registered(filtered, matcher.moved, found.dy, found.dx, matcher.gain, matcher.weight)
        template = self._scene.template
        if self._edges.update(filtered, template.mean, found.dy, found.dx, matcher.gain):
            self._scene.n = min(self._scene.n, _LEARN_ANEW)
        self._piecewise.update(registered, matcher.reference(template))
        self._scene.learn(matcher, found, look)
        return self._shift(found.agreement, flags=light)

    def _shift(self, agreement: float, ok: bool = True, flags: int = 0) -> Shift:
        """Return the last good shift and field; the mean of the field over the frame is in the shift."""
        factor, field = self._band_pass.factor, self._piecewise.field
        dy, dx = (factor * value for value in self._last)
        if field is None:
            return Shift(dy, dx, agreement, ok, flags=flags)
        mean, field = leveled(field)
        return Shift(dy + float(mean[0]), dx + float(mean[1]), agreement, ok, field, flags)

    def repeat(self, flags: int, agreement: float = 0.0) -> Shift:
        """Return the last good shift for a frame that is not used for the reasons given as flags."""
        return self._shift(agreement, ok=False, flags=flags)

    def _back(self, filtered: FloatArray, look: Look) -> Match | None:
        """Return where a frame lies on the scene before, which takes its place again, or None if it does not."""
        if self._former is None:
            return None
        found = self._former.match(self._matcher, filtered, self._edges.keep)
        if self._former.judge(found, look, self._matcher):
            return None
        self._scene, self._former = self._former, self._scene
        self._edges = SensorEdges(self._band_pass.shape, self._memory)
        return found

    def _look_elsewhere(self, filtered: FloatArray, look: Look) -> None:
        """See whether frames unlike the scene look like each other, and let them be the scene if that lasts."""
        scene, matcher = self._scene, self._matcher
        assert scene is not None
        if self._coming is not None:
            found = self._coming.match(matcher, filtered, self._edges.keep)
            alike = found.agreement > scene.quality.least
            if alike and not self._coming.judge(found, look, matcher):
                self._coming.learn(matcher, found, look)
                if self._coming.n >= self._lasting:
                    self._change(self._coming, scene)
                return
        has_structure = float(filtered.std()) > LEAST_STRUCTURE * float(scene.template.mean.std())
        self._coming = Scene(filtered, self._memory, self._window) if has_structure else None

    def _change(self, coming: Scene, scene: Scene) -> None:
        """Let a scene that has lasted take the place of the one before, where it lies if that can be seen."""
        self._coming = None
        if float(coming.template.mean.std()) < LEAST_STRUCTURE * float(scene.template.mean.std()):
            return
        found = scene.match(self._matcher, coming.template.mean)
        place = (found.dy, found.dx) if found.inside and found.agreement > _SAME_PLACE else self._last
        coming.move(*place)
        self._scene, self._former = coming, scene
        self._edges = SensorEdges(self._band_pass.shape, self._memory)  # the sensor may look different too

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        out: dict[str, np.ndarray | float | int] = {"last": np.array(self._last)}
        parts = {name: getattr(self, f"_{name}") for name in (*_SCENES, "piecewise", "edges")}
        for part, held in parts.items():
            if held is not None:
                out |= {f"{part}.{name}": value for name, value in held.state().items()}
        return out

    @classmethod
    def from_state(
        cls, config: EngineConfig, shape: tuple[int, int], state: dict[str, np.ndarray | float | int]
    ) -> Motion:
        """Return a stage that goes on where `state` was taken."""
        self = cls(config, shape)
        last = np.asarray(state["last"])
        self._last = (float(last[0]), float(last[1]))
        for name in _SCENES:
            held = _part(state, f"{name}.")
            setattr(self, f"_{name}", Scene.from_state(self._memory, self._window, held) if held else None)
        shape, factor = self._band_pass.shape, self._band_pass.factor
        self._piecewise = Piecewise.from_state(config, shape, factor, _part(state, "piecewise."))
        self._edges = SensorEdges.from_state(self._memory, _part(state, "edges."))
        return self


def _part(state: dict[str, np.ndarray | float | int], prefix: str) -> dict[str, np.ndarray | float | int]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
