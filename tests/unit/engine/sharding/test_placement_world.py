"""Placement in small worlds where everything goes wrong at random.

The world is an API server with Executions and Leases, replicas that die, freeze, drain and come back, watches that lag,
repeat themselves and break, and a leader whose commands are delayed, refused, lost, or carried out without an answer.
"""

import math
import random
from dataclasses import dataclass, field, replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.assignment import Allowance, Orphan
from kontinue_engine.sharding.lease_book import GONE, LeaseBook, ShardState
from kontinue_engine.sharding.placement import STRAYS, Expire, Found, Move, Newcomer, Placement, RemoveLease, Sweep

DURATION_S = 40
RATE_PER_S, BURST = 2.0, 3
SHARDS = ["a", "b", "c", "d"]
HAPPENINGS = {
    "create": 2,
    "create_child": 1,
    "edit": 1,
    "park": 1,
    "sleep": 1,
    "unlabel": 0.3,
    "end": 1,
    "wake": 1,
    "start_one": 2,
    "restart_one": 1,
    "drain_one": 1,
    "release_one": 1,
    "one_dies": 1,
    "remove_lease": 0.3,
    "time_passes": 3,
    "news": 3,
    "break_watches": 1,
    "lead": 0.3,
    "plan": 3,
    "execute_one": 5,
    "answer_one": 5,
    "lose_one": 1,
    "ghost": 1,
}
"""What may happen, and how often."""


@dataclass(frozen=True)
class Execution:
    uid: str
    version: int
    shard: str | None
    mutex: str = ""
    wakes_at_s: float | None = 0.0
    """When it can run; None if it waits for something else than time."""

    def newcomer(self):
        return Newcomer(uid=self.uid, name=self.uid, version=str(self.version), mutex=self.mutex)


@dataclass
class Pending:
    """A command of the leader, and what became of it."""

    command: object
    outcome: str | None = None
    found: list = field(default_factory=list)


