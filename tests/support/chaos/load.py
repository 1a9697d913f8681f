"""Clients that spawn Executions all the time and wait for each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

from kontinue import errors
from kontinue.client import Client, SpawnOptions

PATIENCE = timedelta(seconds=180)
MIXED, STEADY = 7, 6
"""How many Executions are in flight: of any kind, and such that have effects all the time."""


class Load:
    """What clients did.

    Args:
        client: to spawn with.
        rng: chooses what.
        mixed: how many Executions of any kind are in flight, beside the steady ones.

    Attributes:
        ended: how many Executions were seen to end.
        violations: Executions that did not end in time.
    """

    def __init__(self, client: Client, rng: Random, *, mixed: int = MIXED) -> None:
        self.ended = 0
        self.violations: list[str] = []
        self._client = client
        self._rng = rng
        self._mixed = mixed
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Spawn while the block runs; then wait for what is under way."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._mixed):
                tasks.create_task(self._spawn_mixed())
            for _ in range(STEADY):
                tasks.create_task(self._spawn_steady())
            yield
            self._stop.set()

    async def run_one(self, function: str, arguments: dict[str, Any]) -> None:
        """Spawn an Execution, whatever the API server's state, and wait for its end.

        One whose arguments name a mutex holds it.
        """
        options = SpawnOptions(mutex=arguments.get("mutex"))
        while True:
            try:
                handle = await self._client.spawn(function, arguments, options=options)
            except errors.ApiError:
                continue  # the client has retried for 30 s
            break
        try:
            await handle.wait(timeout=PATIENCE)
        except errors.KontinueError as error:
            self.violations.append(f"{handle.name} is lost: {type(error).__name__}: {error}")
        else:
            self.ended += 1

    async def _spawn_mixed(self) -> None:
        while not self._stop.is_set():
            await self.run_one(*choose_work(self._rng))
            await asyncio.sleep(self._rng.uniform(0, 0.2))

    async def _spawn_steady(self) -> None:
        while not self._stop.is_set():
            await self.run_one("steady", {"steps": self._rng.randint(20, 40), "pause_ms": 50})


def choose_work(rng: Random) -> tuple[str, dict[str, Any]]:
    """Return a function of ``chaos.app`` and its arguments."""
    kinds = ("trivial", "trivial", "burn", "leaf", "nap", "family", "family", "guarded", "guarded", "limited", "crowd")
    match rng.choice(kinds):
        case "burn":
            return "burn", {"ms": rng.choice((10, 50, 400))}
        case "leaf" | "nap" as name:
            # Some past the time after which a waiting Execution is written Suspended.
            return name, {"ms": rng.choice((20, 500, 6500))}
        case "family":
            return "family", {"seed": rng.randrange(1000), "spread": rng.random() < 0.5}
        case "guarded":
            return "guarded", {"mutex": rng.choice(("m-0", "m-1")), "ms": rng.choice((10, 300))}
        case "limited":
            return "limited", {"pause_ms": rng.choice((10, 50, 400))}
        case "crowd":
            return "crowd", {"pauses_ms": [rng.choice((10, 50, 400)) for _ in range(3)]}
        case _:
            return "trivial", {"n": rng.randrange(1000)}
