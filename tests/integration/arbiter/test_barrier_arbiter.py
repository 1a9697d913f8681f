"""Barriers of ``konductor.io`` with their coordinator: they open once, for those who came, and fail in time."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from api_server import ApiServer
from kontinue import errors
from kontinue.client import ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.sync import Barrier, BarrierPhase, SyncBarrier
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)
PAGE = Path(__file__).parents[3] / "docs" / "barriers.md"


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


@pytest.fixture
def start(world: World) -> Barrier:
    """A Barrier that does not exist yet."""
    return Barrier("start", world.client)


async def _arrived(start: Barrier, number: int) -> bool:
    return (await start.status()).arrived == number


async def test_all_go_on_together(world: World, start: Barrier):
    """Nobody before the last has come; whoever arrives twice counts once, whatever it is called."""
    await start.create(20)
    holders = [f"worker-{number}" for number in range(19)] + ["Ärger mit Umlauten!"]
    async with world.looked_after():
        waiting = [asyncio.create_task(start.wait(timeout=LONG)) for _ in holders]
        await asyncio.gather(*(start.arrive(holder) for holder in [*holders[1:], *holders[1:]]))
        await eventually(lambda: _arrived(start, 19))
        assert not any(task.done() for task in waiting)
        await start.arrive(holders[0])
        opened = await asyncio.gather(*waiting)
    assert {one.status.phase for one in opened} == {BarrierPhase.OPEN}
    assert sorted(opened[0].status.arrivals) == sorted(holders)
    assert opened[0].status.opened_at is not None


async def test_it_stays_open(world: World, start: Barrier):
    """Also when an Arrival is deleted, and for a coordinator that begins then; an Event has told."""
    await start.create(2, quorum=1)
    async with world.looked_after():
        arrival = await start.arrive("a")
        await start.wait(timeout=LONG)
        await eventually(lambda: world.events("Opened"))
    name = arrival.metadata.name
    assert name == "start-a"
    await world.transport.send(requests.delete(requests.ARRIVALS, world.namespace, name))
    async with world.looked_after():
        await eventually(lambda: _arrived(start, 0))
        assert (await start.wait(timeout=timedelta())).status.phase is BarrierPhase.OPEN


async def test_it_fails_although_nobody_comes_any_more(world: World, start: Barrier):
    """Who waits is told, and so is who comes later."""
    await start.create(2, timeout=timedelta(milliseconds=1))
    async with world.looked_after():
        with pytest.raises(errors.InvalidState, match=r"has failed: 0 of 2 have arrived within 1ms"):
            await start.wait(timeout=LONG)
        with pytest.raises(errors.InvalidState, match="has failed"):
            await start.arrive("late")
        await eventually(lambda: world.events("TimedOut"))


async def test_who_came_in_time_counts_though_nobody_looked(world: World, start: Barrier):
    """The coordinator was away, and its time is not yet over by the clock of Arrivals."""
    await start.create(2, timeout=timedelta(hours=1))
    await start.arrive("a")
    await start.arrive("b")
    async with world.looked_after(), world.looked_after():
        assert (await start.wait(timeout=LONG)).status.arrived == 2


async def test_a_wait_tells_how_many_are_missing(world: World, start: Barrier):
    """Or that nobody looks after it."""
    with pytest.raises(errors.NotFound, match="barriers"):
        await start.arrive("a")
    with pytest.raises(errors.NotFound, match="there is no Barrier"):
        await start.wait(timeout=LONG)
    await start.create(2)
    with pytest.raises(errors.WaitTimeout, match="no coordinator has looked after"):
        await start.wait(timeout=timedelta())
    await start.arrive("a")
    async with world.looked_after():
        await eventually(lambda: _arrived(start, 1))
        with pytest.raises(errors.WaitTimeout, match="1 of 2 have arrived"):
            await start.wait(timeout=timedelta())
        with pytest.raises(errors.WaitTimeout):
            await start.wait(timeout=timedelta(seconds=6))
        waiting = asyncio.create_task(start.wait(timeout=LONG))
        await asyncio.sleep(0)
        await start.delete()
        with pytest.raises(errors.NotFound):
            await waiting


async def test_one_that_is_made_again_begins_empty(world: World, start: Barrier):
    """Whoever has arrived at the earlier one arrives anew."""
    await start.create(1)
    await start.arrive("a")
    await start.delete()
    await start.create(2)
    async with world.looked_after():
        first = await start.arrive("a")
        assert (await start.arrive("a")).metadata.uid == first.metadata.uid
        await eventually(lambda: _arrived(start, 1))
        await start.arrive("b")
        await start.wait(timeout=LONG)


async def test_the_synchronous_twin_does_the_same(world: World, api_server: ApiServer):
    """With the same methods and parameters."""

    def methods(of_: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of_, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in found if name[0] != "_"}

    assert methods(SyncBarrier) == methods(Barrier)

    def use() -> list[object]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            start = SyncBarrier("start", client)
            start.create(1)
            seen: list[object] = [start.arrive("me").spec.holder, start.wait(timeout=LONG).status.arrived]
            start.wait_until(lambda found: found.status.arrived == 1, timeout=LONG)
            seen += [start.get().required, start.status().phase]
            start.delete()
            return seen

    async with world.looked_after():
        assert await asyncio.to_thread(use) == ["me", 1, 1, BarrierPhase.OPEN]


async def test_the_program_of_the_documentation_runs(world: World, api_server: ApiServer, tmp_path: Path):
    """That of docs/barriers.md, as it stands there; its manifest, too."""
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (manifest,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    await world.transport.send(requests.create(requests.BARRIERS, world.namespace, yaml.safe_load(manifest)))
    (tmp_path / "begin.py").write_text(program)
    async with world.looked_after():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "begin.py"),
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"3 have begun\n")
