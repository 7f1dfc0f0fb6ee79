"""Slow, plain twins of the compiled kernels, for tests on tiny arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from streamscope.core.response import Response
from streamscope.types import BoolArray, DoubleArray, FloatArray, Footprints, IntArray, LongArray


def block_mean_matrix(shape: tuple[int, int], step: int) -> DoubleArray:
    """Return D (P', P): means of step x step blocks."""
    height, width = shape
    w = -(-width // step)
    y, x = np.divmod(np.arange(height * width), width)
    D = np.zeros(((-(-height // step)) * w, height * width))
    D[(y // step) * w + x // step, np.arange(height * width)] = 1
    return np.asarray(D / D.sum(1, keepdims=True), np.float64)


def bilinear_matrix(shape: tuple[int, int], step: int) -> DoubleArray:
    """Return U (P, P'): bilinear interpolation between block centres, edges held."""
    rows = [_bilinear_line(n, step) for n in shape]
    return np.asarray(np.kron(rows[0], rows[1]), np.float64)


def _bilinear_line(n: int, step: int) -> DoubleArray:
    n_bins = -(-n // step)
    out = np.zeros((n, n_bins))
    for i in range(n):
        at = min(max((i + 0.5) / step - 0.5, 0), n_bins - 1)
        low = int(at)
        out[i, low] += 1 - (at - low)
        out[i, min(low + 1, n_bins - 1)] += at - low
    return out


def ring_matrix(W: FloatArray, neighbours: IntArray) -> DoubleArray:
    """Return the ring weights as a dense (P', P') matrix."""
    out = np.zeros((len(W), len(W)))
    for p in range(len(W)):
        for j in range(neighbours.shape[1]):
            if neighbours[p, j] >= 0:
                out[p, neighbours[p, j]] += W[p, j]
    return out


def ring_fit(x: DoubleArray, neighbours: IntArray, ridge: float, prior: FloatArray) -> DoubleArray:
    """Return ridge weights (P', n) for block values x (n_frames, P'), one least-squares problem per block."""
    W = np.zeros(neighbours.shape)
    for p in range(len(neighbours)):
        used = np.flatnonzero(neighbours[p] >= 0)
        X = x[:, neighbours[p, used]]
        G = X.T @ X
        rhs = X.T @ x[:, p] - G @ prior[p, used]
        step = np.linalg.solve(G + ridge * np.trace(G) * np.eye(len(used)), rhs) if np.trace(G) > 0 else 0
        W[p, used] = prior[p, used] + step
    return W


def oasis(y: DoubleArray, times: IntArray, g: float, s_min: float) -> tuple[DoubleArray, DoubleArray]:
    """Return c, s (T,) of one trace: start with one pool per frame, merge violations until none is left."""
    pools = [(float(value), 1.0, int(time)) for value, time in zip(y, times, strict=True)]
    i = 1
    while i < len(pools):
        (v0, w0, t0), (v1, w1, t1) = pools[i - 1], pools[i]
        d = t1 - t0
        if max(v0 / w0, 0) * g**d + s_min > v1 / w1:
            pools[i - 1 : i + 1] = [(v0 + v1 * g**d, w0 + w1 * g ** (2 * d), t0)]
            i = max(i - 1, 1)
        else:
            i += 1
    c, s = np.zeros(len(y)), np.zeros(len(y))
    for n, (v, w, t0) in enumerate(pools):
        end = pools[n + 1][2] if n + 1 < len(pools) else times[-1] + 1
        inside = (times >= t0) & (times < end)
        c[inside] = max(v / w, 0) * g ** (times[inside] - t0)
        if n:
            first = int(np.flatnonzero(inside)[0])
            s[first] = c[first] - c[first - 1] * g ** (times[first] - times[first - 1])
    return c, s


def events(
    y: DoubleArray, times: IntArray, response: Response, least: float, size: int, sweeps: int
) -> DoubleArray:
    """Return the events (T,) of one trace after its last sample, each residual computed from all events anew."""

    slow, log_slow, fast, log_fast = response.exponentials

    def h(lag: int) -> float:
        if lag == 0:
            return float(response.taps[0])
        return float(slow * np.exp(log_slow * lag) - fast * np.exp(log_fast * lag))

    s = np.zeros(len(y))
    known = [t for t in range(len(y)) if np.isfinite(y[t])]
    first = known[0]
    for now in known:
        window = [t for t in known if now - size < t <= now]
        for _ in range(sweeps):
            for i in window:
                match = power = 0.0
                for j in [t for t in window if t >= i]:
                    before = max(y[first], 0) * np.exp(log_slow * (times[j] - times[first]))
                    made = sum(s[n] * h(int(times[j] - times[n])) for n in range(j + 1))
                    match += h(int(times[j] - times[i])) * (y[j] - before - made)
                    power += h(int(times[j] - times[i])) ** 2
                s[i] += max((match - least * np.sqrt(power)) / power, -s[i])
    return s


def dense(footprints: Footprints) -> DoubleArray:
    """Return A (P, K) with the stored weights, not normalised."""
    A = np.zeros((footprints.shape[0] * footprints.shape[1], footprints.n))
    for k in range(footprints.n):
        pixels, weights = footprints.column(k)
        A[pixels, k] = weights
    return A


def in_field(shape: tuple[int, int], field: LongArray | tuple[int, ...]) -> BoolArray:
    """Return which pixels (H, W) lie inside rows y0..y1 and columns x0..x1."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y0, y1, x0, x1 = field
    return np.asarray((y0 <= y) & (y < y1) & (x0 <= x) & (x < x1))


def residuals(
    frames: NDArray[np.uint16],
    rects: LongArray,
    scale: float,
    b0: FloatArray,
    W: FloatArray,
    neighbours: IntArray,
    rest: FloatArray,
    step: int,
) -> DoubleArray:
    """Return y - b0 - U W x (N, H, W) of stored frames and blocks x (N, P'), 0 outside each frame's field."""
    shape = frames.shape[1:]
    B = bilinear_matrix(shape, step) @ ring_matrix(W, neighbours) @ rest.T.astype(np.float64)
    out = frames * float(scale) - b0 - B.T.reshape(frames.shape)
    for image, field in zip(out, rects, strict=True):
        image[~in_field(shape, field)] = 0
    return np.asarray(out, np.float64)


def score(
    residual: DoubleArray, inside: BoolArray, decay: float, rate: DoubleArray, quantile_rate: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return the detection score (T, P) and share of frames in the field (T, P), pixel by pixel.

    `residual` and `inside` are (T, P), the two rates (T,); the two frames before the first are 0.
    """
    T, P = residual.shape
    z, shares = np.zeros((T, P)), np.zeros((T, P))
    shot_part = np.sqrt((1 - decay) / (1 + decay) / 6)
    for p in range(P):
        e = np.concatenate([[0, 0], np.where(inside[:, p], residual[:, p], 0)])
        square = filtered = median = lower = share = 0.0
        for t in range(T):
            square += rate[t] * ((e[t + 2] - 2 * e[t + 1] + e[t]) ** 2 - square)
            filtered = decay * filtered + (1 - decay) * e[t + 2]
            shot = shot_part * np.sqrt(square) + 1e-6
            rise = filtered - median
            median += np.clip(rise, -quantile_rate[t] * shot, quantile_rate[t] * shot)
            lower += rate[t] * (2 * min(rise, 0) ** 2 - lower)
            share += rate[t] * (inside[t, p] - share)
            z[t, p], shares[t, p] = rise / max(shot, 0.8 * np.sqrt(lower)), share
    return z, shares


def local_maxima(
    z: FloatArray, share: FloatArray, threshold: float, least_share: float, radius: int
) -> list[tuple[int, int]]:
    """Return the sites of maxima in row order; of equal neighbours the first one counts."""
    h, w = z.shape
    found = []
    for y in range(h):
        for x in range(w):
            box = [
                (v, u)
                for v in range(y - radius, y + radius + 1)
                for u in range(x - radius, x + radius + 1)
                if 0 <= v < h and 0 <= u < w
            ]
            best = max(z[site] for site in box)
            first = next(site for site in box if z[site] == best)
            if first == (y, x) and best >= threshold and share[y, x] >= least_share:
                found.append((y, x))
    return found


def field_at(field: FloatArray, shape: tuple[int, int]) -> DoubleArray:
    """Return a field (gy, gx, 2) at every pixel, (H, W, 2): nodes corner to corner, linear between."""
    lines = []
    for size, nodes in zip(shape, field.shape[:2], strict=True):
        at = np.arange(size) * (nodes - 1) / (size - 1)
        lines.append(np.maximum(1 - np.abs(at[:, None] - np.arange(nodes)), 0))
    along_x = np.tensordot(lines[1], field.astype(np.float64), (1, 1))  # (x, i, c)
    return np.asarray(np.tensordot(lines[0], along_x, (1, 1)), np.float64)


def block_normal(
    moved: DoubleArray, template: DoubleArray, weight: FloatArray, clip: FloatArray, block: int
) -> tuple[DoubleArray, DoubleArray]:
    """Return block sums of w gy gy, w gy gx, w gx gx, (by, bx, 3), and of w gy e, w gx e, (by, bx, 2)."""
    h, w = template.shape
    information = np.zeros((-(-h // block), -(-w // block), 3))
    drive = np.zeros((*information.shape[:2], 2))
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            gy = (template[y + 1, x] - template[y - 1, x]) / 2
            gx = (template[y, x + 1] - template[y, x - 1]) / 2
            e = np.clip(moved[y, x] - template[y, x], -clip[y, x], clip[y, x])
            place = (y // block, x // block)
            information[place] += weight[y, x] * np.array([gy * gy, gy * gx, gx * gx])
            drive[place] += weight[y, x] * np.array([gy * e, gx * e])
    return information, drive


def blurred(image: FloatArray, taps: FloatArray) -> DoubleArray:
    """Return an image (h, w) times symmetric taps, middle first, along both axes, mirrored at the borders."""
    reach = len(taps) - 1
    out = np.pad(image.astype(np.float64), reach, mode="reflect")
    line = np.concatenate([taps[:0:-1], taps]).astype(np.float64)
    for axis in (0, 1):
        out = np.apply_along_axis(np.convolve, axis, out, line, "valid")
    return np.asarray(out, np.float64)


def halved(image: NDArray[np.generic]) -> DoubleArray:
    """Return the means of 2 x 2 pixels (rounded up); an odd last row or column stands for two."""
    even = np.pad(image.astype(np.float64), [(0, n % 2) for n in image.shape], mode="edge")
    return np.asarray(even.reshape(even.shape[0] // 2, 2, -1, 2).mean((1, 3)), np.float64)


def doubled(small: DoubleArray, shape: tuple[int, int]) -> DoubleArray:
    """Return an image of twice the size, cut to `shape`, read linearly between the middles of pixels, edges held."""
    lines = []
    for size, n in zip(shape, small.shape, strict=True):
        at = np.clip((np.arange(size) + 0.5) / 2 - 0.5, 0, n - 1)
        lines.append(np.maximum(1 - np.abs(at[:, None] - np.arange(n)), 0))
    return np.asarray(lines[0] @ small @ lines[1].T, np.float64)


def repaired(image: NDArray[np.uint8], defects: LongArray) -> NDArray[np.uint8]:
    """Return an image whose defects are replaced one by one by the median of their 3 x 3 pixels, halves up."""
    out = image.copy()
    for y, x in defects:
        near = out[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        out[y, x] = np.floor(np.median(near) + 0.5)
    return out


def fit_site(
    flat: DoubleArray,
    disc: BoolArray,
    rim: BoolArray,
    image: DoubleArray,
    rounds: int,
    fewest: int,
    least: float,
    part: float,
) -> tuple[str, DoubleArray, DoubleArray, BoolArray]:
    """Return how a rank-one fit of a site ended, its footprint (P,), trace (n,) and active frames (n,)."""

    def above_baseline(trace: DoubleArray) -> DoubleArray:
        return np.asarray(trace - np.median(trace))

    def active_in(trace: DoubleArray) -> BoolArray:
        smooth = np.convolve(trace, np.full(3, 1 / 3), mode="same")
        sd = 1.4826 / np.sqrt(6) * np.median(np.abs(trace[2:] - 2 * trace[1:-1] + trace[:-2]))
        return np.asarray(smooth > max(least * max(sd, 1e-6) / np.sqrt(3), part * smooth.max()))

    trace = above_baseline(flat @ image)
    for _ in range(rounds):
        active = active_in(trace)
        if active.sum() < fewest:
            return "too short", image, trace, active
        image = (trace * active) @ flat
        image = np.maximum(image - (np.median(image[rim]) if rim.any() else 0), 0) * disc
        if not image.any():
            return "nothing", image, trace, active
        image = image / np.linalg.norm(image)
        trace = above_baseline(flat @ image)
    active = active_in(trace)
    return "too short" if active.sum() < fewest else "done", image, trace, active


def centre_above(image: FloatArray, part: float) -> tuple[float, float]:
    """Return the centre of mass (y, x) of what is above `part` of the maximum of an image."""
    strong = np.where(image > np.float32(part) * image.max(), image, 0).astype(np.float64)
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]]
    total = float(strong.sum()) + 1e-12
    return float((strong * rows).sum()) / total, float((strong * cols).sum()) / total


def gaussian_agreement(
    shape: FloatArray, centre: tuple[float, float], reach: float, sigmas: DoubleArray
) -> DoubleArray:
    """Return the correlation of `shape` (h, w) with round Gaussians about a place, for each sigma."""
    rows, cols = np.mgrid[: shape.shape[0], : shape.shape[1]]
    square = (rows - centre[0]) ** 2 + (cols - centre[1]) ** 2
    near = square <= reach**2
    values = shape[near].astype(np.float64)
    values = values - (values.mean() if len(values) else 0)
    out = np.zeros(len(sigmas))
    for i, sigma in enumerate(sigmas):
        gauss = np.exp(-0.5 * square[near] / sigma**2)
        gauss = gauss - (gauss.mean() if len(gauss) else 0)
        out[i] = gauss @ values / (np.linalg.norm(gauss) * np.linalg.norm(values) + 1e-12)
    return out


def connected_part(smooth: FloatArray, image: FloatArray, cut: float, at: tuple[int, int]) -> FloatArray:
    """Return an image without what is not above `cut` of the maximum of `smooth`, or not connected with `at`."""
    parts, _ = label(smooth > cut * smooth.max())
    return np.where((parts == parts[at]) & (parts > 0), image, 0).astype(np.float32)


def steadiness(
    image: FloatArray, expected: FloatArray, gain: float, rate: float, means: tuple[FloatArray, ...]
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return running mean, variance and mean squared misfit (h, w) after one more image; `means` are those before."""
    mean, spread, misfit = (part.astype(np.float64) for part in means)
    value = image / gain
    d, e = value - mean, value - expected
    return mean + rate * d, (1 - rate) * (spread + rate * d * d), (1 - rate) * misfit + rate * e * e


def at_whole_shift(keep: FloatArray, dy: int, dx: int) -> FloatArray:
    """Return `keep` (h, w) at (y + dy, x + dx), 1 outside."""
    out = np.ones_like(keep)
    for y, x in np.ndindex(*keep.shape):
        if 0 <= y + dy < keep.shape[0] and 0 <= x + dx < keep.shape[1]:
            out[y, x] = keep[y + dy, x + dx]
    return out


def gradient_sums(template: FloatArray, weight: FloatArray) -> tuple[float, float, float]:
    """Return the sums of w gy gy, w gy gx, w gx gx with the gradient of a template (h, w), borders left out."""
    gy, gx = (np.gradient(template.astype(np.float64), axis=axis)[1:-1, 1:-1] for axis in (0, 1))
    inner = weight[1:-1, 1:-1]
    return float((inner * gy * gy).sum()), float((inner * gy * gx).sum()), float((inner * gx * gx).sum())


def followed(
    moved: FloatArray, gain: float, rates: FloatArray, template: FloatArray, variance: FloatArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return template and residual variance after one more image, each pixel with its own rate."""
    mean, spread = template.astype(np.float64), variance.astype(np.float64)
    e = moved / gain - mean
    return mean + rates * e, spread + rates * (e * e - spread)