class World:
    """Server, replicas and leader; every method is one step of one of them."""

    def __init__(self, rng):
        self.rng = rng
        self.at_a_time = rng.choice([1, 2, 64])
        self.now_s = 1000.0
        self.versions = 0
        self.executions = {}
        self.history = {}
        self.leases = {}
        self.renewing = {}
        self.lease_news = []
        self.newcomer_news = []
        self.pending = []
        self.ghosts = []
        self.book = LeaseBook("g")
        self.relabels_s = []
        self.runnable_from_s = {}
        self.judged = set()
        for shard in SHARDS[:2]:
            self.start(shard)
        self.lead()

    def lead(self):
        """A new leader begins, knowing only what it lists; the old one's unanswered commands may still arrive."""
        self.ghosts += [one for one in self.pending if one.outcome is None]
        self.pending = []
        self.me = self.rng.choice(sorted(self.renewing) or SHARDS)
        self.placement = Placement(
            self.me,
            parked_delay_s=DURATION_S,
            allowance=Allowance(per_s=RATE_PER_S, burst=BURST),
            at_a_time=self.at_a_time,
        )
        self.relabels_s = []
        self.runnable_from_s = {}
        self.judged = set()
        self.break_watches()

    # The server.

    def write(self, uid, **changes):
        before = self.executions.get(uid)
        self.versions += 1
        after = replace(before or Execution(uid, 0, None), version=self.versions, **changes)
        self.executions[uid] = after
        self.history[uid, str(after.version)] = after
        if after.shard is None:
            self.newcomer_news.append(after)
        elif before is None or before.shard is None:
            self.newcomer_news.append(uid)

    def write_lease(self, name, **changes):
        before = self.leases.get(name)
        self.versions += 1
        fields = {"holder": name, "renewed": 0, "notes": {}} | (before[1] if before else {}) | changes
        lease = Lease(
            metadata=ObjectMeta(
                name=leases.shard_lease_name("g", name),
                resource_version=str(self.versions),
                annotations=fields["notes"],
            ),
            spec=LeaseSpec(
                holder_identity=fields["holder"],
                lease_duration_seconds=DURATION_S,
                lease_transitions=fields["renewed"],
            ),
        )
        # Not a date, but all that the book does with it is to compare.
        lease = msgspec.structs.replace(lease, spec=msgspec.structs.replace(lease.spec, renew_time=fields["renewed"]))
        self.leases[name] = (lease, fields)
        self.lease_news.append(lease)

    def delete_lease(self, name):
        lease, _ = self.leases.pop(name)
        self.lease_news.append(lease.metadata.name)

    def execute(self, pending):
        """Carry out a command, if it still applies."""
        pending.outcome = "done"
        match pending.command:
            case Move(uid=uid, version=version, shard=shard):
                found = self.executions.get(uid)
                if found is not None and str(found.version) == version:
                    self.write(uid, shard=shard)
            case Expire(shard=shard, lease=lease):
                stored = self.leases.get(shard)
                if stored is not None and stored[0] == lease:
                    self.write_lease(shard, holder="", notes={**stored[1]["notes"], labels.EXPIRED_BY: "leader"})
            case RemoveLease(shard=shard, lease=lease):
                stored = self.leases.get(shard)
                if stored is not None and stored[0] == lease:
                    self.delete_lease(shard)
            case Sweep(shard=shard, known=known):
                pending.found = [
                    one
                    for one in self.executions.values()
                    if one.shard is not None and (one.shard not in known if shard == STRAYS else one.shard == shard)
                ]

    # Replicas.

    def start(self, shard):
        """A replica begins, or comes back, unless somebody has its Lease."""
        if shard not in self.renewing and (shard not in self.leases or not self.leases[shard][1]["holder"]):
            self.take(shard)

    def take(self, shard):
        incarnation = f"i{self.versions}"
        self.renewing[shard] = incarnation
        self.write_lease(shard, holder=shard, renewed=0, notes={labels.INCARNATION: incarnation})

    def holds(self, shard):
        fields = self.leases[shard][1] if shard in self.leases else {"holder": ""}
        return bool(fields["holder"]) and fields["notes"].get(labels.INCARNATION) == self.renewing.get(shard)

    def drain(self, shard):
        if self.holds(shard):
            self.write_lease(shard, notes={**self.leases[shard][1]["notes"], labels.DRAINING: "true"})

    def release(self, shard):
        if self.holds(shard):
            self.write_lease(shard, holder="")
        self.die(shard)

    def die(self, shard):
        self.renewing.pop(shard, None)

    def pass_time(self, seconds):
        """Replicas that live renew every few seconds; one whose Lease was taken away ends."""
        while seconds > 0:
            step = min(8.0, seconds)
            seconds -= step
            self.now_s += step
            for shard in list(self.renewing):
                if self.holds(shard):
                    self.write_lease(shard, renewed=self.leases[shard][1]["renewed"] + 1)
                else:
                    self.die(shard)

    # Watches of the leader.

    def deliver(self, count=1000, *, repeat=False):
        for lease in self.lease_news[:count]:
            for _ in range(1 + repeat):
                self.book.forget(lease) if isinstance(lease, str) else self.book.observe(lease, self.now_s)
        for one in self.newcomer_news[:count]:
            for _ in range(1 + repeat):
                self.placement.forget(one) if isinstance(one, str) else self.placement.observe(one.newcomer())
        del self.lease_news[:count], self.newcomer_news[:count]

    def break_watches(self):
        """Events are lost; lists make up for them."""
        self.lease_news.clear()
        self.newcomer_news.clear()
        self.book.replace([lease for lease, _ in self.leases.values()], self.now_s)
        self.placement.replace_newcomers([one.newcomer() for one in self.executions.values() if one.shard is None])

    # The leader.

    def plan(self):
        shards = self.book.shards(self.now_s)
        commands = self.placement.plan(shards, self.now_s)
        for command in commands:
            self.check(command, {shard.name: shard for shard in shards})
            self.pending.append(Pending(command))
        moving = [one.command.uid for one in self.pending if isinstance(one.command, Move)]
        assert len(moving) == len(set(moving)), "two moves of one Execution are in flight"
        return commands

    def check(self, command, shards):
        match command:
            case Expire(shard=shard, lease=lease):
                assert shards[shard].state is ShardState.SILENT
                assert lease.metadata.resource_version not in self.judged, "the same verdict twice"
                self.judged.add(lease.metadata.resource_version)
            case Sweep(shard=shard):
                assert shard == STRAYS or shards[shard].state in GONE
            case RemoveLease(shard=shard):
                assert shards[shard].state in GONE
            case Move(mutex=mutex):
                live = [name for name, shard in shards.items() if shard.state is ShardState.LIVE]
                live = live or [name for name, shard in shards.items() if shard.state is ShardState.DRAINING]
                assert command.shard in live
                assert command.mutex == self.history[command.uid, command.version].mutex
                assert not mutex or self.me not in live or command.shard == self.me
                if command.orphan is not None:
                    self.check_relabel(command, shards)

    def check_relabel(self, move, shards):
        was_in = shards.get(self.history[move.uid, move.version].shard)
        if was_in is not None:
            assert was_in.state in GONE, "moved off a shard that has a replica"
            delay_ends_s = self.now_s - was_in.silent_for_s + DURATION_S
            assert self.now_s >= min(delay_ends_s, self.runnable_from_s[move.uid]), "moved too early"
        self.relabels_s.append(self.now_s)
        for number, since_s in enumerate(self.relabels_s):
            allowed = BURST + RATE_PER_S * (self.now_s - since_s)
            assert len(self.relabels_s) - number <= allowed + 1e-6, "more relabels than the API server can stand"

    def answer(self, pending):
        self.pending.remove(pending)
        if isinstance(pending.command, Sweep):
            found = [self.found(one, pending.command.shard) for one in pending.found]
            self.placement.swept(pending.command, found, self.now_s)
        else:
            self.forget_due(pending.command)
            self.placement.done(pending.command)

    def forget_due(self, command):
        if isinstance(command, Move):
            self.runnable_from_s.pop(command.uid, None)

    def found(self, one, shard):
        wakes_in_s = None if one.wakes_at_s is None else max(0.0, one.wakes_at_s - self.now_s)
        runnable_from_s = math.inf if wakes_in_s is None else self.now_s + wakes_in_s
        self.runnable_from_s[one.uid] = min(runnable_from_s, self.runnable_from_s.get(one.uid, math.inf))
        return Found(
            orphan=Orphan(uid=one.uid, name=one.uid, version=str(one.version), shard=shard, mutex=one.mutex),
            wakes_in_s=wakes_in_s,
        )

    def lose(self, pending):
        """The leader gets no answer: it was carried out, or not, or will be."""
        self.pending.remove(pending)
        if pending.outcome is None and self.rng.random() < 0.5:
            self.ghosts.append(pending)
        if isinstance(pending.command, Expire):
            self.judged.discard(pending.command.lease.metadata.resource_version)
        self.forget_due(pending.command)
        self.placement.failed(pending.command, self.now_s)

    # What may happen.

    def step(self):
        happens = self.rng.choices(list(HAPPENINGS), HAPPENINGS.values())[0]
        getattr(self, happens)()

    def create(self):
        self.add(None)

    def create_child(self):
        self.add(self.rng.choice([*SHARDS, "typo"]))

    def add(self, shard):
        uid = self.any_uid()
        uid = f"{uid}-{self.versions}" if uid in self.executions else uid
        self.write(uid, shard=shard, mutex=self.rng.choice(["", "", "m"]), wakes_at_s=self.rng.choice([0.0, None]))

    def edit(self):
        self.change()

    def park(self):
        self.change(wakes_at_s=None)

    def sleep(self):
        self.change(wakes_at_s=self.now_s + self.rng.choice([1, 30, 100]))

    def change(self, **changes):
        uid = self.any_uid()
        if uid in self.executions:
            self.write(uid, **changes)

    def unlabel(self):
        self.change(shard=None)

    def end(self):
        uid = self.any_uid()
        if self.executions.pop(uid, None) is not None:
            self.newcomer_news.append(uid)

    def wake(self):
        uid = self.any_uid()
        self.runnable_from_s[uid] = -math.inf
        self.placement.wake(uid)

    def any_uid(self):
        return self.rng.choice([*self.executions, f"e{self.rng.randrange(8)}"])

    def start_one(self):
        self.start(self.rng.choice(SHARDS))

    def restart_one(self):
        """A process takes back its dead Lease at once, as a restarted container does."""
        self.take(self.rng.choice(SHARDS))

    def drain_one(self):
        self.drain(self.rng.choice(SHARDS))

    def release_one(self):
        self.release(self.rng.choice(SHARDS))

    def one_dies(self):
        self.die(self.rng.choice(SHARDS))

    def remove_lease(self):
        if self.leases:
            self.delete_lease(self.rng.choice(list(self.leases)))

    def time_passes(self):
        self.pass_time(self.rng.choice([0.1, 1, 5, 20, 45]))

    def news(self):
        self.deliver(self.rng.randrange(1, 9), repeat=self.rng.random() < 0.3)

    def execute_one(self):
        unexecuted = [one for one in self.pending if one.outcome is None]
        if unexecuted:
            self.execute(self.rng.choice(unexecuted))

    def answer_one(self):
        executed = [one for one in self.pending if one.outcome is not None]
        if executed:
            self.answer(self.rng.choice(executed))

    def lose_one(self):
        if self.pending:
            self.lose(self.rng.choice(self.pending))

    def ghost(self):
        """A request that its sender has given up is carried out after all."""
        if self.ghosts:
            self.execute(self.ghosts.pop())

    def come_to_rest(self):
        """Faults stop, at least one replica lives, and time passes; each look of the leader is one round.

        Returns:
            The number of looks.
        """
        for pending in self.ghosts:
            self.execute(pending)
        self.ghosts.clear()
        self.pass_time(1)
        if not self.renewing:
            self.take(self.rng.choice(SHARDS))
        looks = 0
        until_s = self.now_s + 8 * DURATION_S
        while self.now_s < until_s:
            self.deliver()
            self.plan()
            for pending in list(self.pending):
                if pending.outcome is None:
                    self.execute(pending)
                self.answer(pending)
            looks += 1
            self.pass_time(max(0.001, self.placement.next_look_s(self.now_s)))
        return looks

    def homeless(self):
        return [one for one in self.executions.values() if one.shard not in self.renewing]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 250))
def test_every_execution_comes_to_a_live_shard_whatever_goes_wrong(seed, steps):
    """No Execution is moved twice at a time, off a live shard, too early, or faster than allowed; none stays behind."""
    world = World(random.Random(seed))
    for _ in range(steps):
        world.step()
    looks = world.come_to_rest()
    assert world.homeless() == []
    assert world.placement.waiting == 0
    assert looks < 8 * DURATION_S * (1 / 2 + RATE_PER_S) + 100, "the leader looks again and again at nothing"
