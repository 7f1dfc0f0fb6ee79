"""What all tests share: fixed seeds, and pictures drawn to files only."""

from __future__ import annotations

import os

from hypothesis import settings

# Set before matplotlib is imported anywhere: a test never opens a window.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples in every run, and no wall-clock limit on machines that do other work too.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("fixed")
