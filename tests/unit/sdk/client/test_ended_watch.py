"""One watch serves all waits, reads as little as possible and misses no end."""

import asyncio
import json

import msgspec
import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import Execution
from kontinue.client.ended_watch import LINGER_S, MAX_REMEMBERED_BYTES, EndedWatch
from scripted_transport import ScriptedTransport
from virtual_time import elapsed_s, virtual_time


def obj(name, version, phase="Completed", uid=None, **status):
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"function": "f"},
        "status": {"phase": phase, **status} if phase else {},
    }


def event(type_, *args, **kwargs):
    return json.dumps({"type": type_, "object": obj(*args, **kwargs)}).encode()


class World(ScriptedTransport):
    """Lists at version 10, and answers reads from ``objects``."""

    def __init__(self):
        super().__init__()
        self.objects = {}
        self.answer = self._read
        self.reads = []

    def _read(self, request):
        if request.query:
            return b'{"metadata":{"resourceVersion":"10"},"items":[]}'
        name = request.path.rpartition("/")[2]
        self.reads.append(name)
        if name not in self.objects:
            raise errors.NotFound("not found", status=404)
        return json.dumps(self.objects[name]).encode()


async def settle():
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


@virtual_time
async def test_a_thousand_waits_share_one_watch():
    """Each gets its own Execution, and none is read twice."""
    world = World()
    watch = EndedWatch(world, "ns")
    names = [f"x{i}" for i in range(1000)]
    world.objects = {name: obj(name, 5, "Executing") for name in names}
    waits = [asyncio.ensure_future(watch.wait(name)) for name in names]
    await asyncio.sleep(1)
    for name in names:
        world.emit(event("ADDED", name, 11))
    found = await asyncio.gather(*waits)
    assert [item.metadata.name for item in found] == names
    assert len(world.watched) == 1
    assert sorted(world.reads) == sorted(names)
    await watch.close()


@virtual_time
async def test_an_end_between_spawn_and_wait_costs_no_read():
    """What was seen lately is remembered."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["first"] = obj("first", 9)
    await watch.wait("first")
    world.reads.clear()
    world.emit(event("ADDED", "x", 12))
    await settle()
    found = await watch.wait("x", uid="uid-x", version="11")
    assert (found.metadata.name, world.reads) == ("x", [])
    await watch.close()


@virtual_time
async def test_an_end_after_the_wait_began_costs_no_read_either():
    """A wait for something created after the watch began just waits."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["first"] = obj("first", 9)
    await watch.wait("first")
    world.reads.clear()
    waiting = asyncio.ensure_future(watch.wait("x", uid="uid-x", version="11"))
    await settle()
    assert not waiting.done()
    world.emit(event("ADDED", "x", 12))
    assert (await waiting).metadata.name == "x"
    assert world.reads == []
    await watch.close()


@virtual_time
async def test_a_large_execution_is_read_again_instead_of_remembered():
    """Memory stays bounded, and the wait still ends."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects = {"first": obj("first", 9), "x": obj("x", 12)}
    await watch.wait("first")
    world.emit(event("ADDED", "x", 12, result="r" * MAX_REMEMBERED_BYTES))
    await settle()
    await watch.wait("x", version="11")
    assert world.reads == ["first", "x"]
    await watch.close()


@virtual_time
async def test_everything_waited_for_is_read_again_when_the_watch_is_opened_anew():
    """An Execution deleted while it ran leaves no event; its wait ends all the same."""
    world = World()
    world.watches.extend([[errors.Unavailable("cut")], [None]])
    watch = EndedWatch(world, "ns")
    world.objects = {"x": obj("x", 5, "Executing"), "gone": obj("gone", 5, "Executing")}
    first = asyncio.ensure_future(watch.wait("x"))
    second = asyncio.ensure_future(watch.wait("gone"))
    await asyncio.sleep(0)
    world.objects = {"x": obj("x", 11)}
    assert (await first).phase == "Completed"
    with pytest.raises(errors.NotFound, match="no Execution 'gone' in namespace 'ns'"):
        await second
    await watch.close()


@virtual_time
async def test_blocked_ends_a_wait_only_if_wanted():
    """It may go on, for example after a deployment."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5, "Blocked")
    assert (await watch.wait("x")).phase == "Blocked"
    patient = asyncio.ensure_future(watch.wait("x", with_blocked=False))
    await settle()
    assert not patient.done()
    world.emit(event("DELETED", "x", 11, "Executing"))
    world.emit(event("ADDED", "x", 12, "Failed"))
    assert (await patient).phase == "Failed"
    await watch.close()


