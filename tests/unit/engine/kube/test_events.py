"""Events are counted together, bounded, and never in the way."""

import asyncio
import re
from datetime import UTC, datetime

import msgspec
import pytest

from kontinue import errors
from kontinue.api.meta import ObjectReference
from kontinue_engine.kube.events import (
    AGGREGATION_S,
    CAPACITY,
    OF_EXECUTIONS_AT_ONCE,
    OF_EXECUTIONS_PER_S,
    SUM_UP_S,
    EventRecorder,
)
from virtual_time import elapsed_s, virtual_time

NEWS = ("Normal", "Started", "m")
ABOUT = ObjectReference(kind="Execution", namespace="ns", name="x", uid="u")
LEASE = ObjectReference(kind="Lease", namespace="ns", name="kontinue-shard.g.s0", uid="l")


class FixedClock:
    """Wall time stands still, monotonic time is the loop's."""

    def now(self):
        return datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)

    def now_ms(self):
        return 0

    def monotonic_s(self):
        return elapsed_s()


class Server:
    """Stores Events by name."""

    def __init__(self):
        self.events = {}
        self.writes = 0
        self.failure = None

    async def send(self, request, *, retries=True, repeatable=None, retry_for_s=None, timeout_s=None):
        await asyncio.sleep(0)
        self.writes += 1
        if self.failure:
            raise self.failure
        body = msgspec.json.decode(request.body)
        if request.method == "POST":
            self.events[body["metadata"]["name"]] = body
        else:
            name = request.path.rpartition("/")[2]
            if name not in self.events:
                raise errors.NotFound("gone", status=404)
            self.events[name].update(body)
        return b"{}"


@pytest.fixture
def server():
    return Server()


def recorder(server):
    return EventRecorder(server, component="kontinue-worker", instance="s0", clock=FixedClock(), home=lambda: LEASE)


async def write(subject):
    """Let the recorder write everything that waits."""
    running = asyncio.ensure_future(subject.run())
    await asyncio.sleep(1)
    running.cancel()


@virtual_time
async def test_an_event_names_its_object_and_reporter(server):
    """As kubectl describe wants to find it."""
    subject = recorder(server)
    subject.record(ABOUT, "Warning", "RunnerCrashed", "signal 9")
    await write(subject)
    ((name, event),) = server.events.items()
    assert name.startswith("x.")
    assert event["involvedObject"] == {"kind": "Execution", "namespace": "ns", "name": "x", "uid": "u"}
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "RunnerCrashed", "signal 9")
    assert event["source"] == {"component": "kontinue-worker", "host": "s0"}
    assert event["firstTimestamp"] == "2026-01-01T12:00:00Z"


@virtual_time
async def test_the_name_of_an_event_fits_however_long_that_of_its_object_is(server):
    """253 characters are all that Kubernetes takes."""
    subject = recorder(server)
    subject.record(ObjectReference(kind="Execution", namespace="ns", name="a" * 235 + "-." + "b" * 16), *NEWS)
    await write(subject)
    (name,) = server.events
    assert re.fullmatch(r"a{235}\.[0-9a-f]{16}", name)


@virtual_time
async def test_equal_events_that_wait_are_one_write(server):
    """A storm is a count."""
    subject = recorder(server)
    for _ in range(500):
        subject.record(ABOUT, "Normal", "Started", "m")
    await write(subject)
    (event,) = server.events.values()
    assert (event["count"], server.writes) == (500, 1)


@virtual_time
async def test_a_repetition_raises_the_count_until_it_is_too_old(server):
    """Ten minutes later it is a new Event."""
    subject = recorder(server)
    for _ in range(3):
        subject.record(ABOUT, "Normal", "Started", "m")
        await write(subject)
    (event,) = server.events.values()
    assert event["count"] == 3
    await asyncio.sleep(AGGREGATION_S)
    subject.record(ABOUT, "Normal", "Started", "m")
    await write(subject)
    assert len(server.events) == 2


@virtual_time
async def test_an_event_that_expired_on_the_server_is_created_again(server):
    """Events live for an hour at most."""
    subject = recorder(server)
    subject.record(ABOUT, "Normal", "Started", "m")
    await write(subject)
    server.events.clear()
    subject.record(ABOUT, "Normal", "Started", "m")
    await write(subject)
    assert len(server.events) == 1


@virtual_time
async def test_too_many_waiting_events_are_dropped_and_logged(server, caplog):
    """Memory stays bounded; the log says how many are missing."""
    subject = recorder(server)
    for i in range(CAPACITY + 7):
        subject.record(LEASE, "Normal", "Started", f"m{i}")
    await write(subject)
    assert len(server.events) == CAPACITY
    assert [record.fields.get("dropped") for record in caplog.records] == [None, 7]


def event_of(number):
    about = ObjectReference(kind="Execution", namespace="ns", name=f"e-{number}", uid=f"u-{number}")
    return about, "Warning", "Retrying", f"attempt 1 failed in {number}"


def about_leases(server):
    return [event for event in server.events.values() if event["involvedObject"]["kind"] == "Lease"]


@virtual_time
async def test_a_storm_of_executions_is_told_by_some_of_them_and_a_count(server, caplog):
    """Ten thousand that fail at once do not become ten thousand writes, and none of it takes time."""
    subject = recorder(server)
    running = asyncio.ensure_future(subject.run())
    count = 10_000
    for number in range(count):
        subject.record(*event_of(number))
        subject.record(*event_of(number))
    await asyncio.sleep(2 * SUM_UP_S)
    running.cancel()
    (summed_up,) = about_leases(server)
    left_out = 2 * (count - OF_EXECUTIONS_AT_ONCE)
    assert summed_up["message"].startswith(f"{left_out} more Events")
    assert (summed_up["type"], summed_up["reason"]) == ("Warning", "Retrying")
    assert server.writes == OF_EXECUTIONS_AT_ONCE + 1
    assert [record.fields.get("count") for record in caplog.records] == [left_out]


@virtual_time
async def test_after_a_storm_some_are_told_each_second_and_others_always(server):
    """What the group itself has to say never waits behind its Executions."""
    subject = recorder(server)
    running = asyncio.ensure_future(subject.run())
    for number in range(OF_EXECUTIONS_AT_ONCE + 1):
        subject.record(*event_of(number))
    subject.record(LEASE, "Warning", "ShardDead", "w-9 is dead")
    await asyncio.sleep(1)
    assert server.writes == OF_EXECUTIONS_AT_ONCE + 1
    for number in range(1000, 1100):
        subject.record(*event_of(number))
    await asyncio.sleep(1)
    assert server.writes == OF_EXECUTIONS_AT_ONCE + 1 + OF_EXECUTIONS_PER_S
    running.cancel()


@virtual_time
async def test_a_refused_event_stops_nothing(server, caplog):
    """The next one is written."""
    subject = recorder(server)
    server.failure = errors.Forbidden("no", status=403)
    subject.record(ABOUT, "Normal", "Started", "one")
    await write(subject)
    server.failure = None
    subject.record(ABOUT, "Normal", "Started", "two")
    await write(subject)
    assert [event["message"] for event in server.events.values()] == ["two"]
    assert "not written" in caplog.text
