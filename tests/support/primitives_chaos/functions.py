"""What Executions do in a round: they use the same objects as the clients, by durable calls; killed is their worker.

A step that is repeated after a crash writes its line once more, under the same id.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from kontinue import App, ExecutionContext, current_step
from primitives_chaos.book import Book, Event

GROUP = "primitives-chaos"
INSIDE_S = 0.05

app = App(group=GROUP)


@app.function
async def take_part(ctx: ExecutionContext, suffix: str, ledger: str) -> None:
    """Hold a Mutex, then a permit, then be done, and wait until all are."""
    async with ctx.mutex(f"deploy-{suffix}") as lock:
        await ctx.step(write, ledger, Event.ENTERED, f"mutex/deploy-{suffix}", lock.token)
        await ctx.step(write, ledger, Event.LEFT, f"mutex/deploy-{suffix}")
    async with ctx.semaphore(f"db-{suffix}"):
        await ctx.step(write, ledger, Event.ENTERED, f"semaphore/db-{suffix}")
        await ctx.step(write, ledger, Event.LEFT, f"semaphore/db-{suffix}")
    jobs = ctx.wait_group(f"jobs-{suffix}")
    await ctx.step(write, ledger, Event.MEANS_TO, f"waitgroup/jobs-{suffix}")
    await jobs.done()
    await jobs.wait()
    await ctx.step(write, ledger, Event.OPENED, f"waitgroup/jobs-{suffix}")


async def write(ledger: str, event: str, subject: str, token: int = 0) -> None:
    """Write a line, under the Execution's name; take a while within a lock."""
    who = current_step().execution
    book = Book(Path(ledger), who)
    try:
        book.write(Event(event), subject, id=who, token=token)
    finally:
        book.close()
    if event == Event.ENTERED:
        await asyncio.sleep(INSIDE_S)
