"""Jobs and Pods of Executions, against an API server, with runners played by the test.

On a real API server its own Job controller starts and counts Pods; the test is the kubelet.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import job_answers
from api import PATIENCE_S
from api_server import ApiServer
from controller_world import World, decode, eventually, replica
from kontinue.api import labels
from kontinue.api.patches import cancel_operations
from kontinue.api.v1alpha1 import Phase
from kontinue.errors import NotFound
from kontinue.jobs import JobResult, JobTemplate, PodResult, job_manifest, pod_manifest
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Resource
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.entries import Rest
from kontinue_engine.coordinator import closing
from kontinue_engine.kube.job_views import SUSPENDED_MESSAGE
from kontinue_engine.pool.options import LostReason
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.wire import frames

TEMPLATE = JobTemplate(image="busybox", command=["true"])
STEP = "1"


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


def start_job(activate: frames.Activate, *, digest: str = "d", **spec: Any) -> frames.StepRequested:
    """Return what a runner asks for by ``ctx.run_job``."""
    manifest = json.loads(json.dumps(job_manifest(TEMPLATE)))
    manifest["spec"] |= spec
    name = f"{activate.execution}-1-x"
    command = frames.StartJob("Job", name, json.dumps(manifest).encode(), digest, "migrate")
    return frames.StepRequested(activate.activation, STEP, command)


def start_pod(activate: frames.Activate) -> frames.StepRequested:
    manifest = json.dumps(pod_manifest(TEMPLATE)).encode()
    command = frames.StartJob("Pod", f"{activate.execution}-1-x", manifest, "d")
    return frames.StepRequested(activate.activation, STEP, command)


def waiting(activate: frames.Activate, command: Any) -> frames.Waiting:
    return frames.Waiting(activate.activation, [frames.WaitingItem(command.kind, command.name, STEP)])


async def parked(world: World, request: frames.StepRequested, activate: frames.Activate) -> None:
    """Ask for a Job, wait for nothing else, and wait until that is written."""
    world.on_frame(request)
    await parked_for(world, request, activate)


async def parked_for(world: World, request: frames.StepRequested, activate: frames.Activate) -> None:
    """Wait for nothing but what was asked for, and wait until that is written."""
    world.on_frame(waiting(activate, request.command))
    found = await world.phase(activate.execution, Phase.SUSPENDED)
    assert [(item.kind, item.name) for item in found.status.waiting_for] == [
        (request.command.kind, request.command.name)  # type: ignore[union-attr]
    ]


async def running_beside(world: World, request: frames.StepRequested, activate: frames.Activate) -> None:
    """Ask for a Job while other code of the function runs, and wait until that is written."""
    world.on_frame(request)
    assert (await world.phase(activate.execution, Phase.EXECUTING)).status.waiting_for == []


async def soon(holds: Callable[[], bool]) -> None:
    """Wait until something holds that the Job controller or the garbage collector of a busy machine brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def arrived(world: World) -> frames.JobEnded:
    """Return the end that the activation is told of, last of all."""
    await soon(lambda: bool(world.runners.sent_of(frames.StepArrived)))
    outcome = world.runners.sent_of(frames.StepArrived)[-1].outcome
    assert isinstance(outcome, frames.JobEnded)
    return outcome


async def refused(world: World) -> frames.ErrorInfo:
    """Return why the activation is told that there is no end to come."""
    await soon(lambda: bool(world.runners.sent_of(frames.StepRejected)))
    error = world.runners.sent_of(frames.StepRejected)[-1].error
    assert isinstance(error, frames.ErrorInfo)
    return error


async def cancel(transport: KubeTransport, namespace: str, name: str) -> None:
    found = decode(await transport.send(requests.get(requests.EXECUTIONS, namespace, name)))
    operations = cancel_operations(found, reason="CanceledByClient", message="enough")
    await transport.send(requests.json_patch(requests.EXECUTIONS, namespace, name, operations, subresource="status"))


