"""Who is told who holds a mutex."""

from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.sharding.waiting_line import NEXT, WaitingLine


def line(*uids, holder=""):
    subject = WaitingLine()
    for uid in uids:
        subject.add(uid, (0.0, uid))
    subject.held_by(holder)
    for uid in uids:
        subject.is_told(uid)
    return subject


def test_those_who_are_next_are_told_and_the_others_are_not():
    """In the order in which they get it."""
    subject = line("d", "b", "e", "a", "c", holder="h")
    assert [uid for uid in "abcde" if subject.is_told(uid)] == ["a", "b", "c"]
    assert (len(subject), "e" in subject, "h" in subject) == (5, True, False)


def test_when_the_mutex_changes_hands_at_most_those_who_are_next_are_told():
    """However many wait: the one that got it needs not be told."""
    subject = line(*"abcdefgh", holder="h0")
    assert subject.held_by("a") == ["a", "b", "c", "d"]
    assert not subject.is_told("a")
    assert subject.held_by("a") == []
    assert [uid for uid in "bcdefgh" if subject.is_told(uid)] == ["b", "c", "d"]
    assert subject.discard("a") == []


def test_who_comes_to_be_next_because_another_one_left_is_told():
    """One that is far back may leave without a word to anybody."""
    subject = line(*"abcde", holder="h")
    assert subject.discard("e") == []
    assert subject.discard("a") == ["d"]
    assert subject.discard("a") == []
    assert subject.is_told("d")


def test_who_is_not_next_any_more_is_told_that_when_the_mutex_changes_hands():
    """Its status names a former holder otherwise."""
    subject = line(*"bcd", holder="h")
    subject.add("a", (0.0, "a"))
    subject.add("a", (9.0, "a"))
    assert subject.is_told("a")
    assert subject.held_by("i") == ["a", "b", "c", "d"]
    assert not subject.is_told("d")
    assert subject.held_by("j") == ["a", "b", "c"]


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "hold"]), st.integers(0, 9)), max_size=60))
def test_whoever_is_told_a_holder_is_told_the_next_one(steps):
    """Whatever comes and goes: nobody goes on naming a former holder, and nobody who is next does not know."""
    subject, waiting, said, holder = WaitingLine(), set(), {}, ""
    for what, number in steps:
        uid, look = str(number), []
        if what == "add":
            waiting.add(uid)
            subject.add(uid, (float(number), uid))
            look = [uid]
        elif what == "discard":
            waiting.discard(uid)
            said.pop(uid, None)
            look = subject.discard(uid)
        else:
            holder = uid
            look = subject.held_by(uid)
        for one in look:
            said[one] = holder if subject.is_told(one) else "others"
        following = sorted(waiting - {holder})[:NEXT]
        assert all(said[one] == holder for one in following)
        assert all(said[one] in {holder, "others"} for one in waiting - {holder})
