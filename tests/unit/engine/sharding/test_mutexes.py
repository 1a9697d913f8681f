"""Who gets a mutex next."""

from itertools import count

import msgspec
import pytest

from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding.assignment import Allowance
from kontinue_engine.sharding.fates import SEEN_AGAIN_S, Fate
from kontinue_engine.sharding.mutexes import RETRY_S, Ask, Bring, Contender, Free, Grant, Mutexes

PATIENCE_S = 60.0
versions = count(1000)


def contender(uid, *, created_s=0.0, shard="me", has_started=False, mutex="m", name=None):
    return Contender(
        uid=uid,
        name=name or f"e-{uid}",
        version="1",
        mutex=mutex,
        shard=shard,
        created_s=created_s,
        has_started=has_started,
    )


def lease(holder, *, uid="l1", version=None):
    number = str(version or next(versions))
    return Lease(
        metadata=ObjectMeta(name="kontinue-mutex.g.m", uid=uid, resource_version=number),
        spec=LeaseSpec(holder_identity=holder),
    )


@pytest.fixture
def mutexes():
    subject = Mutexes("me", patience_s=PATIENCE_S, allowance=Allowance())
    subject.replace_leases([])
    subject.replace_contenders([])
    return subject


def started(*contenders, held_by=None):
    """Return one that has listed these, and the Lease."""
    subject = Mutexes("me", patience_s=PATIENCE_S, allowance=Allowance())
    found = lease(held_by) if held_by else None
    subject.replace_leases([("m", found)] if found else [])
    subject.replace_contenders(contenders)
    return subject, found


def test_nothing_is_granted_before_everything_is_known():
    """An older one may be in the list that has not come yet, and a Lease too."""
    subject = Mutexes("me", patience_s=PATIENCE_S, allowance=Allowance())
    subject.observe(contender("a"))
    assert subject.plan(0.0) == []
    subject.replace_leases([])
    assert subject.plan(0.0) == []
    subject.replace_contenders([contender("a"), contender("b", created_s=-1.0)])
    assert [command.to.uid for command in subject.plan(0.0)] == ["b"]


def test_the_oldest_gets_it_and_names_break_ties():
    """First come, first served."""
    subject, _ = started(
        contender("c", created_s=2.0), contender("b", created_s=1.0, name="z"), contender("a", created_s=1.0, name="y")
    )
    (command,) = subject.plan(0.0)
    assert command == Grant(contender("a", created_s=1.0, name="y"), None)


def test_it_is_granted_once(mutexes):
    """Not again while the first grant is under way, nor when it has been written and not been seen."""
    mutexes.observe(contender("a"))
    (grant,) = mutexes.plan(0.0)
    mutexes.observe(contender("a"))
    mutexes.observe(contender("b", created_s=-1.0))
    assert mutexes.plan(0.0) == []
    mutexes.granted(grant, lease("a"))
    assert mutexes.plan(0.0) == []


def test_who_waits_gets_it_once_the_holder_has_freed_it(mutexes):
    """The holder's replica deletes the Lease."""
    mutexes.observe(contender("a"))
    (grant,) = mutexes.plan(0.0)
    held = lease("a")
    mutexes.granted(grant, held)
    mutexes.observe(contender("b"))
    mutexes.observe_lease("m", held)
    mutexes.forget("a")
    assert mutexes.plan(0.0) == []
    mutexes.forget_lease("m", held)
    assert mutexes.plan(0.0) == [Grant(contender("b"), None)]


def test_a_lease_that_vanishes_under_a_living_holder_goes_to_nobody_else():
    """Either its end is not seen yet, or somebody has deleted the Lease, and it still runs: it gets it back."""
    holder, other = contender("a", created_s=5.0), contender("b", created_s=1.0)
    subject, held = started(holder, other, held_by="a")
    assert subject.plan(0.0) == []
    subject.forget_lease("m", held)
    assert subject.plan(1.0) == []
    assert subject.next_look_s(1.0) == SEEN_AGAIN_S
    assert subject.plan(1.0 + SEEN_AGAIN_S) == [Grant(holder, None)]


def test_one_that_has_run_goes_first_if_there_is_no_lease():
    """A new leader knows nothing of a Lease that was deleted before; it still runs somewhere."""
    subject, _ = started(contender("a"), contender("b", created_s=9.0, shard="other", has_started=True))
    (command,) = subject.plan(0.0)
    assert command.to.uid == "b"


