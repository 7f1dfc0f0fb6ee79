"""A look at a device from the outside: what a first user can send us. The light stays off."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from streamscope_drivers.miniscope.camera import Property, found_cameras
from streamscope_drivers.miniscope.senses import CameraTerminal, Embedded, ProcessingUnit, Senses, moves
from streamscope_drivers.miniscope.startup import Connection, Timing

READ = (
    *(
        Property.CONTRAST,
        Property.GAMMA,
        Property.SHARPNESS,
        Property.SATURATION,
        Property.HUE,
        Property.GAIN,
    ),
    *(Property.BRIGHTNESS, Property.EXPOSURE, Property.PAN, Property.TILT, Property.POS_MSEC),
)
SAMPLES = 20  # frames in which controls are read, and their cost measured


def examine(c: Connection, timing: Timing, seconds: float, index: str) -> list[str]:
    """Return the lines of a report on a connected device, after looking at it for some seconds.

    Parameters
    ----------
    c : Connection
        Started, its light off; stays open.
    timing : Timing
        Clocks.
    seconds : float
        How long the rate of frames is measured.
    index : str
        Of the camera, as the user gave it.
    """
    lines = [f"{name:<18} {value}" for name, value in _known(c, index)]
    ways: list[Senses] = [
        Embedded(),
        CameraTerminal(c.camera, c.backend, True),
        ProcessingUnit(c.camera, True),
    ]
    lines += _liveness(c, ways)
    return lines + _steadiness(c, timing, seconds)


def _known(c: Connection, index: str) -> Iterator[tuple[str, Any]]:
    yield "system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    for found in found_cameras():
        yield "camera", f"{found.index} {found.name} {found.place}"
    yield "examined", f"camera {index} as {c.kind.name}"
    yield "way", f"{c.backend.name}, firmware interface {'unknown' if c.abi is None else c.abi}"
    if c.firmware:
        yield "extension unit", f"Open Ephys firmware {c.firmware}"
    yield "frames", f"{c.shape[1]}x{c.shape[0]} px, {c.measured_hz:.2f} Hz measured, {c.fps:.2f} expected"
    yield "stamps", "the kernel's" if c.exact_stamps else "of the host"
    yield "frame counter from", c.senses.name
    for doubt in (*c.doubts, c.kind.warning):
        if doubt:
            yield "doubt", doubt


def _liveness(c: Connection, ways: list[Senses]) -> Iterator[str]:
    """Read every control and every way with some frames: what moves, what stands still, what fails."""
    values: dict[Property, list[float]] = {prop: [] for prop in READ}
    counters: list[list[int | None]] = [[] for _ in ways]
    cost_ms: list[float] = []
    raw = np.zeros(0, np.uint8)
    norm = 0.0
    for _ in range(SAMPLES):
        if not c.camera.grab():
            continue
        ok, got = c.camera.retrieve()
        raw = got if ok and got is not None else raw
        began = time.perf_counter()
        for prop in READ:
            values[prop].append(c.camera.get(prop))
        cost_ms.append(1e3 * (time.perf_counter() - began) / len(READ))
        for way, seen in zip(ways, counters, strict=True):
            seen.append(way.read(raw).counter)
        orientation = c.senses.read(raw).orientation
        if orientation is not None:
            norm = float(np.linalg.norm((orientation.w, orientation.x, orientation.y, orientation.z)))
    if not cost_ms:
        yield f"{'raw frame':<18} none came"
        return
    yield f"{'raw frame':<18} {raw.shape} {raw.dtype}"
    if raw.size == 2 * c.shape[0] * c.shape[1]:
        for name, part in (("even bytes", raw.reshape(-1)[::2]), ("odd bytes", raw.reshape(-1)[1::2])):
            yield f"{name:<18} {part.min()} to {part.max()}, mean {part.mean():.2f}, first 20: {part[:20].tolist()}"
    for prop, read in values.items():
        state = _state(read, c.backend.failed_read)
        yield f"{prop.name:<18} {state}: {[int(value) for value in read[:6]]}"
    for way, numbers in zip(ways, counters, strict=True):
        yield f"{'counter, ' + way.name:<24} {'goes with the frames' if moves(numbers, way.bits) else 'does not'}"
    yield f"{'control read':<18} {np.median(cost_ms):.2f} ms, longest {max(cost_ms):.2f}"
    if c.kind.orientation:
        yield f"{'orientation':<18} length {norm:.3f}, expected 1.000"


def _state(read: list[float], failed: float) -> str:
    if set(read) == {failed} and failed < 0:
        return "fails"
    return "moves" if len(set(read)) > 1 else "stands still"


def _steadiness(c: Connection, timing: Timing, seconds: float) -> list[str]:
    """Measure intervals between frames."""
    stamps: list[int] = []
    failed = 0
    until_ns = timing.clock() + round(seconds * 1e9)
    while timing.clock() < until_ns and failed < 20:
        if c.camera.grab():
            stamps.append(c.stamp(timing.clock()))
        else:
            failed += 1
    if len(stamps) < 3:
        return [f"{'rate':<18} only {len(stamps)} frames came in {seconds:g} s"]
    steps_ms = np.diff(stamps) / 1e6
    low, mid, high = np.percentile(steps_ms, [1, 50, 99])
    return [
        f"{'rate':<18} {1e3 / mid:.2f} Hz, {len(stamps)} frames, {failed} grabs failed",
        f"{'intervals':<18} p1 {low:.2f}, p50 {mid:.2f}, p99 {high:.2f}, longest {steps_ms.max():.2f} ms",
    ]
