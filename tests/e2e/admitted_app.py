"""Functions that exclude each other, and note in a file when they begin and end."""

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from kontinue import App, ChildFailed, ExecutionContext, RetryPolicy, SyncExecutionContext, current_step, step

app = App(group="gated")


@step
def note(file: str, what: str) -> None:
    """Append a line with the fencing token of the run that writes it."""
    with Path(file).open("a") as out:
        out.write(f"{what} {current_step().fencing_token}\n")


def wait_for(path: str) -> None:
    """Wait until somebody makes a file, if there is to be one."""
    while path and not Path(path).exists():
        time.sleep(0.02)


@app.function
def work(ctx: SyncExecutionContext, file: str, name: str, until: str = "") -> str:
    """Something that only one may do at a time, if it is started with a mutex."""
    ctx.step(note, file, f"begin {name}")
    wait_for(until)
    ctx.step(note, file, f"end {name}")
    return name


@app.function(limit=2)
def scarce(ctx: SyncExecutionContext, file: str, name: str, seconds: float = 0.0, until: str = "") -> str:
    """Something that only two may do at a time."""
    ctx.step(note, file, f"begin {name}")
    wait_for(until)
    time.sleep(seconds)
    ctx.step(note, file, f"end {name}")
    return name


async def wait_carefully(ctx: ExecutionContext, file: str, name: str) -> None:
    """Note the beginning; wait until somebody ends it; note the end after some time for cleaning up."""
    with Path(file).open("a") as out:
        out.write(f"begin {name} 0\n")
    try:
        await ctx.sleep(timedelta(hours=1))
    finally:
        time.sleep(1.0)
        with Path(file).open("a") as out:
            out.write(f"end {name} 0\n")


@app.function
async def careful(ctx: ExecutionContext, file: str, name: str) -> None:
    """Something that cleans up when it is ended."""
    await wait_carefully(ctx, file, name)


@app.function(limit=1)
async def lonely(ctx: ExecutionContext, file: str, name: str) -> None:
    """Something that cleans up when it is ended, and that only one may do at a time."""
    await wait_carefully(ctx, file, name)


@app.function
async def parent_of_scarce(ctx: ExecutionContext, file: str, name: str) -> list[str]:
    """Children of which only two may run at a time in the whole group, whoever their parents are."""
    return await asyncio.gather(*(ctx.execute(scarce, file, f"{name}-{number}", 0.6) for number in range(2)))


@step(retry=RetryPolicy(retries=1, backoff=timedelta(seconds=2)))
def fail_once(file: str) -> int:
    """Fail the first time."""
    if current_step().attempt == 1:
        raise ConnectionError(f"{file} is never there at first")
    return current_step().attempt


@app.function
def stubborn(ctx: SyncExecutionContext, file: str, name: str) -> str:
    """Kill the runner, and when that is overcome fail once and try again."""
    ctx.step(note, file, f"begin {name}")
    crashed = Path(f"{file}.crashed")
    if not crashed.exists():
        crashed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    ctx.step(fail_once, file)
    ctx.step(note, file, f"end {name}")
    return name


@app.function
def family(ctx: SyncExecutionContext, file: str) -> str:
    """A child that wants the mutex that its parent holds, if it was started with that."""
    try:
        return ctx.execute(work.options(mutex="m"), file, "child")
    except ChildFailed as error:
        return error.type


@app.function(limit=1)
def nested(ctx: SyncExecutionContext, depth: int) -> str:
    """A function whose limit its own call uses up."""
    if depth == 0:
        return "done"
    try:
        return ctx.execute(nested, depth - 1)
    except ChildFailed as error:
        return error.type
