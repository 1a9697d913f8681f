"""Jobs and Pods: what a function is told of them, over replays, crashes, new attempts and ends of its Execution."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from kontinue import App, ExecutionContext, JobFailed, JobTemplate, RetryPolicy, SyncExecutionContext, TimeoutPolicy
from kontinue.api import labels
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import ExecutionCanceled, ExecutionFailed, Invalid, NotFound
from kontinue.kube import requests
from kontinue_engine.testing import Stuck, TestEnvironment
from kontinue_engine.testing.supervisor import NAMESPACE

app = App(group="g")
TEMPLATE = JobTemplate(image="busybox", command=["true"])
DAY = timedelta(days=1)


@app.function
async def job_and_pod(ctx: ExecutionContext) -> list[list[Any]]:
    job, pod = await asyncio.gather(ctx.run_job(TEMPLATE, name="job"), ctx.run_pod(TEMPLATE, name="pod"))
    return [[one.succeeded, one.exit_code, one.message] for one in (job, pod)]


@app.function
def one_after_the_other(ctx: SyncExecutionContext) -> list[bool]:
    return [ctx.run_job(TEMPLATE, name="first").succeeded, ctx.run_pod(TEMPLATE, name="second").succeeded]


@app.function(retry=RetryPolicy(retries=1, backoff=timedelta(minutes=1)))
async def checked(ctx: ExecutionContext) -> str:
    job = await ctx.run_job(TEMPLATE, name="job")
    job.check()
    return job.name


@app.function(retry=RetryPolicy(retries=1, backoff=timedelta(minutes=1)))
async def raises_something_else(ctx: ExecutionContext) -> bool:
    job = await ctx.run_job(TEMPLATE, name="job")
    if ctx.attempt == 1:
        raise ValueError(job.message)
    return job.succeeded


@app.function
async def impatient(ctx: ExecutionContext) -> int:
    winner, _ = await ctx.race(ctx.run_job(TEMPLATE, name="slow"), ctx.sleep(timedelta(hours=1)))
    return winner


@app.function
async def told(ctx: ExecutionContext, manifest: dict[str, Any]) -> str:
    try:
        await ctx.run_job(manifest, name="job")
    except JobFailed as error:
        kinds = [kind.__name__ for kind in (Invalid, NotFound) if error.is_a(kind)]
        return f"{error.job} {kinds}: {error.message}"
    return "it ended"


@app.function(timeout=TimeoutPolicy(attempt=timedelta(minutes=1), overall=timedelta(days=100)))
async def limited(ctx: ExecutionContext) -> bool:
    return (await ctx.run_job(TEMPLATE, name="job")).succeeded


@app.function
async def unencodable(ctx: ExecutionContext) -> None:
    await ctx.run_job({"spec": {"template": object()}})


async def jobs_of(env: TestEnvironment) -> list[dict[str, Any]]:
    """Return the Jobs that there are."""
    request = requests.list_objects(requests.JOBS, NAMESPACE, label_selector=labels.PARENT_GROUP)
    found: list[dict[str, Any]] = msgspec.json.decode(await env._world.bridge.send(request))["items"]
    return found


async def test_a_job_and_a_pod_tell_how_they_ended(env: TestEnvironment) -> None:
    """Side by side; the outcome is what was recorded, whatever crashes."""
    env.use(app)
    env.crash_after(recorded=True)
    env.jobs.succeed("job")
    env.jobs.fail("pod", exit_code=3, message="no database")
    assert await (await env.spawn(job_and_pod)).result() == [
        [True, 0, ""],
        [False, 3, "the Pod has failed; container main exited with 3 (Error, no database)"],
    ]
    assert len(await jobs_of(env)) == 1


async def test_a_job_takes_three_writes_besides_the_two_of_any_execution(env: TestEnvironment) -> None:
    """The Job, Suspended, and the record."""
    env.use(app)
    env.jobs.succeed("job")
    run = await env.spawn(checked)
    await run.result()
    assert run.writes == 5


async def test_a_job_goes_on_while_workers_die(env: TestEnvironment) -> None:
    """Whoever takes the Execution over finds it, and starts no second one."""
    env.use(app)
    run = await env.spawn(one_after_the_other)
    for name in ("first", "second"):
        await env.advance(DAY)
        (waiting,) = (await run.get()).status.waiting_for
        assert waiting.kind == ("Job" if name == "first" else "Pod")
        await env.restart_worker()
        await env.advance(DAY)
        env.jobs.succeed(name)
    assert await run.result() == [True, True]
    assert len(await jobs_of(env)) == 1


async def test_a_new_attempt_runs_a_job_anew_that_was_checked(env: TestEnvironment) -> None:
    """``check`` says that the Job is to blame."""
    env.use(app)
    env.jobs.fail("job")
    run = await env.spawn(checked)
    await env.advance(timedelta(seconds=30))
    assert (await run.get()).phase is Phase.BACKOFF
    env.jobs.succeed("job")
    name = await run.result()
    assert [one["metadata"]["name"] for one in await jobs_of(env)] == [name]


async def test_a_new_attempt_keeps_the_end_of_a_job_that_is_not_to_blame(env: TestEnvironment) -> None:
    """Any other exception leaves the record where it is."""
    env.use(app)
    env.jobs.fail("job")
    run = await env.spawn(raises_something_else)
    await env.advance(timedelta(seconds=30))
    env.jobs.succeed("job")
    assert await run.result() is False
    assert len(await jobs_of(env)) == 1


async def test_a_job_that_lost_a_race_is_deleted(env: TestEnvironment) -> None:
    """Nobody waits for it."""
    env.use(app)
    assert await (await env.spawn(impatient)).result() == 1
    await env.advance(timedelta(seconds=1))
    assert await jobs_of(env) == []


async def test_a_manifest_that_the_server_refuses_raises_with_the_servers_words(env: TestEnvironment) -> None:
    """The call raises, the Execution goes on."""
    env.use(app)
    manifest = {"spec": {"backoffLimit": -1, "template": {"spec": {"restartPolicy": "Never", "containers": []}}}}
    answer = await (await env.spawn(told, manifest)).result()
    assert answer.startswith("job ['Invalid']: Job ")
    assert "spec.backoffLimit: Invalid value: -1" in answer
    assert "spec.template.spec.containers: Required value" in answer


async def test_a_job_that_somebody_deletes_raises(env: TestEnvironment) -> None:
    """It is not started again."""
    env.use(app)
    container = {"name": "main", "image": "busybox"}
    manifest = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    run = await env.spawn(told, manifest)
    await env.advance(DAY)
    (job,) = await jobs_of(env)
    name = job["metadata"]["name"]
    await env._world.bridge.send(requests.delete(requests.JOBS, NAMESPACE, name))
    assert await run.result() == f"job ['NotFound']: Job {name} was deleted while {run.name} waited for it"
    assert await jobs_of(env) == []


@app.function
async def many(ctx: ExecutionContext, count: int) -> list[str]:
    async def end_of(number: int) -> str:
        try:
            return (await ctx.run_job(TEMPLATE, name=f"job-{number}")).name
        except JobFailed as error:
            return f"deleted: {error.is_a(NotFound)}"

    return await asyncio.gather(*map(end_of, range(count)))


async def test_a_job_that_is_deleted_while_no_worker_lives_is_not_run_anew(env: TestEnvironment) -> None:
    """Whether or not the status names it among what is waited for."""
    env.use(app)
    run = await env.spawn(many, 12)
    await env.advance(timedelta(hours=1))
    named = {item.name for item in (await run.get()).status.waiting_for}
    hidden = {one["metadata"]["name"] for one in await jobs_of(env)} - named
    assert len(hidden) == 2
    env._world._workers[-1].die()
    await env.client.kube.send(requests.delete(requests.JOBS, NAMESPACE, hidden.pop()))
    await env.restart_worker()
    for number in range(12):
        env.jobs.succeed(f"job-{number}")
    result = await run.result()
    assert result.count("deleted: True") == 1
    assert len(set(result)) == 12


async def test_what_json_cannot_carry_is_refused_at_the_call(env: TestEnvironment) -> None:
    """Before anything is created."""
    env.use(app)
    with pytest.raises(ExecutionFailed, match=r"ctx\.run_job: JSON cannot carry the manifest"):
        await (await env.spawn(unencodable)).result()
    assert await jobs_of(env) == []


async def test_a_job_takes_no_time_of_the_attempt(env: TestEnvironment) -> None:
    """However long it waits for resources; the limit of the whole Execution counts, and ends the Job, too."""
    env.use(app)
    run, late = await env.spawn(limited), await env.spawn(limited)
    await env.advance(30 * DAY)
    assert [(await one.get()).phase for one in (run, late)] == [Phase.SUSPENDED] * 2
    await env.advance(71 * DAY)
    assert [(await one.get()).phase for one in (run, late)] == [Phase.FAILED] * 2
    assert await jobs_of(env) == []


async def test_the_job_of_an_execution_that_ends_is_deleted(env: TestEnvironment) -> None:
    """Of a canceled one, and of a skipped one."""
    env.use(app)
    canceled, skipped = await env.spawn(limited), await env.spawn(limited)
    await env.advance(DAY)
    assert len(await jobs_of(env)) == 2
    await canceled.cancel()
    await skipped.skip(True)
    with pytest.raises(ExecutionCanceled):
        await canceled.result()
    assert await skipped.result() is True
    await env.advance(timedelta(seconds=10))
    assert await jobs_of(env) == []


async def test_a_job_without_an_answer_does_not_end(env: TestEnvironment) -> None:
    """The error names what the test has to say something about, and how."""
    env.use(app)
    run = await env.spawn(checked)
    with pytest.raises(Stuck, match=f"waits for Job {run.name}") as stuck:
        await run.result()
    assert "Nobody has said how 'job' ends: env.jobs.succeed('job'), or env.jobs.fail('job')." in str(stuck.value)
