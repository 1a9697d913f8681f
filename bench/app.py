"""Functions that the benchmarks run: as little user code as possible, so that the engine is what is measured."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, step

app = App(group="bench")


@app.function
def trivial(n: int) -> int:
    """Return at once."""
    return n


@app.function
def burn(ms: int) -> int:
    """Use the CPU for ``ms`` milliseconds."""
    return burn_cpu(ms)


def burn_cpu(ms: int) -> int:
    """Count for ``ms`` milliseconds of this thread's CPU time, so that waiting for a core is not counted as work."""
    count = 0
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        count += sum(range(500))
    return count


@step
def add_one(n: int) -> int:
    """Do next to nothing, durably."""
    return n + 1


@app.function
async def steps10(ctx: ExecutionContext, n: int) -> int:
    """Ten steps, one after the other."""
    for _ in range(10):
        n = await ctx.step(add_one, n)
    return n


@app.function
async def fanout100(ctx: ExecutionContext, n: int) -> int:
    """A hundred children at once."""
    return sum(await ctx.map(trivial, range(n, n + 100)))


@app.function
async def fanout(ctx: ExecutionContext, count: int) -> int:
    """So many children at once."""
    return sum(await ctx.map(trivial, range(count)))


def mark(marks: str) -> None:
    """Note the time; wait until there are two."""
    with Path(marks).open("a") as file:
        file.write(f"{time.time()}\n")
    while len(Path(marks).read_text().splitlines()) < 2:
        time.sleep(0.01)


@app.function
async def steps_then_mark(ctx: ExecutionContext, count: int, marks: str) -> int:
    """So many steps, one after the other, and a last one."""
    n = 0
    for _ in range(count):
        n = await ctx.step(add_one, n)
    await ctx.step(mark, marks)
    return n


@app.function
async def hold(ctx: ExecutionContext, ms: int) -> int:
    """Wait without a slot."""
    await ctx.sleep(timedelta(milliseconds=ms))
    return ms


@app.function
async def sleep_until(ctx: ExecutionContext, until_s: float) -> None:
    """Sleep until that time, in seconds since 1970."""
    await ctx.sleep(timedelta(seconds=until_s - ctx.now().timestamp()))
