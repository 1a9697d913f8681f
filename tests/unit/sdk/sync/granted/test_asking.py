"""Who asks by an object of his own, and what becomes of it when it is not granted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.konductor.semaphores import (
    Permit,
    PermitPhase,
    PermitSpec,
    PermitStatus,
    Semaphore,
    SemaphorePhase,
    SemaphoreSpec,
    SemaphoreStatus,
)
from kontinue.api.meta import ObjectMeta
from kontinue.kube import requests
from kontinue.kube.requests import Request
from kontinue.sync.granted.asking import Asker, Words
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time

PERMIT = Permit(metadata=ObjectMeta(name="p"), spec=PermitSpec(semaphore="db", holder="me"))


def asker(transport: Any, namespace: str = "default") -> Asker[Permit]:
    """Ask for permits."""
    words = Words("a permit", lambda _: "no permit is free", "no permit was free")
    return Asker(transport, requests.PERMITS, Permit, namespace, words=words, retry_for_s=1.0)


async def prepare() -> Permit:
    """Return what asks."""
    return PERMIT


async def exists() -> Semaphore:
    """Return what is asked of, which no coordinator has seen."""
    return Semaphore(metadata=ObjectMeta(name="db"), spec=SemaphoreSpec(permits=1))


async def seen() -> Semaphore:
    """Return the same, which one has looked after."""
    return msgspec.structs.replace(await exists(), status=SemaphoreStatus(phase=SemaphorePhase.FULL))


@pytest.mark.parametrize(
    ("refusal", "deleted"),
    [
        (errors.Unavailable("too many requests", status=429), True),
        (errors.Unavailable("etcd changes its leader", status=500), True),
        (errors.Unavailable("no answer"), True),
        (errors.Forbidden("you may not", status=403), False),
    ],
    ids=["429", "500", "none", "403"],
)
async def test_what_may_have_been_created_is_deleted(refusal: errors.ApiError, deleted: bool):
    """The answer to a create may have been lost before another try was refused for a while."""
    transport = ScriptedTransport()

    def answer(request: Request) -> bytes:
        if request.method == "POST":
            raise refusal
        return b"{}"

    transport.answer = answer
    with pytest.raises(type(refusal)):
        await asker(transport).granted("p", prepare, limit=None, exists=exists)
    assert [one.method for one in transport.sent] == (["POST", "DELETE"] if deleted else ["POST"])


@pytest.mark.parametrize(
    ("look", "limit_s", "said"),
    [
        (exists, 5, "no coordinator has looked after a permit: .*`kontinue coordinator run`"),
        (exists, 0, "no coordinator has looked after a permit: .*`kontinue coordinator run`"),
        (seen, 5, "no permit was free within 5s"),
    ],
)
@virtual_time
async def test_who_gets_nothing_in_time_is_told_whether_a_coordinator_was_there(
    look: Callable[[], Awaitable[Semaphore]], limit_s: int, said: str
):
    """What nobody looks after is not held by others, and waiting for longer does not help."""
    transport = ScriptedTransport()
    listed = b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % msgspec.json.encode(PERMIT)
    transport.answer = lambda request: listed if request.method == "GET" else b"{}"
    with pytest.raises(errors.WaitTimeout, match=said):
        await asker(transport).granted("p", prepare, limit=timedelta(seconds=limit_s), exists=look)


@pytest.mark.parametrize(("namespace", "said"), [("default", "run`"), ("shop", "run -n shop`")])
@virtual_time
async def test_who_lacks_a_coordinator_is_told_how_to_start_one_for_the_namespace(namespace: str, said: str):
    """The command line alone would start one for another namespace."""
    transport = ScriptedTransport()
    listed = b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % msgspec.json.encode(PERMIT)
    transport.answer = lambda request: listed if request.method == "GET" else b"{}"
    with pytest.raises(errors.WaitTimeout, match=f"`kontinue coordinator {said}"):
        await asker(transport, namespace).granted("p", prepare, limit=timedelta(seconds=5), exists=exists)


@pytest.mark.parametrize("shows", [True, False])
async def test_who_waits_goes_on_when_a_program_has_cancelled_all_its_tasks(shows: bool):
    """He was not cancelled himself, and keeps his place."""
    transport = ScriptedTransport()
    granted = msgspec.structs.replace(PERMIT, status=PermitStatus(phase=PermitPhase.GRANTED))
    stored = PERMIT
    transport.answer = lambda request: (
        b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % msgspec.json.encode(stored)
        if request.method == "GET"
        else b"{}"
    )

    async def show() -> None:
        await asyncio.Event().wait()

    waiting = asyncio.create_task(
        asker(transport).granted("p", prepare, limit=None, exists=exists, show=show if shows else None)
    )
    while not transport.watched:
        await asyncio.sleep(0)
    stored = granted
    for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
        task.cancel()
    transport.emit(b'{"type":"MODIFIED","object":%b}' % msgspec.json.encode(granted))
    assert (await waiting).is_granted
