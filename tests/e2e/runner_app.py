"""Functions that are hard on their runners."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, StepFailed, SyncExecutionContext, step

app = App(group="runners")


@app.function
def pid() -> int:
    """Tell which runner this is."""
    return os.getpid()


@app.function
def hoard(mib: int) -> None:
    """Take memory, and keep it."""
    kept = [bytearray(b"x") * (1 << 20) for _ in range(mib)]
    time.sleep(600)
    kept.clear()


@app.function
async def async_hoard(mib: int) -> None:
    """Take memory, and keep it, beside others."""
    kept = [bytearray(b"x") * (1 << 20) for _ in range(mib)]
    await asyncio.sleep(600)
    kept.clear()


@app.function
def wait(ctx: SyncExecutionContext, file: str) -> int:
    """Wait; note how often it begins, and if it unwinds before its end."""
    begun = Path(file).with_suffix(f".begun-{os.getpid()}")
    begun.touch()
    try:
        ctx.sleep(timedelta(hours=1))
    except BaseException:
        Path(file).with_suffix(".unwound").touch()
        raise
    return os.getpid()


@step(timeout=timedelta(milliseconds=100))
def hang() -> None:
    """Never come back."""
    time.sleep(600)


@app.function
def give_up(ctx: SyncExecutionContext) -> tuple[bool, str, int]:
    """Go on without a step that takes too long."""
    try:
        ctx.step(hang)
    except StepFailed as error:
        return error.is_a(TimeoutError), error.message, os.getpid()
    return False, "", 0


@app.function
async def async_give_up(ctx: ExecutionContext) -> tuple[bool, str, int]:
    """Go on without a step that takes too long."""
    try:
        await ctx.step(hang)
    except StepFailed as error:
        return error.is_a(TimeoutError), error.message, os.getpid()
    return False, "", 0


@app.function
async def clean_up(ctx: ExecutionContext, file: str) -> None:
    """Take longer to clean up than workers allow if nobody tells them to."""
    Path(file).touch()
    try:
        await ctx.sleep(timedelta(hours=1))
    finally:
        for _ in range(70):
            time.sleep(0.1)
        Path(file).with_suffix(".clean").touch()
