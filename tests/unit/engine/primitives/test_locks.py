"""Locks in a small world: clients, two coordinators and a server, in which everybody sees late and writes late.

Against the plainest model there is: who believes that he holds it, by his own clock, never believes so beside others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kontinue.api.konductor import locking
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.konductor.locking import CLOCKS_DIFFER, Claim, LockKind, Locks, Mark, Patience
from kontinue.api.konductor.mutexes import MUTEXES
from kontinue.api.konductor.onces import ONCES, Once, executed, failed
from kontinue.api.konductor.rwmutexes import RWMUTEXES
from kontinue.api.meta import ObjectMeta
from kontinue_engine.primitives.locks import Plan, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL_S = 30.0
SKEW_S = CLOCKS_DIFFER.total_seconds() / 2 - 1
"""Clocks of two machines differ by twice as much at most."""
PROCESSES, COORDINATORS = range(4), range(2)


def test_who_has_ended_is_released_and_told():
    """Whether he holds it or waits; who was not renewed is told apart."""
    pods = {name: Holder(kind=HolderKind.POD, name=name, uid=name) for name in "ab"}
    locks = Locks()
    for name in "abc":
        claim = Claim(id=name, holder=name, bound_to=pods.get(name))
        locks = locking.asked(locks, claim, ttl=None, now=NOW, most=5)
    plan = decide(locks, gone={"a", "b"}, overdue=())
    assert ([one.id for one in plan.gone], plan.expired) == (["a"], ())
    assert ([one.id for one in plan.locks.waiters], plan.locks.grants) == (["c"], ())
    plan = decide(locks, gone=(), overdue={locks.grants[0].mark})
    assert ([one.id for one in plan.expired], plan.gone) == (["a"], ())


@dataclasses.dataclass
class Process:
    """One client: what it wants, what it has last seen, and until when it believes to hold it."""

    skew_s: float
    claim: Claim | None = None
    ttl_s: float | None = None
    seen: Locks = dataclasses.field(default_factory=Locks)
    patience: Patience = dataclasses.field(default_factory=Patience)
    prepared: tuple[float, frozenset[Mark]] | None = None
    """When a write was begun, and what it ends."""
    since_s: float | None = None
    is_renewing: bool = False
    is_in_doubt: bool = False
    """Its write was carried out, and nobody has told it."""

    def believes(self, now_s: float) -> bool:
        """Tell whether it goes on in the belief to hold it."""
        return self.since_s is not None and (self.ttl_s is None or now_s < self.since_s + self.ttl_s)


class LockWorld(RuleBasedStateMachine):
    """An object of one kind; a write over another version than the one that was decided about is refused."""

    kind: ClassVar[LockKind[Any]]
    can_share: ClassVar[bool] = False

    @initialize(skews=st.lists(st.sampled_from([-SKEW_S, 0.0, SKEW_S]), min_size=6, max_size=6))
    def begin(self, skews: list[float]) -> None:
        self.now_s = 0.0
        self.version = 0
        self.stored = self.kind.object_type(metadata=ObjectMeta(name="one"))
        self.processes = [Process(skews[which]) for which in PROCESSES]
        self.skews = skews[len(PROCESSES) :]
        self.views = [(0, self.stored) for _ in COORDINATORS]
        self.patience = [Patience() for _ in COORDINATORS]
        self.plans: list[tuple[int, Plan] | None] = [None for _ in COORDINATORS]
        self.gone: set[str] = set()
        self.asked = 0
        self.tokens: list[int] = []

    @property
    def is_over(self) -> bool:
        """Whether nobody needs to have it any more."""
        return False

    @property
    def locks(self) -> Locks:
        return self.kind.locks_of(self.stored)

    def wall(self, skew_s: float) -> datetime:
        return NOW + timedelta(seconds=self.now_s + skew_s)

    def write(self, changed: Any) -> None:
        if changed == self.stored:
            return
        self.version += 1
        self.stored = changed
        self.tokens += [one.token for one in self.locks.grants if one.token not in self.tokens]

    def apply(self, change: Callable[[Locks], Locks]) -> None:
        wanted = change(self.locks)
        if wanted != self.locks:
            self.write(self.kind.with_locks(self.stored, wanted))

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0, 31.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        """Who could not renew it in time knows that he has lost it."""
        self.now_s += seconds
        for process in self.processes:
            if process.since_s is not None and not process.believes(self.now_s):
                self.forget(process)

    @rule(which=st.sampled_from(PROCESSES), shared=st.booleans(), bound=st.booleans())
    def want(self, which: int, shared: bool, bound: bool) -> None:
        process = self.processes[which]
        if process.claim is not None or self.is_over:
            return
        self.asked += 1
        id_ = f"{which}-{self.asked}"
        pod = Holder(kind=HolderKind.POD, name=f"p{which}", uid=id_) if bound else None
        process.claim = Claim(id=id_, holder=f"p{which}", bound_to=pod, is_shared=shared and self.can_share)
        process.ttl_s = None if bound else TTL_S
        process.patience = Patience()
        process.prepared = (self.now_s, frozenset())

    @rule(which=st.sampled_from(PROCESSES))
    def see(self, which: int) -> None:
        """Look at what is stored now, and see what has ended by time."""
        process = self.processes[which]
        if process.claim is None or process.since_s is not None or process.is_in_doubt:
            return
        overdue = process.patience.look(self.locks, now=self.wall(process.skew_s), now_s=self.now_s)
        process.prepared = (self.now_s, overdue.marks)

    @rule(which=st.sampled_from(PROCESSES), is_lost=st.booleans())
    def ask(self, which: int, is_lost: bool) -> None:
        """Ask with what was seen some time ago; also again, after an answer that got lost."""
        process = self.processes[which]
        if process.claim is None or process.prepared is None or process.since_s is not None:
            return
        if self.is_over:
            self.forget(process)
            return
        (since_s, marks), claim = process.prepared, process.claim
        ttl = None if process.ttl_s is None else timedelta(seconds=process.ttl_s)
        now = self.wall(process.skew_s)
        self.apply(lambda locks: locking.asked(locking.without_overdue(locks, marks), claim, ttl=ttl, now=now, most=10))
        process.is_in_doubt = is_lost
        if self.locks.held_by(claim.id) is not None and not is_lost:
            process.since_s = since_s

    @rule(which=st.sampled_from(PROCESSES))
    def begin_to_renew(self, which: int) -> None:
        process = self.processes[which]
        if process.believes(self.now_s) and process.ttl_s is not None:
            process.prepared, process.is_renewing = (self.now_s, frozenset()), True

    @rule(which=st.sampled_from(PROCESSES))
    def renew(self, which: int) -> None:
        """Also too late, by a write that was long under way: then nobody believes in it."""
        process = self.processes[which]
        if not process.is_renewing or process.prepared is None or process.claim is None:
            return
        claim, process.is_renewing = process.claim, False
        self.apply(lambda locks: locking.renewed(locks, claim.id, now=self.wall(process.skew_s)))
        if process.believes(self.now_s) and self.locks.held_by(claim.id) is not None:
            process.since_s = process.prepared[0]

    @rule(which=st.sampled_from(PROCESSES))
    def leave(self, which: int) -> None:
        """Give it back, or give up."""
        process = self.processes[which]
        if process.claim is not None:
            self.finish(process.claim)
            self.forget(process)

    @rule(which=st.sampled_from(PROCESSES))
    def die(self, which: int) -> None:
        process = self.processes[which]
        if process.claim is not None:
            self.gone.add(process.claim.id)
            self.forget(process)

    def finish(self, claim: Claim) -> None:
        self.apply(lambda locks: locking.left(locks, claim.id))

    def forget(self, process: Process) -> None:
        process.claim = process.prepared = process.since_s = None
        process.is_renewing = process.is_in_doubt = False

    @rule(which=st.sampled_from(COORDINATORS))
    def show(self, which: int) -> None:
        self.views[which] = (self.version, self.stored)

    @rule(which=st.sampled_from(COORDINATORS))
    def plan(self, which: int) -> None:
        version, seen = self.views[which]
        locks = self.kind.locks_of(seen)
        overdue = self.patience[which].look(locks, now=self.wall(self.skews[which]), now_s=self.now_s)
        self.plans[which] = (version, decide(locks, gone=self.gone, overdue=overdue.marks))

    @precondition(lambda self: any(self.plans))
    @rule(which=st.sampled_from(COORDINATORS))
    def carry_out(self, which: int) -> None:
        version, plan = self.plans[which] or (-1, None)
        if plan is not None and version == self.version:
            self.write(self.kind.with_locks(self.stored, plan.locks))

    @invariant()
    def nobody_believes_to_hold_it_beside_others(self) -> None:
        if not hasattr(self, "tokens"):
            return
        inside = [one.claim for one in self.processes if one.believes(self.now_s) and one.claim is not None]
        assert len(inside) <= 1 or all(one.is_shared for one in inside), inside

    @invariant()
    def tokens_grow(self) -> None:
        if hasattr(self, "tokens"):
            assert self.tokens == list(range(1, len(self.tokens) + 1))

    def teardown(self) -> None:
        """Whoever is left gets his turn, and in the end it is free."""
        if not hasattr(self, "tokens"):
            return
        for _ in range(80):
            if not self.locks.grants and not self.locks.waiters and not any(one.claim for one in self.processes):
                return
            self.time_passes(7.0)
            for which in COORDINATORS:
                self.show(which)
                self.plan(which)
                self.carry_out(which)
            for which in PROCESSES:
                self.see(which)
                self.ask(which, is_lost=False)
                self.nobody_believes_to_hold_it_beside_others()
                if self.processes[which].since_s is not None:
                    self.leave(which)
        raise AssertionError(f"somebody waits for ever: {self.locks}")


class MutexWorld(LockWorld):
    kind = MUTEXES


class RWMutexWorld(LockWorld):
    kind = RWMUTEXES
    can_share = True


class OnceWorld(LockWorld):
    """Whoever holds it has done it when he leaves, or has failed; nobody tries again what was done."""

    kind = ONCES

    @initialize()
    def begin_once(self) -> None:
        self.executions = 0
        self.fails = False

    @rule()
    def the_next_one_fails(self) -> None:
        self.fails = True

    def finish(self, claim: Claim) -> None:
        assert isinstance(self.stored, Once)
        if self.locks.held_by(claim.id) is None:
            super().finish(claim)
        elif self.fails:
            self.fails = False
            self.write(failed(self.stored, "no"))
        else:
            self.executions += 1
            self.write(executed(self.stored, NOW))

    @property
    def is_over(self) -> bool:
        return bool(self.stored.status.executed)

    @invariant()
    def it_is_executed_once(self) -> None:
        if hasattr(self, "executions"):
            assert self.executions == int(self.stored.status.executed)


QUICK = settings(max_examples=15, stateful_step_count=40, deadline=None)

TestMutexWorld = MutexWorld.TestCase
TestRWMutexWorld = RWMutexWorld.TestCase
TestOnceWorld = OnceWorld.TestCase
TestMutexWorld.settings = TestRWMutexWorld.settings = TestOnceWorld.settings = QUICK

STEPS = {"want": 4, "see": 6, "ask": 8, "renew": 9, "leave": 1, "die": 1, "time_passes": 6}
STEPS_OF_COORDINATORS = {"show": 3, "plan": 3, "carry_out": 3}
SECONDS = {0.5: 40, 4.0: 80, 9.0: 40, 31.0: 4, 400.0: 1}


@pytest.mark.parametrize("world", [MutexWorld, RWMutexWorld, OnceWorld])
def test_no_seeded_schedule_breaks_the_model_either(world: type[LockWorld]):
    """Long and even ones, which the search above seldom tries: they find each of the bugs that were planted."""
    steps = STEPS | STEPS_OF_COORDINATORS
    for seed in range(60):
        rng, model = Random(seed), world()
        model.begin([rng.choice([-SKEW_S, 0.0, SKEW_S]) for _ in range(6)])
        if isinstance(model, OnceWorld):
            model.begin_once()
        for step in rng.choices(list(steps), list(steps.values()), k=200):
            play(model, step, rng)
            model.nobody_believes_to_hold_it_beside_others()
            model.tokens_grow()
            if isinstance(model, OnceWorld):
                model.it_is_executed_once()
        model.teardown()


def play(model: LockWorld, step: str, rng: Random) -> None:
    """Take one step; those of holders are theirs, if there are any."""
    holders = [which for which in PROCESSES if model.processes[which].since_s is not None]
    match step:
        case "time_passes":
            model.time_passes(*rng.choices(list(SECONDS), list(SECONDS.values())))
        case "want":
            model.want(rng.choice(PROCESSES), shared=rng.random() < 0.6, bound=rng.random() < 0.2)
        case "ask":
            model.ask(rng.choice(PROCESSES), is_lost=rng.random() < 0.1)
        case "renew":
            which = rng.choice(holders or PROCESSES)
            getattr(model, "renew" if model.processes[which].is_renewing else "begin_to_renew")(which)
        case "leave":
            if isinstance(model, OnceWorld) and rng.random() < 0.9:
                model.the_next_one_fails()
            model.leave(rng.choice(PROCESSES))
        case _:
            getattr(model, step)(rng.choice(COORDINATORS if step in STEPS_OF_COORDINATORS else PROCESSES))