def test_answers_that_are_late_do_not_bring_a_lease_back(mutexes):
    """The watch has shown the Lease, and its end, before the answer to the grant was read."""
    mutexes.observe(contender("a"))
    (grant,) = mutexes.plan(0.0)
    held = lease("a")
    mutexes.observe_lease("m", held)
    mutexes.forget("a")
    mutexes.forget_lease("m", held)
    mutexes.granted(grant, held)
    mutexes.observe(contender("b"))
    assert mutexes.plan(0.0) == [Grant(contender("b"), None)]


def test_a_holder_that_is_not_seen_is_asked_for_and_followed_by_the_next():
    """Its replica may have died before it freed the mutex."""
    subject, held = started(contender("b"), held_by="a")
    assert subject.plan(0.0) == []
    assert subject.next_look_s(0.0) == SEEN_AGAIN_S
    (ask,) = subject.plan(SEEN_AGAIN_S)
    assert ask == Ask(held)
    assert subject.plan(SEEN_AGAIN_S + 1) == []
    subject.asked(ask, "m", Fate.STOPPED, 3.0)
    assert subject.plan(3.0) == [Grant(contender("b"), held)]


def test_a_mutex_whose_holder_has_stopped_is_deleted_if_nobody_waits():
    """Leases of mutexes that nobody uses do not pile up."""
    subject, held = started(held_by="a")
    subject.plan(0.0)
    (ask,) = subject.plan(SEEN_AGAIN_S)
    subject.asked(ask, "m", Fate.STOPPED, 3.0)
    (free,) = subject.plan(3.0)
    assert free == Free(held)
    subject.freed(free, "m")
    assert subject.plan(4.0) == []
    assert subject.next_look_s(4.0) is None


def test_a_holder_whose_code_is_being_stopped_keeps_it():
    """Terminal is not the same as stopped."""
    subject, _ = started(contender("b"), held_by="a")
    subject.plan(0.0)
    (ask,) = subject.plan(SEEN_AGAIN_S)
    subject.asked(ask, "m", Fate.UNSURE, 3.0)
    assert subject.plan(3.0) == []
    (ask,) = subject.plan(4.0)
    subject.asked(ask, "m", Fate.UNSURE, 3.0 + PATIENCE_S)
    (command,) = subject.plan(3.0 + PATIENCE_S)
    assert isinstance(command, Grant)


def test_a_holder_that_is_seen_again_is_left_alone():
    """Its watch was late."""
    subject, _ = started(contender("b"), held_by="a")
    subject.plan(0.0)
    subject.observe(contender("a", shard="other"))
    assert subject.plan(SEEN_AGAIN_S) == []


def test_a_grant_that_met_something_newer_waits_until_that_is_seen(mutexes):
    """Another leader was faster; asking again at once would only fail again."""
    mutexes.observe(contender("a"))
    (grant,) = mutexes.plan(0.0)
    mutexes.failed(grant, "m", 0.0)
    assert mutexes.plan(0.0) == []
    assert mutexes.next_look_s(0.0) == RETRY_S
    assert mutexes.plan(RETRY_S) == [grant]
    mutexes.failed(grant, "m", RETRY_S)
    mutexes.observe(contender("b"))
    mutexes.observe_lease("m", lease("b"))
    assert mutexes.plan(RETRY_S) == []


def test_waiting_ones_are_brought_to_the_leader_and_holders_stay():
    """Waiting ones move with leadership; a holder runs where it is."""
    holder, waiting = contender("a", shard="old"), contender("b", shard="old", created_s=1.0)
    subject, held = started(holder, waiting, held_by="a")
    assert subject.plan(0.0) == [Bring(waiting)]
    subject.brought(Bring(waiting), 0.0)
    subject.forget("a")
    subject.forget_lease("m", held)
    assert subject.plan(1.0) == []
    here = contender("b", created_s=1.0)
    subject.observe(here)
    assert subject.plan(2.0) == [Grant(here, None)]
    assert subject.plan(RETRY_S + 1) == []


