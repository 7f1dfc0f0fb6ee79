"""The floors of docs/architecture.md, read from the imports of every module and held.

`violations(root)` walks the syntax trees of streamscope/ and drivers/ below `root` and returns one sentence
for each rule that is broken. It is tried on fabricated bad trees too, so it is known to fail when it should.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND = tuple(f"streamscope.{name}" for name in ("types", "config", "errors", "clock", "_version"))
CORE = ("streamscope.core", "streamscope.core.kernels")
SYNTH = "streamscope.testing.synth"
FIRMWARE = "streamscope.testing.firmware"
DEMO = (
    SYNTH,
    "streamscope.testing.daq_qt",
    "streamscope.testing.score",
)  # what `streamscope demo` is made of

# unit: (floor, the units that it may import besides itself and the ground floor). The longest name wins.
TABLE: dict[str, tuple[str, tuple[str, ...]]] = {
    **{name: ("floor 0", ()) for name in GROUND},
    "streamscope.core.kernels": ("floor 1", ()),
    "streamscope.core": ("floor 2", ("streamscope.core.kernels",)),
    "streamscope.trigger": ("floor 3", ()),
    "streamscope.wire": ("floor 3", ()),
    "streamscope.storage": ("floor 3", ()),
    "streamscope.offline": ("floor 4", (*CORE, "streamscope.storage")),
    "streamscope.session": (
        "floor 4",
        (*CORE, "streamscope.trigger", "streamscope.wire", "streamscope.storage", "streamscope.offline"),
    ),
    "streamscope.cli": (
        "floor 5",
        (
            *("streamscope.session", "streamscope.offline", "streamscope.trigger", "streamscope.wire"),
            *("streamscope.storage", *CORE, *DEMO),
        ),
    ),
    "streamscope.view": ("floor 5", ("streamscope.wire.client",)),
    "streamscope": ("front door", ("streamscope.wire",)),
    "streamscope_drivers": ("driver", (SYNTH, FIRMWARE)),
    SYNTH: ("forward model", ()),
    FIRMWARE: ("firmware model", (SYNTH,)),
    "streamscope.testing.daq_qt": ("demo", (SYNTH, "streamscope_drivers")),
    "streamscope.testing.score": ("demo", (SYNTH,)),
    "streamscope.testing": ("tests and tools", ("streamscope", "streamscope_drivers")),
}

# library: the units that own it. asyncio counts as a library: only its owners may have an event loop.
OWNERS: dict[str, tuple[str, ...]] = {
    "asyncio": ("streamscope.wire", "streamscope.session", "streamscope_drivers"),
    "zmq": ("streamscope.wire", "streamscope.session"),
    "h5py": ("streamscope.storage", "streamscope_drivers"),
    "sqlite3": ("streamscope.storage",),
    "av": ("streamscope.storage", "streamscope_drivers"),
    "numba": ("streamscope.core.kernels",),
}

# The way of a frame knows arrays only: no files, threads, clock, environment or logging.
PURE = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "heapq",
    "itertools",
}
PURE |= {"math", "operator", "typing", "warnings", "numpy", "streamscope"}
ONLY: dict[str, set[str]] = {
    **{name: {*sys.stdlib_module_names, "numpy", "pydantic", "streamscope"} for name in GROUND},
    "streamscope.core.kernels": PURE | {"numba"},
    "streamscope.core": PURE | {"scipy", "cv2"},
    # rules decide by what they are told; the files are those that a rules file names
    "streamscope.trigger": PURE
    | {"pydantic", "re", "json", "csv", "hashlib", "tomllib", "difflib", "pathlib"},
}
JIT = "streamscope.core.kernels._jit"  # may look at the environment: it sets the cache folder
NOT_KERNELS = (JIT, "streamscope.core.kernels")

POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "add_reader",
    "add_writer",
    "add_signal_handler",
    "fork",
    "forkpty",
    "geteuid",
    "getuid",
    "mkfifo",
}
POSIX_NAMES |= {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "setitimer", "sched_setaffinity"}


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its path as messages show it, its syntax tree."""

    name: str
    shown: str
    tree: ast.Module


