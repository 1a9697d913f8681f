"""Executions of one replica that wait for one object: they share a watch, and each hears what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.kube.requests import Request
from kontinue_engine.kube.primitive_operations import PrimitiveOperations
from kontinue_engine.wire.frames import AskPrimitive
from scripted_transport import ScriptedTransport
from stored_wait_group import StoredWaitGroup

HOLDER = Holder(kind=HolderKind.EXECUTION, name="e", uid="uid-e")


def stored(kind: str, version: int, **status: Any) -> dict[str, Any]:
    meta = {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": str(version)}
    spec = {"expected": 3} if kind == "Barrier" else {"conditions": [{"type": "Job", "name": "j", "state": "Complete"}]}
    return {"apiVersion": "konductor.io/v1", "kind": kind, "metadata": meta, "spec": spec, "status": status}


class Waits:
    """Executions that wait for one object, which is not open.

    Attributes:
        transport: shows the object.
        told: why they have to wait, in order.
    """

    def __init__(self, kind: str) -> None:
        self.transport = ScriptedTransport()
        self.transport.answer = self._listed
        self.told: list[str] = []
        self._kind = kind
        self._operations = PrimitiveOperations(self.transport, "ns")

    def _listed(self, _: Request) -> bytes:
        body = {"metadata": {"resourceVersion": "1"}, "items": [stored(self._kind, 1, phase="Waiting", arrived=1)]}
        return msgspec.json.encode(body)

    def begin(self) -> asyncio.Task[bytes]:
        asked = AskPrimitive(self._kind, "x", "wait", "id", b"{}")
        doing = self._operations.perform(asked, HOLDER, may_repeat=False, on_progress=self.told.append)
        return asyncio.ensure_future(doing)

    def show(self, type_: str, version: int, **status: Any) -> None:
        self.transport.emit(msgspec.json.encode({"type": type_, "object": stored(self._kind, version, **status)}))


async def reached(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["Gate", "Barrier"])
async def test_all_who_wait_share_a_watch_and_hear_of_the_end(kind: str) -> None:
    """Also those who come later; and why they wait."""
    waits = Waits(kind)
    first = [waits.begin() for _ in range(20)]
    await reached(lambda: len(waits.told) == 20)
    second = [waits.begin() for _ in range(20)]
    await reached(lambda: len(waits.told) == 40)
    waits.show("MODIFIED", 2, phase="Open", arrived=3)
    assert await asyncio.gather(*first, *second) == [b"null"] * 40
    assert len(waits.transport.watched) == 1


async def test_who_gives_up_leaves_the_wait_to_the_others_and_the_last_ends_it() -> None:
    """Who comes after that looks anew."""
    waits = Waits("Gate")
    one, other = waits.begin(), waits.begin()
    await reached(lambda: len(waits.transport.watched) == 1)
    one.cancel()
    await asyncio.wait([one])
    assert not other.done()
    other.cancel()
    again = waits.begin()
    await asyncio.wait([other])
    await reached(lambda: len(waits.transport.watched) == 2)
    waits.show("MODIFIED", 2, phase="Open")
    assert await again == b"null"


async def test_all_who_wait_hear_that_the_object_is_gone() -> None:
    """And a wait that begins after that looks anew."""
    waits = Waits("Gate")
    both = [waits.begin(), waits.begin()]
    await reached(lambda: len(waits.transport.watched) == 1)
    waits.show("DELETED", 2)
    assert [type(one) for one in await asyncio.gather(*both, return_exceptions=True)] == [errors.NotFound] * 2
    again = waits.begin()
    await reached(lambda: len(waits.transport.watched) == 2)
    again.cancel()
    await asyncio.wait([again])


async def test_a_replica_counts_as_one_writer() -> None:
    """Whatever counts, one call after the other: what the WaitGroup remembers of other programs stays."""
    jobs = StoredWaitGroup()
    operations = PrimitiveOperations(jobs, "default")
    for number in range(5):
        asked = AskPrimitive("WaitGroup", "jobs", "add", f"id{number}", b'{"delta":1}')
        await operations.perform(asked, HOLDER, may_repeat=False, on_progress=lambda _: None)
    status = jobs.group.status
    assert (status.counter, status.write_count, len(status.writers)) == (5, 5, 1)


class ManyWaitGroups:
    """WaitGroups of any name, of which each is there."""

    def __init__(self) -> None:
        self.by_name: dict[str, StoredWaitGroup] = {}

    async def send(self, request: Request, **options: Any) -> bytes:
        """Have the one that it is about answer."""
        name = request.path.split("/waitgroups/")[1].split("/")[0]
        return await self.by_name.setdefault(name, StoredWaitGroup()).send(request, **options)

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Nobody watches them."""
        raise AssertionError(f"unexpected watch {request}")
        yield b""


async def test_a_replica_that_counts_on_many_stays_one_writer_where_it_counts_again_and_again() -> None:
    """It forgets the ones that it has not used for long, however early it has begun with the others."""
    groups = ManyWaitGroups()
    operations = PrimitiveOperations(groups, "default")
    for number in range(80):
        for name in ("often", f"once{number}"):
            asked = AskPrimitive("WaitGroup", name, "add", f"{name}.{number}", b'{"delta":1}')
            await operations.perform(asked, HOLDER, may_repeat=False, on_progress=lambda _: None)
    status = groups.by_name["often"].group.status
    assert (status.counter, len(status.writers)) == (80, 1)
