"""Long runs of the driver with faults at random: nothing is lost that is not reported, no picture is changed."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

HZ = 30


def spoil(model, clock, rng, frames, every):
    """Plan faults at random: about one each `every` frames, and now and then the cable."""
    first = model._number + 30
    at = first + np.flatnonzero(rng.random(frames) < 1 / every)
    for n, kind in zip(at.tolist(), rng.integers(0, 6, len(at)), strict=True):
        if kind <= 1:
            model.dropped |= set(range(n, n + 1 + int(rng.integers(4))))
        elif kind == 2:
            model.duplicated.add(n)
        elif kind == 3:
            model.stalls[n] = float(rng.uniform(0.05, 1.2))
        elif kind == 4:
            model.corrupted.add(n)
        else:
            model.frozen.add(n)
    for second in np.sort(rng.uniform(20, frames / HZ, max(1, frames // 20000))).tolist():
        clock.later(second, model.unplug)
        clock.later(second + float(rng.uniform(0.5, 9)), model.plug)
    for second in rng.uniform(10, frames / HZ, 3).tolist():
        clock.later(second, model.reset_counter)


@pytest.mark.parametrize("way", ["linux", "linux, open ephys", "windows"])
@pytest.mark.parametrize("minutes", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_nothing_is_lost_that_is_not_reported(rig, way, minutes):
    n = minutes * 60 * HZ
    rng = np.random.default_rng([minutes, len(way)])
    r = rig(way=way, values={"led": 30, "fps": HZ})
    spoil(r.model, r.clock, rng, n, every=200)
    while len(r.frames) < n:
        r.run(min(n - len(r.frames), int(rng.integers(300, 1200))))
        r.clock.sleep(float(rng.uniform(0, 0.3)) if rng.random() < 0.9 else 2.5)  # the machine was busy
    frames = r.frames
    assert [frame.index for frame in frames] == list(range(n))

    sent_as: dict[int, list[int]] = {}
    for s in r.model.sent:
        sent_as.setdefault(s.crc, []).append(s.number)
    number, last = [], -1
    for frame in frames:
        known = sent_as[
            zlib.crc32(frame.image)
        ]  # a picture that was changed on its way would not be in there
        last = next((k for k in known if k > last), known[-1])
        number.append(last)  # of a picture that stood still, the next number that it was sent under
    missing = np.maximum(np.diff(number) - 1, 0)
    told = np.array([frame.gap for frame in frames[1:]])
    inferred = np.array([bool(frame.meta.get("gap_inferred")) for frame in frames[1:]])
    assert missing.sum() > n // 400
    if way == "windows":  # said a few frames later
        assert abs(told[~inferred].sum() - missing[~inferred].sum()) <= 0.05 * missing.sum()
    else:
        exact = ~inferred
        np.testing.assert_array_equal(told[exact], missing[exact])
        assert (told[inferred] >= missing[inferred] - 1).all()
    assert len(r.told("reconnected")) == len(r.told("disconnected")) >= 1
