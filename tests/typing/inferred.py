"""What type checkers infer from the authoring API. Never run: checked by ``test_typing.py`` with mypy and pyright."""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict, assert_type

from kontinue import (
    App,
    Child,
    ChildFailed,
    ExecutionContext,
    FunctionDefinition,
    JobResult,
    JobTemplate,
    NonRetryableError,
    PodResult,
    RetryPolicy,
    SyncChild,
    SyncExecutionContext,
    TimeoutPolicy,
    current_step,
    remote,
    step,
)
from kontinue.api.v1alpha1 import Execution, Suspension
from kontinue.client import (
    Client,
    ExecutionHandle,
    ExecutionTree,
    Job,
    SpawnOptions,
    SyncClient,
    SyncExecutionHandle,
    parse_result,
)
from kontinue_engine.testing import SyncTestEnvironment, SyncTestExecution, TestEnvironment, TestExecution

app = App(group="releases")


@dataclass(frozen=True)
class Artifact:
    target: str
    digest: str


class Released(TypedDict):
    version: str
    digests: list[str]


@dataclass(frozen=True)
class DeployArgs:
    service: str
    version: str


@remote("run-integration-tests")
def integration_tests(version: str, *, env: str) -> bool:
    raise NotImplementedError


@remote("measure")
async def measure(version: str) -> float:
    raise NotImplementedError


async def find() -> Artifact | None:
    return None


def find_now() -> Artifact | None:
    return None


@step(retry=RetryPolicy(retries=3), timeout=timedelta(seconds=30))
async def announce(text: str) -> str:
    return text + current_step().idempotency_key


@step
def checksum(data: bytes, *, rounds: int = 1) -> str:
    return f"{len(data)}{rounds}"


@app.function(limit=4, timeout=TimeoutPolicy(attempt=timedelta(minutes=10)))
def build(target: str, version: str, *, opt: int = 2) -> Artifact:
    return Artifact(target, f"{version}{opt}")


@app.function
async def fetch(url: str) -> bytes:
    return url.encode()


@app.function(name="deploy-service")
async def deploy(ctx: ExecutionContext, args: DeployArgs, /) -> None:
    await ctx.sleep(timedelta(minutes=5), display_name=f"bake {args.service}")


@app.function
def nightly(ctx: SyncExecutionContext, version: str) -> list[Artifact]:
    first, ok = ctx.gather(ctx.spawn(build, "amd64", version), ctx.spawn(integration_tests, version, env="ci"))
    assert_type(first, Artifact)
    assert_type(ok, bool)
    assert_type(ctx.run_job({"spec": {"template": {}}}), JobResult)
    assert_type(ctx.run_pod(JobTemplate(image="shop"), name="look"), PodResult)
    return [first, *ctx.map(build, ["arm64"], version, opt=3)]


@app.function(retry=RetryPolicy(retries=2))
async def release(ctx: ExecutionContext, version: str, targets: list[str], *, channel: str = "#rel") -> Released:
    ctx.log.info("release %s", version)
    artifacts = await ctx.map(build.options(parallelism=8), targets, version)
    passed, told = await asyncio.gather(
        ctx.execute(integration_tests, version, env="staging"),
        ctx.step(announce, f"{channel}: built {version}"),
    )
    assert_type(artifacts, list[Artifact])
    assert_type(passed, bool)
    assert_type(told, str)
    if not passed:
        raise NonRetryableError("not shipped")
    try:
        await ctx.execute(deploy.options(mutex="prod"), DeployArgs(service="shop", version=version))
    except ChildFailed as error:
        if error.is_a(TimeoutError):
            ctx.log.warning("slow")
        raise
    job, pod = await asyncio.gather(
        ctx.run_job(JobTemplate(image=f"shop:{version}", command=["alembic", "upgrade"]), name="migrate"),
        ctx.run_pod({"spec": {"containers": []}}),
    )
    assert_type(job, JobResult)
    assert_type(pod, PodResult)
    if not job.succeeded:
        raise NonRetryableError(f"{job.message}: {job.exit_code} {[one.exit_code for one in pod.containers]}")
    return {"version": version, "digests": [artifact.digest for artifact in artifacts]}


# Primitives.


@app.function
async def coordinated(ctx: ExecutionContext) -> None:
    async with ctx.mutex("m") as lock, ctx.rwmutex("rw").read(timeout=timedelta(hours=1)), ctx.semaphore("s"):
        assert_type(lock.token, int)
    winner = await ctx.race(ctx.wait_group("w").wait(), ctx.gate("g").wait())
    assert_type(winner, tuple[Literal[0], None] | tuple[Literal[1], None])
    counter, did = await asyncio.gather(ctx.wait_group("w").add(2, bound=True), ctx.once("o").do(announce, "x"))
    assert_type(counter, int)
    assert_type(did, bool)


