"""The clock of all stamps is one for all processes of a machine, and the kernel's."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from streamscope.clock import clock_ns


def test_another_process_reads_the_same_clock():
    script = (
        "import time; print(time.perf_counter_ns())"  # what streamscope.clock is, without the import's time
    )
    assert clock_ns is time.perf_counter_ns
    before = clock_ns()
    there = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert before < there < clock_ns()


def test_the_clock_is_finer_than_a_millisecond():
    assert time.get_clock_info("perf_counter").resolution < 1e-4


@pytest.mark.skipif(sys.platform != "linux", reason="only there does the kernel stamp frames for us")
def test_on_linux_it_is_the_clock_with_which_the_kernel_stamps_frames():
    assert "CLOCK_MONOTONIC" in time.get_clock_info("perf_counter").implementation
    assert abs(time.clock_gettime_ns(time.CLOCK_MONOTONIC) - clock_ns()) < 1e9
