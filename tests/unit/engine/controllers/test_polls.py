"""When a condition is looked at the next time, whatever has become of who looked last."""

from __future__ import annotations

from controller_world import FakeRunners
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.entries import Entry, Rest
from kontinue_engine.controllers.polls import Polls
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.lifecycle.observed import Activation, Worker
from kontinue_engine.wire import frames
from scripted_transport import ScriptedTransport

EVERY_MS = 60_000


class At(SystemClock):
    """A clock that stands still."""

    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


class World:
    def __init__(self) -> None:
        self.runners, self.clock = FakeRunners(), At()
        transport = ScriptedTransport()
        self.runtime = Runtime(
            transport,
            self.runners,
            EventRecorder(transport, component="test", instance="test", clock=self.clock),
            self.clock,
            worker=Worker(shard="w-0", incarnation="i", build="b"),
            scope=Scope(namespace="ns", group="g", colours={}, deaf=frozenset(), windows={}, dead_predecessor=""),
            lease_remaining_s=lambda: 30.0,
        )
        meta = ObjectMeta(name="e", namespace="ns", uid="uid-e", resource_version="1")
        self.entry = Entry(Execution(metadata=meta, spec=ExecutionSpec(function="f")), inherited=False)
        self.runtime.entries.add(self.entry)
        self.polls = Polls(self.runtime)
        self.activate(1)

    def activate(self, number: int) -> None:
        self.entry.rest = Rest.AWAKE
        self.runtime.entries.set_activation(self.entry, Activation(number=number))

    def evict(self) -> None:
        self.runtime.entries.forget_activation(self.entry)
        self.entry.rest = Rest.DORMANT

    def ask(self, *, has_looked: bool = False, every_ms: int = EVERY_MS) -> None:
        self.polls.request(self.entry, "1", frames.StartPoll(every_ms, "ready", has_looked))
        self.fire()

    def pass_time(self, ms: int) -> None:
        self.clock.ms += ms
        self.fire()

    def fire(self) -> None:
        self.polls.fire(self.entry, self.clock.ms)

    @property
    def rest(self) -> Rest:
        return self.entry.rest

    @property
    def looks(self) -> int:
        return len(self.runners.sent_of(frames.StepArrived))


async def test_it_is_looked_at_at_once_and_then_after_each_pause() -> None:
    """Once for each time that the runner asks."""
    world = World()
    world.ask()
    world.fire()
    assert world.looks == 1
    world.ask(has_looked=True)
    world.pass_time(EVERY_MS - 1)
    assert world.looks == 1
    world.pass_time(1)
    world.fire()
    assert world.looks == 2


async def test_who_is_evicted_sleeps_until_the_pause_is_over() -> None:
    """Then it is woken, once, and looks as soon as it asks."""
    world = World()
    world.ask()
    world.ask(has_looked=True)
    world.evict()
    world.pass_time(EVERY_MS - 1)
    assert world.rest is Rest.DORMANT
    world.pass_time(1)
    assert world.rest is Rest.WOKEN
    world.activate(2)
    world.ask()
    assert world.looks == 2


async def test_who_is_woken_by_something_else_waits_for_the_rest_of_the_pause() -> None:
    """It is not looked at more often because the activation is another one, nor less often if the pause is shorter."""
    world = World()
    world.ask()
    world.ask(has_looked=True)
    world.evict()
    world.pass_time(EVERY_MS // 2)
    world.activate(2)
    world.ask()
    assert world.looks == 1
    world.pass_time(EVERY_MS // 2)
    assert world.looks == 2
    world.ask(has_looked=True)
    world.activate(3)
    world.ask(every_ms=10)
    world.pass_time(10)
    assert world.looks == 3


async def test_nobody_looks_for_an_activation_that_has_not_asked() -> None:
    """A replay may have given it up before it gets there."""
    world = World()
    world.ask()
    world.ask(has_looked=True)
    world.evict()
    world.activate(2)
    world.pass_time(2 * EVERY_MS)
    assert world.looks == 1


async def test_a_recorded_poll_is_forgotten() -> None:
    """So it wakes nobody."""
    world = World()
    world.ask()
    world.polls.recorded(world.entry, [frames.EncodedRecord("1", b"{}"), frames.EncodedRecord("2", b"{}")])
    assert world.entry.polls == {}


async def test_nobody_knows_how_long_it_takes() -> None:
    """So an Execution that waits for nothing else is Suspended at once, however short the pauses are."""
    world = World()
    for every_ms in (1, 5_001):
        world.ask(every_ms=every_ms)
        (wait,) = world.polls.waits_of(world.entry).values()
        assert (wait.kind, wait.name, wait.until_ms, wait.is_sleep) == ("Poll", "ready", None, True)
