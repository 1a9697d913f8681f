"""Waits of Executions for one object share a watch; who comes later hears nothing that was so before he asked."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue_engine.kube.shared_waits import Progress, SharedWait
from virtual_time import virtual_time


class Thing(msgspec.Struct, frozen=True):
    """An object in some version."""

    metadata: ObjectMeta


def thing(version: int) -> Thing:
    return Thing(ObjectMeta(name="gate", resource_version=str(version)))


class Server:
    """Has one object, and a watch of it for each wait, which shows when a test says so how it ends."""

    def __init__(self) -> None:
        self.version = 1
        self.ends: list[asyncio.Future[Thing]] = []
        self.looks = 0
        self.tell: Progress = print
        self.shared = SharedWait(self.wait, self.look)

    async def wait(self, tell: Progress) -> Thing:
        self.tell = tell
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]

    async def look(self) -> Thing:
        self.looks += 1
        if not self.version:
            raise errors.NotFound("there is none")
        return thing(self.version)

    async def join(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.shared.join(lambda _: None))
        await asyncio.sleep(0.1)
        return task


@virtual_time
async def test_all_that_begin_together_need_one_watch_and_no_look():
    """A thousand of them as well as one."""
    server = Server()
    waits = [asyncio.create_task(server.shared.join(lambda _: None)) for _ in range(1000)]
    await asyncio.sleep(0.1)
    server.ends[0].set_result(thing(1))
    await asyncio.gather(*waits)
    assert (len(server.ends), server.looks) == (1, 0)


@virtual_time
async def test_who_comes_later_ends_with_what_is_newer_than_his_call():
    """By the same watch."""
    server = Server()
    first = await server.join()
    server.version = 5
    second = await server.join()
    server.ends[0].set_result(thing(6))
    await asyncio.gather(first, second)
    assert (len(server.ends), server.looks) == (1, 1)


@virtual_time
async def test_who_comes_later_does_not_go_through_by_what_was_so_before():
    """A Gate was open and closed again before he asked, and the watch is late: all such look anew, together."""
    server = Server()
    first = await server.join()
    server.version = 5
    later = [await server.join() for _ in range(3)]
    server.ends[0].set_result(thing(4))
    await first
    await asyncio.sleep(0.1)
    assert not any(one.done() for one in later)
    server.ends[1].set_result(thing(7))
    await asyncio.gather(*later)
    assert len(server.ends) == 2


@virtual_time
async def test_an_end_of_an_earlier_object_of_the_name_is_not_that_of_who_came_later():
    """It failed, or was deleted, and was made again before he asked."""
    server = Server()
    first = await server.join()
    server.version = 5
    second = await server.join()
    server.ends[0].set_exception(errors.NotFound("was deleted"))
    with pytest.raises(errors.NotFound):
        await first
    await asyncio.sleep(0.1)
    assert not second.done()
    server.ends[1].set_exception(errors.InvalidState("has failed"))
    with pytest.raises(errors.InvalidState):
        await second


@virtual_time
async def test_who_comes_when_there_is_none_any_more_is_told_so():
    """Although the wait under way has not heard of it yet; that goes on."""
    server = Server()
    first = await server.join()
    server.version = 0
    with pytest.raises(errors.NotFound):
        await (await server.join())
    assert not first.done()
    server.ends[0].set_result(thing(1))
    await first


@virtual_time
async def test_who_comes_later_hears_at_once_why_he_has_to_wait():
    """As far as it is known; and each news of it."""
    server = Server()
    first = await server.join()
    server.tell("1 has arrived")
    told: list[str] = []
    second = asyncio.create_task(server.shared.join(told.append))
    await asyncio.sleep(0.1)
    server.tell("2 have arrived")
    assert told == ["1 has arrived", "2 have arrived"]
    for one in (first, second):
        one.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert server.ends[0].cancelled(), "nobody waits any more, so nobody watches"