def test_who_has_no_shard_yet_holds_nobody_up():
    """It may wait for a slot that the next in the line has; once it has a shard, it is its turn as ever."""
    subject, _ = started(contender("a", shard=""), contender("b", created_s=1.0))
    (grant,) = subject.plan(0.0)
    assert grant == Grant(contender("b", created_s=1.0), None)
    held = lease("b")
    subject.granted(grant, held)
    subject.observe_lease("m", held)
    subject.observe(contender("a"))
    subject.observe(contender("c", created_s=0.5))
    subject.forget("b")
    subject.forget_lease("m", held)
    assert subject.plan(0.0) == [Grant(contender("a"), None)]


def test_bringing_that_met_something_newer_waits_until_that_can_be_seen():
    """At once it would only be refused again, as often as the server answers, and eat up the allowance."""
    waiting = contender("b", shard="old", created_s=1.0)
    subject, _ = started(contender("a"), waiting, held_by="a")
    assert subject.plan(0.0) == [Bring(waiting)]
    subject.failed(Bring(waiting), "m", 0.0)
    assert subject.plan(0.0) == []
    assert subject.next_look_s(0.5) == RETRY_S - 0.5
    newer = msgspec.structs.replace(waiting, version="2")
    subject.observe(newer)
    assert subject.plan(1.0) == []
    assert subject.plan(RETRY_S) == [Bring(newer)]
    subject.observe(contender("b", created_s=1.0))
    subject.failed(Bring(newer), "m", RETRY_S)
    assert subject.plan(9.0) == []
    assert subject.next_look_s(9.0) is None


def test_one_that_is_being_brought_is_not_brought_twice():
    """Its watch shows it as it was before the relabel, while that is under way and after it was answered."""
    waiting = contender("b", shard="old", created_s=1.0)
    subject, _ = started(contender("a"), waiting, held_by="a")
    assert subject.plan(0.0) == [Bring(waiting)]
    subject.observe(waiting)
    assert subject.plan(0.0) == []
    subject.brought(Bring(waiting), 0.0)
    subject.observe(waiting)
    assert subject.plan(1.0) == []


def test_one_that_has_ended_is_brought_no_more():
    """Whatever became of its relabel."""
    waiting = contender("b", shard="old", created_s=1.0)
    subject, _ = started(contender("a"), waiting, held_by="a")
    assert subject.plan(0.0) == [Bring(waiting)]
    subject.forget("b")
    subject.failed(Bring(waiting), "m", 0.0)
    assert subject.plan(RETRY_S) == []
    assert subject.next_look_s(RETRY_S) is None


def test_bringing_obeys_its_allowance():
    """Ten thousand relabels at once would keep the API server from everything else."""
    subject = Mutexes("me", patience_s=PATIENCE_S, allowance=Allowance(per_s=1.0, burst=2))
    subject.replace_leases([("m", lease("h"))])
    others = [contender(str(number), shard="old", created_s=float(number)) for number in range(4)]
    subject.replace_contenders([contender("h"), *reversed(others)])
    assert subject.plan(0.0) == [Bring(others[0]), Bring(others[1])]
    assert subject.plan(1.0) == [Bring(others[2])]


def test_mutexes_do_not_wait_for_each_other(mutexes):
    """Each has its own holder."""
    mutexes.observe(contender("a", mutex="m"))
    mutexes.observe(contender("b", mutex="n"))
    assert {command.to.uid for command in mutexes.plan(0.0)} == {"a", "b"}


def test_a_lone_holder_gets_its_lease_back():
    """Also if nobody waits for it."""
    holder = contender("a")
    subject, held = started(holder, held_by="a")
    assert subject.plan(0.0) == []
    subject.forget_lease("m", held)
    assert subject.plan(0.0) == []
    assert subject.plan(SEEN_AGAIN_S) == [Grant(holder, None)]


def test_lists_replace_what_was_known():
    """What is not in them has left; a Lease that is not in them was deleted."""
    subject, _ = started(contender("a"), contender("b"), held_by="a")
    subject.replace_contenders([contender("c")])
    subject.replace_leases([])
    assert subject.plan(0.0) == [Grant(contender("c"), None)]


def test_a_question_without_an_answer_is_asked_again():
    """The API server was away."""
    subject, held = started(contender("b"), held_by="a")
    subject.plan(0.0)
    (ask,) = subject.plan(SEEN_AGAIN_S)
    subject.failed(ask, "m", SEEN_AGAIN_S)
    assert subject.plan(SEEN_AGAIN_S) == []
    assert subject.plan(2 * SEEN_AGAIN_S) == [Ask(held)]