async def gone(world: World, resource: Resource, name: str) -> None:
    """Wait until there is no such object."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await world.client.send(requests.get(resource, world.namespace, name))
            except NotFound:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("exit_code", "message"), [(0, ""), (3, "no database")])
async def test_a_job_is_created_waited_for_and_told_of(
    world: World, api_server: ApiServer, exit_code: int, message: str
) -> None:
    """It belongs to its Execution, and its end is told with what its Pod says; nobody deletes it."""
    activate = await world.start("a")
    await parked(world, start_job(activate), activate)
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    meta = job["metadata"]
    assert meta["ownerReferences"] == [
        {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "name": "a",
            "uid": activate.uid,
            "controller": True,
        }
    ]
    assert (meta["labels"][labels.PARENT], meta["labels"][labels.ROOT], meta["labels"][labels.WORKER_GROUP]) == (
        "a",
        "a",
        "g",
    )
    assert (meta["annotations"][labels.STEP], meta["annotations"][labels.DISPLAY_NAME]) == (STEP, "migrate")
    await job_answers.end_job(api_server, world.client, job, exit_code=exit_code, message=message)
    result = msgspec.json.decode((await arrived(world)).result, type=JobResult)
    assert (result.name, result.succeeded, result.exit_code) == (meta["name"], exit_code == 0, exit_code)
    assert [(one.name, one.exit_code, one.message) for one in result.containers] == [("main", exit_code, message)]
    if exit_code:
        assert result.reason == "BackoffLimitExceeded"
        assert result.message.endswith("container main exited with 3 (Error, no database)")
    world.on_frame(frames.Completed(activate.activation, b"null"))
    await world.phase("a", Phase.COMPLETED)
    assert [
        one["metadata"]["uid"] for one in await job_answers.owned(world.client, world.namespace, requests.JOBS)
    ] == [meta["uid"]]


async def test_a_pod_is_waited_for_in_the_same_way(world: World) -> None:
    """Its containers tell how it has ended."""
    activate = await world.start("a")
    await parked(world, start_pod(activate), activate)
    (pod,) = await job_answers.started(world.client, world.namespace, requests.PODS)
    await job_answers.end_pod(world.client, world.namespace, pod["metadata"]["name"], exit_code=4)
    result = msgspec.json.decode((await arrived(world)).result, type=PodResult)
    assert (result.succeeded, result.exit_code) == (False, 4)
    assert result.message == "the Pod has failed; container main exited with 4 (Error)"


async def test_a_job_takes_two_writes_of_its_execution_and_one_of_its_own(world: World, api_server: ApiServer) -> None:
    """Suspended, then the record together with Executing; no write for what is seen meanwhile."""
    activate = await world.start("a")
    before = await api_server.writes()
    request = start_job(activate)
    world.on_frame(request)
    entry = world.entries.by_name("a")
    assert entry is not None
    await eventually(lambda: entry.jobs[STEP].exists)
    await parked_for(world, request, activate)
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    await job_answers.end_job(api_server, world.client, job)
    await arrived(world)
    world.on_frame(frames.Running(activate.activation))
    world.on_frame(frames.RecordsProduced(activate.activation, 1, [frames.EncodedRecord(STEP, b'{"id":"1"}')]))
    await eventually(lambda: frames.StepRecorded(activate.activation, 1) in world.runners.sent)
    assert (await world.get("a")).phase is Phase.EXECUTING
    assert await api_server.writes() - before == 2


async def test_a_crash_between_create_and_status_starts_no_second_job(api_server: ApiServer) -> None:
    """The next activation asks for it by the same name and gets the same one, though it has ended meanwhile."""
    async with replica(api_server, executing_after_ms=60_000) as first:
        activate = await first.start("a")
        first.on_frame(start_job(activate))
        (job,) = await job_answers.started(first.client, first.namespace, requests.JOBS)
        await job_answers.end_job(api_server, first.client, job)
    async with replica(api_server, "two", dead_predecessor="one") as second:
        again = await second.run("a")
        second.on_frame(start_job(again))
        assert msgspec.json.decode((await arrived(second)).result, type=JobResult).succeeded
        (found,) = await job_answers.owned(second.client, second.namespace, requests.JOBS)
        assert found["metadata"]["uid"] == job["metadata"]["uid"]


async def test_a_job_that_ends_while_nobody_looks_is_found_by_the_next_replica(api_server: ApiServer) -> None:
    """No event tells of it: who asks again, reads."""
    async with replica(api_server) as first:
        activate = await first.start("a")
        await parked(first, start_job(activate), activate)
    transport = api_server.transport()
    (job,) = await job_answers.started(transport, api_server.namespace, requests.JOBS)
    await job_answers.end_job(api_server, transport, job)
    await transport.close()
    async with replica(api_server, "two", dead_predecessor="one") as second:
        again = await second.run("a")
        second.on_frame(start_job(again))
        assert msgspec.json.decode((await arrived(second)).result, type=JobResult).succeeded


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_job_that_somebody_deletes_is_an_error_and_not_started_again(
    api_server: ApiServer, is_restarted: bool
) -> None:
    """While a replica looks, and while none does: the status says that it was there."""
    async with replica(api_server) as first:
        activate = await first.start("a")
        await parked(first, start_job(activate), activate)
        (job,) = await job_answers.started(first.client, first.namespace, requests.JOBS)
        name = job["metadata"]["name"]
        if not is_restarted:
            await first.client.send(requests.delete(requests.JOBS, first.namespace, name))
            error = await refused(first)
    if is_restarted:
        transport = api_server.transport()
        await transport.send(requests.delete(requests.JOBS, api_server.namespace, name))
        async with replica(api_server, "two", dead_predecessor="one") as second:
            await gone(second, requests.JOBS, name)
            again = await second.run("a")
            second.on_frame(start_job(again))
            error = await refused(second)
            assert await job_answers.owned(second.client, second.namespace, requests.JOBS) == []
        await transport.close()
    assert (error.type, error.message) == (
        "kontinue.errors.NotFound",
        f"Job {name} was deleted while a waited for it",
    )


async def test_a_manifest_that_the_server_refuses_is_an_error_with_the_servers_words(world: World) -> None:
    """By field, as kubectl would show it."""
    activate = await world.start("a")
    world.on_frame(start_job(activate, backoffLimit=-1))
    error = await refused(world)
    assert error.type == "kontinue.errors.Invalid"
    assert "spec.backoffLimit: Invalid value: -1" in error.message


@pytest.mark.parametrize("what", ["jobs", "pods"])
async def test_an_answer_that_cannot_be_read_is_an_error(
    world: World, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """No news would come of it: the program is told instead of waiting for ever."""
    send = world.transport.send

    async def send_nonsense(request: requests.Request, **options: Any) -> bytes:
        answer = await send(request, **options)
        is_meant = request.method == ("GET" if what == "pods" else "POST") and request.path.endswith(f"/{what}")
        return b'{"items": 3, "metadata": 3}' if is_meant else answer

    activate = await world.start("a")
    monkeypatch.setattr(world.transport, "send", send_nonsense)
    world.on_frame(start_job(activate))
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    if what == "pods":
        await job_answers.end_job(api_server, world.client, job)
    error = await refused(world)
    assert (error.type, job["metadata"]["name"] in error.message) == ("kontinue.errors.Invalid", True)


async def test_a_job_of_another_manifest_is_not_taken_for_ours(world: World) -> None:
    """Its name is taken: the code has changed under an Execution that had started it."""
    activate = await world.start("a")
    await parked(world, start_job(activate), activate)
    world.on_frame(start_job(activate, digest="another"))
    error = await refused(world)
    assert error.type == "kontinue.errors.AlreadyExists"


async def test_a_cancel_deletes_the_job_and_its_pods(world: World, api_server: ApiServer) -> None:
    """Nothing runs on for an Execution that has ended."""
    activate = await world.start("a")
    await parked(world, start_job(activate), activate)
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    pod = await job_answers.pod_of(api_server, world.client, job)
    await cancel(world.client, world.namespace, "a")
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(activate.activation))
    await gone(world, requests.JOBS, job["metadata"]["name"])
    await gone(world, requests.PODS, pod)


async def test_a_job_that_is_given_up_is_deleted_even_if_it_is_being_created(world: World) -> None:
    """The loser of a race: the delete may come before the create has arrived."""
    activate = await world.start("a")
    request = start_job(activate)
    world.on_frame(request)
    world.on_frame(
        frames.StepRequested(activate.activation, STEP, frames.CancelJob("Job", f"{activate.execution}-1-x"))
    )
    world.on_frame(frames.Completed(activate.activation, b"null"))
    await world.phase("a", Phase.COMPLETED)
    await eventually(lambda: world.controller.busy == 0)
    await gone(world, requests.JOBS, f"{activate.execution}-1-x")


async def hold(world: World, name: str, *finalizers: str) -> None:
    """Have a Pod stay for as long as these finalizers are there."""
    patch = {"metadata": {"finalizers": list(finalizers)}}
    await world.client.send(requests.merge_patch(requests.PODS, world.namespace, name, patch))


async def given_up(world: World, activate: frames.Activate) -> dict[str, Any]:
    """Start a Pod, and give it up: it is going, and a finalizer holds it."""
    request = start_pod(activate)
    await parked(world, request, activate)
    (pod,) = await job_answers.started(world.client, world.namespace, requests.PODS)
    name = pod["metadata"]["name"]
    await hold(world, name, "kontinue.test/cleans-up")
    world.on_frame(frames.StepRequested(activate.activation, STEP, frames.CancelJob("Pod", name)))
    await eventually(lambda: world.controller.busy == 0)
    return pod


async def next_attempt(world: World, activate: frames.Activate) -> frames.Activate:
    """Fail the attempt, and return the one that follows."""
    error = frames.ErrorInfo(type="builtins.TimeoutError", message="")
    world.on_frame(frames.Failed(activate.activation, "UserError", error))
    return await world.run(activate.execution, attempt=2)


async def another_one_started(world: World, pod: dict[str, Any]) -> None:
    """Wait until there is another Pod of the same name."""
    uid = pod["metadata"]["uid"]
    async with asyncio.timeout(PATIENCE_S):
        while [
            one["metadata"]["uid"] for one in await job_answers.owned(world.client, world.namespace, requests.PODS)
        ] in (
            [],
            [uid],
        ):
            assert world.runners.sent_of(frames.StepRejected) == []
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("has_ended", [False, True])
async def test_the_next_attempt_waits_until_the_pod_that_the_last_one_gave_up_is_gone(
    world: World, has_ended: bool
) -> None:
    """A Pod takes as long to go as its containers are given to clean up: it is nobody's answer, and in the way."""
    activate = await world.start("a", retry={"retries": 1, "backoff": "0s"})
    pod = await given_up(world, activate)
    name = pod["metadata"]["name"]
    if has_ended:
        await job_answers.end_pod(world.client, world.namespace, name, exit_code=143)
    again = await next_attempt(world, activate)
    world.on_frame(start_pod(again))
    for _ in range(5):
        assert (await world.get("a")).phase is not Phase.FAILED  # it looks meanwhile, and again
    await hold(world, name)
    await another_one_started(world, pod)
    await job_answers.end_pod(world.client, world.namespace, name, exit_code=0)
    assert msgspec.json.decode((await arrived(world)).result, type=PodResult).succeeded
    assert world.runners.sent_of(frames.StepRejected) == []


