"""Placement of a large group: 500 shards, of which 50 die at once. Operations are counted, not timed."""

from collections import Counter

import pytest

from call_counts import calls_in
from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding.assignment import Allowance, Orphan
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.placement import Expire, Found, Move, Newcomer, Placement, Sweep

SHARDS = [f"s{number:03}" for number in range(500)]
DEAD = SHARDS[::10]
RELABELS_PER_S = 100
AT_A_TIME = 64


class Group:
    """A server that does what the leader asks for at once, and replicas that renew except for the dead."""

    def __init__(self):
        self.now_s = 0.0
        self.renewed_s = 0.0
        self.book = LeaseBook("g")
        self.placement = Placement(
            SHARDS[1], parked_delay_s=40, allowance=Allowance(per_s=RELABELS_PER_S), at_a_time=AT_A_TIME
        )
        self.members = {shard: set() for shard in SHARDS}
        self.counts = Counter()
        self.moved = Counter()
        for shard in SHARDS:
            self.write_lease(shard)

    def write_lease(self, shard, **notes):
        metadata = ObjectMeta(
            name=f"kontinue-shard.g.{shard}",
            resource_version=f"{self.now_s}",
            annotations={labels.INCARNATION: f"{self.now_s}"} | notes,
        )
        holder = "" if notes else shard
        spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=40)
        self.book.observe(Lease(metadata=metadata, spec=spec), self.now_s)

    def plan(self):
        return self.placement.plan(self.book.shards(self.now_s), self.now_s)

    def look(self):
        """Let the leader look, do what it asks for, and let it look again until it asks for nothing."""
        self.counts["looks"] += 1
        while commands := self.plan():
            self.carry_out(commands)

    def carry_out(self, commands):
        self.counts["plans"] += 1
        for command in commands:
            self.counts[type(command)] += 1
            if isinstance(command, Sweep):
                self.placement.swept(command, self.found_in(command.shard), self.now_s)
                continue
            if isinstance(command, Expire):
                self.write_lease(command.shard, **{labels.EXPIRED_BY: "leader"})
            elif isinstance(command, Move):
                if command.orphan is not None:
                    self.members[command.orphan.shard].remove(command.uid)
                    self.moved[command.uid] += 1
                self.members[command.shard].add(command.uid)
            self.placement.done(command)

    def found_in(self, shard):
        return [
            Found(orphan=Orphan(uid=uid, name=uid, version="1", shard=shard), wakes_in_s=None if number % 2 else 0.0)
            for number, uid in enumerate(self.members.get(shard, ()))
        ]

    def pass_time(self):
        """Until the leader wants to look again, or half a second."""
        self.now_s += max(0.5, self.placement.next_look_s(self.now_s))
        if self.now_s - self.renewed_s >= 10:
            self.renewed_s = self.now_s
            for shard in set(SHARDS) - set(DEAD):
                self.write_lease(shard)


@pytest.mark.parametrize("executions", [10_000, 100_000])
def test_the_work_of_a_mass_death_grows_with_what_has_to_be_moved(executions):
    """Each dead shard is judged once and swept twice, each of its Executions moved once, to shards with least turns."""
    group = Group()
    for number in range(executions):
        group.placement.observe(Newcomer(uid=f"u{number}", name=f"u{number}", version="1"))
    group.look()
    assert {len(uids) for uids in group.members.values()} == {executions // len(SHARDS)}
    assert group.counts["plans"] <= executions / AT_A_TIME + 2

    lost = executions // 10
    doomed = set.union(*(group.members[shard] for shard in DEAD))
    group.counts.clear()
    most_waiting = 0
    while group.now_s < 41 + 40 + lost / RELABELS_PER_S + 50:
        group.pass_time()
        group.look()
        most_waiting = max(most_waiting, group.placement.waiting)
    assert group.moved == dict.fromkeys(doomed, 1)
    assert (group.counts[Expire], group.counts[Move]) == (len(DEAD), lost)
    # Once for what is there, once to see that it is empty; a pause of runnable ones before those that wait adds one.
    assert group.counts[Sweep] <= 3 * len(DEAD) + group.now_s / 40 + len(DEAD)
    assert group.counts["looks"] <= 2 * group.now_s + 1
    assert (most_waiting <= lost, group.placement.waiting) == (True, 0)
    sizes = [len(uids) for shard, uids in group.members.items() if shard not in DEAD]
    assert (sum(sizes), max(sizes) - min(sizes) <= 1) == (executions, True)


@pytest.mark.parametrize("executions", [10_000, 100_000])
def test_a_plan_costs_nothing_for_those_that_are_not_handed_out(executions):
    """The leader plans after each write, while all the others wait."""
    group = Group()
    for number in range(executions):
        group.placement.observe(Newcomer(uid=f"u{number}", name=f"u{number}", version="1"))
    following = []
    sweep, *moves = group.plan()
    assert (type(sweep), len(moves)) == (Sweep, AT_A_TIME)
    for move in moves:
        group.placement.done(move)
        calls = calls_in(lambda: following.extend(group.plan()))
        assert calls <= 20 * len(SHARDS)
    assert [type(one) for one in following] == [Move] * AT_A_TIME
