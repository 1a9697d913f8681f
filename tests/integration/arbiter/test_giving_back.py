"""Whoever is cancelled as he leaves what he holds has given it back when he is gone, whatever else the program does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.client import Client
from kontinue.sync import Lease, Mutex, Once, RWMutex, Semaphore
from looked_after import World

Scope = AbstractAsyncContextManager[Any]
KINDS: dict[str, Callable[[Any], Scope]] = {
    "Mutex": lambda one: one.held(holder="me"),
    "RWMutex, reading": lambda one: one.reading(holder="me"),
    "RWMutex, writing": lambda one: one.held(holder="me"),
    "Lease": lambda one: one.held(holder="me"),
    "Once": lambda one: one.running(holder="me"),
    "Semaphore": lambda one: one.hold(holder="me"),
    "Semaphore, acquired": lambda one: Acquired(one),
}
FREE = {"Unlocked", "Available", "Executed", "Ready"}


class Acquired:
    """A permit that is not renewed, as a context manager."""

    def __init__(self, semaphore: Semaphore) -> None:
        self._semaphore = semaphore
        self._permit: Any = None

    async def __aenter__(self) -> None:
        self._permit = await self._semaphore.acquire(holder="me")
        await self._permit.__aenter__()

    async def __aexit__(self, *raised: object) -> None:
        await self._permit.__aexit__(*raised)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    subject = World(transport, api_server.namespace)
    async with subject.looked_after():
        yield subject
    await transport.close()


async def created(kind: str, name: str, client: Client) -> Any:
    """Create what can be held."""
    if kind.startswith("Semaphore"):
        semaphore = Semaphore(name, client)
        await semaphore.create(1)
        return semaphore
    subject = {"Mutex": Mutex, "RWMutex": RWMutex, "Lease": Lease, "Once": Once}[kind.partition(",")[0]](name, client)
    await subject.create()
    return subject


async def leaving(kind: str, subject: Any, *, after: int) -> asyncio.Task[None]:
    """Hold it, and return who does when so many turns of the loop have passed since he left."""
    leaves = asyncio.Event()

    async def work() -> None:
        async with KINDS[kind](subject):
            leaves.set()

    task = asyncio.create_task(work())
    await leaves.wait()
    for _ in range(after):
        await asyncio.sleep(0)
    return task


async def is_free(world: World, subject: Any) -> bool:
    """Tell whether others may have it: now, but for a coordinator that is to see it."""
    for _ in range(1200 if isinstance(subject, Lease | Semaphore) else 1):
        if (await type(subject)(subject.name, world.client).status()).phase.value in FREE:
            return True
        await asyncio.sleep(0.05)
    return False


def cancel_him(holder: asyncio.Task[None]) -> None:
    """Twice, as by a limit of time within another."""
    holder.cancel()
    holder.cancel()


def cancel_all(holder: asyncio.Task[None]) -> None:
    """As at the end of ``asyncio.run``."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


def cancel_all_others(holder: asyncio.Task[None]) -> None:
    """As a program that knows nothing of our tasks."""
    for task in asyncio.all_tasks() - {asyncio.current_task(), holder}:
        task.cancel()


@pytest.mark.parametrize("cancel", [cancel_him, cancel_all, cancel_all_others])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_held_is_given_back_by_who_is_cancelled_as_he_leaves(
    world: World, api_server: ApiServer, kind: str, cancel: Callable[[asyncio.Task[None]], None]
):
    """However soon, and although the client is closed behind him."""

    async def program(name: str, after: int) -> None:
        transport = api_server.transport()
        subject = await created(kind, name, Client.from_kube(transport, world.namespace))
        holder = await leaving(kind, subject, after=after)
        cancel(holder)
        await asyncio.wait([holder])
        await transport.close()
        if cancel is cancel_all_others:
            assert holder.result() is None

    for after in (0, 1, 2, 3, 5, 8, 13, 21, 34):
        name = f"x{after}"
        await asyncio.to_thread(asyncio.run, program(name, after))
        assert await is_free(world, await created(kind, name, world.client)), after
