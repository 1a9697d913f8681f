"""Functions that wait for somebody, or for a long time."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, SuspendTimeout, SyncExecutionContext

app = App(group="waiting")


@dataclass
class Approval:
    approved: bool
    by: str


@app.function
async def ask(ctx: ExecutionContext) -> str:
    answer = await ctx.suspend(Approval, display_name="Ship it?", description="Look at the report first.")
    return f"{answer.approved} by {answer.by}"


@app.function
def ask_sync(ctx: SyncExecutionContext) -> str:
    return ctx.suspend(Approval, display_name="Ship it?").by


@app.function
async def nobody(ctx: ExecutionContext) -> str:
    try:
        await ctx.suspend(timeout=timedelta(milliseconds=200))
    except SuspendTimeout:
        return "nobody came"
    return "somebody came"


@app.function
async def nap(ctx: ExecutionContext, seconds: float) -> str:
    before = ctx.now()
    await ctx.sleep(timedelta(seconds=seconds), display_name="bake")
    return f"{(ctx.now() - before).total_seconds()}"


@app.function
async def first(ctx: ExecutionContext) -> int:
    winner, _ = await ctx.race(ctx.suspend(display_name="never"), ctx.sleep(timedelta(milliseconds=1)))
    return winner


@app.function
async def family(ctx: ExecutionContext) -> list[str]:
    return list(await asyncio.gather(ctx.execute(ask), ctx.execute(nap, 3600)))


async def content_of(path: str) -> str | None:
    file = Path(path)
    return await asyncio.to_thread(file.read_text) if file.exists() else None


@app.function
async def until_there(ctx: ExecutionContext, path: str) -> str:
    return await ctx.poll(lambda: content_of(path), every=timedelta(milliseconds=20))


@app.function
def until_there_sync(ctx: SyncExecutionContext, path: str) -> bool:
    return ctx.poll(Path(path).exists, every=timedelta(milliseconds=20))


@app.function
async def never_there(ctx: ExecutionContext) -> str:
    try:
        return await ctx.poll(lambda: None, every=timedelta(milliseconds=20), timeout=timedelta(milliseconds=300))
    except TimeoutError:
        return "gave up"
