"""check_stage passes a good stage and names what is wrong with each bad one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from streamscope.testing.checks import check_stage


@dataclass(frozen=True)
class Smoothed:
    value: np.ndarray
    frame: int


class Smooth:
    """A running mean of what it is fed; knows no more than its state."""

    def __init__(self, mean=None, n=0):
        self.mean = np.zeros(3, np.float32) if mean is None else mean
        self.n = n

    def update(self, x):
        self.n += 1
        self.mean = self.mean + (x - self.mean) / np.float32(self.n)
        return Smoothed(self.mean.copy(), self.n)

    def state(self):
        return {"mean": self.mean.copy(), "n": self.n}

    @classmethod
    def from_state(cls, state):
        return cls(state["mean"].copy(), state["n"])


class ChangesItsInput(Smooth):
    def update(self, x):
        x -= 1
        return super().update(x)


class HandsOutItsMemory(Smooth):
    def update(self, x):
        self.n += 1
        self.mean += (x - self.mean) / np.float32(self.n)
        return Smoothed(self.mean, self.n)


class KeepsItsInput(Smooth):
    def __init__(self, mean=None, n=0):
        super().__init__(mean, n)
        self.before = np.zeros(3, np.float32)

    def update(self, x):
        self.mean = self.before + x
        self.before = x
        return Smoothed(self.mean.copy(), 0)


class IsNotDeterministic(Smooth):
    rng = np.random.default_rng(5)

    def update(self, x):
        return super().update(x + self.rng.random(3, np.float32))


class ForgetsItsCount(Smooth):
    def state(self):
        return {"mean": self.mean.copy(), "n": 0}


class HandsOutItsState(Smooth):
    def update(self, x):
        self.n += 1
        self.mean += (x - self.mean) / np.float32(self.n)
        return Smoothed(self.mean.copy(), self.n)

    def state(self):
        return {"mean": self.mean, "n": self.n}


class KeepsObjects(Smooth):
    def state(self):
        return {"mean": self.mean.copy(), "n": self.n, "history": [1, 2]}


class WidensItsResult(Smooth):
    def update(self, x):
        result = super().update(x)
        return Smoothed(result.value.astype(np.float64), result.frame)


class RemembersEverything(Smooth):
    def __init__(self, mean=None, n=0, seen=None):
        super().__init__(mean, n)
        self.seen = np.zeros((0, 3), np.float32) if seen is None else seen

    def update(self, x):
        self.seen = np.concatenate([self.seen, x[None]])
        return super().update(x)

    def state(self):
        return {**super().state(), "seen": self.seen.copy()}

    @classmethod
    def from_state(cls, state):
        return cls(state["mean"].copy(), state["n"], state["seen"].copy())


class FillsAnArray(Smooth):
    def update(self, x, out):
        result = super().update(x)
        out[:] = result.value
        return result


@pytest.fixture
def inputs():
    rng = np.random.default_rng(11)
    return [(rng.normal(size=3).astype(np.float32),) for _ in range(8)]


def test_a_stage_that_keeps_the_contract_passes(inputs):
    before = [x.copy() for (x,) in inputs]
    check_stage(Smooth, inputs, Smooth.from_state)
    assert all(np.array_equal(x, y) for (x,), y in zip(inputs, before, strict=True))


def test_a_stage_that_fills_an_array_it_is_given_passes_when_that_is_said(inputs):
    both = [(x, np.zeros(3, np.float32)) for (x,) in inputs]
    check_stage(FillsAnArray, both, FillsAnArray.from_state, fills={1})
    with pytest.raises(AssertionError, match="update 0 changed its input"):
        check_stage(FillsAnArray, both, FillsAnArray.from_state)


def test_a_stage_may_be_called_in_its_own_way(inputs):
    check_stage(Smooth, inputs, Smooth.from_state, update=lambda stage, given: stage.update(2 * given[0]))
    with pytest.raises(ZeroDivisionError):
        check_stage(Smooth, inputs, Smooth.from_state, update=lambda stage, given: 1 / 0)


def test_growth_is_allowed_when_it_is_said(inputs):
    check_stage(RemembersEverything, inputs, RemembersEverything.from_state, grows=True)
    with pytest.raises(AssertionError, match="the state grows: 80 bytes"):
        check_stage(RemembersEverything, inputs, RemembersEverything.from_state)


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        (ChangesItsInput, r"update 0 changed its input: value\[0\] is not the same"),
        (HandsOutItsMemory, r"result of update 0 was changed by a later update: value\[0\]\.value"),
        (KeepsItsInput, r"the stage keeps a reference to an array \(update 1\)"),
        (IsNotDeterministic, r"a second run differs \(update 0\)"),
        (ForgetsItsCount, r"restored before update 1 \(update 1\)"),
        (HandsOutItsState, r"the state taken before update 0 changed with the stage: value\['mean'\]"),
        (KeepsObjects, r"state\['history'\] is list; a file holds ndarray, float and int"),
        (WidensItsResult, r"update 0 returned \[0\]\.value as float64, not float32"),
    ],
)
def test_a_broken_stage_is_named_in_one_sentence(stage, sentence, inputs):
    with pytest.raises(AssertionError, match=sentence):
        check_stage(stage, inputs, stage.from_state)


def test_too_few_inputs_are_refused():
    with pytest.raises(ValueError, match="at least 4 inputs"):
        check_stage(Smooth, [], Smooth.from_state)
