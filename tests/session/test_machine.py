"""The states of a session as a table."""

from __future__ import annotations

import pytest

from streamscope.errors import StageError
from streamscope.session.machine import TABLE, Event, Machine, State


def run(*events):
    seen = []
    machine = Machine(seen.append)
    for event in events:
        machine.send(event)
    return machine.state, seen


def test_a_replay_runs_drains_refits_and_is_done():
    state, seen = run(Event.START, Event.END, Event.DRAINED, Event.REFITTED)
    assert state is State.DONE
    assert seen == [State.RUNNING, State.DRAINING, State.REFITTING, State.DONE]


def test_one_stop_drains_and_refits():
    state, _ = run(Event.START, Event.STOP, Event.END, Event.DRAINED, Event.REFITTED)
    assert state is State.DONE


@pytest.mark.parametrize(
    "events",
    [
        (Event.START, Event.END, Event.KEPT),
        (Event.START, Event.STOP, Event.STOP, Event.END, Event.KEPT),
        (Event.START, Event.STOP, Event.DRAINED, Event.STOP, Event.KEPT),
    ],
)
def test_without_a_refit_the_live_results_are_kept(events):
    assert run(*events)[0] is State.DONE


@pytest.mark.parametrize("state", State)
def test_an_error_fails_the_session_in_any_state(state):
    assert TABLE[state, Event.ERROR] is State.FAILED


@pytest.mark.parametrize("state", State)
def test_the_user_may_stop_in_any_state(state):
    assert (state, Event.STOP) in TABLE


def test_nothing_leaves_done_or_failed_but_an_error():
    final = (State.DONE, State.FAILED)
    assert all(after in final for (before, _), after in TABLE.items() if before in final)


@pytest.mark.parametrize(
    ("events", "impossible"),
    [((), Event.DRAINED), ((Event.START,), Event.START), ((Event.START, Event.END), Event.REFITTED)],
)
def test_an_impossible_event_is_a_fault_of_the_program(events, impossible):
    machine = Machine()
    for event in events:
        machine.send(event)
    before = machine.state
    with pytest.raises(StageError, match=f"cannot take the event {impossible.value}"):
        machine.send(impossible)
    assert machine.state is before
