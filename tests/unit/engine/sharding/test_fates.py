"""Whether something that held a mutex or a slot still runs."""

import pytest

from kontinue_engine.sharding import fates
from kontinue_engine.sharding.fates import Fate, Inquiry


@pytest.mark.parametrize(
    ("is_terminal", "is_stopped", "is_owner_gone", "fate"),
    [
        (False, False, False, Fate.LIVE),
        (False, False, True, Fate.LIVE),
        (True, True, False, Fate.STOPPED),
        (True, False, True, Fate.STOPPED),
        (True, False, False, Fate.UNSURE),
    ],
)
def test_what_has_ended_has_stopped_only_if_its_owner_says_so_or_is_dead(is_terminal, is_stopped, is_owner_gone, fate):
    """A client's cancel is terminal at once; its code may go on for seconds."""
    assert fates.judge(is_terminal=is_terminal, is_stopped=is_stopped, is_owner_gone=is_owner_gone) is fate


def test_nobody_waits_for_ever_for_a_word_that_nobody_will_say():
    """One that was deleted counts as stopped once every live replica would have stopped it."""
    inquiry = Inquiry(due_s=0.0)
    assert not inquiry.answer(Fate.UNSURE, 10.0, patience_s=60.0)
    assert inquiry.due_s == 10.0 + fates.ASK_AGAIN_S
    assert not inquiry.answer(Fate.UNSURE, 69.0, patience_s=60.0)
    assert inquiry.answer(Fate.UNSURE, 70.0, patience_s=60.0)


def test_patience_begins_anew_when_it_turns_out_to_live():
    """A retry gives it another life."""
    inquiry = Inquiry(due_s=0.0)
    inquiry.answer(Fate.UNSURE, 0.0, patience_s=60.0)
    assert not inquiry.answer(Fate.LIVE, 59.0, patience_s=60.0)
    assert not inquiry.answer(Fate.UNSURE, 61.0, patience_s=60.0)


def test_a_question_without_an_answer_is_asked_again_later():
    """The API server may be away."""
    inquiry = Inquiry(due_s=0.0, is_asked=True)
    inquiry.failed(5.0)
    assert (inquiry.is_asked, inquiry.due_s) == (False, 5.0 + fates.SEEN_AGAIN_S)


def test_stopped_is_stopped():
    """At once."""
    assert Inquiry(due_s=0.0).answer(Fate.STOPPED, 1.0, patience_s=60.0)
