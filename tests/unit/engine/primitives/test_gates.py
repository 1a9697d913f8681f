"""What the coordinator does about a Gate: rules one by one, and two coordinators against a model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kontinue.api.konductor.gates import (
    GATES_FROM,
    Gate,
    GateConditionStatus,
    GateOverride,
    GatePhase,
    GateSpec,
    GateStatus,
    parse_condition,
)
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupStatus
from kontinue.api.meta import ObjectMeta
from kontinue_engine.primitives.gates import Plan, condition_status, decide, is_settled

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONDITIONS = [parse_condition("WaitGroup/a=Done"), parse_condition("WaitGroup/b=Done")]


def gate(*, status: GateStatus | None = None, **spec: Any) -> Gate:
    return Gate(
        metadata=ObjectMeta(name="go", namespace="here", resource_version="1", creation_timestamp=NOW),
        spec=GateSpec(conditions=CONDITIONS, **spec),
        status=status or GateStatus(),
    )


def group(*, counter: int = 0, namespace: str = "here", gates_from: str = "") -> WaitGroup:
    meta = ObjectMeta(name="a", namespace=namespace, annotations={GATES_FROM: gates_from})
    return WaitGroup(metadata=meta, status=WaitGroupStatus(counter=counter))


def found(*counters: int) -> list[GateConditionStatus]:
    """Return what is known of the two groups, by their counters."""
    given = zip(CONDITIONS, counters, strict=True)
    return [condition_status(gate(), one, group(counter=counter)) for one, counter in given]


def settled(subject: Gate, conditions: list[GateConditionStatus], *, now: datetime = NOW) -> Gate:
    """Return a Gate whose status has been written."""
    plan = decide(subject, conditions, are_fresh=True, now=now)
    return subject if plan.status is None else msgspec.structs.replace(subject, status=plan.status)


def overridden(subject: Gate, override: GateOverride | None) -> Gate:
    return msgspec.structs.replace(subject, spec=msgspec.structs.replace(subject.spec, override=override))


def test_a_fresh_one_waits():
    """And says which conditions are not met; then there is nothing to do."""
    first = settled(gate(), found(0, 2))
    assert (first.status.phase, first.status.started_at, first.status.opened_at) == (GatePhase.WAITING, NOW, None)
    assert [(one.name, one.met, one.message) for one in first.status.condition_statuses] == [
        ("a", True, ""),
        ("b", False, "it is Waiting"),
    ]
    assert decide(first, found(0, 1), are_fresh=False, now=NOW) == Plan()


def test_it_opens_when_the_server_says_that_all_are_met():
    """What watches have shown is not enough: not all of it needs to be so any more."""
    first = settled(gate(), found(0, 1))
    assert decide(first, found(0, 0), are_fresh=False, now=NOW) == Plan(needs_fresh=True)
    assert settled(first, found(1, 0)).status.phase is GatePhase.WAITING
    opened = settled(first, found(0, 0), now=NOW + HOUR)
    assert (opened.status.phase, opened.status.opened_at) == (GatePhase.OPEN, NOW + HOUR)


def test_open_is_for_good():
    """Whatever its conditions do, whatever the timeout is, with what was met then."""
    opened = settled(gate(timeout="1h"), found(0, 0))
    assert is_settled(opened)
    assert decide(opened, found(1, 1), are_fresh=True, now=NOW + 2 * HOUR) == Plan()


def test_it_fails_when_its_time_is_over():
    """Exactly then, after the server was asked, and for good; what is met then opens it all the same."""
    first = settled(gate(timeout="1h"), found(0, 1))
    assert decide(first, found(0, 1), are_fresh=False, now=NOW).look_again_at == NOW + HOUR
    assert decide(first, found(0, 1), are_fresh=False, now=NOW + HOUR) == Plan(needs_fresh=True)
    assert settled(first, found(0, 0), now=NOW + HOUR).status.phase is GatePhase.OPEN
    failed = settled(first, found(0, 1), now=NOW + HOUR)
    assert failed.status.phase is GatePhase.FAILED
    assert decide(failed, found(0, 0), are_fresh=True, now=NOW + HOUR) == Plan()


def test_a_timeout_that_cannot_be_is_told():
    """The server has let it pass: it is too long for any date."""
    plan = decide(gate(timeout="9" * 30 + "h"), found(0, 1), are_fresh=True, now=NOW)
    assert "too long" in plan.bad_timeout
    assert plan.look_again_at is None


def test_somebody_opens_it():
    """Although nothing is met, and also one that has failed."""
    opened = settled(overridden(gate(timeout="1h"), GateOverride.OPEN), found(1, 1), now=NOW)
    assert (opened.status.phase, opened.status.opened_at) == (GatePhase.OPEN, NOW)
    assert decide(opened, found(1, 1), are_fresh=True, now=NOW + 2 * HOUR) == Plan()
    failed = settled(gate(timeout="1h"), found(1, 1), now=NOW + HOUR)
    assert settled(overridden(failed, GateOverride.OPEN), found(1, 1)).status.phase is GatePhase.OPEN


def test_somebody_closes_it():
    """Although all is met, and then nothing is decided, not even that its time is over."""
    opened = settled(gate(timeout="1h"), found(0, 0))
    closed = settled(overridden(opened, GateOverride.CLOSED), found(0, 0), now=NOW + 2 * HOUR)
    assert (closed.status.phase, closed.status.opened_at) == (GatePhase.WAITING, None)
    assert decide(closed, found(0, 0), are_fresh=True, now=NOW + 2 * HOUR) == Plan()
    assert not is_settled(closed)


@pytest.mark.parametrize("override", GateOverride)
@pytest.mark.parametrize(("counters", "phase"), [((0, 0), GatePhase.OPEN), ((0, 1), GatePhase.WAITING)])
def test_after_an_override_the_conditions_decide_anew(
    override: GateOverride, counters: tuple[int, int], phase: GatePhase
):
    """What was decided before it, or by it, does not count any more."""
    opened = settled(gate(), found(0, 0))
    again = overridden(settled(overridden(opened, override), found(0, 0)), None)
    assert again.phase is GatePhase.WAITING
    assert settled(again, found(*counters)).status.phase is phase


def test_an_override_counts_before_anybody_has_looked():
    """And one that is taken back no longer."""
    assert overridden(gate(), GateOverride.OPEN).phase is GatePhase.OPEN
    opened = settled(overridden(gate(), GateOverride.OPEN), found(1, 1))
    assert overridden(opened, GateOverride.CLOSED).phase is GatePhase.WAITING
    assert overridden(opened, None).phase is GatePhase.WAITING


def test_it_cannot_wait_for_itself():
    """Whatever state it asks for, and however it says where it is."""
    for text in ("Gate/go=Open", "Gate/here/go=Closed"):
        told = condition_status(gate(), parse_condition(text), gate())
        assert (told.met, told.message) == (False, "never, but by hand: the Gate would wait for itself")


def test_two_that_wait_for_each_other_are_told():
    """As long as both wait, and for each other to be open."""
    asked = parse_condition("Gate/other=Open")
    for text, tells in (("Gate/go=Open", True), ("Gate/there/go=Open", False), ("Gate/go=Failed", False)):
        spec = GateSpec(conditions=[parse_condition(text)])
        meta = ObjectMeta(name="other", namespace="here")
        other = Gate(metadata=meta, spec=spec, status=GateStatus(phase=GatePhase.WAITING))
        told = condition_status(gate(), asked, other).message
        assert told == "it is Waiting" + (" for this Gate: somebody has to open one of them" if tells else "")
        assert condition_status(gate(), asked, overridden(other, GateOverride.OPEN)).met


def test_what_is_elsewhere_has_to_agree():
    """By an annotation; without it the Gate is told no more than of what does not exist."""
    asked = parse_condition("WaitGroup/there/a=Done")
    for text in ("here", "others, here", "*"):
        assert condition_status(gate(), asked, group(namespace="there", gates_from=text)).met
    told = condition_status(gate(), asked, group(namespace="there", gates_from="others"))
    assert (told.met, told.namespace) == (False, "there")
    assert told.message == (
        "there is no WaitGroup a in there, or its annotation konductor.io/gates-from does not name here"
    )
    assert condition_status(gate(), asked, group(namespace="there")) == told


class TwoCoordinators(RuleBasedStateMachine):
    """A server, and two coordinators that see it late and write late; a write over another version is refused."""

    @initialize(timeout=st.sampled_from(["", "2h"]))
    def begin(self, timeout: str) -> None:
        self.now = NOW
        self.version = 1
        self.counters = [1, 1]
        self.gate = gate(timeout=timeout)
        self.seen = [self.gate] * 2
        self.seen_counters = [[1, 1], [1, 1]]
        self.plans: list[tuple[Gate, Plan] | None] = [None, None]
        self.was_met = False
        self.ended: GatePhase | None = None

    @rule(which=st.integers(0, 1), counter=st.integers(0, 1))
    def change(self, which: int, counter: int) -> None:
        self.counters[which] = counter

    @rule(override=st.sampled_from([None, *GateOverride]))
    def override(self, override: GateOverride | None) -> None:
        if override is self.gate.spec.override:
            return
        self.store(overridden(self.gate, override))
        self.ended, self.was_met = None, False

    @rule()
    def time_passes(self) -> None:
        self.now += HOUR

    @rule(which=st.integers(0, 1), what=st.sampled_from(["gate", "a", "b"]))
    def see(self, which: int, what: str) -> None:
        if what == "gate":
            self.seen[which] = self.gate
        else:
            self.seen_counters[which]["ab".index(what)] = self.counters["ab".index(what)]

    @rule(which=st.integers(0, 1))
    def plan(self, which: int) -> None:
        subject = self.seen[which]
        plan = decide(subject, found(*self.seen_counters[which]), are_fresh=False, now=self.now)
        if plan.needs_fresh:
            self.was_met = self.was_met or not any(self.counters)
            plan = decide(subject, found(*self.counters), are_fresh=True, now=self.now)
        self.plans[which] = (subject, plan)

    @rule(which=st.integers(0, 1))
    def write(self, which: int) -> None:
        subject, plan = self.plans[which] or (self.gate, Plan())
        if plan.status is not None and subject.metadata.resource_version == self.gate.metadata.resource_version:
            self.store(msgspec.structs.replace(self.gate, status=plan.status))

    def store(self, changed: Gate) -> None:
        self.version += 1
        meta = msgspec.structs.replace(changed.metadata, resource_version=str(self.version))
        self.gate = msgspec.structs.replace(changed, metadata=meta)

    @invariant()
    def what_is_decided_stays_as_it_is(self) -> None:
        if not hasattr(self, "ended"):
            return
        phase = self.gate.phase
        assert self.ended in {None, phase}
        if phase in {GatePhase.OPEN, GatePhase.FAILED}:
            self.ended = phase
        if phase is GatePhase.OPEN and self.gate.spec.override is None:
            assert self.was_met, "opened though its conditions were never met at once"

    def teardown(self) -> None:
        """One that sees everything follows the override, else opens what is met, and fails what is late."""
        if not hasattr(self, "ended"):
            return
        self.now += 4 * HOUR
        for _ in range(2):
            for what in ("gate", "a", "b"):
                self.see(0, what)
            self.plan(0)
            self.write(0)
        if self.ended is not None:
            assert self.gate.phase is self.ended
        elif self.gate.spec.override is not None:
            assert self.gate.status.override is self.gate.spec.override
        elif not any(self.counters):
            assert self.gate.phase is GatePhase.OPEN
        elif self.gate.spec.timeout:
            assert self.gate.phase is GatePhase.FAILED


TestTwoCoordinators = TwoCoordinators.TestCase
TestTwoCoordinators.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
