"""How locks change hands: a property test against a small model, and the rules one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue import errors
from kontinue.api.konductor.group import LONGEST, Holder, HolderKind, identity_of
from kontinue.api.konductor.locking import (
    CLOCKS_DIFFER,
    TAKE_WITHIN,
    Claim,
    Locks,
    Patience,
    asked,
    left,
    renewed,
    turns,
    without_bound,
    without_overdue,
)
from kontinue.api.konductor.locks import ttl_of
from kontinue.api.konductor.mutexes import MUTEXES, Mutex, MutexStatus
from kontinue.api.konductor.onces import ONCES, Once, OncePhase, executed, failed
from kontinue.api.konductor.rwmutexes import RWMUTEXES, RWMutex, RWMutexStatus
from kontinue.api.meta import ObjectMeta

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(seconds=30)


def claim(name: str, *, shared: bool = False) -> Claim:
    """Return what somebody asks for."""
    return Claim(id=name, holder=name, is_shared=shared)


def ask(locks: Locks, name: str, *, shared: bool = False, ttl: timedelta | None = None) -> Locks:
    """Ask as somebody."""
    return asked(locks, claim(name, shared=shared), ttl=ttl, now=NOW, most=5)


def holding(locks: Locks) -> list[str]:
    """Return who holds it."""
    return [one.holder for one in locks.grants]


def test_the_first_one_holds_it_and_the_others_wait_in_order():
    """Who is next takes it when he asks again, and nobody before him."""
    locks = ask(ask(ask(Locks(), "a"), "b"), "c")
    assert (holding(locks), [one.holder for one in locks.waiters]) == (["a"], ["b", "c"])
    free = left(locks, "a")
    assert holding(ask(free, "c")) == []
    assert holding(ask(free, "b")) == ["b"]


def test_asking_again_changes_nothing():
    """The answer to the first time may have got lost."""
    locks = ask(ask(Locks(), "a"), "b")
    assert ask(ask(locks, "a"), "b") == locks


def test_who_asks_for_a_lock_for_ever_and_a_day_has_it_as_long_as_what_an_object_may_say():
    """No date is far enough for the end of it, and the original's users say "for ever" so."""
    (grant,) = ask(Locks(), "a", ttl=timedelta(days=999_999_999)).grants
    assert (grant.ttl, grant.expires_at) == (LONGEST, NOW + LONGEST)
    assert renewed(Locks((grant,)), "a", now=NOW + TTL).grants[0].expires_at == NOW + TTL + LONGEST


def test_readers_share_and_a_writer_is_not_overtaken():
    """Readers that come after a writer wait for him; those before him do not wait for each other."""
    locks = ask(ask(ask(Locks(), "r1", shared=True), "r2", shared=True), "w")
    locks = ask(locks, "r3", shared=True)
    assert (holding(locks), turns(locks)) == (["r1", "r2"], ())
    locks = ask(left(left(locks, "r1"), "r2"), "w")
    assert (holding(locks), turns(locks)) == (["w"], ())
    locks = ask(left(locks, "w"), "r4", shared=True)
    assert (holding(locks), turns(locks)) == (["r4"], (claim("r3", shared=True),))


def test_too_many_waiters_are_refused():
    """The object must stay small."""
    locks = Locks()
    for name in "abcde":
        locks = ask(locks, name)
    with pytest.raises(errors.InvalidState, match="5 hold it or wait for it already"):
        ask(locks, "f")


def test_what_is_bound_ends_with_its_holder():
    """Whether he holds it or waits."""
    pod = Holder(kind=HolderKind.POD, name="p", uid="u")
    locks = ask(asked(Locks(), Claim(id="a", holder="p", bound_to=pod), ttl=None, now=NOW, most=5), "b")
    assert holding(without_bound(locks, {"other"})) == ["p"]
    assert without_bound(locks, {"u"}).grants == ()


def test_what_is_bound_without_a_uid_ends_with_whoever_has_the_name():
    """Any tool may have written it; who is bound to another name, or kind, keeps what he has."""
    locks = Locks()
    for kind, name in ((HolderKind.POD, "p"), (HolderKind.POD, "q"), (HolderKind.EXECUTION, "p")):
        bound_to = Holder(kind=kind, name=name)
        claim_ = Claim(id=f"{kind}{name}", holder=str(bound_to), bound_to=bound_to, is_shared=True)
        locks = asked(locks, claim_, ttl=None, now=NOW, most=5)
    gone = {identity_of(Holder(kind=HolderKind.POD, name="p"))}
    assert holding(without_bound(locks, gone)) == ["Pod q", "Execution p"]


