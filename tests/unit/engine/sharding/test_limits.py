"""Who may run among the Executions of functions with a limit."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.sharding.fates import SEEN_AGAIN_S, Fate
from kontinue_engine.sharding.limits import Admissions, Admit, Applicant, Limits, Seek


def applicant(uid, created_s=0.0, function="f"):
    return Applicant(uid=uid, name=f"e-{uid}", function=function, created_s=created_s)


def test_slots_are_given_in_the_order_of_creation():
    """Ties are broken by name; a free slot is given once."""
    limits = Limits({"f": 2})
    for uid, created_s in [("c", 3.0), ("b", 1.0), ("a", 1.0)]:
        limits.wait(uid, "f", (created_s, uid))
    assert limits.admit() == ["a", "b"]
    assert limits.admit() == []
    assert (limits.has_slot("a"), limits.has_slot("c"), limits.is_waiting("c")) == (True, False, True)
    assert dict(limits.holders("f")) == {"a": "a", "b": "b"}
    limits.release("a")
    assert limits.admit() == ["c"]


def test_what_runs_already_counts_even_beyond_the_limit():
    """A lower limit was deployed: nothing is stopped, nothing new starts."""
    limits = Limits({"f": 1})
    limits.hold("x", "f", "x")
    limits.hold("y", "f", "y")
    limits.wait("z", "f", (0.0, "z"))
    limits.release("x")
    assert limits.admit() == []
    limits.release("y")
    assert limits.admit() == ["z"]


def test_one_that_wants_no_slot_any_more_gets_none():
    """It was canceled while it waited; unknown ones are fine."""
    limits = Limits({"f": 1})
    limits.wait("a", "f", (0.0, "a"))
    limits.wait("b", "f", (1.0, "b"))
    limits.release("a")
    limits.release("nobody")
    assert limits.admit() == ["b"]


def test_functions_do_not_wait_for_each_other():
    """Each has its own slots."""
    limits = Limits({"f": 1, "g": 1})
    for uid, function in [("a", "f"), ("b", "f"), ("c", "g")]:
        limits.wait(uid, function, (0.0, uid))
    assert limits.admit() == ["a", "c"]
    assert limits.is_limited("g")
    assert not limits.is_limited("h")
    assert limits.limit("f") == 1


@given(
    limit=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(["wait", "hold", "release"]), st.integers(0, 6)), max_size=60),
)
def test_never_more_than_the_limit_and_always_the_oldest(limit, steps):
    """Whatever comes and goes: a slot is given only below the limit, to the oldest, and none stays free."""
    limits = Limits({"f": limit})
    waiting, holding = set(), set()
    for what, number in steps:
        uid = str(number)
        if what == "wait" and uid not in holding:
            limits.wait(uid, "f", (float(number), uid))
            waiting.add(uid)
        elif what == "hold":
            limits.hold(uid, "f", uid)
            waiting.discard(uid)
            holding.add(uid)
        elif what == "release":
            limits.release(uid)
            waiting.discard(uid)
            holding.discard(uid)
        expected = sorted(waiting)[: max(0, limit - len(holding))]
        assert limits.admit() == expected
        waiting -= set(expected)
        holding |= set(expected)
        assert set(limits.holders("f")) == holding


def ready(limits=None, *, holding=(), waiting=()):
    subject = Admissions(limits or {"f": 1}, patience_s=60.0)
    subject.replace_holders(holding, 0.0)
    subject.hold_ended([], 0.0)
    subject.replace_waiting(waiting)
    return subject


def test_nobody_is_admitted_before_those_in_shards_are_known():
    """A new leader would give their slots away."""
    subject = Admissions({"f": 1}, patience_s=60.0)
    subject.replace_waiting([applicant("b")])
    assert subject.plan(0.0) == []
    subject.replace_holders([applicant("a")], 0.0)
    assert subject.plan(0.0) == []
    subject.hold_ended([], 0.0)
    assert subject.plan(0.0) == []


def test_nobody_is_admitted_before_those_that_are_stopping_are_known():
    """They are in shards and have ended: no list of live ones shows them."""
    subject = Admissions({"f": 1}, patience_s=60.0)
    subject.replace_waiting([applicant("b")])
    subject.replace_holders([], 0.0)
    assert subject.plan(0.0) == []
    subject.hold_ended([applicant("a")], 0.0)
    assert subject.plan(0.0) == [Seek("a", "e-a")]


def test_one_that_is_in_both_lists_has_one_slot():
    """It ended between the two; its code is stopping."""
    subject = Admissions({"f": 2}, patience_s=60.0)
    subject.replace_waiting([applicant("b"), applicant("c", 1.0)])
    subject.replace_holders([applicant("a")], 0.0)
    subject.hold_ended([applicant("a")], 0.0)
    subject.lost("a", 0.0)
    seek, admit = subject.plan(0.0)
    assert (seek, admit) == (Seek("a", "e-a"), Admit("b"))
    subject.sought(seek, Fate.STOPPED, 0.0)
    assert subject.plan(0.0) == [Admit("c")]


def test_one_that_was_seen_to_wait_and_has_ended_in_a_shard_has_a_slot():
    """The leader before gave it one, and its label came after our list."""
    subject = Admissions({"f": 1}, patience_s=60.0)
    subject.replace_holders([], 0.0)
    subject.replace_waiting([applicant("a"), applicant("b", 1.0)])
    subject.hold_ended([applicant("a")], 0.0)
    (seek,) = subject.plan(0.0)
    subject.forget_waiting("a")
    subject.sought(seek, Fate.STOPPED, 0.0)
    assert subject.plan(0.0) == [Admit("b")]


def test_the_next_is_admitted_when_one_has_stopped():
    """Having ended is not enough."""
    subject = ready(holding=[applicant("a")], waiting=[applicant("b")])
    subject.lost("a", 1.0)
    (seek,) = subject.plan(1.0)
    assert seek == Seek("a", "e-a")
    assert subject.plan(1.0) == []
    subject.sought(seek, Fate.UNSURE, 1.0)
    assert subject.next_look_s(1.0) == 1.0
    (seek,) = subject.plan(2.0)
    subject.sought(seek, Fate.STOPPED, 2.0)
    assert subject.plan(2.0) == [Admit("b")]


def test_an_admitted_one_that_never_shows_up_in_a_shard_is_asked_for():
    """It was deleted between its turn and its label."""
    subject = ready(waiting=[applicant("a"), applicant("b", 1.0)])
    assert subject.plan(0.0) == [Admit("a")]
    subject.forget_waiting("a")
    assert subject.next_look_s(0.0) == SEEN_AGAIN_S
    (seek,) = subject.plan(SEEN_AGAIN_S)
    subject.failed(seek, SEEN_AGAIN_S)
    assert subject.plan(SEEN_AGAIN_S) == []
    (seek,) = subject.plan(2 * SEEN_AGAIN_S)
    subject.sought(seek, Fate.STOPPED, 2 * SEEN_AGAIN_S)
    assert subject.plan(2 * SEEN_AGAIN_S) == [Admit("b")]


def test_an_admitted_one_that_is_seen_in_a_shard_is_not_asked_for():
    """The usual case costs no request."""
    subject = ready(waiting=[applicant("a")])
    subject.plan(0.0)
    subject.forget_waiting("a")
    subject.hold(applicant("a"))
    assert subject.next_look_s(0.0) is None
    assert subject.plan(10.0) == []


def test_what_ended_without_a_word_under_another_leader_keeps_its_slot_until_it_has_stopped():
    """The list at the start shows them."""
    subject = ready(waiting=[applicant("b")])
    subject.hold_ended([applicant("a")], 0.0)
    (seek,) = subject.plan(0.0)
    subject.sought(seek, Fate.STOPPED, 0.0)
    assert subject.plan(0.0) == [Admit("b")]


def retried(uid, retries=1):
    return msgspec.structs.replace(applicant(uid), retries=retries)


def test_one_that_is_retried_gets_a_slot_anew():
    """What it had was for a run that has stopped, however late that is seen here."""
    subject = ready(holding=[applicant("a")])
    assert not subject.must_wait(applicant("a"))
    assert subject.must_wait(retried("a"))
    subject.wait(applicant("b", -1.0))
    assert subject.plan(0.0) == []
    subject.wait(retried("a"))
    subject.hold(applicant("a"))
    assert subject.plan(0.0) == [Admit("b")]
    assert subject.must_wait(retried("a"))


def test_an_answer_about_the_run_before_frees_no_slot():
    """It was asked for, stopped, was retried and admitted, all before the answer was read."""
    subject = ready(holding=[applicant("a")])
    subject.lost("a", 0.0)
    (seek,) = subject.plan(0.0)
    subject.wait(retried("a"))
    assert subject.plan(0.0) == [Admit("a")]
    subject.sought(seek, Fate.STOPPED, 0.0)
    assert subject.slots.has_slot("a")


def test_lists_replace_what_was_known():
    """What is not in them has left."""
    subject = ready(holding=[applicant("a")], waiting=[applicant("b"), applicant("c", 1.0)])
    subject.replace_waiting([applicant("c", 1.0)])
    subject.replace_holders([], 0.0)
    (seek,) = subject.plan(0.0)
    subject.sought(seek, Fate.STOPPED, 0.0)
    assert subject.plan(0.0) == [Admit("c")]
