"""Whether a frame is a picture of the tissue: black, saturated, torn, striped and noisy frames are not.

Five questions, each with the recording itself as the measure. Does the registered frame look like the template?
Bright events lower the agreement of a good frame to about half; a frame of something else has none. Where it is
half: is it so in a good part of the field? Events are bright and small. Do neighbouring rows agree in their mean?
Cameras lose rows, and the tissue has no edge right across the field that comes and goes. Is a tile of the raw frame
much rougher than it was? Optics blur whatever is in focus; lost bits do not. And does each band of rows look like the
template? In a frame that is put together of two, one part does not.

What lasts is the scene: frames of something else that look like each other for some seconds are no broken frames, but
what is seen from now on (core/motion.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.kernels import look as kernels
from streamscope.core.robust import median
from streamscope.types import FLAG_BAD_MOTION, FLAG_BROKEN, BoolArray, FloatArray

LASTING_S = 5.0  # frames that look like each other for so long are the scene, whatever it was before
LEAST_STRUCTURE = 0.15  # of the structure of the scene before: darkness does not become the scene
N_BANDS = 12  # of rows
MOST_SATURATED = 0.01  # of the pixels; frames with more are flagged
_REMEMBERED = 500  # good frames
_FEWEST, _FEWEST_ROUGH = 8, 2  # of them, before there is a measure; of roughness
_SETTLED, _EVERY = 64, 8  # after so many of them the measure is taken anew only with every so many
_SPREADS, _MARGIN = 8.0, 0.02  # of the usual agreement
_NONE, _DOUBTFUL = 0.4, 0.7  # times the usual agreement
_MOST_STRANGE = 0.35  # of the field
_JUMP_TIMES, _JUMP_ADU = 4.0, 4.0  # of the usual jump from row to row, and what no camera is blamed for
_TILE_ROWS, _TILE_COLUMNS = 8, 4  # height of a tile, px, and how many are side by side
_ROUGH_TIMES, _ROUGH_ADU = 3.0, 1.0  # of the usual grain of a tile; of good tiles at most 2.5 times
_FLAT_TIMES, _FLAT_ADU = 0.25, 1.0  # of the usual grain; tiles without any cannot lose it
_BRIGHT = 0.9  # of the largest value: what is so bright is flat because it is saturated
_LEAST_BAND = 0.3  # usual agreement of a band; without structure none is asked
# A band's least agreement, of the usual, and in mean deviations from it: noise in rows registers badly.
_BAND_TIMES, _BAND_SPREADS = 0.35, 5.0
_STRANGE_BAND = 0.4  # of a band that is not where it belongs; of good frames at most 0.3


def edge_margin(max_shift_px: float, height: int) -> int:
    """Return how many rows at top and bottom may be filled by an earlier registration."""
    return min(math.ceil(max_shift_px), height // 6)


@dataclass(frozen=True, slots=True)
class Look:
    """What a frame looks like before it is registered, in grey levels."""

    jump: float  # largest second difference of the row means
    saturated: float  # share of the pixels
    grain: FloatArray  # (n, m) mean second difference along a row, without sign, tile by tile
    level: FloatArray  # (n, m) mean; NaN in the margin


class Looker:
    """Looks at the frames of one camera.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the frames, px.
    max_shift_px : float
        So many rows at top and bottom are left out of the jump, and tiles there may be flat: in recordings that were
        registered before, the filled edge of a frame lies there.
    bits : int
        Of a pixel; the largest value counts as saturated.
    """

    def __init__(self, shape: tuple[int, int], max_shift_px: float, bits: int = 8) -> None:
        n, m = max(shape[0] // _TILE_ROWS, 1), _TILE_COLUMNS if shape[1] >= 8 * _TILE_COLUMNS else 1
        self._margin = edge_margin(max_shift_px, shape[0])
        self._top = np.float32(256 - 2.0 ** (8 - bits))
        self._line, self._rows = np.zeros(shape[1], np.float32), np.zeros(shape[0], np.float32)
        self._tiles = (n, m)
        self._looked_at = -(-shape[0] // 2) * shape[1]
        first = np.arange(n) * _TILE_ROWS
        self._outer: BoolArray = (first < self._margin) | (first + _TILE_ROWS > shape[0] - self._margin)

    def __call__(self, image: NDArray[np.generic]) -> Look:
        """Return what an image (H, W) looks like, uint8 or float32, grey levels."""
        grain, level = np.empty(self._tiles, np.float32), np.empty(self._tiles, np.float32)
        full = kernels.look(image, self._top, _TILE_ROWS, self._line, grain, level, self._rows)
        level[self._outer] = np.nan
        rows = self._rows[self._margin : len(self._rows) - self._margin]
        jump = float(np.abs(rows[2:] - 2 * rows[1:-1] + rows[:-2]).max()) if len(rows) > 2 else 0.0
        return Look(jump, full / self._looked_at, grain, level)


def band_agreements(moved: FloatArray, template: FloatArray, weight: FloatArray, dy: float) -> FloatArray:
    """Return the weighted correlation with the template of each band of a registered image (h, w), (n,).

    NaN where the band was not in view at a shift of `dy` px, or has no votes.
    """
    out = np.empty(N_BANDS, np.float32)
    kernels.band_agreements(moved, template, weight, out)
    height = moved.shape[0]
    first = np.arange(N_BANDS) * max(height // N_BANDS, 1)
    last = np.append(first[1:], height) - 1
    out[(first + dy < 0) | (last + dy > height - 1)] = np.nan
    return out


def strange_shares(moved: FloatArray, gain: float, mean: FloatArray, clip: FloatArray) -> FloatArray:
    """Return the share of each band in which a registered image is none of what the template expects, (n,).

    Parameters
    ----------
    moved, mean, clip : ndarray, shape (h, w), float32
        Band-passed image after registration; the template, and two standard deviations of its residual.
    gain : float
        Of the image against the template.
    """
    every = np.s_[::2, ::2]  # band-passed: the pixels between say the same
    strange = np.abs(moved[every] / np.float32(gain) - mean[every]) > clip[every]
    first = np.arange(N_BANDS) * max(moved.shape[0] // N_BANDS, 1)
    rows = strange.mean(1, dtype=np.float32)
    parts = np.split(rows, np.minimum((first[1:] + 1) // 2, len(rows)))
    return np.array([part.mean() if len(part) else 0 for part in parts], np.float32)


class FrameQuality:
    """What is usual in a recording, and whether a frame is far from it."""

    def __init__(self) -> None:
        self._agreements = np.zeros(_REMEMBERED, np.float32)
        self._jumps = np.zeros(_REMEMBERED, np.float32)
        self._early: list[FloatArray] = []  # grain of the first frames, one of which may be broken
        self._grain = np.zeros((0, 0), np.float32)  # their median, later a running mean
        self._bands = np.zeros(N_BANDS, np.float32)  # running means
        self._wander = np.zeros(N_BANDS, np.float32)  # and of the deviations from them
        self._usual = np.zeros(3)  # agreement, its spread, and jump
        self._n = 0

    def remember(self, agreement: float, look: Look, bands: FloatArray) -> None:
        """Let a good frame into what is usual."""
        slot = self._n % _REMEMBERED
        self._agreements[slot], self._jumps[slot] = agreement, look.jump
        self._n += 1
        if self._n <= _SETTLED or self._n % _EVERY == 0:
            known = self._agreements[: self._n]
            middle = median(known)
            spread = 1.4826 * median(np.abs(known - middle))
            self._usual[:] = middle, spread, median(self._jumps[: self._n])
        rate = np.float32(1.0 / min(self._n, _REMEMBERED))
        if self._n <= _FEWEST:
            self._early.append(look.grain)
            self._grain = np.median(self._early, 0).astype(np.float32)
        else:
            self._grain += rate * (look.grain - self._grain)
        change = np.where(np.isnan(bands), np.float32(0), bands - self._bands)
        self._bands += rate * change
        self._wander += rate * (np.abs(change) * (self._n > 1) - self._wander)

    @property
    def least(self) -> float:
        """Return the agreement that no picture of a scene like this falls short of; 0 before there is a measure."""
        return float(_NONE * self._usual[0]) if self._n >= _FEWEST else 0.0

    def judge(
        self, agreement: float, look: Look, bands: FloatArray, strange: Callable[[], FloatArray]
    ) -> int:
        """Return 0 if a frame is a picture of the tissue, else the flags that say what it is.

        Parameters
        ----------
        agreement : float
            Correlation with the template.
        look : Look
            Of the raw frame.
        bands : ndarray, shape (n,), float32
            `band_agreements` of the registered frame.
        strange : callable
            Gives `strange_shares` of the registered frame; called only in doubt.
        """
        if self._patchy(look) or (self._n >= _FEWEST and self._torn(look, bands, strange)):
            return FLAG_BAD_MOTION | FLAG_BROKEN
        return 0 if self._alike(agreement, strange) else FLAG_BAD_MOTION

    def _alike(self, agreement: float, strange: Callable[[], FloatArray]) -> bool:
        """Return whether a registered frame looks like the template."""
        if not agreement > 0:  # NaN too
            return False
        if self._n < _FEWEST:
            return True
        middle, spread, _ = self._usual.tolist()
        if agreement <= min(middle - _SPREADS * spread - _MARGIN, _NONE * middle):
            return False
        return bool(agreement >= _DOUBTFUL * middle) or float(strange().mean()) <= _MOST_STRANGE

    def _torn(self, look: Look, bands: FloatArray, strange: Callable[[], FloatArray]) -> bool:
        """Return whether rows of a frame are not where they belong."""
        if look.jump > _JUMP_TIMES * self._usual[2] + _JUMP_ADU:
            return True
        usual = self._bands
        least = np.minimum(_BAND_TIMES * usual, usual - _BAND_SPREADS * self._wander)
        unlike = (bands < least) & (usual > _LEAST_BAND)
        return bool(
            unlike.any() and (strange()[unlike] > _STRANGE_BAND).any()
        )  # events are bright, but small

    def _patchy(self, look: Look) -> bool:
        """Return whether a part of a frame is noise or nothing, while the rest is as it was.

        A change of light or gain changes the grain of all tiles alike.
        """
        if self._n < _FEWEST_ROUGH:
            return False
        usual = self._grain
        ratios: FloatArray = (look.grain / np.maximum(usual, np.float32(1e-3))).astype(np.float32)
        ratio = median(ratios.reshape(-1))
        if (look.grain > _ROUGH_TIMES * max(ratio, 1.0) * usual + _ROUGH_ADU).any():
            return True
        if self._n < _FEWEST:
            return False
        flat = (usual > _FLAT_ADU) & (look.grain < _FLAT_TIMES * min(ratio, 1.0) * usual)
        return bool((flat & (look.level < _BRIGHT * 256)).any())

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {
            "agreements": self._agreements.copy(),
            "jumps": self._jumps.copy(),
            "grain": self._grain.copy(),
            "bands": self._bands.copy(),
            "wander": self._wander.copy(),
            "usual": self._usual.copy(),
            "early": np.array(self._early, np.float32),
            "n": self._n,
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray | float | int]) -> FrameQuality:
        """Return an instance that goes on where `state` was taken."""
        self = cls()
        for name in ("agreements", "jumps", "grain", "bands", "wander", "usual"):
            setattr(self, f"_{name}", np.array(state[name]))
        self._early = list(np.array(state["early"]))
        self._n = int(state["n"])
        return self
