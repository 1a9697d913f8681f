"""Functions that fail as often as files say; every run of anything leaves a line in the file ``log``."""

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from kontinue import App, ChildFailed, ExecutionContext, NonRetryableError, RetryPolicy, step

app = App(group="retried")

AT_ONCE = RetryPolicy(retries=3, backoff=timedelta())


def note(folder: str, what: str) -> int:
    """Append a line, and return how many there are of it."""
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{what}\n")
    return (Path(folder) / "log").read_text().splitlines().count(what)


def stumble(folder: str, what: str, times: int) -> int:
    """Fail the first few times."""
    count = note(folder, what)
    if count <= times:
        raise ValueError(f"{what} failed for the {count}. time")
    return count


@step
def work(folder: str, what: str, times: int = 0) -> int:
    return stumble(folder, what, times)


@step
async def work_on_loop(folder: str, what: str, times: int = 0) -> int:
    """Several of them end in the order in which they begin; in threads a failure may overtake a success beside it."""
    return stumble(folder, what, times)


@app.function(retry=AT_ONCE)
def plain(folder: str, times: int) -> int:
    """Without a context, by the default of the function."""
    return stumble(folder, "plain", times)


@app.function(retry=AT_ONCE)
async def stepwise(ctx: ExecutionContext, folder: str) -> list[int]:
    """Several branches, one of which fails in two attempts."""
    first = await ctx.step(work, folder, "first")
    rest = await asyncio.gather(ctx.step(work_on_loop, folder, "good"), ctx.step(work_on_loop, folder, "bad", 2))
    return [first, *rest, await ctx.step(work, folder, "last")]


@app.function
async def child(ctx: ExecutionContext, folder: str, what: str, times: int) -> int:
    """A step that succeeds, then one that may fail: a retry keeps the former."""
    await ctx.step(work, folder, f"{what} before")
    return await ctx.step(work, folder, what, times)


@app.function(retry=AT_ONCE)
async def family(ctx: ExecutionContext, folder: str) -> list[int]:
    """One child fails once, the other one never."""
    first = await ctx.execute(child, folder, "elder", 0)
    return [first, await ctx.execute(child, folder, "younger", 1)]


@app.function
async def household(ctx: ExecutionContext, folder: str) -> int:
    """Without retries: it takes somebody who asks."""
    await ctx.execute(child, folder, "elder", 0)
    return await ctx.execute(child, folder, "younger", 1)


@app.function(retry=AT_ONCE)
async def handled(ctx: ExecutionContext, folder: str) -> str:
    """A failure that the code deals with stays dealt with."""
    try:
        await ctx.execute(child, folder, "handled", 1)
    except ChildFailed:
        await ctx.step(work, folder, "instead")
    await ctx.step(work, folder, "late", 1)
    return "done"


@app.function(retry=AT_ONCE)
def never_again(folder: str) -> None:
    note(folder, "never again")
    raise NonRetryableError("no use")


@app.function(retry=RetryPolicy(retries=3, backoff=timedelta(seconds=3)))
def patient(folder: str) -> int:
    return stumble(folder, "patient", 1)


@app.function(retry=RetryPolicy(retries=3, backoff=timedelta(minutes=10)))
def very_patient(folder: str) -> int:
    return stumble(folder, "very patient", 1)


@app.function
def lasting(folder: str, what: str, times: int) -> int:
    """Runs until there is a file that says that it may end."""
    count = stumble(folder, what, times)
    while not (Path(folder) / f"{what} may end").exists():
        time.sleep(0.02)
    return count


@app.function(limit=1)
def limited(folder: str, what: str, times: int) -> int:
    """The same, one at a time."""
    return lasting.fn(folder, what, times)


@app.function(retry=AT_ONCE)
def deadly(folder: str, deaths: int) -> str:
    """Kills its runner."""
    if note(folder, "deadly") <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
