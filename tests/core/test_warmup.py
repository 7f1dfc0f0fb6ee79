"""A session compiles nothing."""

import numpy as np

from streamscope.config import EngineConfig, MotionConfig
from streamscope.core.infer import Infer
from streamscope.core.kernels._jit import signature_counts
from streamscope.core.kinetics import fit_kinetics
from streamscope.core.learn import Learner
from streamscope.core.warmup import warm_up_infer, warm_up_learner
from streamscope.types import Frame, Kinetics


def blinking(n_frames, shape, cells, rng):
    """Return a movie of cells that flash, each at its own pace."""
    rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]]
    tissue = 90 + 8 * rng.normal(size=shape)
    movie = np.empty((n_frames, *shape), np.uint8)
    for t in range(n_frames):
        image = tissue + rng.normal(0, 3, shape)
        for k, (y, x) in enumerate(cells):
            activity = 50 * np.exp(-((t + 13 * k) % (40 + 3 * k)) / 10)
            image += activity * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)
        movie[t] = np.clip(image, 0, 255)
    return movie


def test_no_kernel_gains_a_signature_after_the_warm_up():
    said = []
    for warm_up in (warm_up_infer, warm_up_learner):
        warm_up(lambda what, done, total: said.append((what, done, total)))
    before = signature_counts()
    rng = np.random.default_rng(1)
    movie = blinking(200, (72, 90), [(30, 30), (30, 36), (50, 60)], rng)
    motion = MotionConfig(template_s=15.0, piecewise="on")
    config = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5, motion=motion)
    infer, learner = Infer(config, (72, 90)), Learner(config, (72, 90))
    aligned = np.zeros((72, 90), np.float32)
    found = 0
    for index, image in enumerate(movie):
        result = infer(Frame(index, image, 0), aligned)
        epoch = learner.consume(aligned, result)
        if epoch is not None:
            infer.adopt(epoch)
            found = epoch.n
    assert found >= 2
    spikes = np.cumsum(rng.random((6, 900)) < 0.02, 1).astype(np.float32) % 2 * 20
    assert fit_kinetics(spikes, np.ones(6, np.float32), 20, Kinetics(0.5)).fitted
    assert signature_counts() == before
    assert said[-1][1] <= said[-1][2]
