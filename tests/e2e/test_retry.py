"""Attempts, child policies and retries that somebody asks for, in real workers, also while they die."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import ChildPolicy, Client, ExecutionHandle, NodeKind, SpawnOptions
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from replica import Replica

SOON = timedelta(seconds=50)
"""Shorter than the minute after which a child elsewhere is looked for without any sign of it."""

APP = "retry_app:app"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pair")]


def runs(folder: Path) -> Counter[str]:
    """Return how often what was run."""
    return Counter((folder / "log").read_text().splitlines())


async def run(client: Client, function: str, folder: Path, **arguments: object) -> Execution:
    """Run a function to its end."""
    handle = await client.spawn(function, {"folder": str(folder), **arguments})
    return await client.wait_for_execution(handle, timeout=SOON)


async def in_phase(client: Client, name: str, phase: Phase) -> Execution:
    return await client.wait_for_execution(name, until=[phase], timeout=SOON)


async def test_a_function_is_repeated_until_it_succeeds(client: Client, tmp_path: Path) -> None:
    """By its default policy, which its status records; each failed attempt keeps its traceback."""
    done = await run(client, "plain", tmp_path, times=2)
    assert (done.phase, bytes(done.status.result), runs(tmp_path)["plain"]) == (Phase.COMPLETED, b"3", 3)
    assert [attempt.phase for attempt in done.status.attempts] == [Phase.FAILED, Phase.FAILED, Phase.COMPLETED]
    assert all(one.error and "stumble" in one.error.traceback for one in done.status.attempts[:2])
    assert done.status.defaults is not None
    assert done.status.defaults.retry is not None


async def test_retries_run_out(client: Client, tmp_path: Path) -> None:
    """Then it has failed for good, with the last error."""
    failed = await run(client, "plain", tmp_path, times=9)
    assert (failed.phase, failed.status.attempt_count, runs(tmp_path)["plain"]) == (Phase.FAILED, 4, 4)
    assert failed.status.message.endswith("failed for the 4. time")


async def test_only_what_failed_is_run_again(client: Client, tmp_path: Path) -> None:
    """Steps before the failure and beside it are not repeated."""
    done = await run(client, "stepwise", tmp_path)
    assert (done.phase, bytes(done.status.result)) == (Phase.COMPLETED, b"[1,1,3,1]")
    assert runs(tmp_path) == {"first": 1, "good": 1, "bad": 3, "last": 1}


async def test_a_new_attempt_retries_the_child_that_failed(client: Client, tmp_path: Path) -> None:
    """The same child, which keeps what it had done; its sibling is left alone."""
    done = await run(client, "family", tmp_path)
    assert (done.phase, done.status.attempt_count) == (Phase.COMPLETED, 2)
    assert runs(tmp_path) == {"elder before": 1, "elder": 1, "younger before": 1, "younger": 2}
    children = await client.get_child_executions(done)
    assert [child.status.attempt_count for child in children] == [1, 2]


async def test_failures_that_the_code_handled_stay_handled(client: Client, tmp_path: Path) -> None:
    """They are history, as any other outcome."""
    done = await run(client, "handled", tmp_path)
    assert (done.phase, done.status.attempt_count) == (Phase.COMPLETED, 2)
    assert runs(tmp_path) == {"handled before": 1, "handled": 1, "instead": 1, "late": 2}


async def test_never_again_means_never(client: Client, tmp_path: Path) -> None:
    """Whatever the policy says."""
    failed = await run(client, "never_again", tmp_path)
    assert (failed.phase, failed.status.reason, runs(tmp_path)["never again"]) == (Phase.FAILED, "NonRetryable", 1)


async def test_a_dead_runner_is_no_failed_attempt(client: Client, tmp_path: Path) -> None:
    """It is resumed on a budget of its own; when that is used up, no retry helps."""
    done = await run(client, "deadly", tmp_path, deaths=2)
    assert (done.phase, done.status.attempt_count, done.status.resumptions) == (Phase.COMPLETED, 1, 2)
    (tmp_path / "log").unlink()
    failed = await run(client, "deadly", tmp_path, deaths=99)
    assert (failed.phase, failed.status.reason, failed.status.attempt_count) == (Phase.FAILED, "RunnerCrashed", 1)
    assert runs(tmp_path)["deadly"] == 4


async def test_a_client_retries_the_child_that_failed(client: Client, tmp_path: Path) -> None:
    """By default; the tree shows the attempt before."""
    failed = await run(client, "household", tmp_path)
    assert failed.phase is Phase.FAILED
    await client.retry_execution(failed)
    done = await client.wait_for_execution(failed, timeout=SOON)
    assert (done.phase, bytes(done.status.result)) == (Phase.COMPLETED, b"2")
    assert runs(tmp_path) == {"elder before": 1, "elder": 1, "younger before": 1, "younger": 2}
    tree = await client.get_tree(done)
    assert [node.attempt_number for _, node in tree.walk() if node.kind is NodeKind.ATTEMPT] == [1, 1]


async def test_a_client_takes_children_as_they_ended(client: Client, tmp_path: Path) -> None:
    """The one that failed fails it again, without being run."""
    failed = await run(client, "household", tmp_path)
    await client.retry_execution(failed, child_policy=ChildPolicy.NONE)
    again = await client.wait_for_execution(failed, timeout=SOON)
    assert (again.phase, again.status.attempt_count, runs(tmp_path)["younger"]) == (Phase.FAILED, 2, 1)


async def test_a_client_has_everything_run_anew(client: Client, tmp_path: Path) -> None:
    """Steps and children; the children of before stay as they were."""
    failed = await run(client, "household", tmp_path)
    await client.retry_execution(failed, child_policy=ChildPolicy.RETRY_ALL)
    done = await client.wait_for_execution(failed, timeout=SOON)
    assert (done.phase, done.status.run_epoch) == (Phase.COMPLETED, 1)
    assert runs(tmp_path) == {"elder before": 2, "elder": 2, "younger before": 2, "younger": 2}
    assert len(await client.get_child_executions(done)) == 4


async def test_a_person_retries_with_an_edit(client: Client, transport: KubeTransport, tmp_path: Path) -> None:
    """Of the spec alone, as ``kubectl edit`` and ``kubectl patch`` do."""
    failed = await run(client, "household", tmp_path)
    patch = {"spec": {"retry": {"retries": 1}}}
    await transport.send(requests.merge_patch(requests.EXECUTIONS, "default", failed.metadata.name, patch))
    done = await client.wait_for_execution(failed.metadata.name, timeout=SOON)
    assert (done.phase, done.status.attempt_count) == (Phase.COMPLETED, 2)


async def test_a_canceled_one_goes_on_where_it_was(client: Client, tmp_path: Path) -> None:
    """Once its code has been stopped; what it had recorded, it keeps."""
    handle = await client.spawn("very_patient", {"folder": str(tmp_path)}, result=int)
    waiting = await in_phase(client, handle.name, Phase.BACKOFF)
    assert waiting.status.waiting_for[0].until is not None
    await client.cancel(handle)
    await client.retry_execution(handle)
    assert await handle.result(timeout=SOON) == 2


async def test_the_next_attempt_starts_though_its_replica_has_died(
    client: Client, pair: tuple[Replica, Replica], tmp_path: Path
) -> None:
    """Everything is killed while it waits; whoever comes first runs it when its time has come, and nobody twice."""
    handle = await client.spawn("patient", {"folder": str(tmp_path)}, result=int)
    await in_phase(client, handle.name, Phase.BACKOFF)
    for replica in pair:
        replica.kill()
    for replica in pair:
        replica.start()
    assert await handle.result(timeout=SOON) == 2
    done = await client.get(handle.name)
    assert (done.status.attempt_count, done.status.resumptions, runs(tmp_path)["patient"]) == (2, 0, 2)


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_retry_does_not_need_the_shard_it_had(
    client: Client, transport: KubeTransport, pair: tuple[Replica, Replica], tmp_path: Path, is_gone: bool
) -> None:
    """Its replica is gone for good: the leader gives it to another one. Its child may be retried in yet another one."""
    failed = await run(client, "household", tmp_path)
    (other,) = {replica.shard for replica in pair} - {failed.metadata.labels[labels.SHARD]}
    patch = {"metadata": {"labels": {labels.SHARD: "gone-for-good" if is_gone else other}}}
    await transport.send(requests.merge_patch(requests.EXECUTIONS, "default", failed.metadata.name, patch))
    await client.retry_execution(failed.metadata.name)
    done = await client.wait_for_execution(failed.metadata.name, timeout=SOON)
    assert done.phase is Phase.COMPLETED
    assert done.metadata.labels[labels.SHARD] in {replica.shard for replica in pair}


async def test_only_a_parent_decides_about_its_children(client: Client, tmp_path: Path) -> None:
    """A child can be retried by itself once its parent has ended; it goes on alone then."""
    failed = await run(client, "household", tmp_path)
    younger = (await client.get_child_executions(failed))[1]
    await client.retry_execution(younger)
    with pytest.raises(errors.InvalidState):
        await client.retry_execution(younger)
    alone = await client.wait_for_execution(younger, timeout=SOON)
    assert (alone.phase, alone.metadata.annotations[labels.RETRIED_ALONE]) == (Phase.COMPLETED, "true")
    assert (await client.get(failed.metadata.name)).phase is Phase.FAILED


@pytest.mark.parametrize(("function", "mutex"), [("limited", None), ("lasting", "m")])
async def test_who_is_retried_queues_anew(client: Client, tmp_path: Path, function: str, mutex: str | None) -> None:
    """For a slot, or for a mutex: somebody else has it now; and it goes wherever the leader sends it."""
    options = SpawnOptions(mutex=mutex)

    async def spawn(what: str, times: int) -> ExecutionHandle[int]:
        arguments = {"folder": str(tmp_path), "what": what, "times": times}
        return await client.spawn(function, arguments, result=int, options=options)

    first = await spawn("first", 1)
    await client.wait_for_execution(first, timeout=SOON)
    second = await spawn("second", 0)
    await in_phase(client, second.name, Phase.EXECUTING)
    await client.retry_execution(first)
    async with asyncio.timeout(SOON.total_seconds()):
        while not (waiting := await client.get(first.name)).status.waiting_for:
            await asyncio.sleep(0.02)
    assert (waiting.phase, runs(tmp_path)["first"]) == (Phase.PENDING, 1)
    for what in ("second", "first"):
        (tmp_path / f"{what} may end").touch()
    assert await second.result(timeout=SOON) == 1
    assert await first.result(timeout=SOON) == 2


async def test_events_tell_of_retries(client: Client, transport: KubeTransport, tmp_path: Path) -> None:
    """One for each of the first few, and one for each that was asked for."""
    failed = await run(client, "plain", tmp_path, times=9)
    await client.retry_execution(failed)
    await client.wait_for_execution(failed, timeout=SOON)
    selector = f"involvedObject.uid={failed.metadata.uid}"
    listed = requests.list_objects(requests.EVENTS, "default", field_selector=selector)
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            body = (await transport.send(listed)).decode()
            if (body.count('"Retrying"'), body.count('"RetryRequested"')) == (3, 1):
                return
            await asyncio.sleep(0.05)
