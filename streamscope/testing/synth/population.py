"""All cells of a scene and the light they give, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from streamscope.testing.synth import cells
from streamscope.testing.synth.cells import Patch
from streamscope.testing.synth.config import SynthConfig
from streamscope.types import FloatArray

MIN_DISTANCE = 0.75  # between the centres of cells of one depth, soma diameters
RESTING = 0.12  # fluorescence at rest, fraction of the largest transient
DEEP_PEAK = 0.3  # a deep cell's largest transient, fraction of one in focus
DEEP_STEP_PX = 4  # deep cells are made on a grid this coarse


@dataclass(frozen=True, slots=True)
class Layer:
    """The cells of one depth: footprints in tissue coordinates, one patch each."""

    patches: tuple[Patch, ...]
    centres: FloatArray  # (n, 2) in the field, px
    blur_px: FloatArray  # (n,)


class Population:
    """Cells at three depths, in the order near, far, deep.

    Parameters
    ----------
    config : SynthConfig
    shape : tuple of int
        (H, W) of the tissue, margin included.
    pad : int
        Margin, px.
    drive : ndarray, shape (T,)
        Common drive of cells and background.
    rng : Generator
    """

    def __init__(
        self,
        config: SynthConfig,
        shape: tuple[int, int],
        pad: int,
        drive: FloatArray,
        rng: np.random.Generator,
    ) -> None:
        depths = (
            (config.n_near, cells.NEAR_BLUR_PX),
            (config.n_far, cells.FAR_BLUR_PX),
            (config.n_deep, cells.DEEP_BLUR_PX),
        )
        self.layers = [_layer(config, n, blur, pad, rng) for n, blur in depths]
        self.patches = tuple(p for layer in self.layers for p in layer.patches)
        self.centres = np.concatenate([layer.centres for layer in self.layers])
        self.blur_px = np.concatenate([layer.blur_px for layer in self.layers])
        self.shape = shape
        self.pad = pad
        self.activity = cells.activity(config, len(self.patches), drive, rng)
        low, high = np.log(config.peak_adu)
        peak = np.exp(rng.uniform(low, high, len(self.patches)))
        self._n_sharp = len(self.patches) - len(self.layers[2].patches)
        peak[self._n_sharp :] *= DEEP_PEAK
        self.light = np.asarray(peak[:, None] * (self.activity.calcium + RESTING), np.float32)  # (K, T)
        self._sharp = _columns([p.within(shape) for p in self.patches[: self._n_sharp]], shape)
        self._deep_shape = (-(-shape[0] // DEEP_STEP_PX), -(-shape[1] // DEEP_STEP_PX))
        deep = [_coarse(p).within(self._deep_shape) for p in self.patches[self._n_sharp :]]
        self._deep = _columns(deep, self._deep_shape)

    def sharp_light(self, index: int) -> FloatArray:
        """Return the light of the cells that can be told apart, (H, W) of the tissue, counts."""
        return np.asarray(self._sharp @ self.light[: self._n_sharp, index]).reshape(self.shape)

    def deep_light(self, index: int) -> FloatArray:
        """Return the light of the deep cells on a grid of DEEP_STEP_PX, counts."""
        return np.asarray(self._deep @ self.light[self._n_sharp :, index]).reshape(self._deep_shape)


def _layer(
    config: SynthConfig, n_cells: int, blur: tuple[float, float], pad: int, rng: np.random.Generator
) -> Layer:
    centres = cells.place(n_cells, (config.height, config.width), MIN_DISTANCE * config.soma_px, rng)
    blur_px = rng.uniform(*blur, len(centres))
    diameters = config.soma_px * rng.uniform(0.85, 1.15, len(centres))
    patches = tuple(
        cells.soma(centre, diameter, sigma, pad, rng)
        for centre, diameter, sigma in zip(centres, diameters, blur_px, strict=True)
    )
    return Layer(patches, centres.astype(np.float32), blur_px.astype(np.float32))


def _coarse(patch: Patch) -> Patch:
    """Return a blurred footprint on the grid of the deep cells."""
    step = DEEP_STEP_PX
    above, before = patch.top % step, patch.left % step
    below, after = -(above + len(patch.weights)) % step, -(before + len(patch.weights)) % step
    padded = np.pad(patch.weights, ((above, below), (before, after)))
    size = (padded.shape[1] // step, padded.shape[0] // step)
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    return Patch((patch.top - above) // step, (patch.left - before) // step, np.asarray(small, np.float32))


def _columns(columns: list[tuple[np.ndarray, FloatArray]], shape: tuple[int, int]) -> sparse.csc_matrix:
    indptr = np.concatenate([[0], np.cumsum([len(p) for p, _ in columns])]).astype(np.int64)
    pixels = np.concatenate([p for p, _ in columns]) if columns else np.zeros(0, np.int32)
    weights = np.concatenate([w for _, w in columns]) if columns else np.zeros(0, np.float32)
    return sparse.csc_matrix((weights, pixels, indptr), shape=(shape[0] * shape[1], len(columns)))
