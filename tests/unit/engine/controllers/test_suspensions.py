"""Who waits for a Suspension hears of its end, whatever comes first: answers, news of the watch, evictions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from controller_world import FakeRunners
from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionAttempt,
    ExecutionSpec,
    ExecutionStatus,
    Phase,
    Suspension,
    WaitingFor,
)
from kontinue.kube.watch import EventType
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.entries import Entry, Rest
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.controllers.suspensions import Suspensions
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.open_suspensions import SuspensionView
from kontinue_engine.lifecycle.observed import Activation, Worker
from kontinue_engine.lifecycle.times import ms_of
from kontinue_engine.wire import frames
from suspension_api import SuspensionApi
from virtual_time import virtual_time

NAME = "e-0-abc"
ASK = frames.StartSuspension(NAME, False, -1, "ask")
ASK_FOR_A_MINUTE = frames.StartSuspension(NAME, False, 60_000, "ask")
NEW = ExecutionStatus()
decode_view = msgspec.json.Decoder(SuspensionView).decode


class World:
    """A replica with one Execution, and the Suspensions that the server has."""

    def __init__(self, status: ExecutionStatus) -> None:
        self.api = SuspensionApi()
        self.runners = FakeRunners()
        clock = SystemClock()
        self.runtime = Runtime(
            self.api,
            self.runners,
            EventRecorder(self.api, component="test", instance="test", clock=clock),
            clock,
            worker=Worker(shard="w-0", incarnation="i", build="b"),
            scope=Scope(namespace="ns", group="g", colours={}, deaf=frozenset(), windows={}, dead_predecessor=""),
            lease_remaining_s=lambda: 30.0,
        )
        self.suspensions = Suspensions(self.runtime)
        meta = ObjectMeta(name="e", namespace="ns", uid="uid-e", resource_version="1")
        self.entry = Entry(Execution(metadata=meta, spec=ExecutionSpec(function="f"), status=status), inherited=False)
        self.runtime.entries.add(self.entry)
        self.activate()

    def activate(self, *, resumption: int = 0) -> None:
        """Let an activation of the Execution begin."""
        self.entry.rest = Rest.AWAKE
        number = len(self.runners.submitted) + resumption + 1
        self.runtime.entries.set_activation(self.entry, Activation(number=number, resumption=resumption))

    def evict(self) -> None:
        """Take its memory away from an activation that waits."""
        self.runtime.entries.forget_activation(self.entry)
        if self.entry.rest is not Rest.WOKEN:
            self.entry.rest = Rest.DORMANT

    def request(self, command: frames.StartSuspension = ASK) -> None:
        self.suspensions.request(self.entry, "0", command)

    def watch(self, type_: EventType, seen: Suspension) -> None:
        self.runtime.suspensions.on_event(type_, decode_view(msgspec.json.encode(seen)))

    async def waiting(self, command: frames.StartSuspension = ASK) -> Suspension:
        """Let it wait for a Suspension that the watch has shown."""
        self.request(command)
        await settled()
        self.watch("ADDED", self.api.objects[NAME])
        return self.api.objects[NAME]

    def end(self, **status: Any) -> None:
        """Complete the Suspension, and let the watch show it."""
        self.watch("DELETED", self.api.complete(NAME, **status))

    @property
    def ends(self) -> list[frames.SuspensionEnded]:
        return [one.outcome for one in self.runners.sent_of(frames.StepArrived)]


async def settled() -> None:
    """Let everything happen that can, without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def world(status: ExecutionStatus = NEW) -> AsyncIterator[World]:
    one = World(status)
    running = asyncio.ensure_future(one.runtime.run(lambda _uid: None))
    await one.runtime.started.wait()
    yield one
    assert not running.done()
    running.cancel()


def in_attempt(number: int) -> ExecutionStatus:
    attempts = [ExecutionAttempt(number=one) for one in range(1, number + 1)]
    done = [msgspec.structs.replace(one, finished_at=datetime.now(UTC), phase=Phase.FAILED) for one in attempts[:-1]]
    return ExecutionStatus(phase=Phase.EXECUTING, attempts=[*done, attempts[-1]], attempt_count=number)


