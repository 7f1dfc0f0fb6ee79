"""Our own forward model of a 1-photon miniscope movie: every frame can be made alone, always the same.

What a frame is made of, from the inside out::

    tissue  = vessels * (texture * (resting light + smooth background, moving in time) + cells)
    sensor  = shift(tissue) * illumination and vignette + stray light
    counts  = clip(round(sensor + shot and read noise))

Tissue moves, the optics do not. Deep cells are blurred so much that they belong to the background.
"""

from streamscope.testing.synth.config import PRESETS, SynthConfig
from streamscope.testing.synth.scene import Scene
from streamscope.testing.synth.truth import Truth

__all__ = ["PRESETS", "Scene", "SynthConfig", "Truth"]
