"""Waiting for what others do: a condition is looked at again and again. The limit is for tests that have failed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

from kontinue.api.v1alpha1 import Execution
from kontinue.client import Client
from kontinue_engine.lifecycle.conditions import is_stopped

SOON_S = 60.0


async def eventually(check: Callable[[], object], *, pause_s: float = 0.01) -> None:
    """Poll until what ``check`` returns, or what that can be awaited for, is true."""
    async with asyncio.timeout(SOON_S):
        while not await _answer(check):
            await asyncio.sleep(pause_s)


async def _answer(check: Callable[[], object]) -> object:
    answer = check()
    return await answer if inspect.isawaitable(answer) else answer


async def stopped(client: Client, name: str) -> Execution:
    """Wait until nothing of an Execution runs any more."""
    async with asyncio.timeout(SOON_S):
        while not is_stopped((found := await client.get(name)).status.conditions):
            await asyncio.sleep(0.02)
    return found
