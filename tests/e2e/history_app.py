"""Functions with long histories, which note what they do in a folder."""

import time
from pathlib import Path

from kontinue import App, ExecutionContext, SyncExecutionContext

app = App(group="histories")


def note(folder: str, what: str) -> str:
    """Add a line, which is what a test counts; take a little, so that a death strikes somewhere among the steps."""
    with (Path(folder) / "log").open("a") as file:
        file.write(f"{what}\n")
    time.sleep(0.002)
    return what


@app.function
async def long_one(ctx: ExecutionContext, folder: str, count: int) -> int:
    """Take so many steps."""
    return len([await ctx.step(note, folder, str(number)) for number in range(count)])


@app.function
def long_one_in_threads(ctx: SyncExecutionContext, folder: str, count: int) -> int:
    """Take so many steps."""
    return len([ctx.step(note, folder, str(number)) for number in range(count)])


@app.function
async def rounds(ctx: ExecutionContext, folder: str, left: int, done: int = 0) -> int:
    """Take forty steps in each of so many runs."""
    for number in range(40):
        await ctx.step(note, folder, f"{done}.{number}")
    if left > 1:
        ctx.continue_as_new(folder, left - 1, done=done + 1)
    return done + 1