async def test_a_pod_that_goes_between_the_refused_create_and_the_look_at_it_is_not_taken_for_a_strangers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name was taken when the next attempt asked for it, and is free when it looks by whom."""
    activate = await world.start("a", retry={"retries": 1, "backoff": "0s"})
    pod = await given_up(world, activate)
    again = await next_attempt(world, activate)
    send, looks = world.transport.send, []

    async def go_before_the_look(request: requests.Request, **options: Any) -> bytes:
        if request.method == "GET" and request.path.endswith(f"/pods/{pod['metadata']['name']}") and not looks:
            looks.append(request)
            await hold(world, pod["metadata"]["name"])
            await gone(world, requests.PODS, pod["metadata"]["name"])
        return await send(request, **options)

    monkeypatch.setattr(world.transport, "send", go_before_the_look)
    world.on_frame(start_pod(again))
    await another_one_started(world, pod)
    assert len(looks) == 1


async def test_the_next_attempt_waits_until_the_job_that_the_last_one_gave_up_is_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: what is found meanwhile is about to go."""
    activate = await world.start("a", retry={"retries": 1, "backoff": "0s"})
    request = start_job(activate)
    await parked(world, request, activate)
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    send, may_delete = world.transport.send, asyncio.Event()

    async def send_later(request: requests.Request, **options: Any) -> bytes:
        if request.method == "DELETE":
            await may_delete.wait()
        return await send(request, **options)

    monkeypatch.setattr(world.transport, "send", send_later)
    world.on_frame(frames.StepRequested(activate.activation, STEP, frames.CancelJob("Job", job["metadata"]["name"])))
    error = frames.ErrorInfo(type="builtins.TimeoutError", message="")
    world.on_frame(frames.Failed(activate.activation, "UserError", error))
    again = await world.run("a", attempt=2)
    world.on_frame(start_job(again))
    for _ in range(5):
        assert (await world.get("a")).phase is not Phase.FAILED  # it looks meanwhile
    may_delete.set()
    uids = [job["metadata"]["uid"]]
    async with asyncio.timeout(PATIENCE_S):
        while uids in ([], [job["metadata"]["uid"]]):
            await asyncio.sleep(0.02)
            found = await job_answers.owned(world.client, world.namespace, requests.JOBS)
            uids = [one["metadata"]["uid"] for one in found]
    assert world.runners.sent_of(frames.StepRejected) == []


