"""Lets several processes share the compiling: each kernel is compiled by one of them, and loaded by the others.

Only the tests need this. A session compiles in its warm-up, which gives each of its processes other kernels.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock
from numba.core import config as numba_config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

KERNELS = "streamscope.core.kernels."
compile_here = Dispatcher.compile


def install() -> None:
    """From now on, take a lock on a kernel in the cache folder before it is compiled or loaded."""
    Dispatcher.compile = compile_or_load


def compile_or_load(self, signature):
    """Compile or load one kernel while no other process does so.

    Numba looks into the cache folder after both locks are held, so whoever had to wait loads what it waited for.
    Kernels that call each other are locked from the outermost inwards, in every process alike. The lock of this
    process's compiler comes first, or two of its threads could wait for each other.
    """
    name = f"{self.py_func.__module__}.{self.py_func.__name__}"
    if not name.startswith(KERNELS):
        return compile_here(self, signature)
    with global_compiler_lock, FileLock(lock_folder() / f"{name}.lock"):
        return compile_here(self, signature)


def lock_folder() -> Path:
    """Return the folder of the locks, next to the compiled kernels."""
    folder = Path(numba_config.CACHE_DIR) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