@virtual_time
async def test_a_namesake_is_not_what_was_waited_for():
    """The uid decides; a new object of the name means that the old one is gone."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5, uid="other")
    with pytest.raises(errors.NotFound, match="deleted and created again"):
        await watch.wait("x", uid="uid-x")
    await watch.close()


@virtual_time
async def test_a_refused_watch_fails_the_waits_and_the_next_wait_tries_anew():
    """Without permission nobody waits for ever."""
    world = World()
    world.watches.extend([[errors.Forbidden("no", status=403)], [None]])
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5, "Executing")
    with pytest.raises(errors.Forbidden):
        await watch.wait("x")
    world.objects["x"] = obj("x", 11)
    assert (await watch.wait("x")).phase == "Completed"
    await watch.close()


@virtual_time
async def test_the_watch_closes_some_time_after_the_last_wait():
    """A script that spawns one after another keeps it, an idle client does not."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5)
    await watch.wait("x")
    await asyncio.sleep(LINGER_S / 2)
    await watch.wait("x")
    assert len(world.watched) == 1
    await asyncio.sleep(LINGER_S + 1)
    assert len(asyncio.all_tasks()) == 1
    await watch.wait("x")
    assert len(world.watched) == 2
    await watch.close()
    assert elapsed_s() < 100


@virtual_time
async def test_closing_ends_the_waits_with_an_error():
    """Nobody hangs on a closed client."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5, "Executing")
    waiting = asyncio.ensure_future(watch.wait("x"))
    await settle()
    await watch.close()
    with pytest.raises(errors.InvalidState, match="closed"):
        await waiting


@virtual_time
async def test_a_canceled_wait_leaves_nothing_behind():
    """Others of the same name go on."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5, "Executing")
    canceled, other = (asyncio.ensure_future(watch.wait("x")) for _ in range(2))
    await settle()
    canceled.cancel()
    await settle()
    world.emit(event("ADDED", "x", 11))
    assert (await other).phase == "Completed"
    assert canceled.cancelled()
    await watch.close()


@virtual_time
async def test_a_wait_that_timed_out_keeps_nothing_open():
    """It counts no longer: the watch closes, and a reconnect reads nothing for it."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["x"] = obj("x", 5, "Executing")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await watch.wait("x")
    await asyncio.sleep(LINGER_S + 1)
    assert len(asyncio.all_tasks()) == 1


@virtual_time
async def test_an_end_before_a_retry_was_asked_for_is_none():
    """The watch may still show it, and remember it; the wait is for the new end."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["first"] = obj("first", 9)
    await watch.wait("first")
    world.emit(event("ADDED", "x", 12, "Failed"))
    await settle()
    asked = obj("x", 14, "Failed")
    asked["metadata"]["generation"] = 2
    asked["spec"]["retry"] = {"retries": 1}
    watch.note_retry(msgspec.json.decode(json.dumps(asked), type=Execution))
    waiting = asyncio.ensure_future(watch.wait("x", uid="uid-x", version="11"))
    await settle()
    world.emit(event("MODIFIED", "x", 13, "Failed"))
    world.emit(json.dumps({"type": "MODIFIED", "object": asked}).encode())
    await settle()
    assert not waiting.done()
    world.emit(event("DELETED", "x", 15, "Pending"))
    world.emit(event("ADDED", "x", 16, "Failed"))
    assert (await waiting).metadata.resource_version == "16"
    await watch.close()


@virtual_time
@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_what_had_ended_before_somebody_attached_is_found(is_forgotten):
    """All that is known of it is the version of its end: the very one from which on the watch knows everything."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects["other"] = obj("other", 5, "Executing")
    waiting = asyncio.ensure_future(watch.wait("other"))
    await settle()
    version = 10
    if is_forgotten:
        version = 12
        world.emit(event("ADDED", "x", version, result="x" * MAX_REMEMBERED_BYTES))
        await settle()
    world.objects["x"] = obj("x", version)
    async with asyncio.timeout(60):
        assert (await watch.wait("x", uid="uid-x", version=str(version))).metadata.name == "x"
    waiting.cancel()
    await watch.close()


@virtual_time
async def test_waits_go_on_when_a_program_has_cancelled_all_its_tasks():
    """What has ended meanwhile is read."""
    world = World()
    watch = EndedWatch(world, "ns")
    world.objects = {"x": obj("x", 5, "Executing")}
    wait = asyncio.ensure_future(watch.wait("x"))
    await settle()
    world.objects = {"x": obj("x", 6)}
    for task in asyncio.all_tasks() - {asyncio.current_task(), wait}:
        task.cancel()
    assert (await wait).phase == "Completed"
    await watch.close()
