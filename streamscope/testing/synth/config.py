"""What a simulated recording is made with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SynthConfig:
    """Parameters of one simulated recording; the same values always give the same bytes.

    The defaults look like a Miniscope V4 over densely labelled cortex: 8-bit mean about 80, transients of
    10 to 70 counts at the brightest pixel of a cell, cells of 8 to 13 px.
    """

    height: int = 608  # px
    width: int = 608  # px
    n_frames: int = 1200
    fps: float = 20.0  # Hz
    um_per_px: float = 1.655
    seed: int = 1

    soma_um: float = 13.0  # diameter, before blur
    n_near: int = 130  # cells in focus
    n_far: int = 60  # cells under them, somewhat blurred, still to be found
    n_deep: int = 120  # cells that are only background
    late_fraction: float = 0.2  # of the cells are silent until about the middle

    rise_s: float = 0.06
    decay_s: float = 0.6
    burst_hz: float = 0.06  # bursts of about 8 spikes, per cell
    single_hz: float = 0.03  # spikes between bursts, per cell
    peak_adu: tuple[float, float] = (16.0, 95.0)  # largest transient of a cell before vessels and vignetting

    mean_adu: float = 80.0  # of the whole movie
    stray_adu: float = 5.0  # light that never was in the tissue, at the centre
    fluctuation: float = 0.06  # s.d. of the background in time, fraction of its level
    bleach: float = 0.05  # fraction lost by the end
    n_vessels: int = 3

    drift_px: float = 2.0
    jitter_px: float = 0.25
    jerks_per_min: float = 6.0
    jerk_px: tuple[float, float] = (1.5, 5.0)

    adu_per_e: float = 0.12  # gain of the sensor
    read_noise_e: float = 5.0

    @property
    def soma_px(self) -> float:
        """Return the diameter of a soma before blur, px."""
        return self.soma_um / self.um_per_px

    @property
    def n_cells(self) -> int:
        """Return the number of cells that can be found, at both depths."""
        return self.n_near + self.n_far


PRESETS: dict[str, SynthConfig] = {
    "tiny": SynthConfig(height=96, width=96, n_frames=200, n_near=12, n_far=5, n_deep=5, n_vessels=1, seed=5),
    "small": SynthConfig(
        height=200, width=200, n_frames=1200, n_near=22, n_far=8, n_deep=14, n_vessels=2, seed=6
    ),
    "medium": SynthConfig(height=256, width=256, n_frames=3000, n_near=40, n_far=18, n_deep=24, seed=7),
    "demo": SynthConfig(seed=8),
    "large": SynthConfig(n_frames=6000, n_near=300, n_far=120, n_deep=200, seed=9),
}