async def test_a_suspended_job_takes_no_time_of_the_attempt_and_says_why(world: World, api_server: ApiServer) -> None:
    """As Kueue does: it is suspended until there is room. ``waitingFor`` tells, and forgets when it is admitted."""
    activate = await world.start("a", timeout={"attempt": "1h"})
    await parked(world, start_job(activate, suspend=True), activate)
    world.let_pass(timedelta(hours=2), "a")

    async def message() -> str:
        (item,) = (await world.get("a")).status.waiting_for
        return item.message

    assert await message() == SUSPENDED_MESSAGE
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    name = job["metadata"]["name"]
    patch = {"spec": {"suspend": False}}
    await world.client.send(requests.merge_patch(requests.JOBS, world.namespace, name, patch))
    async with asyncio.timeout(PATIENCE_S):
        while await message():
            await asyncio.sleep(0.02)
    (job,) = await job_answers.owned(world.client, world.namespace, requests.JOBS)
    await job_answers.end_job(api_server, world.client, job)
    await arrived(world)
    assert (await world.get("a")).phase is Phase.SUSPENDED


async def test_one_that_was_evicted_is_dispatched_again_when_its_job_ends(world: World, api_server: ApiServer) -> None:
    """It waits without an activation: nobody asks, so the watch has to tell; not the list that it begins with."""
    first = await world.start("first")
    await parked(world, start_job(first), first)
    (job,) = await job_answers.started(world.client, world.namespace, requests.JOBS)
    await world.client.send(requests.delete(requests.JOBS, world.namespace, job["metadata"]["name"]))
    assert "was deleted" in (await refused(world)).message
    activate = await world.start("a")
    await parked(world, start_job(activate), activate)
    found = await job_answers.owned(world.client, world.namespace, requests.JOBS)
    (job,) = [one for one in found if one["metadata"]["name"].startswith("a-")]
    world.controller.activations.on_lost(
        activate.activation, was_active=False, was_alone=False, reason=LostReason.EVICTED, message=""
    )
    entry = world.entries.by_name("a")
    assert entry is not None
    await eventually(lambda: entry.rest is Rest.DORMANT)
    await job_answers.end_job(api_server, world.client, job)
    await soon(lambda: len(world.runners.submitted) == 3)
    again = world.runners.submitted[-1]
    world.on_frame(frames.Running(again.activation))
    world.on_frame(start_job(again))
    assert msgspec.json.decode((await arrived(world)).result, type=JobResult).succeeded


