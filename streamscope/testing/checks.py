"""What every class in core/ that carries state must keep, checked in one call.

A stage takes explicit arguments, returns explicit results and remembers what `state()` says, no more. Only
then can a session be inferred again from its journal and give the same bytes.
"""

from __future__ import annotations

import copy
import dataclasses
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

State: TypeAlias = Mapping[str, Any]  # of ndarray, float and int, as a file can hold them


class Stage(Protocol):
    """Anything whose memory can be written down."""

    def state(self) -> State:
        """Return a copy of all that is needed to go on from here."""


S = TypeVar("S", bound=Stage)
Update = Callable[[Any, tuple[Any, ...]], Any]


def check_stage(
    make: Callable[[], S],
    inputs: Sequence[tuple[Any, ...]],
    restore: Callable[[State], S],
    *,
    update: Update | None = None,
    fills: Collection[int] = (),
    dtype: DTypeLike = np.float32,
    grows: bool = False,
) -> None:
    """Fail with one sentence if a stage breaks the contract of core/.

    Checked are: inputs are left alone; results share no memory with the stage or its inputs, in either
    direction; two runs give the same bytes; writing the state to a file and reading it back at any of several
    cuts changes nothing; results keep their dtypes; the state does not grow without bound.

    Edges (no cells, a growing number of cells, NaN, black frames) belong into `inputs`.

    Parameters
    ----------
    make : callable
        Returns a new stage; called several times.
    inputs : sequence of tuple
        The arguments of each update, in order; at least 4.
    restore : callable
        Returns the stage that a state describes, usually ``lambda s: Thing.from_state(config, s)``.
    update : callable, optional
        ``update(stage, arguments)`` for a stage whose method is not ``stage.update(*arguments)``.
    fills : collection of int
        Positions of the arguments that the stage fills; they count as results, not as inputs.
    dtype : dtype
        The dtype of every floating-point array in the results.
    grows : bool
        The state may be larger at the end than in the middle, as when cells are added.

    Raises
    ------
    AssertionError
        If one of these does not hold; the message names the update and the value.
    """
    if len(inputs) < 4:
        raise ValueError(f"check_stage needs at least 4 inputs to cut a run in two, got {len(inputs)}")
    runner = _Runner(update or _call_update, frozenset(fills))
    expected, sizes = _checked_run(runner, make(), inputs, np.dtype(dtype))
    _compare(expected, runner.run(make(), inputs), "a second run differs")
    _compare(expected, runner.run(make(), inputs, scribble=True), "the stage keeps a reference to an array")
    for cut in sorted({0, 1, len(inputs) // 2, len(inputs) - 1}):
        _compare(
            expected, _run_with_cut(runner, make(), inputs, restore, cut), f"restored before update {cut}"
        )
    middle, last = sizes[len(sizes) // 2], sizes[-1]
    if not grows and last > middle:
        raise AssertionError(f"the state grows: {middle} bytes in the middle of the run, {last} at its end")


@dataclasses.dataclass(frozen=True)
class _Runner:
    """Feeds a stage; knows which arguments are inputs and which are results."""

    update: Update
    fills: frozenset[int]

    def step(self, stage: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the result of one update, followed by the arguments that were filled."""
        result = self.update(stage, arguments)
        return (result, *(arguments[i] for i in sorted(self.fills)))

    def given(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Return the arguments that the stage may only read."""
        return [a for i, a in enumerate(arguments) if i not in self.fills]

    def run(self, stage: Any, inputs: Sequence[tuple[Any, ...]], scribble: bool = False) -> list[Any]:
        """Return copies of all results; with `scribble`, spoil every array as soon as it was used."""
        results = []
        for arguments in inputs:
            mine = copy.deepcopy(arguments)
            result = self.step(stage, mine)
            results.append(copy.deepcopy(result))
            if scribble:
                _spoil(result)
                _spoil(mine)
        return results


def _checked_run(
    runner: _Runner, stage: Stage, inputs: Sequence[tuple[Any, ...]], dtype: np.dtype[Any]
) -> tuple[list[Any], list[int]]:
    """Return the results and the size of the state after each update, with what one run can show checked."""
    live: list[Any] = []
    results: list[Any] = []
    sizes: list[int] = []
    for n, arguments in enumerate(copy.deepcopy(list(inputs))):
        before = copy.deepcopy(runner.given(arguments))
        result = runner.step(stage, arguments)
        difference = _difference(before, runner.given(arguments))
        if difference:
            raise AssertionError(f"update {n} changed its input: {difference}")
        _check_dtypes(result, results[-1] if results else result, dtype, n)
        live.append(result)
        results.append(copy.deepcopy(result))
        sizes.append(_bytes(stage.state()))
    for n, (now, then) in enumerate(zip(live, results, strict=True)):
        difference = _difference(then, now)
        if difference:
            raise AssertionError(f"the result of update {n} was changed by a later update: {difference}")
    return results, sizes


def _run_with_cut(
    runner: _Runner, stage: S, inputs: Sequence[tuple[Any, ...]], restore: Callable[[State], S], cut: int
) -> list[Any]:
    """Return the results of a run whose stage is written down and read back before update `cut`."""
    results = runner.run(stage, inputs[:cut])
    state = stage.state()
    saved, before = _through_a_file(state), copy.deepcopy(state)
    runner.run(stage, inputs[cut:], scribble=True)
    difference = _difference(before, state)
    if difference:
        raise AssertionError(f"the state taken before update {cut} changed with the stage: {difference}")
    second = restore(saved)
    _spoil(saved)
    return results + runner.run(second, inputs[cut:])


def _through_a_file(state: State) -> dict[str, Any]:
    """Return the state as an npz file gives it back."""
    for name, value in state.items():
        if not isinstance(value, (np.ndarray, float, int)) or np.asarray(value).dtype.kind == "O":
            raise AssertionError(
                f"state[{name!r}] is {type(value).__name__}; a file holds ndarray, float and int"
            )
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return {k: loaded[k] if isinstance(v, np.ndarray) else loaded[k].item() for k, v in state.items()}


def _call_update(stage: Any, arguments: tuple[Any, ...]) -> Any:
    return stage.update(*arguments)


def _check_dtypes(result: Any, previous: Any, dtype: np.dtype[Any], n: int) -> None:
    before = {path: leaf.dtype for path, leaf in _leaves(previous) if isinstance(leaf, np.ndarray)}
    for path, leaf in _leaves(result):
        if isinstance(leaf, np.ndarray):
            wanted = dtype if leaf.dtype.kind == "f" else before.get(path, leaf.dtype)
            if leaf.dtype != wanted:
                raise AssertionError(
                    f"update {n} returned {path or 'an array'} as {leaf.dtype}, not {wanted}"
                )


def _compare(expected: list[Any], got: list[Any], what: str) -> None:
    for n, (one, other) in enumerate(zip(expected, got, strict=True)):
        difference = _difference(one, other)
        if difference:
            raise AssertionError(f"{what} (update {n}): {difference}")


def _difference(one: Any, other: Any) -> str:
    """Return where two values differ in type, shape, dtype or bytes, or an empty string."""
    a, b = dict(_leaves(one)), dict(_leaves(other))
    for path in [*a, *(set(b) - set(a))]:
        x, y = a.get(path), b.get(path)
        if type(x) is not type(y):
            return f"value{path} is {type(x).__name__}, then {type(y).__name__}"
        if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
            if (x.shape, x.dtype) != (y.shape, y.dtype):
                return f"value{path} is {x.dtype}{x.shape}, then {y.dtype}{y.shape}"
            same = x.tobytes() == y.tobytes()
        else:
            same = bool(x == y) or (x != x and y != y)
        if not same:
            return f"value{path} is not the same, byte for byte"
    return ""


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays and plain values inside a result, with the way to each."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], f"{path}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        yield f"{path}.len", len(value)
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    else:
        yield path, value


def _spoil(value: Any) -> None:
    """Overwrite every array that can be written to."""
    for _, leaf in _leaves(value):
        if isinstance(leaf, np.ndarray) and leaf.flags.writeable and leaf.size:
            leaf[...] = 77


def _bytes(state: State) -> int:
    return sum(v.nbytes if isinstance(v, np.ndarray) else 8 for v in state.values())
