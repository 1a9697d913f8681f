"""A limit on how many activations a pool runs at once, over all its runners."""

import asyncio
from typing import Any

from kontinue_engine.wire import frames

FUNCTIONS = """
import asyncio
import time


@app.function
def nap(s: float) -> float:
    time.sleep(s)
    return s


@app.function
async def rest(s: float) -> float:
    await asyncio.sleep(s)
    return s


@app.function
async def wait(ctx: ExecutionContext, s: float) -> float:
    await ctx.sleep(timedelta(seconds=s))
    return s
"""
HEADER = """
from datetime import timedelta

from kontinue import App, ExecutionContext

app = App(group="g")
"""


def most_at_once(heard: Any) -> int:
    """Return how many were active at the same time, as the supervisor was told."""
    active: set[int] = set()
    most = 0
    for frame in heard.frames:
        match frame:
            case frames.Running(activation=activation):
                active.add(activation)
            case frames.Waiting(activation=activation) | frames.Completed(activation=activation):
                active.discard(activation)
        most = max(most, len(active))
    return most


async def test_no_more_run_at_once_than_allowed(start_pool: Any) -> None:
    """Runners of both colours share the limit; what waits for its turn is not lost."""
    running = await start_pool(FUNCTIONS, header=HEADER, sync_runners=2, max_active=2)
    activations = [running.submit("rest", s=0.02) for _ in range(6)] + [running.submit("nap", s=0.02) for _ in range(6)]
    assert [await running.result(activation) for activation in activations] == [0.02] * 12
    assert most_at_once(running.heard) == 2


async def test_those_that_wait_for_something_do_not_count(start_pool: Any) -> None:
    """Any number may be parked."""
    running = await start_pool(FUNCTIONS, header=HEADER, max_active=1)
    parked = [running.submit("wait", s=60) for _ in range(5)]
    for activation in parked:
        await running.heard.until(
            lambda activation=activation: any(
                isinstance(frame, frames.Waiting) and frame.activation == activation for frame in running.heard.frames
            )
        )
    assert await asyncio.wait_for(running.call("nap", s=0.0), 20) == 0.0