@app.function
def coordinated_sync(ctx: SyncExecutionContext) -> None:
    with ctx.lease("l", priority=1) as lease, ctx.rwmutex("rw").write():
        assert_type(lease.token, int)
    assert_type(ctx.wait_group("w").done(), int)
    assert_type(ctx.once("o").do(len, "x"), bool)
    ctx.barrier("b").arrive()


# The four overloads of the decorator, bare and with options.


async def async_with(ctx: ExecutionContext, a: int) -> str:
    return f"{ctx.attempt}{a}"


def sync_with(ctx: SyncExecutionContext, a: int) -> str:
    return f"{ctx.attempt}{a}"


async def async_without(a: int) -> str:
    return str(a)


def sync_without(a: int) -> str:
    return str(a)


async def decorators_infer_parameters_without_context(ctx: ExecutionContext) -> None:
    for bare in (app.function(async_with), app.function(sync_with)):
        assert_type(await ctx.execute(bare, a=1), str)
    for bare in (app.function(async_without), app.function(sync_without)):
        assert_type(await ctx.execute(bare, 1), str)
    assert_type(await ctx.execute(app.function(limit=1)(async_with), a=1), str)
    assert_type(await ctx.execute(app.function(limit=1)(sync_with), 1), str)
    assert_type(await ctx.execute(app.function(limit=1)(async_without), a=1), str)
    assert_type(await ctx.execute(app.function(limit=1)(sync_without), 1), str)
    assert_type(build.fn, Callable[..., Any])


# Contexts.


async def async_context_infers_results(ctx: ExecutionContext) -> None:
    assert_type(await ctx.execute(build, "a", "1", opt=3), Artifact)
    assert_type(await ctx.execute(nightly, version="1"), list[Artifact])
    assert_type(await ctx.execute(release, "1", ["a"], channel="#x"), Released)
    assert_type(await ctx.execute(measure, "1"), float)
    child = await ctx.spawn(build, "a", "1")
    assert_type(child, Child[Artifact])
    assert_type(await child, Artifact)
    assert_type(await child.result(timeout=timedelta(seconds=1)), Artifact)
    assert_type(await ctx.map(fetch, ["a"]), list[bytes])
    assert_type(await ctx.step(checksum, b"", rounds=2), str)
    assert_type(await ctx.step(announce, "x"), str)
    assert_type(await ctx.suspend(), None)
    assert_type(await ctx.suspend(Artifact, display_name="look at it", timeout=timedelta(days=2)), Artifact)
    assert_type(await ctx.poll(find, every=timedelta(seconds=10)), Artifact)
    assert_type(await ctx.poll(lambda: find(), every=timedelta(seconds=10), timeout=timedelta(hours=1)), Artifact)
    assert_type(await ctx.poll(find_now, every=timedelta(seconds=10)), Artifact)
    assert_type(await ctx.step(step(name="inline")(announce), "x"), str)
    assert_type(await ctx.step(step(name="one")(lambda: 1)), int)
    assert_type(
        await ctx.race(ctx.execute(measure, "1"), ctx.step(announce, "x")),
        tuple[Literal[0], float] | tuple[Literal[1], str],
    )
    assert_type(await ctx.wait_for(ctx.execute(measure, "1"), timeout=timedelta(seconds=1)), float)
    async for position, text in ctx.as_completed([ctx.step(announce, "x"), ctx.step(announce, "y")]):
        assert_type(position, int)
        assert_type(text, str)
    async with ctx.timeout(timedelta(minutes=1)):
        await ctx.sleep(timedelta(seconds=1))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ctx.execute(build, "a", "1"))
    assert_type(task.result(), Artifact)
    assert_type(await asyncio.wait_for(ctx.execute(build, "a", "1"), 1), Artifact)


