"""The worker of a round's Executions, and what is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from chaos.pods import Pod
from chaos.world import READY_S, until
from kontinue import errors
from kontinue.client import SpawnOptions
from primitives_chaos.functions import GROUP, take_part
from primitives_chaos.world import World

PATIENCE = timedelta(seconds=240)


@contextlib.asynccontextmanager
async def running_worker(folder: Path, world: World) -> AsyncIterator[Pod]:
    """Run a worker that comes back whenever it ends, from when it takes work."""
    worker = Pod(folder, world.server.kubeconfig, "worker-0", app="primitives_chaos.functions:app", group=GROUP)
    running = asyncio.create_task(worker.run())
    try:
        await until(lambda: worker.is_ready, READY_S, "the worker is ready")
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def execute(world: World, suffix: str, number: int) -> list[str]:
    """Have one Execution take part in a round; return what must not be."""
    options = SpawnOptions(name=f"part-{suffix}-{number}", if_exists="attach")
    arguments = {"suffix": suffix, "ledger": str(world.ledger)}
    while True:
        try:
            handle = await world.client.spawn(take_part.name, arguments, options=options)
            await handle.result(timeout=PATIENCE)
        except errors.Unavailable:
            continue
        except errors.KontinueError as error:
            return [f"{options.name}: {error!r}"]
        return []
