"""Who asks to freeze hears from which frame it holds, whatever else is under way."""

from __future__ import annotations

import pytest

from streamscope.errors import WireError
from streamscope.session.freezing import Freezing
from streamscope.session.lanes import Held
from streamscope.wire.control import Later


class Answer:
    """What a reply was settled with."""

    def __init__(self, later: Later) -> None:
        self.outcome = None
        later.when_settled(self.take)

    def take(self, outcome):
        self.outcome = outcome


@pytest.fixture
def orders():
    return []


@pytest.fixture
def freezing(orders):
    return Freezing(orders.append)


def test_a_request_is_answered_with_the_frame_from_which_it_holds(freezing, orders):
    answer = Answer(freezing.ask(True))
    assert orders == [True]
    assert answer.outcome is None
    assert freezing.took_effect(Held(True, 120, asked=True))
    assert answer.outcome == {"frame": 120}


def test_freezing_twice_gives_one_order_and_the_same_frame(freezing, orders):
    answers = [Answer(freezing.ask(True)), Answer(freezing.ask(True))]
    freezing.took_effect(Held(True, 120, asked=True))
    answers.append(Answer(freezing.ask(True)))
    assert orders == [True]
    assert [answer.outcome for answer in answers] == [{"frame": 120}] * 3


def test_a_session_that_never_froze_has_been_thawed_from_frame_0(freezing, orders):
    assert Answer(freezing.ask(False)).outcome == {"frame": 0}
    assert orders == []


def test_freezing_and_thawing_at_once_are_two_orders_answered_in_turn(freezing, orders):
    freeze, thaw = Answer(freezing.ask(True)), Answer(freezing.ask(False))
    assert orders == [True, False]
    assert freezing.took_effect(Held(True, 120, asked=True))
    assert thaw.outcome is None
    assert freezing.took_effect(Held(False, 120, asked=True))
    assert (freeze.outcome, thaw.outcome) == ({"frame": 120}, {"frame": 120})


def test_a_planned_freeze_answers_nobody_and_one_that_is_frozen_already_is_no_news(freezing, orders):
    assert freezing.took_effect(Held(True, 100))
    answer = Answer(freezing.ask(True))
    assert answer.outcome == {"frame": 100}
    assert not freezing.took_effect(Held(True, 200))
    assert Answer(freezing.ask(True)).outcome == {"frame": 100}


def test_a_request_that_meets_a_planned_freeze_gets_its_frame(freezing, orders):
    answer = Answer(freezing.ask(True))
    assert freezing.took_effect(Held(True, 100))  # was under way in the pipeline
    assert answer.outcome is None
    assert not freezing.took_effect(Held(True, 110, asked=True))
    assert answer.outcome == {"frame": 100}


def test_who_waits_at_the_end_is_refused(freezing):
    answer = Answer(freezing.ask(True))
    freezing.end()
    assert isinstance(answer.outcome, WireError)
    with pytest.raises(WireError, match="ending"):
        freezing.ask(True)
