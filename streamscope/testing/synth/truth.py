"""What a pipeline should find in a simulated recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streamscope.testing.synth.cells import FLOOR
from streamscope.testing.synth.config import SynthConfig
from streamscope.testing.synth.population import RESTING, Population
from streamscope.types import BoolArray, DoubleArray, FloatArray, Footprints, IntArray, LongArray

TARGET_SNR = 10.0  # largest transient over the noise of a matched filter, one frame
TARGET_BLUR_PX = 5.0  # cells with more blur are background
EDGE_PX = 6  # cells nearer to the edge are not asked for


@dataclass(frozen=True, slots=True)
class Truth:
    """K cells, T frames; everything spatial in the reference frame."""

    footprints: Footprints  # (K) maximum 1, as the sensor sees them: vessels and vignetting included
    C: FloatArray  # (K, T) calcium, largest value of a cell 1
    F: FloatArray  # (K, T) fluorescence at the brightest pixel of the footprint, counts
    S: LongArray  # (K, T) spikes per frame
    shifts: FloatArray  # (T, 2) dy, dx: content at (y, x) of the reference is seen at (y + dy, x + dx)
    centres: FloatArray  # (K, 2) y, x, px
    blur_px: FloatArray  # (K,) s.d. of the blur
    snr: FloatArray  # (K,) largest transient in a matched filter of one frame
    target: BoolArray  # (K,) should be found: inside the field, not blurred away, SNR at least TARGET_SNR
    late: BoolArray  # (K,) silent until about the middle

    def arrays(self) -> dict[str, Any]:
        """Return everything as plain arrays, for `np.savez_compressed`; A is sparse by columns."""
        return {
            "shape": np.array(self.footprints.shape),
            "A_indptr": self.footprints.indptr,
            "A_pixels": self.footprints.pixels,
            "A_weights": self.footprints.weights,
            "C": self.C,
            "F": self.F,
            "S": self.S,
            "shifts": self.shifts,
            "centres": self.centres,
            "blur_px": self.blur_px,
            "snr": self.snr,
            "target": self.target,
            "late": self.late,
        }

    @staticmethod
    def from_arrays(arrays: Any) -> Truth:
        """Return the truth that `arrays` was made of, e.g. from `np.load`."""
        height, width = (int(n) for n in arrays["shape"])
        footprints = Footprints((height, width), arrays["A_indptr"], arrays["A_pixels"], arrays["A_weights"])
        names = ("C", "F", "S", "shifts", "centres", "blur_px", "snr", "target", "late")
        return Truth(footprints, **{name: arrays[name] for name in names})


def truth_of(
    population: Population,
    config: SynthConfig,
    gain: FloatArray,
    resting: FloatArray,
    bleach: DoubleArray,
    shifts: FloatArray,
) -> Truth:
    """Return the truth of a population as the sensor sees it.

    Parameters
    ----------
    gain : ndarray, shape (H, W)
        Fraction of a cell's light that reaches each pixel: vessels, illumination, vignette.
    resting : ndarray, shape (H, W)
        Resting light, counts; sets the noise that the SNR is measured against.
    bleach : ndarray, shape (T,)
        What is left of all light at each frame.
    shifts : ndarray, shape (T, 2)
    """
    spread = np.sqrt(config.adu_per_e * resting + (config.adu_per_e * config.read_noise_e) ** 2)
    columns, brightest, matched = [], [], []
    for patch in population.patches:
        pixels, weights = _in_field(*patch.within(population.shape), population, gain.shape)
        seen = weights * gain.ravel()[pixels]
        peak = float(seen.max(initial=0.0))
        keep = seen >= max(FLOOR * peak, 1e-12)
        columns.append((pixels[keep], seen[keep] / max(peak, 1e-12)))
        brightest.append(peak)
        matched.append(np.linalg.norm(seen[keep] / spread.ravel()[pixels[keep]]))
    largest = population.light.max(1) / (1 + RESTING)
    snr = np.asarray(matched * largest, np.float32)
    lit = np.array([len(p) > 0 for p, _ in columns], bool)
    return Truth(
        footprints=Footprints.from_columns((config.height, config.width), columns),
        C=population.activity.calcium,
        F=np.asarray(population.light * np.array(brightest)[:, None] * bleach, np.float32),
        S=population.activity.spikes,
        shifts=shifts,
        centres=population.centres,
        blur_px=population.blur_px,
        snr=snr,
        target=lit & _targets(population, config, snr),
        late=population.activity.late,
    )


def _in_field(
    pixels: IntArray, weights: FloatArray, population: Population, shape: tuple[int, ...]
) -> tuple[IntArray, FloatArray]:
    """Return the pixels of a tissue footprint that the unmoved sensor sees, as indices of the field."""
    y, x = np.divmod(pixels, population.shape[1])
    y, x = y - population.pad, x - population.pad
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return (y[inside] * shape[1] + x[inside]).astype(np.int32), weights[inside]


def _targets(population: Population, config: SynthConfig, snr: FloatArray) -> BoolArray:
    y, x = population.centres.T
    inside = (y >= EDGE_PX) & (x >= EDGE_PX) & (y < config.height - EDGE_PX) & (x < config.width - EDGE_PX)
    return np.asarray(inside & (population.blur_px <= TARGET_BLUR_PX) & (snr >= TARGET_SNR))
