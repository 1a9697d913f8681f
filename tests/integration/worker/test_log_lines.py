"""What a worker logs about an Execution: each line says which one, and where it ran."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, ClientOptions

PATIENCE_S = 60.0
APP = """
import logging
from datetime import timedelta
from kontinue import App, ExecutionContext, RetryPolicy, step

app = App(group="logged")
log = logging.getLogger("shop")


@step
async def charge(attempt: int) -> int:
    print("in a step")
    log.warning("charging")
    if attempt == 1:
        raise ValueError("no")
    return 1


@app.function(retry=RetryPolicy(retries=1, backoff=timedelta(0)))
async def order(ctx: ExecutionContext) -> int:
    print("in the body")
    return await ctx.step(charge, ctx.attempt)
"""

pytestmark = pytest.mark.slow


async def test_each_line_names_execution_attempt_and_worker(place: Any) -> None:
    """User output, user logging and the engine's own lines, over two attempts; a line of a step names the step."""
    place.write_app(APP)
    worker = place.start("--shard", "w-7", "--log-level", "debug").ready()
    async with Client(ClientOptions(kubeconfig=str(place.server.kubeconfig), qps=None)) as client:
        spawned = await client.spawn("order")
        done = await client.wait_for_execution(spawned.name, until=[Phase.COMPLETED, Phase.FAILED])
    assert done.phase is Phase.COMPLETED

    def lines_of_it() -> list[dict[str, Any]]:
        return [line for line in worker.lines() if line.get("uid") == done.metadata.uid]

    def outputs() -> list[tuple[int, str, bool]]:
        found = [line for line in lines_of_it() if line["event"] == "output"]
        return sorted((line["attempt"], line["text"], bool(line.get("step"))) for line in found)

    wanted = sorted(
        (attempt, text, text != "in the body")
        for attempt in (1, 2)
        for text in ("in the body", "in a step", "charging")
    )
    async with asyncio.timeout(PATIENCE_S):
        while outputs() != wanted:
            await asyncio.sleep(0.05)
    for line in lines_of_it():
        assert line["execution"] == done.metadata.name
        assert (line["namespace"], line["group"], line["shard"]) == ("default", "logged", "w-7")
        assert line["attempt"] in {1, 2}
    (retrying,) = [line for line in lines_of_it() if line.get("reason") == "Retrying"]
    assert retrying["attempt"] == 1
    assert sorted(line["attempt"] for line in lines_of_it() if line["event"] == "dispatched") == [1, 2]
    assert all(
        (one["group"], one["shard"]) == ("logged", "w-7") for one in worker.lines() if one["event"] == "worker ready"
    )
