"""Functions whose Executions are archived; run by test_retention."""

from __future__ import annotations

from kontinue import App, ExecutionContext, step

app = App(group="kept")


@app.function
def double(number: int) -> int:
    return 2 * number


@step
def noted(number: int) -> str:
    return f"note {number}"


@app.function
async def family(ctx: ExecutionContext, number: int, notes: int = 0) -> int:
    """Start two children, and take as many steps as asked for."""
    for one in range(notes):
        await ctx.step(noted, one)
    return sum(await ctx.map(double, [number, number + 1]))