def violations(root: Path) -> list[str]:
    """Return one sentence for each broken rule in the product code below `root`."""
    modules = {m.name: m for m in _modules(root)}
    imports = {m.name: sorted(set(_imports(m, modules))) for m in modules.values()}
    found = [_cycle(imports)]
    for module in modules.values():
        found += [_floor(module, target) or _library(module, target) for target in imports[module.name]]
        found += _words(module)
        found += _kernels(module)
    return [sentence for sentence in found if sentence]


def _modules(root: Path) -> Iterator[Module]:
    for top in (root / "streamscope", root / "drivers" / "streamscope_drivers"):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            shown = path.relative_to(root).as_posix().removeprefix("streamscope/")
            yield Module(name, shown, ast.parse(path.read_text(encoding="utf-8")))


def _imports(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, wherever in it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = module.name.split(".")
                up = node.level - module.shown.endswith("__init__.py")
                origin = ".".join([*package[: len(package) - up], *filter(None, [origin])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield inner if inner in modules else origin


def _unit(name: str) -> str | None:
    return max((unit for unit in TABLE if f"{name}.".startswith(f"{unit}.")), key=len, default=None)


def _floor(module: Module, target: str) -> str | None:
    here, there = _unit(module.name), _unit(target)
    if there is None or here is None or here == there or there in GROUND:
        return None
    if here in GROUND or not any(f"{target}.".startswith(f"{ok}.") for ok in TABLE[here][1]):
        return f"{module.shown} ({TABLE[here][0]}) imports {target} ({TABLE[there][0]})"
    return None


def _library(module: Module, target: str) -> str | None:
    top, unit = target.split(".")[0], _unit(module.name)
    if top in POSIX_MODULES:
        return f"{module.shown} imports {top}, which Windows does not have"
    if unit == "streamscope.testing" or module.name == JIT:
        return None
    owners = OWNERS.get(top, (unit,))
    if unit not in owners:
        return f"{module.shown} imports {top}, which belongs to {', '.join(map(str, owners))}"
    if unit in ONLY and top not in ONLY[unit]:
        return f"{module.shown} ({TABLE[unit][0]}) imports {top}, and this floor does not"
    return None


def _words(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.shown}:{node.lineno} calls print; use logging, or the console of cli/"
        if isinstance(node, ast.Attribute) and node.attr in POSIX_NAMES:
            yield f"{module.shown}:{node.lineno} uses {node.attr}, which Windows does not have"
        if isinstance(node, ast.Attribute) and node.attr == "monotonic_ns":
            yield f"{module.shown}:{node.lineno} uses monotonic_ns, coarse on Windows; use streamscope.clock"


def _kernels(module: Module) -> Iterator[str]:
    """Yield the functions of core/kernels/ whose decorators do not come from _jit.py."""
    if _unit(module.name) != "streamscope.core.kernels" or module.name in NOT_KERNELS:
        return
    known = {
        alias.asname or alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_jit")
        for alias in node.names
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef) and known.isdisjoint(map(_decorator, node.decorator_list)):
            yield f"{module.shown}:{node.lineno} {node.name} is not compiled by a decorator of _jit.py"


def _decorator(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _cycle(imports: dict[str, list[str]]) -> str | None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> str | None:
        if name in trail:
            return "cycle of imports: " + " -> ".join([*trail[trail.index(name) :], name])
        if name in done or name not in imports:
            return None
        found = next(filter(None, (visit(t, (*trail, name)) for t in imports[name])), None)
        done.add(name)
        return found

    return next(filter(None, (visit(name, ()) for name in imports)), None)


def test_every_module_stays_on_its_floor():
    assert violations(ROOT) == []


def test_every_module_belongs_to_a_unit_of_the_table():
    names = [m.name for m in _modules(ROOT)]
    assert "streamscope.types" in names
    assert "streamscope_drivers" in names
    assert [n for n in names if _unit(n) == "streamscope"] == ["streamscope"]


def build(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_good_tree_has_no_violation(tmp_path):
    good = {
        "streamscope/types.py": "import numpy as np\n",
        "streamscope/core/kernels/_jit.py": "import os\nimport numba\ndef kernel(f): return numba.njit(f)\n",
        "streamscope/core/kernels/hals.py": "from ._jit import kernel\n@kernel\ndef sweep(a): a[0] = 1\n",
        "streamscope/core/demix.py": "import numpy\nfrom streamscope.core.kernels.hals import sweep\n",
        "streamscope/wire/codec.py": "import zmq\nfrom streamscope import types\n",
        "streamscope/session/runner.py": "import asyncio\nfrom streamscope.wire import codec\n",
        "drivers/streamscope_drivers/replay.py": "import h5py\nfrom streamscope.types import Frame\n",
    }
    assert violations(build(tmp_path, good)) == []


BAD = [
    (
        {"core/motion.py": "from streamscope.wire import codec\n", "wire/codec.py": ""},
        "core/motion.py (floor 2) imports streamscope.wire.codec (floor 3)",
    ),
    (
        {"core/motion.py": "from streamscope.wire import Publisher\n"},
        "core/motion.py (floor 2) imports streamscope.wire (floor 3)",
    ),
    (
        {"wire/client.py": "import streamscope.storage.journal\n"},
        "wire/client.py (floor 3) imports streamscope.storage.journal (floor 3)",
    ),
    (
        {"storage/result.py": "def f():\n    from ..core.epoch import Epoch\n", "core/epoch.py": ""},
        "storage/result.py (floor 3) imports streamscope.core.epoch (floor 2)",
    ),
    (
        {"types.py": "from streamscope.core import infer\n"},
        "types.py (floor 0) imports streamscope.core (floor 2)",
    ),
    (
        {"../drivers/streamscope_drivers/replay.py": "from streamscope.session import queue\n"},
        "drivers/streamscope_drivers/replay.py (driver) imports streamscope.session (floor 4)",
    ),
    (
        {"session/runner.py": "from streamscope_drivers import replay\n"},
        "session/runner.py (floor 4) imports streamscope_drivers (driver)",
    ),
    (
        {"wire/a.py": "from streamscope.wire import b\n", "wire/b.py": "import streamscope.wire.a\n"},
        "cycle of imports: streamscope.wire.a -> streamscope.wire.b -> streamscope.wire.a",
    ),
    (
        {"storage/journal.py": "import zmq.asyncio\n"},
        "storage/journal.py imports zmq, which belongs to streamscope.wire, streamscope.session",
    ),
    (
        {"core/learn.py": "import threading\n"},
        "core/learn.py (floor 2) imports threading, and this floor does not",
    ),
    (
        {"core/demix.py": "import numba\n"},
        "core/demix.py imports numba, which belongs to streamscope.core.kernels",
    ),
    (
        {"core/kernels/hals.py": "import numba\n@numba.njit\ndef sweep(a): pass\n"},
        "core/kernels/hals.py:3 sweep is not compiled by a decorator of _jit.py",
    ),
    ({"cli/main.py": "print('x')\n"}, "cli/main.py:1 calls print; use logging, or the console of cli/"),
    ({"storage/lock.py": "import fcntl\n"}, "storage/lock.py imports fcntl, which Windows does not have"),
    (
        {"session/b.py": "import time\ntime.monotonic_ns()\n"},
        "session/b.py:2 uses monotonic_ns, coarse on Windows; use streamscope.clock",
    ),
    ({"session/a.py": "import os\nos.fork()\n"}, "session/a.py:2 uses fork, which Windows does not have"),
]


@pytest.mark.parametrize(("files", "sentence"), BAD, ids=[sentence.split()[0] for _, sentence in BAD])
def test_a_bad_tree_is_named_in_one_sentence(tmp_path, files, sentence):
    root = build(tmp_path, {f"streamscope/{name}": text for name, text in files.items()})
    assert violations(root) == [sentence]
