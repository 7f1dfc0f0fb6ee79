"""What stays with the sensor while the tissue moves, and registration that leaves it out."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def note_steadiness(image, expected, gain, rate, mean, spread, misfit):
    """Let an image into the running means of a pixel's variance and of its squared distance to what is expected.

    `image` is divided by `gain`. `mean` and `spread` are its mean and variance at the same place of the sensor,
    `misfit` is the mean of (image - expected)^2.
    """
    inverse, r = np.float32(1.0) / np.float32(gain), np.float32(rate)
    kept = np.float32(1.0) - r
    for y in range(image.shape[0]):
        pixels, want, middle, own, wrong = image[y], expected[y], mean[y], spread[y], misfit[y]
        for x in range(pixels.shape[0]):
            value = pixels[x] * inverse
            d, e = value - middle[x], value - want[x]
            middle[x] += r * d
            own[x] += r * (kept * d * d - own[x])
            wrong[x] += r * (e * e - wrong[x])


@kernel
def votes_where(weight, keep, dy, dx, template, of_all, kept, votes, equations):
    """Fill `kept` with `keep` at (y + dy, x + dx), 1 outside, and `votes` with weight times kept; dy, dx whole.

    `keep` is 0 or 1. `equations` (4,) are `of_all` pixels, as `warp.refine` takes them, less those of the pixels
    without a vote: few, so that this is sooner done than to add up all others.
    """
    h, w = weight.shape
    for y in range(h):
        kept[y, :] = np.float32(1.0)
        votes[y, :] = weight[y]
    lost = np.zeros(4, np.float64)
    for y in range(max(-dy, 0), min(h - dy, h)):
        seen, n_kept = keep[y + dy], np.float32(0.0)
        for x in range(seen.shape[0]):
            n_kept += seen[x]
        if n_kept == w:
            continue
        for x in range(max(-dx, 0), min(w - dx, w)):
            if seen[x + dx] != 0:
                continue
            kept[y, x] = votes[y, x] = np.float32(0.0)
            vote = np.float64(weight[y, x])
            lost[3] += vote * template[y, x] * template[y, x]
            if 0 < y < h - 1 and 0 < x < w - 1:
                gy = np.float32(0.5) * (template[y + 1, x] - template[y - 1, x])
                gx = np.float32(0.5) * (template[y, x + 1] - template[y, x - 1])
                lost[0] += vote * gy * gy
                lost[1] += vote * gy * gx
                lost[2] += vote * gx * gx
    for k in range(4):
        equations[k] = of_all[k] - lost[k]
    equations[3] = max(equations[3], 1e-12)


@kernel
def follow_where(moved, gain, rate, kept, template, variance):
    """Do as `warp.update_template` where `kept` is 1, and nothing where it is 0."""
    inverse = np.float32(1.0) / gain
    for y in range(moved.shape[0]):
        image, share, mean, spread = moved[y], kept[y], template[y], variance[y]
        for x in range(image.shape[0]):
            e = image[x] * inverse - mean[x]
            r = rate * share[x]
            mean[x] += r * e
            spread[x] += r * (e * e - spread[x])
