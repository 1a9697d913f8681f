"""Functions that hold a lock, and wait for others within it."""

from pathlib import Path

from kontinue import App, ExecutionContext, SyncExecutionContext

app = App(group="coordinating")


def note(file: str, text: str) -> None:
    with Path(file).open("a") as ledger:
        ledger.write(f"{text}\n")


@app.function
async def guarded(ctx: ExecutionContext, name: str, file: str) -> int:
    """Be alone until somebody says go."""
    async with ctx.mutex("e2e") as lock:
        await ctx.step(note, file, f"{name} in")
        await ctx.wait_group("go").wait()
        await ctx.step(note, file, f"{name} out")
    return lock.token


@app.function
def guarded_sync(ctx: SyncExecutionContext, name: str, file: str) -> int:
    """The same, in a thread."""
    with ctx.mutex("e2e") as lock:
        ctx.step(note, file, f"{name} in")
        ctx.wait_group("go").wait()
        ctx.step(note, file, f"{name} out")
    return lock.token


@app.function
async def seated(ctx: ExecutionContext, name: str, file: str) -> None:
    """Have a seat until somebody says go."""
    async with ctx.semaphore("seats"):
        await ctx.step(note, file, f"{name} in")
        await ctx.wait_group("go").wait()
        await ctx.step(note, file, f"{name} out")


@app.function
async def gated(ctx: ExecutionContext) -> str:
    """Wait until all that the Gate waits for is so."""
    await ctx.gate("opened").wait()
    return "passed"
