"""What the coordinator does about a Barrier: rules one by one, and two coordinators against a model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kontinue.api.konductor.barriers import (
    Arrival,
    ArrivalPhase,
    ArrivalSpec,
    ArrivalStatus,
    Barrier,
    BarrierPhase,
    BarrierSpec,
    BarrierStatus,
)
from kontinue.api.meta import ObjectMeta
from kontinue_engine.primitives.barriers import Plan, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=300)
OVER = (BarrierPhase.OPEN, BarrierPhase.FAILED)


def barrier(expected: int = 2, *, status: BarrierStatus | None = None, **spec: Any) -> Barrier:
    return Barrier(
        metadata=ObjectMeta(name="start", uid="start", resource_version="1", creation_timestamp=NOW),
        spec=BarrierSpec(expected=expected, **spec),
        status=status or BarrierStatus(),
    )


def arrival(holder: str, at: datetime = NOW, *, name: str = "") -> Arrival:
    meta = ObjectMeta(name=name or f"start-{holder}", creation_timestamp=at.replace(microsecond=0))
    return Arrival(metadata=meta, spec=ArrivalSpec(barrier="start", holder=holder))


def look(subject: Barrier, *arrivals: Arrival, now: datetime = NOW, are_all: bool = True) -> Plan:
    return decide(subject, arrivals, are_all=are_all, now=now)


def settled(subject: Barrier, *arrivals: Arrival, now: datetime = NOW) -> Barrier:
    """Return a Barrier whose status has been written."""
    plan = look(subject, *arrivals, now=now)
    return subject if plan.status is None else msgspec.structs.replace(subject, status=plan.status)


def phase(plan: Plan) -> BarrierPhase | None:
    assert plan.status is not None
    return plan.status.phase


def test_a_fresh_one_waits():
    """As kubectl is documented to show it; then there is nothing to do."""
    first = settled(barrier())
    assert first.status == BarrierStatus(arrived=0, phase=BarrierPhase.WAITING, started_at=NOW)
    assert look(first) == Plan()


def test_it_opens_with_all_or_with_its_quorum():
    """Not before; who has arrived is told in order."""
    first, second = arrival("b"), arrival("a", NOW + timedelta(seconds=1))
    assert phase(look(barrier(2), first)) is BarrierPhase.WAITING
    opened = look(barrier(2), second, first).status
    assert opened is not None
    assert (opened.phase, opened.opened_at, opened.arrivals) == (BarrierPhase.OPEN, NOW, ["b", "a"])
    assert phase(look(barrier(3, quorum=1), first)) is BarrierPhase.OPEN


def test_whoever_arrives_by_several_names_counts_once():
    """As with two tools that name Arrivals differently. The first one counts, and all are recorded."""
    again = [arrival("a", NOW + number * HOUR, name=f"again-{number}") for number in range(3)]
    plan = look(barrier(2, timeout="30m"), *again[::-1])
    assert plan.status is not None
    assert (plan.status.phase, plan.status.arrived, plan.status.arrivals) == (BarrierPhase.WAITING, 1, ["a"])
    assert [one.metadata.name for one in plan.recorded] == ["again-0", "again-1", "again-2"]
    assert phase(look(barrier(2, timeout="30m"), *again, arrival("b"), now=NOW + HOUR)) is BarrierPhase.OPEN


def test_arrivals_are_recorded():
    """With the time at which they were created."""
    (recorded,) = look(barrier(), arrival("a"), now=NOW + HOUR).recorded
    assert recorded.status == ArrivalStatus(phase=ArrivalPhase.RECORDED, arrived_at=NOW, parent_uid="start")
    assert look(barrier(), recorded).recorded == ()


def test_names_of_holders_never_make_it_too_large_to_be_stored():
    """It could not be written any more, and never open. All of them count, the first ones are told."""
    arrivals = [arrival(f"{number:03}{'☃' * 250}") for number in range(1_000)]
    plan = look(barrier(1_000), *arrivals)
    assert phase(plan) is BarrierPhase.OPEN
    assert plan.status is not None
    assert plan.status.arrived == 1_000
    assert plan.status.arrivals == [one.spec.holder for one in arrivals[: len(plan.status.arrivals)]]
    assert 500 * 1024 < len(msgspec.json.encode(plan.status)) < 520 * 1024


def test_open_is_for_good():
    """Whoever goes again, and whatever the timeout is."""
    opened = settled(barrier(1, timeout="1h"), arrival("a"))
    plan = look(opened, now=NOW + 2 * HOUR)
    assert plan.status is not None
    assert (plan.status.phase, plan.status.arrived, plan.look_again_at) == (BarrierPhase.OPEN, 0, None)


def test_it_fails_when_its_time_is_over_although_nobody_comes_any_more():
    """Exactly then, and only after all Arrivals have been asked for."""
    first = settled(barrier(timeout="1h"))
    assert look(first).look_again_at == NOW + HOUR
    assert look(first, are_all=False, now=NOW + HOUR) == Plan(needs_all=True)
    assert phase(look(first, now=NOW + HOUR)) is BarrierPhase.FAILED
    failed = settled(first, now=NOW + HOUR)
    late = [arrival(holder, NOW + 2 * HOUR) for holder in "ab"]
    assert phase(look(failed, *late, now=NOW + 2 * HOUR)) is BarrierPhase.FAILED


def test_who_came_in_time_counts_however_late_it_is_seen():
    """The coordinator was away meanwhile; who came too late does not count."""
    first = settled(barrier(timeout="1h"))
    in_time = [arrival(holder, NOW + HOUR) for holder in "ab"]
    late = [in_time[0], arrival("b", NOW + HOUR + timedelta(seconds=1))]
    assert phase(look(first, *in_time, now=NOW + 2 * HOUR)) is BarrierPhase.OPEN
    assert phase(look(first, *late, now=NOW + 2 * HOUR)) is BarrierPhase.FAILED


def test_the_time_counts_from_when_it_was_seen_to_be_created():
    """Its own time is in whole seconds: it never fails too early, and at most a second too late."""
    for seen, started in ((MOMENT, MOMENT), (HOUR, timedelta(seconds=1)), (-HOUR, timedelta())):
        assert settled(barrier(timeout="1h"), now=NOW + seen).status.started_at == NOW + started


def test_a_timeout_that_cannot_be_is_told():
    """The server has let it pass: it is too long for any date."""
    plan = look(barrier(timeout="9" * 30 + "h"))
    assert "too long" in plan.bad_timeout
    assert plan.look_again_at is None


class TwoCoordinators(RuleBasedStateMachine):
    """A server, and two coordinators that see it late and write late; a write over another version is refused."""

    @initialize(expected=st.integers(1, 3), timeout=st.sampled_from(["", "1h", "3h"]))
    def begin(self, expected: int, timeout: str) -> None:
        self.now = NOW
        self.version = 1
        self.barrier = barrier(expected, timeout=timeout)
        self.arrivals: dict[str, Arrival] = {}
        self.seen = [self.barrier] * 2
        self.seen_arrivals: list[list[Arrival]] = [[], []]
        self.plans: list[tuple[Barrier, Plan] | None] = [None, None]
        self.ended: BarrierPhase | None = None
        self.ever: set[str] = set()

    @rule(holder=st.sampled_from("abcd"), tool=st.sampled_from("xy"))
    def arrive(self, holder: str, tool: str) -> None:
        """By a tool that calls it as it likes."""
        name = f"{tool}-{holder}"
        self.arrivals.setdefault(name, arrival(holder, self.now, name=name))
        self.ever.add(holder)

    @precondition(lambda self: self.arrivals)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        del self.arrivals[data.draw(st.sampled_from(sorted(self.arrivals)))]

    @rule()
    def time_passes(self) -> None:
        self.now += HOUR

    @rule(which=st.integers(0, 1), what=st.sampled_from(["barrier", "arrivals"]))
    def see(self, which: int, what: str) -> None:
        if what == "barrier":
            self.seen[which] = self.barrier
        else:
            self.seen_arrivals[which] = list(self.arrivals.values())

    @rule(which=st.integers(0, 1))
    def plan(self, which: int) -> None:
        subject = self.seen[which]
        plan = decide(subject, self.seen_arrivals[which], are_all=False, now=self.now)
        if plan.needs_all:
            plan = decide(subject, list(self.arrivals.values()), are_all=True, now=self.now)
        self.plans[which] = (subject, plan)

    @rule(which=st.integers(0, 1))
    def write(self, which: int) -> None:
        subject, plan = self.plans[which] or (self.barrier, Plan())
        if plan.status is None or subject.metadata.resource_version != self.barrier.metadata.resource_version:
            return
        self.version += 1
        meta = msgspec.structs.replace(self.barrier.metadata, resource_version=str(self.version))
        self.barrier = msgspec.structs.replace(self.barrier, metadata=meta, status=plan.status)

    @invariant()
    def what_is_over_stays_as_it_is(self) -> None:
        if not hasattr(self, "ever"):
            return
        now = self.barrier.status.phase
        assert self.ended in {None, now}
        if now in OVER:
            self.ended = now
        if now is BarrierPhase.OPEN:
            assert len(self.ever) >= self.barrier.required, "opened though too few have ever come"

    def teardown(self) -> None:
        """One that sees everything ends what is due."""
        if not hasattr(self, "ever"):
            return
        self.now += 4 * HOUR
        for _ in range(3):
            for step in (lambda: self.see(0, "barrier"), lambda: self.see(0, "arrivals")):
                step()
            self.plan(0)
            self.write(0)
        if self.barrier.spec.timeout:
            assert self.barrier.status.phase in OVER


TestTwoCoordinators = TwoCoordinators.TestCase
TestTwoCoordinators.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