def test_a_lock_is_overdue_when_it_was_seen_unchanged_for_its_ttl():
    """A renewal begins the time anew, and one that comes at the last moment counts."""
    patience, locks = Patience(), ask(Locks(), "a", ttl=TTL)
    look = patience.look(locks, now=NOW, now_s=100.0)
    assert (look.marks, look.next_s) == (frozenset(), 30.0)
    again = renewed(locks, "a", now=NOW + timedelta(seconds=20))
    assert patience.look(again, now=NOW, now_s=120.0).next_s == 30.0
    overdue = patience.look(again, now=NOW, now_s=150.0)
    assert overdue.marks == {again.grants[0].mark}
    assert without_overdue(again, overdue.marks).grants == ()
    late = renewed(again, "a", now=NOW + timedelta(seconds=49))
    assert without_overdue(late, overdue.marks) == late


def test_a_lock_that_nobody_has_watched_ends_by_the_clock():
    """An observer that has just begun does not wait for the whole ttl again; clocks may differ a little."""
    locks = ask(Locks(), "a", ttl=TTL)
    after = NOW + TTL + CLOCKS_DIFFER
    assert Patience().look(locks, now=after - timedelta(seconds=1), now_s=0).next_s == 1.0
    assert Patience().look(locks, now=after, now_s=0).marks
    assert Patience().look(ask(Locks(), "a"), now=after, now_s=0) == Patience().look(Locks(), now=after, now_s=0)


def test_a_clock_that_is_minutes_ahead_ends_no_lock_of_the_living():
    """Whoever has just renewed it keeps it, whatever an observer's clock says, up to the difference that is allowed."""
    locks = ask(Locks(), "a", ttl=TTL)
    assert not Patience().look(locks, now=NOW + timedelta(minutes=4), now_s=0).marks


def test_who_does_not_take_his_turn_is_passed_over():
    """But not whoever has taken it in the last moment."""
    patience, locks = Patience(), left(ask(ask(ask(Locks(), "a"), "dead"), "b"), "a")
    assert patience.look(locks, now=NOW, now_s=0.0).next_s == TAKE_WITHIN.total_seconds()
    overdue = patience.look(locks, now=NOW, now_s=TAKE_WITHIN.total_seconds())
    assert turns(without_overdue(locks, overdue.marks)) == (claim("b"),)
    assert without_overdue(ask(locks, "dead"), overdue.marks) == ask(locks, "dead")


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "leave", "renew", "lose"]), st.integers(0, 4), st.booleans()), max_size=60
)


@given(STEPS)
def test_whatever_happens_writers_are_alone_and_tokens_grow(steps: list[tuple[str, int, bool]]):
    """Against a model that is a plain queue: the same ones hold it, nobody overtakes, no token comes twice."""
    locks = Locks()
    queue: list[tuple[str, bool]] = []
    inside: dict[str, bool] = {}
    tokens: list[int] = []
    for number, (verb, who, shared) in enumerate(steps):
        name = f"{who}"
        is_shared = inside.get(name, dict(queue).get(name, shared))
        match verb:
            case "ask":
                if name not in inside and name not in dict(queue) and len(queue) < 5:
                    queue.append((name, is_shared))
                ahead = queue[: [one for one, _ in queue].index(name)] if name in dict(queue) else []
                sharers = all([*inside.values(), *(one for _, one in ahead)])
                if name in dict(queue) and (sharers if is_shared else not inside and not ahead):
                    queue.remove((name, is_shared))
                    inside[name] = is_shared
                if name in inside or name in dict(queue):
                    locks = ask(locks, name, shared=is_shared, ttl=TTL)
            case "leave" | "lose":
                queue = [one for one in queue if one[0] != name]
                inside.pop(name, None)
                locks = left(locks, name)
            case _:
                locks = renewed(locks, name, now=NOW + timedelta(seconds=number))
        tokens += [one.token for one in locks.grants if one.token not in tokens]
        assert {one.holder: one.is_shared for one in locks.grants} == inside
        assert [(one.holder, one.is_shared) for one in locks.waiters] == queue
        assert len(locks.grants) <= 1 or all(one.is_shared for one in locks.grants)
    assert tokens == sorted(set(tokens))
    assert locks.token == len(tokens)