@virtual_time
async def test_one_that_is_evicted_while_the_end_is_read_wakes() -> None:
    """The news has come while it was awake, the answer when it slept: nobody would say it again."""
    async with world() as one:
        await one.waiting()
        answered = one.api.hold("GET")
        one.end()
        await settled()
        one.evict()
        answered.set()
        await settled()
        assert one.entry.rest is Rest.WOKEN


@virtual_time
async def test_an_end_that_is_seen_before_the_answer_to_the_create_is_told() -> None:
    """Somebody was quick: the answer says that it is open, and it is not any more."""
    async with world() as one:
        answered = one.api.hold("POST")
        one.request()
        await settled()
        one.watch("ADDED", one.api.objects[NAME])
        one.end(payload=msgspec.Raw(b"7"))
        answered.set()
        await settled()
        assert [bytes(end.payload) for end in one.ends] == [b"7"]


@virtual_time
async def test_an_end_before_the_answer_to_the_create_wakes_one_that_was_evicted_since() -> None:
    """The same, and it sleeps by then."""
    async with world() as one:
        answered = one.api.hold("POST")
        one.request()
        await settled()
        one.watch("ADDED", one.api.objects[NAME])
        one.end()
        await settled()
        one.evict()
        answered.set()
        await settled()
        assert one.entry.rest is Rest.WOKEN


@virtual_time
async def test_an_open_one_lets_an_evicted_execution_sleep() -> None:
    """The answer to a create is no news for it."""
    async with world() as one:
        answered = one.api.hold("POST")
        one.request()
        await settled()
        one.evict()
        answered.set()
        await settled()
        assert one.entry.rest is Rest.DORMANT


@virtual_time
async def test_of_sleepers_only_those_are_looked_at_whose_suspension_is_gone() -> None:
    """A new list does not bring back what was put away of all others; by events or by lists, who has to wake does."""
    status = ExecutionStatus(phase=Phase.SUSPENDED, waiting_for=[WaitingFor(kind="Suspension", name=NAME)])
    for is_listed in (True, False):
        async with world(status) as one:
            seen = await one.waiting()
            one.evict()
            assert one.suspensions.can_rest(one.entry)
            one.entry.fold()
            one.runtime.suspensions.on_list([decode_view(msgspec.json.encode(seen))], initial=False)
            assert (one.entry.rest, one.entry.is_folded) == (Rest.DORMANT, True)
            if is_listed:
                one.runtime.suspensions.on_list([], initial=False)
            else:
                one.end()
            assert one.entry.rest is Rest.WOKEN


@virtual_time
async def test_who_replays_while_an_answer_is_under_way_gets_the_end() -> None:
    """The next activation waits for the same, and one question is enough for both."""
    async with world() as one:
        await one.waiting()
        answered = one.api.hold("GET")
        one.end()
        await settled()
        one.evict()
        one.activate(resumption=1)
        one.request()
        answered.set()
        await settled()
        assert len(one.ends) == 1


@virtual_time
async def test_a_new_attempt_waits_anew_for_what_nobody_answered_before() -> None:
    """Its name is the same, its time is its own."""
    async with world(in_attempt(1)) as one:
        first = await one.waiting(ASK_FOR_A_MINUTE)
        an_hour_ago = msgspec.structs.replace(first.spec, resume_at=datetime.now(UTC) - timedelta(hours=1))
        one.api.objects[NAME] = msgspec.structs.replace(first, spec=an_hour_ago)
        one.end(timed_out=True)
        await settled()
        assert [end.timed_out for end in one.ends] == [True]
        one.suspensions.recorded(one.entry, [frames.EncodedRecord("0", b"{}")])
        one.evict()
        one.entry.status = in_attempt(2)
        one.activate()
        began_ms = one.runtime.clock.now_ms()
        one.request(ASK_FOR_A_MINUTE)
        await settled()
        again = one.api.objects[NAME]
        assert again.is_open
        assert again.metadata.uid != first.metadata.uid
        assert again.spec.resume_at is not None
        assert ms_of(again.spec.resume_at) >= began_ms + 60_000
        assert len(one.ends) == 1


