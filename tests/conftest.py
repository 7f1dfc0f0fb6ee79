"""What all tests share: fixed seeds, pictures drawn to files only, and kernels that are compiled once."""

from __future__ import annotations

import os

from hypothesis import settings

# Set before matplotlib is imported anywhere: a test never opens a window.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples in every run, and no wall-clock limit on machines that do other work too.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("fixed")

if os.environ.get("PYTEST_XDIST_WORKER"):  # one of several processes that run the tests
    from tests.compile_once import install

    install()