@given(STEPS)
def test_a_mutex_keeps_its_locks_as_they_are(steps: list[tuple[str, int, bool]]):
    """What is written is what is read, and writing it again changes nothing."""
    mutex = Mutex(metadata=ObjectMeta(name="deploy"))
    for verb, who, _ in steps:
        locks = MUTEXES.locks_of(mutex)
        name = str(who)
        locks = left(locks, name) if verb in ("leave", "lose") else ask(locks, name, ttl=TTL if who % 2 else None)
        mutex = MUTEXES.with_locks(mutex, locks)
        assert MUTEXES.locks_of(mutex) == locks
        assert MUTEXES.with_locks(mutex, locks) == mutex


def test_asking_again_in_another_way_changes_nothing():
    """What stands in the queue is granted: who has asked to read does not get to write beside another reader."""
    locks = ask(ask(ask(Locks(), "a", shared=True), "b"), "c", shared=True)
    locks = ask(left(locks, "b"), "c")
    assert [(one.holder, one.is_shared) for one in locks.grants] == [("a", True), ("c", True)]


@given(STEPS)
def test_an_rwmutex_keeps_its_locks_as_they_are(steps: list[tuple[str, int, bool]]):
    """What is written is what is read; the documented fields say who reads and who writes."""
    mutex = RWMutex(metadata=ObjectMeta(name="catalog"))
    for verb, who, shared in steps:
        locks, name = RWMUTEXES.locks_of(mutex), str(who)
        locks = left(locks, name) if verb in ("leave", "lose") else ask(locks, name, shared=shared, ttl=TTL)
        mutex = RWMUTEXES.with_locks(mutex, locks)
        assert RWMUTEXES.locks_of(mutex) == locks
        status = mutex.status
        assert [*status.read_holders, *filter(None, [status.write_holder])] == holding(locks)
        assert not (status.read_holders and status.write_holder)
        assert status.phase is mutex.phase


def test_readers_and_writers_that_others_have_written_count_as_they_stand():
    """The original's clients write the documented fields alone; people remove names by hand."""
    mutex = RWMutex(metadata=ObjectMeta(name="catalog"), status=RWMutexStatus(read_holders=["old", "old"]))
    locks = RWMUTEXES.locks_of(mutex)
    assert (holding(locks), holding(ask(locks, "w"))) == (["old"], ["old"])
    mutex = RWMUTEXES.with_locks(mutex, ask(locks, "r", shared=True))
    assert mutex.status.read_holders == ["old", "r"]
    edited = msgspec.structs.replace(mutex, status=msgspec.structs.replace(mutex.status, read_holders=["r"]))
    assert holding(RWMUTEXES.locks_of(edited)) == ["r"]


@given(STEPS)
def test_a_once_keeps_its_tries_and_is_executed_once(steps: list[tuple[str, int, bool]]):
    """Whoever fails or dies leaves it to the next; once somebody has done it nobody holds it or waits."""
    once = Once(metadata=ObjectMeta(name="migrate"))
    for verb, who, is_done in steps:
        locks = ONCES.locks_of(once)
        if verb == "ask":
            once = ONCES.with_locks(once, ask(locks, str(who), ttl=TTL))
        elif (held := locks.held_by(str(who))) is not None:
            after = executed(once, NOW) if is_done else failed(once, "no")
            assert after.phase is (OncePhase.EXECUTED if is_done else OncePhase.FAILED)
            assert (after.status.executor, after.status.token) == (held.holder if is_done else "", held.token)
            once = after
        assert once.phase is once.status.phase or once.status.phase is None
        assert ONCES.with_locks(once, ONCES.locks_of(once)).phase is once.phase
        if once.status.executed:
            assert ONCES.locks_of(once) == Locks(token=once.status.token)
            break


def test_a_mutex_that_the_original_has_locked_is_locked():
    """Its clients write no id and no token, but a holder and an end."""
    status = MutexStatus(holder="old", expires_at=NOW)
    locks = MUTEXES.locks_of(Mutex(metadata=ObjectMeta(name="deploy"), status=status))
    assert (holding(locks), holding(ask(locks, "new"))) == (["old"], ["old"])
    assert Patience().look(locks, now=NOW + CLOCKS_DIFFER, now_s=0).marks


@pytest.mark.parametrize(("text", "length"), [("", None), ("0", None), ("soon", None), ("30s", TTL)])
def test_a_ttl_that_makes_no_sense_is_none(text: str, length: timedelta | None):
    """Who reads it cannot mend it."""
    assert ttl_of(text) == length
