"""The clock of all stamps: monotonic, in ns, and one for all processes of a machine.

It is `time.perf_counter_ns`, which no system counts from the start of a process. On Linux that is CLOCK_MONOTONIC,
with which the kernel stamps frames, on macOS mach time, and on both the same as `time.monotonic_ns`; on Windows it is
the performance counter, where `time.monotonic_ns` moves in steps of 15.6 ms before Python 3.13.
"""

from __future__ import annotations

import time

clock_ns = time.perf_counter_ns
