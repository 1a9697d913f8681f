"""The load: functions whose every step has an effect in the ledger outside, which numbers it.

Results follow from the arguments or from the records, so that ``chaos.checks`` can tell a wrong one.
"""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import timedelta
from typing import Any

import psutil

from kontinue import App, ExecutionContext, SyncExecutionContext, current_step, step

GROUP = "chaos"
LEDGER = "CHAOS_LEDGER"
"""Environment variable: the ledger's port on loopback."""
PATIENCE_S = 60.0
LIMITS = {"limited": 2}

app = App(group=GROUP)


class RefusedError(Exception):
    """The ledger has seen a higher fencing token: another replica goes on with this Execution."""


def tell_ledger(**facts: Any) -> str:
    """Report from within a step; returns the number that the ledger gave it."""
    info = current_step()
    # The parent of a runner's guard is the zygote, of which each process of a replica has one.
    zygote = psutil.Process(os.getppid()).ppid()
    who = {"execution": info.execution, "step": info.step, "holder": zygote, "runner": os.getpid()}
    who["token"] = info.fencing_token
    address = ("127.0.0.1", int(os.environ[LEDGER]))
    with socket.create_connection(address, timeout=PATIENCE_S) as line, line.makefile("rwb") as file:
        file.write(json.dumps({**who, **facts}).encode() + b"\n")
        file.flush()
        answer = json.loads(file.readline())
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    return str(answer["number"])


@step
def effect(pause_ms: int = 0) -> str:
    """Take a while, then have an effect."""
    time.sleep(pause_ms / 1000)
    return tell_ledger()


@step
def enter(mutex: str) -> str:
    """Have the ledger note that this Execution holds the mutex."""
    return tell_ledger(enter=mutex)


@step
def leave(mutex: str) -> str:
    """Have it note that it is about to give it back."""
    return tell_ledger(leave=mutex)


@app.function
def trivial(n: int) -> int:
    """Return at once."""
    return n


@app.function
def burn(ms: int) -> int:
    """Use the CPU."""
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        sum(range(1000))
    return ms


@app.function
async def steady(ctx: ExecutionContext, steps: int, pause_ms: int) -> list[str]:
    """One effect after the other: shows when work goes on after a fault."""
    return [await ctx.step(effect, pause_ms) for _ in range(steps)]


@app.function
def leaf(ctx: SyncExecutionContext, ms: int) -> list[str]:
    """A sleep between two effects, in a sync function."""
    before = ctx.step(effect)
    ctx.sleep(timedelta(milliseconds=ms))
    return [before, ctx.step(effect)]


@app.function
async def nap(ctx: ExecutionContext, ms: int) -> list[str]:
    """The same in an async one."""
    before = await ctx.step(effect)
    await ctx.sleep(timedelta(milliseconds=ms))
    return [before, await ctx.step(effect)]


@app.function
async def family(ctx: ExecutionContext, seed: int, *, spread: bool) -> list[Any]:
    """Children of every kind, in the parent's shard or in any; returns what it saw, in the order of the calls."""
    seen: list[Any] = [await ctx.step(effect)]
    burns = burn.options(disable_shard_inheritance=spread)
    seen += await ctx.map(burns, [5 + (seed + n) % 20 for n in range(3)])
    seen += await ctx.execute(leaf.options(disable_shard_inheritance=spread), 10 + seed % 50)
    seen.append(await ctx.step(effect))
    seen += await ctx.execute(nap.options(disable_shard_inheritance=spread), 50 + seed % 300)
    seen.append(await ctx.step(effect))
    return seen


@app.function
async def guarded(ctx: ExecutionContext, mutex: str, ms: int) -> list[str]:
    """What only one may do at a time; started with that mutex."""
    entered = await ctx.step(enter, mutex)
    await ctx.sleep(timedelta(milliseconds=ms))
    return [entered, await ctx.step(effect, 20), await ctx.step(leave, mutex)]


@step
def effect_in_slot(pause_ms: int = 0) -> str:
    """Have the ledger note that this Execution runs, then take a while."""
    number = tell_ledger(take="limited")
    time.sleep(pause_ms / 1000)
    return number


@step
def leave_slot() -> str:
    """Have it note that it is about to end."""
    return tell_ledger(leave_slot="limited")


@app.function(limit=LIMITS["limited"])
def limited(ctx: SyncExecutionContext, pause_ms: int) -> list[str]:
    """What only two may do at a time."""
    return [ctx.step(effect_in_slot, pause_ms), ctx.step(effect_in_slot), ctx.step(leave_slot)]


@app.function
async def crowd(ctx: ExecutionContext, pauses_ms: list[int]) -> list[str]:
    """Children that want slots, all at once and beside those of others."""
    return [number for seen in await ctx.map(limited, pauses_ms) for number in seen]
