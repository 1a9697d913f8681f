"""An app whose functions do not end by themselves: for tests of timeouts, cancels and skips."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, SyncExecutionContext, step

app = App(group="endings")


@dataclass(frozen=True)
class Artifact:
    target: str
    sizes: list[int]


def note(file: str, text: str) -> int:
    """Append a line, and return how many there are like it."""
    path = Path(file)
    with path.open("a") as opened:
        opened.write(f"{text}\n")
    return path.read_text().splitlines().count(text)


@app.function
def spin(file: str, good_try: int) -> str:
    """Never end, before the try of that number; without a context, so that nobody can tell it to."""
    if note(file, "spin") < good_try:
        while True:
            pass
    return "done"


@app.function
def spin_with_context(ctx: SyncExecutionContext, file: str) -> None:
    """Has a context, and never asks it."""
    note(file, "spin")
    while True:
        pass


@step
def hang_in_thread(file: str, good_try: int) -> str:
    """Never end, before the try of that number."""
    number = note(file, "thread")
    while number < good_try:
        time.sleep(0.05)
        note(file, "beat")
    return "done"


@app.function
async def wait_for_thread(ctx: ExecutionContext, file: str, good_try: int) -> str:
    return await ctx.step(hang_in_thread, file, good_try)


@step
async def hang(file: str) -> None:
    note(file, "hang")
    await asyncio.Event().wait()


@app.function
async def nap(ctx: ExecutionContext, file: str, seconds: float) -> str:
    note(file, "nap")
    try:
        await ctx.sleep(timedelta(seconds=seconds))
    finally:
        note(file, "woken")
    return "rested"


@app.function
async def build(ctx: ExecutionContext, file: str) -> Artifact:
    """Hangs in a step, beside a child."""
    child = await ctx.spawn(nap.options(name=f"{ctx.execution.name}-nap"), file, 600)
    try:
        await ctx.step(hang, file)
    except asyncio.CancelledError as told:
        note(file, f"told {told}")
        raise
    await child
    return Artifact("never", [])


@app.function
async def release(ctx: ExecutionContext, file: str) -> str:
    child = build.options(name=f"{ctx.execution.name}-build")
    artifact = await ctx.execute(child, file)
    assert isinstance(artifact, Artifact)
    return f"{artifact.target} {sum(artifact.sizes)}"