@virtual_time
async def test_a_replayed_attempt_finds_that_nobody_has_answered_it() -> None:
    """Only what timed out for an earlier attempt is asked for again."""
    async with world(in_attempt(2)) as one:
        await one.waiting(ASK_FOR_A_MINUTE)
        one.evict()
        one.end(timed_out=True)
        one.activate(resumption=1)
        one.request(ASK_FOR_A_MINUTE)
        await settled()
        assert [end.timed_out for end in one.ends] == [True]


@virtual_time
async def test_what_an_earlier_attempt_left_open_is_answered_to_the_next() -> None:
    """Somebody may be about to answer it, and it has no time."""
    async with world(in_attempt(1)) as one:
        first = await one.waiting()
        one.evict()
        one.entry.status = in_attempt(2)
        one.activate()
        one.request()
        await settled()
        assert one.api.objects[NAME].metadata.uid == first.metadata.uid
        one.end(payload=msgspec.Raw(b"7"))
        await settled()
        assert [bytes(end.payload) for end in one.ends] == [b"7"]


@virtual_time
async def test_the_time_of_each_attempt_is_its_own() -> None:
    """An open one that has a time gives way, unless somebody answers it in that moment."""
    async with world(in_attempt(1)) as one:
        await one.waiting(ASK_FOR_A_MINUTE)
        one.evict()
        one.entry.status = in_attempt(2)
        one.activate()
        arrives = one.api.delay("DELETE")
        one.request(ASK_FOR_A_MINUTE)
        await settled()
        one.api.complete(NAME, payload=msgspec.Raw(b"7"))
        arrives.set()
        await settled()
        assert [bytes(end.payload) for end in one.ends] == [b"7"]


@virtual_time
async def test_one_that_has_lost_its_labels_gets_them_back() -> None:
    """Without them no leader would see it, and it would never end."""
    async with world() as one:
        seen = await one.waiting(ASK_FOR_A_MINUTE)
        one.api.objects[NAME] = msgspec.structs.replace(
            seen, metadata=msgspec.structs.replace(seen.metadata, labels={})
        )
        one.watch("DELETED", one.api.objects[NAME])
        await settled()
        assert one.api.objects[NAME].metadata.labels[labels.PARENT_GROUP] == "g"
        assert one.ends == []


@virtual_time
async def test_one_that_is_given_up_while_it_is_created_is_deleted() -> None:
    """Nobody is to be asked for an answer that nobody reads."""
    async with world() as one:
        arrives = one.api.delay("POST")
        one.request()
        await settled()
        one.suspensions.give_up(one.entry, "0", frames.CancelSuspension(NAME))
        await settled()
        arrives.set()
        await settled()
        assert one.api.objects == {}


@virtual_time
async def test_one_whose_execution_ends_while_it_is_created_is_deleted() -> None:
    """The same, whatever ends the Execution."""
    async with world() as one:
        arrives = one.api.delay("POST")
        one.request()
        await settled()
        one.suspensions.discard_all(one.entry)
        arrives.set()
        await settled()
        assert one.api.objects == {}


@virtual_time
async def test_another_one_of_its_name_is_not_deleted() -> None:
    """It belongs to somebody else."""
    async with world() as one:
        seen = await one.waiting()
        owner = msgspec.structs.replace(seen.metadata.owner_references[0], uid="another")
        other = msgspec.structs.replace(seen.metadata, uid="u-other", owner_references=[owner])
        one.api.objects[NAME] = msgspec.structs.replace(seen, metadata=other)
        one.suspensions.give_up(one.entry, "0", frames.CancelSuspension(NAME))
        await settled()
        assert NAME in one.api.objects


