"""The report on a device says what moves, what stands still, and what fails."""

from __future__ import annotations

import pytest

from streamscope_drivers.miniscope.doctor import examine


def report(rig, *args, **options):
    r = rig(*args, **options)
    lines = examine(r.connection, r.timing, 2.0, "0")
    assert r.model.light == 0
    return lines, "\n".join(lines)


@pytest.mark.parametrize(
    ("way", "counter", "contrast", "exposure"),
    [
        ("linux", "camera terminal", "stands still", "moves"),
        ("linux, old firmware", "none", "stands still", "fails"),
        ("linux, open ephys", "frame", "stands still", "fails"),
        ("windows", "processing unit", "moves", "stands still"),
    ],
)
def test_a_report_says_which_controls_are_alive(rig, way, counter, contrast, exposure):
    lines, text = report(rig, "v4-bno", way=way)
    state = {line.split()[0]: line for line in lines}
    assert f"frame counter from {counter}" in text
    assert contrast in state["CONTRAST"]
    assert exposure in state["EXPOSURE"]
    assert "rate               20.00 Hz" in text
    assert "raw frame          (1, 3072) uint8" in text
    assert ("length 1.000" in text) is (counter != "none")


def test_frames_that_stop_are_in_the_report(rig):
    r = rig()
    r.model.unplug()
    text = "\n".join(examine(r.connection, r.timing, 1.0, "0"))
    assert "raw frame          none came" in text
    assert "only 0 frames came in 1 s" in text
