"""Functions for replicas that share the work."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, SyncExecutionContext, current_step, step

app = App(group="shared")


@app.function
def add(a: int, b: int) -> int:
    return a + b


@app.function
def burn(seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


@step
def note(file: str, text: str) -> None:
    """Append a line with the fencing token of the claim that runs this."""
    with Path(file).open("a") as out:
        out.write(f"{text} {current_step().fencing_token}\n")


@app.function
def noting(ctx: SyncExecutionContext, file: str, end: str) -> str:
    """A step before and one after work that takes as long as the test wants."""
    ctx.step(note, file, "before")
    while not Path(end).exists():
        time.sleep(0.005)
    ctx.step(note, file, "after")
    return "done"


@step
def tick_until(end: str, file: str) -> None:
    """Append a line with the fencing token of the claim that runs this, again and again until there is ``end``."""
    while not Path(end).exists():
        note(file, "tick")
        time.sleep(0.02)


@app.function
def ticking(ctx: SyncExecutionContext, file: str, end: str) -> str:
    """One step that takes as long as the test wants."""
    ctx.step(tick_until, end, file)
    return "done"


@app.function
async def spread(ctx: ExecutionContext, count: int) -> int:
    """Children that the leader places."""
    elsewhere = add.options(disable_shard_inheritance=True)
    return sum(await asyncio.gather(*(ctx.execute(elsewhere, number, 0) for number in range(count))))


@app.function
async def wait_for_naps(ctx: ExecutionContext, count: int, seconds: float) -> None:
    """Children that the leader places, and that take their time."""
    elsewhere = nap.options(disable_shard_inheritance=True)
    await asyncio.gather(*(ctx.execute(elsewhere, seconds) for _ in range(count)))


@app.function
async def wait_for_nap(ctx: ExecutionContext, seconds: float) -> str:
    """A child beside its parent."""
    return await ctx.execute(nap, seconds)


@app.function
async def together(ctx: ExecutionContext, count: int) -> int:
    """Children beside their parent."""
    return sum(await asyncio.gather(*(ctx.execute(add, number, 0) for number in range(count))))


@app.function
async def nap(ctx: ExecutionContext, seconds: float) -> str:
    await ctx.sleep(timedelta(seconds=seconds))
    return "rested"
