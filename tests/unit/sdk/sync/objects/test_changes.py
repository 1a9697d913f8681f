"""Writes of one process to one object, whatever becomes of who has asked for them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from kontinue import errors
from kontinue.api.konductor.mutexes import Mutex, MutexStatus
from kontinue.api.meta import ObjectMeta
from kontinue.kube import requests
from kontinue.kube.requests import Request
from kontinue.sync.objects.changes import Changes


class Stalled:
    """Implements ``kontinue.kube.transport.Transport``: answers a write when it is let, with a refusal."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def send(self, request: Request, **options: Any) -> bytes:
        if request.method == "PUT":
            self.has_begun.set()
            await self.may_answer.wait()
            raise errors.Conflict("the object has been modified", status=409, reason="Conflict")
        return msgspec.json.encode(Mutex(metadata=ObjectMeta(name="deploy", namespace="default")))

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Nobody watches it."""
        raise AssertionError(f"unexpected watch {request}")
        yield b""


def held(mutex: Mutex) -> Mutex:
    """Return it with a holder."""
    return msgspec.structs.replace(mutex, status=MutexStatus(holder="a"))


async def test_who_is_cancelled_again_while_a_write_is_under_way_leaves_nothing_behind():
    """Its refusal is nobody's business any more, and nothing complains of it."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    transport = Stalled()
    changes = Changes(transport, requests.MUTEXES, Mutex, "default", "deploy", retry_for_s=30)
    writing = asyncio.create_task(changes.apply(held))
    await transport.has_begun.wait()
    for _ in range(2):
        writing.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([writing])
    assert writing.cancelled()
    del writing
    transport.may_answer.set()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
