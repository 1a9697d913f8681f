"""Whose turn it is, which orphan is due, and how many may be moved now."""

import heapq
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from kontinue_engine.sharding.assignment import Allowance, Orphan, Orphans, RoundRobin

NAMES = [f"s{number}" for number in range(8)]


def orphan(uid, shard="dead", version="1"):
    return Orphan(uid=uid, name=f"e-{uid}", version=version, shard=shard)


def taken(orphans, now_s=math.inf, at_most=1000):
    return [one.uid for one in orphans.take(now_s, at_most)]


@given(live=st.sets(st.sampled_from(NAMES), min_size=1), rounds=st.integers(1, 5))
def test_turns_are_fair_while_the_same_shards_live(live, rounds):
    """Everybody has as many as everybody else, wherever it begins."""
    turns = RoundRobin()
    turns.pick(NAMES)
    picked = [turns.pick(sorted(live)) for _ in range(rounds * len(live))]
    assert Counter(picked) == dict.fromkeys(live, rounds)


@given(changes=st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1))
def test_turns_go_on_while_shards_come_and_go(changes):
    """The next one is always the next live name after the last one, and never a dead one."""
    turns, last = RoundRobin(), ""
    for live in changes:
        picked = turns.pick(sorted(live))
        assert picked == min((name for name in live if name > last), default=min(live))
        last = picked


def test_a_shard_that_stays_is_not_passed_over_by_others_that_come_and_go():
    """While one name flaps, all others get their turns."""
    turns = RoundRobin()
    picked = [turns.pick(["a", "b", "c"] if number % 2 else ["a", "c"]) for number in range(12)]
    assert min(Counter(picked)[name] for name in ("a", "c")) >= 4


def test_orphans_come_in_the_order_in_which_they_are_due_and_then_in_that_of_arrival():
    """First what can run; nothing before it is due."""
    orphans = Orphans()
    for uid, due_s in [("late", 50), ("b", 10), ("a", 10), ("now", 0)]:
        orphans.add(orphan(uid), due_s)
    assert (len(orphans), orphans.next_due_s()) == (4, 0)
    assert taken(orphans, 10, at_most=2) == ["now", "b"]
    assert taken(orphans, 10) == ["a"]
    assert (taken(orphans, 49), orphans.next_due_s()) == ([], 50)
    assert taken(orphans, 50) == ["late"]
    assert (len(orphans), orphans.next_due_s()) == (0, None)


def test_an_orphan_that_is_woken_goes_first():
    """Something that it waited for has happened; unknown ones are none of ours."""
    orphans = Orphans()
    for uid in ("a", "b"):
        orphans.add(orphan(uid), 50)
    orphans.wake("b")
    orphans.wake("unknown")
    assert taken(orphans, 0) == ["b"]
    assert taken(orphans, 50) == ["a"]


def test_an_orphan_that_is_found_again_is_brought_up_to_date_and_keeps_its_place():
    """It is not moved back, nor put off, and comes once."""
    orphans = Orphans()
    for uid in ("a", "b"):
        orphans.add(orphan(uid), 10)
    orphans.add(orphan("a", version="2"), 90)
    orphans.add(orphan("b", version="2"), 5)
    found = orphans.take(10, 10)
    assert [(one.uid, one.version) for one in found] == [("b", "2"), ("a", "2")]
    assert taken(orphans) == []


def test_an_orphan_that_is_found_in_another_shard_is_due_when_that_one_says():
    """Somebody has moved it meanwhile, and its shard has died later."""
    orphans = Orphans()
    orphans.add(orphan("a", "one"), 10)
    orphans.add(orphan("a", "two"), 20)
    assert (taken(orphans, 19), [orphans.count(shard) for shard in ("one", "two")]) == ([], [0, 1])
    assert taken(orphans, 20) == ["a"]


def test_those_of_a_shard_that_has_come_back_are_dropped():
    """It keeps what it has; others do not mind."""
    orphans = Orphans()
    for uid, shard in [("a", "one"), ("b", "one"), ("c", "two")]:
        orphans.add(orphan(uid, shard), 0)
    assert [orphans.count(shard) for shard in ("one", "two", "three")] == [2, 1, 0]
    orphans.drop_shard("one")
    orphans.drop_shard("three")
    assert [orphans.count(shard) for shard in ("one", "two")] == [0, 1]
    assert (len(orphans), taken(orphans)) == (1, ["c"])


def test_an_orphan_that_was_discarded_does_not_come():
    """Unknown ones are fine, and it may be added again."""
    orphans = Orphans()
    orphans.add(orphan("a"), 0)
    for _ in range(2):
        orphans.discard("a")
    assert (orphans.next_due_s(), orphans.count("dead"), taken(orphans)) == (None, 0, [])
    orphans.add(orphan("a"), 7)
    orphans.discard("a")
    orphans.add(orphan("a"), 9)
    assert (taken(orphans, 8), taken(orphans, 9)) == ([], ["a"])


