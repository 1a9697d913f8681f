"""Functions of another worker group than ``chaos_app``'s, which call into it."""

from __future__ import annotations

from kontinue import App, ChildFailed, ExecutionContext, remote

app = App(group="callers")


@remote("burn")
def burn(ms: int) -> str:
    """Owned by the group ``chaos``."""
    raise NotImplementedError


@remote("nowhere")
def nowhere() -> None:
    """Owned by nobody."""
    raise NotImplementedError


@app.function
async def call(ctx: ExecutionContext, count: int) -> int:
    """Have another group work in parallel."""
    return len(set(await ctx.map(burn, [20] * count)))


@app.function
async def call_nobody(ctx: ExecutionContext) -> str:
    """Call what does not exist."""
    try:
        await ctx.execute(nowhere)
    except ChildFailed as error:
        return error.type
    return "?"
