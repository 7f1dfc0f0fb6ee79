"""What all tests share: fixed seeds, pictures drawn to files only, one thread each, kernels compiled once."""

from __future__ import annotations

import gc
import os

import pytest

# Set before matplotlib is imported anywhere: a test never opens a window.
os.environ.setdefault("MPLBACKEND", "Agg")

# Set before numpy and OpenCV are imported: as in a session, neither starts threads of its own. They would compete
# for the cores with the other process that runs tests.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(_name, "1")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare a process that runs tests: one of several, or the only one."""
    one_of_several = hasattr(config, "workerinput")
    if one_of_several:
        from tests.compile_once import install

        install()
    if one_of_several or not config.getoption("numprocesses", None):
        fix_examples()


def fix_examples() -> None:
    """Draw the same examples in every run, without a limit of time on machines that do other work too."""
    from hypothesis import settings

    settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("fixed")


def pytest_collection_finish() -> None:
    """Look for garbage less often and not in all the modules: it took a tenth of the time to compile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def compiled_learner() -> None:
    """Compile here what a learner in another process needs: that one could not share the work."""
    from streamscope.core.warmup import warm_up_learner

    warm_up_learner(lambda *_: None)
