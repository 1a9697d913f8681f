"""Pages whose Python is a fragment: it runs here within what it leaves out.

mutexes-and-limits.md, sharding.md and worker-groups.md.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import kontinue
from kontinue import App, ExecutionContext, SyncExecutionContext, remote
from kontinue_engine.testing import TestEnvironment

DOCUMENTS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def fragments(page: str) -> list[str]:
    return BLOCK.findall((DOCUMENTS / page).read_text())


def run(code: str, **names: Any) -> dict[str, Any]:
    """Run a fragment in a namespace that has what its page takes for granted."""
    namespace: dict[str, Any] = {
        "App": App,
        "ExecutionContext": ExecutionContext,
        "SyncExecutionContext": SyncExecutionContext,
        "remote": remote,
        **names,
    }
    exec(compile(code, "page.md", "exec", dont_inherit=True), namespace)
    return namespace


async def run_async(code: str, **names: Any) -> dict[str, Any]:
    """The same for a fragment of a coroutine's body; returns what it has assigned."""
    body = textwrap.indent(f"{code}\nreturn locals()", "    ")
    namespace = run(f"async def fragment():\n{body}", **names)
    found: dict[str, Any] = await namespace["fragment"]()
    return found


@pytest.fixture
async def env() -> Any:
    async with TestEnvironment() as environment:
        yield environment


async def test_mutexes_and_limits(env: TestEnvironment) -> None:
    """A limit is declared, a mutex comes with the call."""
    app = App(group="shop")
    counted: list[str] = []

    @app.function
    async def count_stock(warehouse: str) -> None:
        counted.append(warehouse)

    (code,) = fragments("mutexes-and-limits.md")
    found = run(code, app=app, count_stock=count_stock)
    assert found["render"].limit == 3
    env.use(app)
    run_of = await env.spawn(found["restock"], "north")
    await run_of.result()
    (child,) = await env.client.get_child_executions(run_of.name)
    assert child.spec.mutex is not None
    assert (child.spec.mutex.name, counted) == ("warehouse/north", ["north"])


async def test_sharding(env: TestEnvironment) -> None:
    """Children that are placed by the leader."""
    app = App(group="shop")

    @app.function
    async def render(page: int, order: str) -> str:
        return f"{order}/{page}"

    (code,) = fragments("sharding.md")

    @app.function
    async def parent(ctx: ExecutionContext, pages: int, order: str) -> list[str]:
        found = await run_async(code, ctx=ctx, render=render, pages=pages, order=order)
        parts: list[str] = found["parts"]
        return parts

    env.use(app)
    assert await (await env.spawn(parent, 2, "order-7")).result() == ["order-7/0", "order-7/1"]


async def test_worker_groups(env: TestEnvironment) -> None:
    """A function of another group is called by its signature, and found by the group."""
    deployments, releases, client_calls = fragments("worker-groups.md")
    deployed: list[str] = []
    body = deployments.replace("-> str: ...", "-> str:\n    deployed.append(f'{service} {version}')\n    return 'done'")
    assert ast.parse(body)
    there = run(body, deployed=deployed)
    here = run(releases)
    env.use(here["app"], there["app"])
    await (await env.spawn(here["release"], "1.4")).result()
    assert deployed == ["web 1.4"]
    await run_async(client_calls, client=env.client)


def test_what_fragments_take_for_granted_is_public() -> None:
    """Names that pages do not import are those of the package."""
    assert {"App", "ExecutionContext", "SyncExecutionContext", "remote"} <= set(kontinue.__all__)