@pytest.mark.parametrize("is_parked", [True, False])
async def test_the_jobs_of_one_that_was_canceled_while_no_replica_lived_are_deleted(
    api_server: ApiServer, is_parked: bool
) -> None:
    """Whoever closes what has ended meanwhile deletes what it had started, though its status may name nothing of it."""
    async with replica(api_server) as first:
        activate, other = await first.start("a"), await first.start("b")
        first.on_frame(start_job(other))
        if is_parked:
            await parked(first, start_job(activate), activate)
        else:
            await running_beside(first, start_job(activate), activate)
        await job_answers.started(first.client, first.namespace, requests.JOBS, count=2)
    transport = api_server.transport()
    await cancel(transport, api_server.namespace, "a")
    times = LeaseTimes(stopping_s=-LeaseTimes().duration_s)  # nobody is waited for who might have it
    closer = closing.Closer(
        transport, namespace=api_server.namespace, group="g", is_sharded=False, clock=SystemClock(), times=times
    )
    closer.look_into("")
    running = asyncio.create_task(closer.run())
    try:
        owners = ["a", "b"]
        async with asyncio.timeout(PATIENCE_S):
            while "a" in owners:
                await asyncio.sleep(0.05)
                found = await job_answers.owned(transport, api_server.namespace, requests.JOBS)
                owners = [job["metadata"]["ownerReferences"][0]["name"] for job in found]
    finally:
        running.cancel()
        await asyncio.wait([running])
        await transport.close()
    assert owners == ["b"]


async def test_the_job_of_one_that_is_canceled_before_it_was_replayed_is_deleted(api_server: ApiServer) -> None:
    """The replica that had started it is dead, and the status names nothing: only the Job's labels lead to it."""
    async with replica(api_server) as first:
        activate, other = await first.start("a"), await first.start("b")
        first.on_frame(start_job(other))
        await running_beside(first, start_job(activate), activate)
        await job_answers.started(first.client, first.namespace, requests.JOBS, count=2)
    async with replica(api_server, "two", dead_predecessor="one") as second:
        await eventually(lambda: second.entries.by_name("a") is not None)
        await cancel(second.client, second.namespace, "a")
        await gone(second, requests.JOBS, "a-1-x")
        (left,) = await job_answers.owned(second.client, second.namespace, requests.JOBS)
        assert left["metadata"]["name"] == "b-1-x"
