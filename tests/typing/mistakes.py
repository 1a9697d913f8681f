"""Wrong uses of the authoring API. Never run: ``test_typing.py`` proves that mypy and pyright report each marked line.

A line that ends in the marker has to be an error for both checkers, and no other line may be one.
"""
# pyright: strict

from __future__ import annotations

from datetime import timedelta

from kontinue import App, Child, ExecutionContext, FunctionDefinition, SyncExecutionContext, remote, step
from kontinue.client import Client, ExecutionHandle, SpawnOptions, SyncClient, SyncExecutionHandle, parse_result
from kontinue_engine.testing import TestEnvironment

app = App(group="mistakes")
no_group = App()  # error
positional_group = App("mistakes")  # error


@app.function
def build(target: str, version: str, *, opt: int = 2) -> bytes:
    return f"{target}{version}{opt}".encode()


@app.function
async def release(ctx: ExecutionContext, version: str) -> int:
    return ctx.attempt + len(version)


@remote("check")
def check(version: str) -> bool:
    raise NotImplementedError


@step
def charge(amount: int) -> str:
    return str(amount)


@app.function(retry=3)  # error
def wrong_retry() -> None: ...


@app.function(limits=3)  # error
def unknown_option() -> None: ...


@step(timeout=30)  # error
def wrong_step_timeout() -> None: ...


async def in_an_async_function(ctx: ExecutionContext) -> None:
    build("amd64", "1")  # error
    check("1")  # error
    ctx.execute(build, "amd64", "1")  # error
    await ctx.execute(build, "amd64")  # error
    await ctx.execute(build, "amd64", 1)  # error
    await ctx.execute(build, "amd64", "1", 3)  # error
    await ctx.execute(build, "amd64", "1", optimise=3)  # error
    await ctx.execute(release, ctx, "1")  # error
    await ctx.execute(charge, 1)  # error
    await ctx.execute("build", "amd64", "1")  # error
    text: str = await ctx.execute(build, "amd64", "1")  # error
    await ctx.map(build, [1, 2], "1")  # error
    await ctx.map(build, ["amd64"])  # error
    await ctx.map(build, ["amd64"], "1", opt="x")  # error
    await ctx.step(charge, "1")  # error
    await ctx.step(charge)  # error
    await ctx.sleep(5)  # error
    await ctx.run_job("shop:1")  # error
    await ctx.run_job({"spec": {}}, timeout=5)  # error
    unrun = ctx.run_pod({"spec": {}})
    print(unrun.succeeded)  # error
    child: Child[str] = await ctx.spawn(build, "amd64", "1")  # error
    unawaited = ctx.spawn(build, "amd64", "1")
    await unawaited.result()  # error
    await ctx.execute(build.options(retries=2), "amd64", "1")  # error
    await ctx.execute(build.options(retry=2), "amd64", "1")  # error
    await ctx.wait_for(ctx.step(charge, 1), timeout=3.5)  # error
    del text, child


def in_a_sync_function(ctx: SyncExecutionContext) -> None:
    text: str = ctx.execute(build, "amd64", "1")  # error
    ctx.execute(build, "amd64")  # error
    first, second, third = ctx.gather(ctx.spawn(check, "1"), ctx.spawn(release, "1"))  # error
    ctx.sleep(5)  # error
    text = ctx.run_job({"spec": {}})  # error
    text = ctx.suspend(bool)  # error
    text = ctx.suspend(str, timeout=5)  # error
    text = ctx.poll(lambda: 5, every=timedelta(seconds=1))  # error
    text = ctx.poll(lambda: "5")  # error
    ctx.map(build, ["amd64"], 1)  # error
    ctx.step(charge, "1")  # error
    with ctx.timeout(5):  # error
        ctx.sleep(timedelta(seconds=1))
    del text, first, second, third


async def in_a_test(env: TestEnvironment) -> None:
    await env.spawn(build, "amd64", 1)  # error
    await env.spawn(release)  # error
    run = await env.spawn(build, "amd64", "1")
    text: str = await run.result()  # error
    await env.advance(5)  # error
    env.use(build)  # error
    del text


def with_a_sync_client(client: SyncClient) -> None:
    client.spawn(build, "amd64", 1)  # error
    client.spawn(build, "amd64")  # error
    client.spawn(build, "amd64", "1", 3)  # error
    client.spawn(build, "amd64", "1", optimise=3)  # error
    client.spawn(build, "amd64", "1", opt="3")  # error
    client.spawn(release, "1", options=SpawnOptions(name="x"))  # error
    client.spawn(charge, 1)  # error
    client.spawn("build", target="amd64")  # error
    client.spawn("build", {"target": "amd64"}, options={"name": "x"})  # error
    client.spawn("build", {"target": "amd64"}, options=SpawnOptions(if_exists="join"))  # error
    client.spawn("build", {"target": "amd64"}, options=SpawnOptions(timeout=5))  # error
    text: str = client.spawn(build, "amd64", "1").result()  # error
    text = client.spawn("build", {"target": "amd64"}, result=int).result()  # error
    handle: SyncExecutionHandle[str] = client.spawn(check, "1")  # error
    client.spawn(build, "amd64", "1").wait(timeout=5)  # error
    client.wait_for_execution(handle, timeout=5)  # error
    client.cancel(build)  # error
    client.skip(handle, "x")  # error
    client.list(function=build)  # error
    client.with_timeout(5)  # error
    del text


async def with_a_client(client: Client) -> None:
    await client.spawn(build, "amd64", 1)  # error
    await client.spawn(build, "amd64")  # error
    await client.spawn(build, "amd64", "1", optimise=3)  # error
    await client.spawn(build.options(name=5), "amd64", "1")  # error
    await client.spawn(charge, 1)  # error
    await client.spawn("build", target="amd64")  # error
    await client.spawn("build", {"target": "amd64"}, options=SpawnOptions(if_exists="join"))  # error
    text: str = await (await client.spawn(build, "amd64", "1")).result()  # error
    text = await (await client.spawn("build", {"target": "amd64"}, result=int)).result()  # error
    handle: ExecutionHandle[str] = await client.spawn(check, "1")  # error
    client.spawn(build, "amd64", "1")  # error
    unawaited = client.spawn(build, "amd64", "1")
    await unawaited.result()  # error
    await client.wait_for_execution(handle, timeout=5)  # error
    await client.cancel(build)  # error
    client.cancel(handle)  # error
    text = parse_result(await client.get("x"), int)  # error
    del text


narrower: FunctionDefinition[[str], bool] = release  # error
