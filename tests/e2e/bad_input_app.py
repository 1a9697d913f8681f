"""Functions that do what they should not."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from kontinue import App, ExecutionContext, SyncExecutionContext, step

app = App(group="bad")


@dataclass(frozen=True)
class Order:
    """An argument with fields."""

    item: str
    count: int


@app.function
def place(order: Order) -> int:
    """Take a typed argument."""
    return order.count


@app.function
def unserialisable() -> object:
    """Return what JSON cannot carry."""
    return object()


@app.function
def oversized() -> str:
    """Return more than the limit."""
    return "x" * 600 * 1024


@step
def big(number: int) -> str:
    """Return 100 KiB."""
    return str(number) * 100 * 1024


@app.function
def hoard(ctx: SyncExecutionContext) -> int:
    """Record more than an object of Kubernetes may have in it."""
    return sum(len(ctx.step(big, number)) for number in range(20))


@app.function
async def fetch_in_body(ctx: ExecutionContext) -> int:
    """Do I/O where it cannot be replayed."""
    reader, _ = await asyncio.open_connection("127.0.0.1", 1)
    return len(await reader.read())


@app.function
def raises(text: str) -> None:
    """Fail."""
    raise ValueError(text)


@app.function
def die() -> None:
    """Kill the runner, every time."""
    os._exit(9)


@step
def charge(amount: int) -> int:
    """One step of ``pay``."""
    return amount


@step
def refund(amount: int) -> int:
    """What ``pay`` does instead in its second version."""
    return -amount


VERSION = os.environ.get("BAD_INPUT_VERSION", "1")


@app.function
async def pay(ctx: ExecutionContext) -> int:
    """Change between versions."""
    first = await ctx.step(charge if VERSION == "1" else refund, 5)
    await ctx.sleep(timedelta(hours=1))
    return first


@app.function
async def greet(ctx: ExecutionContext, name: str = "one" if VERSION == "1" else "two") -> str:
    """Have a default that changes between versions."""
    await ctx.sleep(timedelta(hours=1))
    return name
