"""One simulated recording: its truth, and its frames one by one."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from streamscope.testing.synth import tissue
from streamscope.testing.synth.config import SynthConfig
from streamscope.testing.synth.motion import move, trajectory
from streamscope.testing.synth.population import DEEP_STEP_PX, Population
from streamscope.testing.synth.truth import Truth, truth_of
from streamscope.types import ByteArray, FloatArray

NOISE_BANK = 1 << 22  # standard normal numbers that all frames draw their noise from
MARGIN_PX = 6  # tissue beyond the largest shift: what the interpolation reaches for


class Scene:
    """A simulated recording whose frames are made when they are asked for.

    Parameters
    ----------
    config : SynthConfig
        What to simulate. Memory: a few pictures and the time courses, whatever the number of frames read.
    """

    def __init__(self, config: SynthConfig) -> None:
        self.config = config
        self.shape = (config.height, config.width)
        rngs = [np.random.default_rng([config.seed, part]) for part in range(5)]
        self.shifts = trajectory(config, rngs[0])
        self._pad = int(np.ceil(np.abs(self.shifts).max())) + MARGIN_PX
        self._tissue_shape = (config.height + 2 * self._pad, config.width + 2 * self._pad)
        self._bleach = (1 - config.bleach) ** (np.arange(config.n_frames) / config.n_frames)

        self._vessels = tissue.vessels(self._tissue_shape, config.n_vessels, config.um_per_px, rngs[1])
        self._falloff = tissue.falloff(self.shape, rngs[2])
        self._stray = tissue.stray_light(self.shape, config.stray_adu)
        self._level = self._resting_level(tissue.texture(self._tissue_shape, rngs[1]))
        self._modes = tissue.background_modes(self._tissue_shape, config.um_per_px, rngs[1])
        self._times = tissue.background_times(config, rngs[3])
        self._cells = Population(config, self._tissue_shape, self._pad, self._times[0], rngs[4])

    @property
    def truth(self) -> Truth:
        """Return what a pipeline should find; made anew at each call."""
        inner = slice(self._pad, -self._pad)
        gain = self._vessels[inner, inner] * self._falloff
        resting = self._level[inner, inner] * gain + self._stray
        return truth_of(self._cells, self.config, gain, resting, self._bleach, self.shifts)

    def frame(self, index: int) -> ByteArray:
        """Return frame `index`, (H, W) uint8: always the same bytes, whatever was asked before."""
        return self._counts(self._light(index), index)

    def frames(self, start: int, stop: int) -> ByteArray:
        """Return frames start..stop, (n, H, W) uint8."""
        out = np.empty((stop - start, *self.shape), np.uint8)
        for n in range(start, stop):
            out[n - start] = self.frame(n)
        return out

    def _resting_level(self, texture: FloatArray) -> FloatArray:
        """Return the light of resting tissue, scaled so that the movie has the mean asked for."""
        inner = slice(self._pad, -self._pad)
        seen = float(((texture * self._vessels)[inner, inner] * self._falloff).mean())
        return np.asarray(texture * ((self.config.mean_adu - self._stray.mean()) / seen), np.float32)

    def _light(self, index: int) -> FloatArray:
        """Return the light that falls on the sensor, in counts and without noise."""
        flicker = np.tensordot(self._times[:, index], self._modes, 1) * self.config.fluctuation + 1
        light = _enlarge(flicker, tissue.BACKGROUND_STEP_PX, self._tissue_shape)
        light *= self._level
        light += _enlarge(self._cells.deep_light(index), DEEP_STEP_PX, self._tissue_shape)
        light += self._cells.sharp_light(index)
        light *= self._vessels
        light *= np.float32(self._bleach[index])
        return move(light, self.shifts[index], self._pad, self.shape) * self._falloff + self._stray

    def _counts(self, light: FloatArray, index: int) -> ByteArray:
        """Return what the sensor makes of the light: shot noise, read noise, 8 bits.

        Shot noise is drawn from the normal approximation (hundreds of electrons), from a bank of numbers at
        a random place: 20 times faster than drawing anew, and two frames never share a place.
        """
        gain, read_e = self.config.adu_per_e, self.config.read_noise_e
        bank = _noise_bank()
        rng = np.random.default_rng([self.config.seed, 99, index])
        start = int(rng.integers(len(bank) - light.size))
        spread = np.maximum(light, 0)
        spread *= gain
        spread += (gain * read_e) ** 2
        cv2.sqrt(spread, spread)
        spread *= bank[start : start + light.size].reshape(light.shape)
        spread += light
        spread += 0.5
        return np.clip(spread, 0, 255, out=spread).astype(np.uint8)


def _enlarge(coarse: FloatArray, step: int, shape: tuple[int, int]) -> FloatArray:
    """Return a coarse grid at full size; it may reach beyond `shape` and is cut there."""
    size = (coarse.shape[1] * step, coarse.shape[0] * step)
    full = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[: shape[0], : shape[1]], np.float32)


@lru_cache(maxsize=1)
def _noise_bank() -> FloatArray:
    """Return standard normal numbers, 16 MB, shared by all scenes."""
    return np.random.default_rng(0).standard_normal(NOISE_BANK, np.float32)
