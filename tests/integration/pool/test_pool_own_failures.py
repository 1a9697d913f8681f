"""The engine's own code fails in a runner: nothing may hang."""

from typing import Any

import pytest

FUNCTIONS = """
import asyncio
from kontinue.replay.journal import Journal

def break_engine(how):
    def broken(*_: object):
        raise AssertionError("a bug of the engine")
    setattr(Journal, how, broken)

def step() -> int:
    return 1

async def async_step() -> int:
    return 1

@app.function
def sync_one(ctx: SyncExecutionContext, how: str) -> int:
    break_engine(how)
    return 0 if how == "finish" else ctx.step(step)

@app.function
async def async_one(ctx: ExecutionContext, how: str) -> int:
    break_engine(how)
    return 0 if how == "finish" else await ctx.step(step)

@app.function
async def async_two(ctx: ExecutionContext, how: str) -> int:
    break_engine(how)
    return 0 if how == "finish" else await ctx.step(async_step)

@app.function
def nap(s: float) -> int:
    time.sleep(s)
    return os.getpid()

@app.function
async def async_nap(s: float) -> int:
    await asyncio.sleep(s)
    return os.getpid()
"""


@pytest.mark.parametrize("how", ["finish", "take_flush", "arrive", "advance", "take_effects"])
@pytest.mark.parametrize("function", ["sync_one", "async_one", "async_two"])
async def test_an_exception_in_the_engines_own_code_ends_the_runner(start_pool: Any, function: str, how: str) -> None:
    """The activation is lost and charged, the traceback is in the log, and the replacement works."""
    running = await start_pool(FUNCTIONS)
    lost = await running.lost(running.submit(function, how=how))
    assert (lost.was_active, lost.was_alone) == (True, True)
    assert lost.message == "the runner exited with status 70"
    assert "AssertionError: a bug of the engine" in [line.text for _, line in running.heard.lines]
    assert await running.call("nap" if function.startswith("sync") else "async_nap", s=0.0) > 0
