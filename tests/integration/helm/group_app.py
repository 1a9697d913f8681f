"""Functions of a worker group that asks its API server for everything that a group ever asks for."""

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, JobTemplate

app = App(group="shop")


@app.function
def add(a: int, b: int) -> int:
    return a + b


@app.function
def wait_for(file: str) -> str:
    while not Path(file).exists():
        time.sleep(0.02)
    return "seen"


@app.function
async def nap(ctx: ExecutionContext) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "rested"


@app.function(limit=1)
def limited() -> str:
    return "admitted"


@app.function
async def many_steps(ctx: ExecutionContext, count: int, runs: int) -> int:
    """Take so many steps, in each of so many runs."""
    for number in range(count):
        await ctx.step(add_up, number)
    if runs > 1:
        ctx.continue_as_new(count, runs - 1)
    return count


def add_up(number: int) -> int:
    return number + 1


@app.function
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.function
def try_to_write(files: list[str]) -> list[str]:
    """Return who we are, and which files could not be written."""
    refused = []
    for file in files:
        try:
            Path(file).write_text("")
        except OSError as error:
            refused.append(f"{error.strerror}: {file}")
    return [str(os.getuid()), *refused]


@app.function
async def family(ctx: ExecutionContext, count: int) -> int:
    """Children beside their parent, and children that the leader places."""
    placed = add.options(disable_shard_inheritance=True)
    calls = [ctx.execute(one, number, 0) for number in range(count) for one in (add, placed)]
    return sum(await asyncio.gather(*calls))


@app.function
async def sleepers(ctx: ExecutionContext, count: int) -> list[str]:
    placed = nap.options(disable_shard_inheritance=True)
    return list(await asyncio.gather(*(ctx.execute(placed) for _ in range(count))))


@app.function
async def asks(ctx: ExecutionContext) -> bool:
    await ctx.sleep(timedelta(seconds=5.2))
    await ctx.race(ctx.suspend(display_name="nobody answers"), ctx.sleep(timedelta(milliseconds=1)))
    return await ctx.suspend(bool)


@app.function
async def runs_elsewhere(ctx: ExecutionContext) -> list[int | None]:
    """A Job and a Pod that end, and one of each that nobody waits for any more."""
    slow = JobTemplate(image="busybox", command=["sleep", "3600"])
    for call in (ctx.run_job(slow, name="slow"), ctx.run_pod(slow, name="slow")):
        await ctx.race(call, ctx.sleep(timedelta(seconds=1)))
    quick = JobTemplate(image="busybox", command=["true"])
    job = await ctx.run_job(quick, name="quick")
    return [job.exit_code, (await ctx.run_pod(quick, name="quick")).exit_code]


@app.function
async def exclusive(ctx: ExecutionContext) -> int:
    return await ctx.execute(add.options(mutex="one at a time"), 1, 1)


@app.function
async def named(ctx: ExecutionContext, name: str) -> int:
    return await ctx.execute(add.options(name=name), 1, 1)


if os.environ["RELEASE"] == "first":

    @app.function
    def changed(a: int) -> int:
        return a

    @app.function
    def dropped() -> None:
        """The next release is without it."""

else:

    @app.function
    def changed(a: int, b: int = 0) -> int:
        return a + b


@app.function
async def arrives(ctx: ExecutionContext) -> None:
    await ctx.barrier("all").arrive()


@app.function
async def coordinates(ctx: ExecutionContext) -> bool:
    """Wait for each primitive in turn; somebody else has them all, and gives one after the other back."""
    await ctx.wait_group("all").add(2)
    await ctx.wait_group("all").done(2)
    await ctx.wait_group("all").wait()
    async with ctx.mutex("all"), ctx.rwmutex("all").read(), ctx.semaphore("all"), ctx.lease("all"):
        did = await ctx.once("all").do(add_up, 1)
    await ctx.barrier("all").wait()
    await ctx.gate("all").wait()
    return did
