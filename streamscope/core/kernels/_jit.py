"""The one place of numba flags, of the cache folder and of the list of all kernels."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config as numba_config

KernelFunction = TypeVar("KernelFunction", bound=Callable[..., Any])

# Nothing here assumes finite values: a NaN that comes in stays visible.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

KERNELS: list[Any] = []


def cache_folder() -> Path:
    """Return the folder in which compiled kernels are kept, for a quick second start."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "streamscope" / "numba"


def kernel(function: KernelFunction) -> KernelFunction:
    """Compile a function for the frame path: no GIL, cached on disk, on record in `KERNELS`.

    Signatures are lazy: dtypes (float32, int32, int64) and C order are fixed by the callers, and `warm_up`
    calls each kernel once before frame 0.
    """
    compiled = numba.njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")(function)
    KERNELS.append(compiled)
    return cast(KernelFunction, compiled)


def signature_counts() -> dict[str, int]:
    """Return how many signatures each kernel has been compiled for, by qualified name."""
    return {f"{k.py_func.__module__}.{k.py_func.__name__}": len(k.signatures) for k in KERNELS}


if not getattr(numba_config, "CACHE_DIR", ""):  # the user's NUMBA_CACHE_DIR wins
    numba_config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]
