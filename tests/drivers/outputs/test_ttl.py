"""Pulses through a pseudoterminal, to a twin of the sketch in Python, and to the sketch itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamscope.errors import ConfigError, SourceError

from .decisions import Reports, decision

if sys.platform == "win32":
    pytest.skip("pseudoterminals are POSIX only", allow_module_level=True)
pytest.importorskip("serial")

from streamscope_drivers.outputs import ttl

from .ttl_device import TtlDevice

SKETCH = Path(__file__).parents[3] / "docs" / "examples" / "ttl" / "ttl.ino"


@pytest.fixture
def device():
    device = TtlDevice()
    yield device
    device.close()


@pytest.fixture
def laser(device):
    reports = Reports()
    output = ttl.open_output(f"serial:{device.port}?line=2", "laser", reports.append)
    yield output, reports
    output.close()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_pulse_is_one_byte_and_is_acknowledged_when_the_line_has_risen(device, laser):
    output, reports = laser
    assert output.fast
    for number in range(3):
        assert output.write(decision(number, width_ms=5.0))
        until(lambda n=number: len(device.edges) == 2 * n + 2)
        output.alive(True)
    got = reports.until(3)
    pulses = [byte for byte in device.received if byte not in (0x3F, 0x40)]
    assert pulses == [0x22, 50, 0, 0x12, 0x12, 0x12]  # the width once, 50 times 0.1 ms
    assert [level for _, _, level in device.edges] == [1, 0] * 3
    assert {line for _, line, _ in device.edges} == {2}
    assert [report.number for report in got] == [0, 1, 2]
    for report, rose in zip(got, device.edges[::2], strict=True):
        assert report.t_written_ns <= report.t_acknowledged_ns
        assert rose[0] <= report.t_acknowledged_ns
    said = output.describe()
    assert (said["written"], said["acknowledged"], said["dropped"], said["trouble"]) == (3, 3, 0, "")
    assert said["latency_ms"]["p50"] < 20  # of a busy machine; the benchmark tells how little it is
    widths_ms = [
        (low[0] - high[0]) / 1e6 for high, low in zip(device.edges[::2], device.edges[1::2], strict=True)
    ]
    assert min(widths_ms) >= 4.9


def test_the_watchdog_lowers_the_line_when_the_session_is_silent_and_alive_keeps_it_up(device, laser):
    output, reports = laser
    output.write(decision(0, width_ms=950.0))
    began = time.monotonic()
    while time.monotonic() - began < 0.4:
        output.alive(True)  # once a frame; a byte only every 40 ms
        time.sleep(0.005)
    assert device.levels()[2]
    assert 5 <= device.received.count(0x40) <= 11
    until(lambda: not device.levels()[2])  # silence
    assert (device.edges[-1][0] - device.edges[0][0]) / 1e6 < 850
    assert "watchdog lowered the line" in reports.troubles(1)[-1]
    until(lambda: output.write(decision(1, width_ms=1.0)))  # and it goes on
    assert reports.until(2)[-1].t_acknowledged_ns


def test_disarming_lowers_the_line_at_once(device, laser):
    output, _ = laser
    output.write(decision(0, width_ms=900.0))
    until(lambda: device.levels()[2])
    output.alive(False)
    until(lambda: not device.levels()[2])
    assert (device.edges[1][0] - device.edges[0][0]) / 1e6 < 250
    for _ in range(10):
        output.alive(False)
    until(lambda: device.received.count(0x41) == 1)


def test_closing_lowers_the_line(device):
    output = ttl.open_output(f"serial:{device.port}", "laser", Reports().append)
    output.write(decision(0, width_ms=900.0))
    until(lambda: device.levels()[0])
    output.close()
    until(lambda: not device.levels()[0])


def test_a_pulse_on_a_line_that_is_high_and_one_that_is_too_long_are_refused(device, laser):
    output, reports = laser
    output.write(decision(0, width_ms=200.0))
    output.write(decision(1, width_ms=200.0))
    first, second = reports.until(2)
    assert first.t_acknowledged_ns
    assert not second.t_acknowledged_ns
    assert "refused a pulse" in reports.troubles(1)[0]
    until(lambda: not device.levels()[2])
    assert output.write(decision(2, width_ms=5000.0))  # longer than the firmware allows
    assert not reports.until(3)[-1].t_acknowledged_ns
    assert not output.write(decision(3, width_ms=0.0))
    assert not output.write(decision(4, width_ms=7000.0))
    assert len(device.edges) == 2
    assert output.describe()["dropped"] == 2


def test_a_device_that_hangs_fills_no_buffer_and_nobody_waits_for_it(device, laser):
    output, reports = laser
    output.write(decision(0))
    reports.until(1)
    device.mute = True
    spent = []
    taken = 0
    for number in range(1, 201):
        start = time.perf_counter()
        taken += output.write(decision(number))
        output.alive(True)
        spent.append(time.perf_counter() - start)
    assert taken <= 32
    assert len(device.received) < 100
    assert np.median(spent) < 0.005
    troubles = reports.troubles(1)
    assert "does not answer" in troubles[0]
    assert all(report.t_acknowledged_ns == 0 for report in reports.until(1 + taken)[1:])
    device.mute = False
    until(lambda: "" in [r.trouble for r in reports if r.number < 0])  # found again
    until(lambda: output.write(decision(900)))
    until(lambda: any(r.number == 900 and r.t_acknowledged_ns for r in reports))


def test_a_device_to_which_nothing_was_said_for_long_is_not_thought_silent(device, laser, monkeypatch):
    output, reports = laser
    monkeypatch.setattr(ttl, "_ANSWER_NS", 10**10)  # a busy machine may be late itself
    for number in range(3):
        output._heard_ns -= 10**10
        assert output.write(decision(number))
        assert reports.until(number + 1)[-1].t_acknowledged_ns
        until(lambda: not device.levels()[2])
    assert [r for r in reports if r.number < 0] == []


@pytest.mark.parametrize(
    "spec", ["serial:", "serial:/dev/x?line=8", "serial:/dev/x?line=-1", "serial:/dev/x?pin=2", "serial"]
)
def test_a_line_that_makes_no_sense_is_refused(spec):
    with pytest.raises(ConfigError, match=r"expected serial:PORT\?line=N"):
        ttl.open_output(spec, "laser", Reports().append)


def test_a_port_that_is_not_there_or_where_nothing_answers_is_said(device, monkeypatch):
    monkeypatch.setattr(ttl, "_BOOT_S", 0.1)
    with pytest.raises(SourceError, match="cannot be opened"):
        ttl.open_output("serial:/dev/no-such-port", "laser", Reports().append)
    device.mute = True
    with pytest.raises(
        SourceError, match=r"nothing at .* answers as the sketch does; load docs/examples/ttl/ttl.ino"
    ):
        ttl.open_output(f"serial:{device.port}", "laser", Reports().append)
    device.mute, device.n_lines = False, 2
    with pytest.raises(SourceError, match=r"has 2 lines, expected version 1 and line 3; load the sketch"):
        ttl.open_output(f"serial:{device.port}?line=3", "laser", Reports().append)


@pytest.mark.system
def test_the_sketch_itself_keeps_the_protocol(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    program = tmp_path / "ttl"
    source = Path(__file__).with_name("ttl_host.cpp")
    subprocess.run(
        ["g++", "-O1", "-Wall", f'-DSKETCH="{SKETCH}"', str(source), "-o", str(program)], check=True
    )
    master, slave = os.openpty()
    os.set_blocking(master, True)
    import tty

    tty.setraw(slave)
    with subprocess.Popen(
        [program, str(master)], pass_fds=(master,), stdout=subprocess.PIPE, text=True
    ) as board:
        try:
            reports = Reports()
            output = ttl.open_output(f"serial:{os.ttyname(slave)}?line=1", "laser", reports.append)
            output.write(decision(0, width_ms=20.0))
            assert reports.until(1)[0].t_acknowledged_ns
            time.sleep(0.05)
            output.write(decision(1, width_ms=800.0))  # and silence: the watchdog
            output.write(decision(2, width_ms=800.0))  # the line is high
            output.write(decision(3, width_ms=1200.0))  # longer than the sketch allows
            assert [bool(r.t_acknowledged_ns) for r in reports.until(4)] == [True, True, False, False]
            assert any("watchdog" in trouble for trouble in reports.troubles(2))
            output.close()
        finally:
            board.kill()  # or leaving would wait for it
        lines = [[int(word) for word in line.split()] for line in board.stdout]
    os.close(master)
    os.close(slave)
    assert [(pin, level) for _, pin, level in lines] == [(3, 1), (3, 0), (3, 1), (3, 0)]
    assert 20 <= (lines[1][0] - lines[0][0]) / 1e6 < 40
    assert 240 <= (lines[3][0] - lines[2][0]) / 1e6 < 400
