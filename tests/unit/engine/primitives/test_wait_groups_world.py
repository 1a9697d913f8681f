"""A WaitGroup in a small world: clients that repeat what they have said, holders that die, two late coordinators.

Against the plainest model there is: who has added how much and not done it.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from random import Random

from kontinue.api.konductor import counting
from kontinue.api.konductor.counting import Operation
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupPhase, WaitGroupStatus
from kontinue.api.meta import ObjectMeta
from kontinue_engine.primitives.wait_groups import Plan, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOLDERS = tuple(Holder(kind=HolderKind.POD, name=name, uid=name) for name in "abc")
STEPS = {"count": 8, "repeat": 3, "die": 1, "show": 4, "plan": 4, "carry_out": 4}


class WaitGroupWorld:
    """A write over another version than the one that was decided about is refused."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.version = 0
        self.status = WaitGroupStatus()
        self.model: Counter[str] = Counter()
        """What is left to be done by its holder's uid; that of nobody has none."""
        self.counted: list[Operation] = []
        self.dead: set[str] = set()
        self.views = [(0, self.status)] * 2
        self.plans: list[tuple[int, Plan]] = [(-1, Plan())] * 2

    def write(self, status: WaitGroupStatus) -> None:
        if status != self.status:
            self.version += 1
            self.status = status

    def count(self) -> None:
        holder = self.rng.choice((None, *HOLDERS))
        delta = self.rng.choice((-2, -1, -1, 1, 2))
        operation = Operation(delta=delta, holder=holder, id=f"o{len(self.counted)}" if self.rng.random() < 0.7 else "")
        uid = "" if holder is None else holder.uid
        counted = counting.count(self.status, [operation], writer=f"w{self.version}")
        is_counted = isinstance(counted.answers[0], int)
        assert is_counted == (self.model[uid] + delta >= 0)
        if is_counted:
            self.model[uid] += delta
            self.counted.append(operation)
            self.write(counted.status)

    def repeat(self) -> None:
        """Say again what has an id, as after an answer that got lost, or in a second life."""
        known = [one for one in self.counted[-20:] if one.id]
        if known:
            self.write(counting.count(self.status, [self.rng.choice(known)], writer=f"w{self.version}").status)

    def die(self) -> None:
        self.dead.add(self.rng.choice(HOLDERS).uid)

    def show(self) -> None:
        self.views[self.rng.randrange(2)] = (self.version, self.status)

    def plan(self) -> None:
        which = self.rng.randrange(2)
        version, seen = self.views[which]
        group = WaitGroup(metadata=ObjectMeta(name="jobs"), status=seen)
        self.plans[which] = (version, decide(group, gone=self.dead, now=NOW))

    def carry_out(self) -> None:
        version, plan = self.rng.choice(self.plans)
        if plan.status is None or version != self.version:
            return
        for one in plan.released:
            assert self.model.pop(one.uid) == one.count
        self.write(plan.status)

    def check(self) -> None:
        assert (self.status.counter or 0) == self.model.total()
        held = {one.uid: one.count for one in self.status.holders}
        assert held == {uid: count for uid, count in self.model.items() if uid and count}
        if self.status.phase is not None:
            assert (self.status.phase is WaitGroupPhase.DONE) == (not self.status.counter)


def test_whatever_is_repeated_and_whoever_dies_each_is_counted_once():
    """And in the end nothing is left of the dead."""
    for seed in range(200):
        world = WaitGroupWorld(Random(seed))
        for step in world.rng.choices(list(STEPS), list(STEPS.values()), k=100):
            getattr(world, step)()
            world.check()
        group = WaitGroup(metadata=ObjectMeta(name="jobs"), status=world.status)
        left = decide(group, gone=world.dead, now=NOW).status or world.status
        assert left.counter == sum(count for uid, count in world.model.items() if uid not in world.dead)
        assert not world.dead & {one.uid for one in left.holders}