@virtual_time
async def test_a_clock_that_is_ahead_does_not_make_the_execution_late() -> None:
    """Whoever resumes it writes the time; that it is over now is all that is known."""
    async with world() as one:
        await one.waiting()
        one.end(resumed_at=datetime.now(UTC) + timedelta(days=30))
        await settled()
        assert [end.at_ms <= one.runtime.clock.now_ms() for end in one.ends] == [True]


@virtual_time
async def test_a_thousand_waits_leave_nothing_behind() -> None:
    """What is recorded needs no notes."""
    async with world() as one:
        for _ in range(1000):
            await one.waiting(ASK_FOR_A_MINUTE)
            one.end()
            await settled()
            one.suspensions.recorded(one.entry, [frames.EncodedRecord("0", b"{}")])
            del one.api.objects[NAME]
        assert len(one.ends) == 1000
        assert (one.entry.ends_of_waits, one.entry.told_suspensions) == ({}, {})


@virtual_time
async def test_a_better_answer_that_comes_while_the_last_one_is_refused_counts() -> None:
    """The refusal was written and its answer lost; meanwhile somebody has answered."""
    async with world() as one:
        await one.waiting()
        one.end(payload=msgspec.Raw(b'"many"'))
        await settled()
        one.api.lose_answer("PUT", then=lambda: one.api.complete(NAME, payload=msgspec.Raw(b"7")))
        one.suspensions.refuse(one.entry, frames.PayloadRefused(1, "0", NAME, "$: not a number"))
        await settled()
        assert [bytes(end.payload) for end in one.ends] == [b'"many"', b"7"]


@virtual_time
async def test_a_refused_payload_is_told_on_the_suspension() -> None:
    """It is open again, with a condition, and the next answer counts."""
    async with world() as one:
        await one.waiting()
        one.end(payload=msgspec.Raw(b'"many"'))
        await settled()
        one.suspensions.refuse(one.entry, frames.PayloadRefused(1, "0", NAME, "$: not a number"))
        await settled()
        again = one.api.objects[NAME]
        assert again.is_open
        assert [condition.message for condition in again.status.conditions] == ["$: not a number"]
        one.watch("ADDED", again)
        one.end(payload=msgspec.Raw(b"7"))
        await settled()
        assert [bytes(end.payload) for end in one.ends] == [b'"many"', b"7"]


@virtual_time
async def test_a_refusal_that_the_server_does_not_take_is_said_until_it_does() -> None:
    """Else it would stay completed, by an answer that does not fit, and nobody could give another one."""
    async with world() as one:
        await one.waiting()
        one.end(payload=msgspec.Raw(b'"many"'))
        await settled()
        one.api.rejections["PUT"] = [
            errors.Unavailable("later", status=503),
            errors.Invalid("a webhook says no", status=422),
        ]
        one.suspensions.refuse(one.entry, frames.PayloadRefused(1, "0", NAME, "$: not a number"))
        await asyncio.sleep(60)
        assert one.api.objects[NAME].is_open
        one.watch("ADDED", one.api.objects[NAME])
        one.end(payload=msgspec.Raw(b"7"))
        await settled()
        assert [bytes(end.payload) for end in one.ends] == [b'"many"', b"7"]


@virtual_time
async def test_a_refusal_is_not_said_for_ever_of_what_has_ended() -> None:
    """Nobody waits for another answer."""
    async with world() as one:
        await one.waiting()
        one.end(payload=msgspec.Raw(b'"many"'))
        await settled()
        one.api.rejections["PUT"] = [errors.Invalid("a webhook says no", status=422)] * 1000
        one.suspensions.refuse(one.entry, frames.PayloadRefused(1, "0", NAME, "$: not a number"))
        await asyncio.sleep(60)
        one.runtime.entries.remove(one.entry)
        await asyncio.sleep(60)
        tries = len(one.api.sent)
        await asyncio.sleep(60)
        assert len(one.api.sent) == tries