def sync_context_infers_results(ctx: SyncExecutionContext) -> None:
    assert_type(ctx.execute(build, "a", "1", opt=3), Artifact)
    assert_type(ctx.execute(release, "1", ["a"]), Released)
    child = ctx.spawn(fetch, "x")
    assert_type(child, SyncChild[bytes])
    assert_type(child.result(), bytes)
    assert_type(ctx.map(build, ["a"], "1"), list[Artifact])
    assert_type(ctx.step(checksum, b""), str)
    assert_type(ctx.gather(child, ctx.spawn(measure, "1")), tuple[bytes, float])
    assert_type(
        ctx.gather(child, ctx.spawn(measure, "1"), ctx.spawn(nightly, "1")), tuple[bytes, float, list[Artifact]]
    )
    assert_type(ctx.gather(*[ctx.spawn(fetch, url) for url in "abc"]), tuple[bytes, ...])
    assert_type(ctx.race(child, ctx.spawn(measure, "1")), tuple[Literal[0], bytes] | tuple[Literal[1], float])
    assert_type(ctx.wait_for(child, timeout=timedelta(seconds=1)), bytes)
    for position, data in ctx.as_completed([child]):
        assert_type(position, int)
        assert_type(data, bytes)
    with ctx.timeout(timedelta(minutes=1)):
        ctx.sleep(timedelta(seconds=1))


# Results are covariant; a step stays what it was.


def same(handle: SyncChild[int]) -> SyncChild[int]:
    return handle


async def results_are_covariant(ctx: ExecutionContext) -> None:
    any_function: FunctionDefinition[..., object] = build
    truth: FunctionDefinition[[str], float] = measure
    child: Child[object] = await ctx.spawn(build, "a", "1")
    widened: Callable[[SyncChild[bool]], SyncChild[int]] = same
    del any_function, truth, child, widened


async def steps_stay_ordinary_functions() -> None:
    assert_type(checksum(b"", rounds=2), str)
    assert_type(await announce("x"), str)


# The test environment (docs/testing.md).


async def tests_know_types(kontinue_env: TestEnvironment) -> None:
    kontinue_env.use(app)
    kontinue_env.stub(integration_tests, result=True)
    kontinue_env.stub(integration_tests, result=TimeoutError("nobody there"))
    run = await kontinue_env.spawn(release, "1.4.2", ["amd64"], channel="#rel")
    assert_type(run, TestExecution[Released])
    await kontinue_env.advance(timedelta(days=1))
    assert_type((await run.result())["version"], str)
    assert_type((await kontinue_env.spawn(build.options(mutex="m"), "amd64", "1")).writes, int)
    widened: TestExecution[object] = run
    del widened


def sync_tests_know_types(kontinue_sync_env: SyncTestEnvironment) -> None:
    kontinue_sync_env.use(app)
    run = kontinue_sync_env.spawn(nightly, "1")
    assert_type(run, SyncTestExecution[list[Artifact]])
    assert_type(run.result(), list[Artifact])


# The client (docs/client.md).


async def clients_know_types(client: Client) -> None:
    handle = await client.spawn(release, "1.4.2", ["amd64"], channel="#rel")
    assert_type(handle, ExecutionHandle[Released])
    assert_type(await handle.result(), Released)
    assert_type(await (await client.spawn("release", {"version": "1"}, result=Released)).result(), Released)
    assert_type(await (await client.spawn("release", options=SpawnOptions(name="x"))).result(), Any)
    assert_type(await client.spawn(fetch.options(name="x"), "url"), ExecutionHandle[bytes])
    assert_type(await handle.wait(timeout=timedelta(seconds=1)), Execution)
    assert_type(parse_result(await client.get("x"), Released), Released)
    assert_type(await client.trigger_scheduled_execution("nightly"), ExecutionHandle[Any])
    widened: ExecutionHandle[object] = handle
    del widened
    assert_type((await client.get_tree(handle)).root.job, Job | None)
    async with client.get_job_logs("job", follow=True) as chunks:
        async for chunk in chunks:
            assert_type(chunk, bytes)


def sync_clients_know_types(client: SyncClient) -> None:
    handle = client.spawn(build, "amd64", "1")
    assert_type(handle, SyncExecutionHandle[Artifact])
    assert_type(handle.result(), Artifact)
    assert_type(client.spawn("build", {"target": "amd64"}, result=Artifact).result(), Artifact)
    assert_type(client.spawn("build", options=SpawnOptions(name="x", if_exists="attach")), SyncExecutionHandle[Any])
    assert_type(client.spawn(release.options(name="x"), "1", ["a"]).result(timeout=timedelta(seconds=1)), Released)
    assert_type(client.wait_for_execution(handle, until=["Executing"]), Execution)
    assert_type(client.with_timeout(timedelta(seconds=5)).spawn(measure, "1"), SyncExecutionHandle[float])
    widened: SyncExecutionHandle[object] = handle
    del widened
    with client.watch_tree(handle) as watcher:
        for tree in watcher:
            assert_type(tree, ExecutionTree)
    assert_type(client.get_tree("x").root.suspension, Suspension | None)
    with client.get_job_logs("job", tail_lines=5) as chunks:
        for chunk in chunks:
            assert_type(chunk, bytes)
