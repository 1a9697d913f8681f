"""Functions for fault tests: every step leaves a random value, so that a lost or repeated record shows."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from kontinue import App, ExecutionContext, SyncExecutionContext, step

app = App(group="chaos")


@step
def draw() -> str:
    """Return something that no other call returns."""
    return uuid.uuid4().hex


@app.function
def burn(ms: int) -> str:
    """Use the CPU for a while."""
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        sum(range(1000))
    return uuid.uuid4().hex


@app.function
async def tree(ctx: ExecutionContext, seed: int) -> list[str]:
    """Steps, a sleep, and children in parallel; returns every value it saw, in order."""
    seen = [await ctx.step(draw)]
    await ctx.sleep(timedelta(milliseconds=20 + seed % 50))
    seen += await ctx.map(burn, [5 + (seed + n) % 20 for n in range(4)])
    seen.append(await ctx.step(draw))
    seen += await ctx.execute(leaf, seed)
    seen.append(await ctx.step(draw))
    return seen


@app.function
def leaf(ctx: SyncExecutionContext, seed: int) -> list[str]:
    """The same in a sync function."""
    seen = [ctx.step(draw)]
    ctx.sleep(timedelta(milliseconds=10))
    seen += ctx.map(burn, [5 + seed % 10, 5])
    seen.append(ctx.step(draw))
    return seen