class OrphansAgainstAList(RuleBasedStateMachine):
    """Any sequence of operations gives what a plain sorted list would give."""

    uids = Bundle("uids")

    def __init__(self):
        super().__init__()
        self.orphans = Orphans()
        self.known = {}
        self.now_s = 0.0
        self.added = 0

    @rule(target=uids, uid=st.sampled_from("abcdef"), shard=st.sampled_from("xy"), delay_s=st.integers(0, 50))
    def add(self, uid, shard, delay_s):
        due_s = self.now_s + delay_s
        if uid in self.known and self.known[uid][1] == shard:
            due_s = min(due_s, self.known[uid][0])
        self.known[uid] = (due_s, shard)
        self.orphans.add(orphan(uid, shard), self.now_s + delay_s)
        return uid

    @rule(uid=uids)
    def wake(self, uid):
        self.orphans.wake(uid)
        if uid in self.known:
            self.known[uid] = (-math.inf, self.known[uid][1])

    @rule(uid=uids)
    def discard(self, uid):
        self.orphans.discard(uid)
        self.known.pop(uid, None)

    @rule(shard=st.sampled_from("xy"))
    def drop_shard(self, shard):
        self.orphans.drop_shard(shard)
        self.known = {uid: known for uid, known in self.known.items() if known[1] != shard}

    @rule(seconds=st.integers(0, 60), at_most=st.integers(0, 3))
    def take(self, seconds, at_most):
        self.now_s += seconds
        due = sorted(known[0] for known in self.known.values() if known[0] <= self.now_s)
        found = self.orphans.take(self.now_s, at_most)
        assert [self.known.pop(one.uid)[0] for one in found] == due[:at_most]

    @invariant()
    def agrees(self):
        assert len(self.orphans) == len(self.known)
        assert self.orphans.next_due_s() == min((known[0] for known in self.known.values()), default=None)
        for shard in "xy":
            assert self.orphans.count(shard) == sum(known[1] == shard for known in self.known.values())


TestOrphans = OrphansAgainstAList.TestCase


def test_orphans_that_are_found_again_and_again_take_no_more_memory(monkeypatch):
    """While no shard lives, nothing is taken out: every sweep finds all of them."""
    pushes = 0
    push = heapq.heappush

    def count(*arguments):
        nonlocal pushes
        pushes += 1
        push(*arguments)

    monkeypatch.setattr(heapq, "heappush", count)
    orphans = Orphans()
    for sweep in range(100):
        for uid in "abcdefghij":
            orphans.add(orphan(uid, version=str(sweep)), 10.0 + sweep)
            orphans.wake(uid)
    assert pushes <= 2 * 10
    assert len(orphans) == 10


@pytest.mark.parametrize("at_most", [0, 1])
def test_no_more_are_taken_than_asked_for(at_most):
    """The rest stays."""
    orphans = Orphans()
    for uid in "ab":
        orphans.add(orphan(uid), 0)
    assert len(taken(orphans, at_most=at_most)) == at_most
    assert len(orphans) == 2 - at_most


@given(
    per_s=st.floats(0.5, 1000),
    burst=st.integers(1, 200),
    steps=st.lists(st.tuples(st.floats(-1, 100), st.floats(0, 1))),
)
def test_an_allowance_never_gives_more_than_its_burst_and_what_has_grown_since(per_s, burst, steps):
    """Whatever is asked when, also by a clock that stands still or jumps back."""
    allowance = Allowance(per_s=per_s, burst=burst)
    now_s = latest_s = 1000.0
    spent = 0
    for passes_s, share in steps:
        now_s += passes_s
        latest_s = max(latest_s, now_s)
        available = allowance.available(now_s)
        assert 0 <= available <= burst
        count = int(available * share)
        allowance.spend(count)
        spent += count
    # What a clock that jumps back gains once is what it lost: steps of at most 1 s here.
    lost_s = sum(-passes_s for passes_s, _ in steps if passes_s < 0)
    assert spent <= burst + per_s * (latest_s - 1000.0 + lost_s) + 1e-6


@given(per_s=st.floats(0.5, 1000), burst=st.integers(1, 200))
def test_who_waits_as_long_as_told_may_spend_one(per_s, burst):
    """And none too early: a second's rate is there after a second."""
    allowance = Allowance(per_s=per_s, burst=burst)
    allowance.spend(allowance.available(0.0))
    assert allowance.available(0.0) == 0
    assert allowance.available(allowance.wait_s() + 1e-9) == 1
    assert allowance.wait_s() == 0
