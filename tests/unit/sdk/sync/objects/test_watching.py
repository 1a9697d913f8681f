"""Whoever follows one object tells what is missing from what cannot be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.konductor.mutexes import Mutex, MutexSpec
from kontinue.api.meta import ObjectMeta
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.sync import Barrier, WaitGroup
from kontinue.sync.objects.followed import Followed
from kontinue.sync.objects.watching import shown
from scripted_transport import ScriptedTransport

SPOILT = {"metadata": {"name": "x", "namespace": "default", "resourceVersion": "1"}, "spec": "none", "status": 5}


async def follow_mutex(transport: ScriptedTransport) -> Any:
    """Look at a Mutex that was seen before."""
    followed = Followed(transport, requests.MUTEXES, Mutex, "default", "x")
    async with followed:
        seen = Mutex(metadata=ObjectMeta(name="x", resource_version="1"), spec=MutexSpec())
        return await followed.newer(seen, within_s=None)


async def wait_for_barrier(transport: ScriptedTransport) -> Any:
    """Wait until it is open."""
    return await Barrier("x", Client.from_kube(transport, "default")).wait()


async def wait_for_group(transport: ScriptedTransport) -> Any:
    """Wait until it is done."""
    return await WaitGroup("x", Client.from_kube(transport, "default")).wait()


FOLLOWERS: list[tuple[Callable[[ScriptedTransport], Awaitable[Any]], str]] = [
    (follow_mutex, "was deleted"),
    (wait_for_barrier, "there is no Barrier"),
    (wait_for_group, "there is no WaitGroup"),
]


@pytest.mark.parametrize(("follow", "said"), FOLLOWERS)
async def test_what_cannot_be_read_is_not_called_missing(
    follow: Callable[[ScriptedTransport], Awaitable[Any]], said: str
):
    """Its definition may be of another version; what is missing is told as that."""
    transport = ScriptedTransport()
    items: list[Any] = [SPOILT]
    transport.answer = lambda _: json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()
    with pytest.raises(errors.ApiError, match=r"default/x is no .* as this version of kontinue knows it"):
        await follow(transport)
    items.clear()
    with pytest.raises(errors.NotFound, match=said):
        await follow(transport)


async def test_who_may_not_watch_is_shown_what_he_may_list():
    """It only tells people: what waits for something else goes on."""
    transport = ScriptedTransport()
    mutex = {"metadata": {"name": "x", "namespace": "default", "resourceVersion": "1"}, "spec": {}}
    transport.answer = lambda _: json.dumps({"metadata": {"resourceVersion": "1"}, "items": [mutex]}).encode()
    transport.watches.append([errors.Forbidden("you may not watch it", status=403)])
    seen: list[Mutex] = []
    await shown(transport, requests.MUTEXES, "default", "x", Mutex, seen.append)
    assert [one.metadata.name for one in seen] == ["x"]


async def test_an_object_is_followed_on_when_a_program_has_cancelled_all_its_tasks():
    """Who follows it was perhaps not cancelled."""
    seen = Mutex(metadata=ObjectMeta(name="x", resource_version="1"), spec=MutexSpec())
    transport = ScriptedTransport()
    transport.answer = lambda _: b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % msgspec.json.encode(seen)
    followed = Followed(transport, requests.MUTEXES, Mutex, "default", "x")
    async with followed:
        newer = asyncio.create_task(followed.newer(seen, within_s=None))
        while not transport.watched:
            await asyncio.sleep(0)
        seen = Mutex(metadata=ObjectMeta(name="x", resource_version="2"), spec=MutexSpec())
        for task in asyncio.all_tasks() - {asyncio.current_task(), newer}:
            task.cancel()
        assert await newer == seen
