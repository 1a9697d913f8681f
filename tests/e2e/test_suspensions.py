"""Suspends and long sleeps in real workers: resumed by clients and by hand, refused, timed out, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectList
from kontinue.api.v1alpha1 import PAYLOAD_INVALID, Phase, Suspension, SuspensionKind
from kontinue.client import Client, ExecutionHandle
from kontinue.kube import requests
from replica import Replica, replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)
YES = {"approved": True, "by": "ada"}

pytestmark = pytest.mark.slow
decode_page = msgspec.json.Decoder(ObjectList[Suspension]).decode


@pytest.fixture(scope="module", autouse=True)
def worker(own_server: StartableServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """The one replica, which leads."""
    folder = tmp_path_factory.mktemp("replica")
    with replicas(folder, own_server.kubeconfig, "suspended_app:app", HERE, "w-0") as [only]:
        only.wait_for("leading")
        yield only


async def suspensions(client: Client, execution: str) -> list[Suspension]:
    """Return the Suspensions of an Execution."""
    selector = f"{labels.PARENT}={labels.label_value(execution)}"
    request = requests.list_objects(requests.SUSPENSIONS, client.namespace, label_selector=selector)
    return decode_page(await client.kube.send(request)).items


async def suspension(
    client: Client, execution: ExecutionHandle[Any], holds: Callable[[Suspension], object] = lambda _one: True
) -> Suspension:
    """Wait for the one Suspension of an Execution to be as wanted."""
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            for one in await suspensions(client, execution.name):
                if holds(one):
                    return one
            await asyncio.sleep(0.02)


async def patch(client: Client, name: str, body: Any, *, status: bool = False) -> None:
    """Change a Suspension by hand, as kubectl does."""
    subresource: Any = "status" if status else ""
    await client.kube.send(
        requests.merge_patch(requests.SUSPENSIONS, client.namespace, name, body, subresource=subresource)
    )


@pytest.mark.parametrize(("function", "result"), [("ask", "True by ada"), ("ask_sync", "ada")])
async def test_somebody_answers(client: Client, function: str, result: str) -> None:
    """The Suspension says what is asked for; the payload is what the function gets."""
    run = await client.spawn(function, result=str)
    asked = await suspension(client, run)
    assert (asked.spec.execution, asked.spec.kind, asked.spec.display_name) == (
        run.name,
        SuspensionKind.MANUAL,
        "Ship it?",
    )
    assert asked.metadata.owner_references[0].name == run.name
    with pytest.raises(errors.InvalidPayload) as refused:
        await client.resume_suspension(asked, {"approved": "yes", "by": "ada"})
    assert refused.value.path == "$.approved"
    await client.resume_suspension(asked, YES)
    assert await run.result(timeout=SOON) == result
    with pytest.raises(errors.InvalidState, match="completed already by Client"):
        await client.resume_suspension(asked.metadata.name, YES)


async def test_a_long_wait_is_suspended_and_survives_the_death_of_the_worker(client: Client, worker: Replica) -> None:
    """Nothing runs meanwhile; whoever comes next finds the answer."""
    run = await client.spawn("ask", result=str)
    waiting = await client.wait_for_execution(run, until=[Phase.SUSPENDED], timeout=SOON)
    asked = await suspension(client, run)
    assert [(item.kind, item.name) for item in waiting.status.waiting_for] == [("Suspension", asked.metadata.name)]
    worker.kill()
    await client.resume_suspension(asked, YES)
    worker.start()
    assert await run.result(timeout=SOON) == "True by ada"


async def test_a_payload_by_hand_that_does_not_fit_is_refused(client: Client) -> None:
    """The wait goes on, and a condition says where the payload is wrong; the next answer counts."""
    run = await client.spawn("ask", result=str)
    name = (await suspension(client, run)).metadata.name
    wrong = {"status": {"phase": "Completed", "payload": {"approved": "yes", "by": "ada"}}}
    await patch(client, name, wrong, status=True)
    reopened = await suspension(client, run, lambda one: one.status.conditions)
    assert reopened.is_open
    (condition,) = reopened.status.conditions
    assert (condition.type, condition.status) == (PAYLOAD_INVALID, "True")
    assert condition.message.startswith("$.approved: ")
    await patch(client, name, {"status": {"phase": "Completed", "payload": YES, "resumedBy": "ada"}}, status=True)
    assert await run.result(timeout=SOON) == "True by ada"


async def test_nobody_answers_in_time(client: Client) -> None:
    """The function gets SuspendTimeout; the Suspension says so."""
    run = await client.spawn("nobody", result=str)
    assert await run.result(timeout=SOON) == "nobody came"
    (ended,) = await suspensions(client, run.name)
    assert (ended.is_open, ended.status.timed_out, ended.status.resumed_by) == (False, True, "Timer")


async def test_a_long_sleep_ends_by_itself(client: Client) -> None:
    """One beyond the parking time is a Suspension, ended when its time has come."""
    run = await client.spawn("nap", {"seconds": 5.5}, result=str)
    assert float(await run.result(timeout=SOON)) >= 5.5
    (ended,) = await suspensions(client, run.name)
    assert (ended.spec.kind, ended.spec.display_name, ended.status.timed_out) == (SuspensionKind.SLEEP, "bake", False)
    assert ended.spec.resume_at is not None
    assert ended.status.resumed_at is not None
    assert ended.status.resumed_at >= ended.spec.resume_at


async def test_a_short_sleep_is_none(client: Client) -> None:
    """It costs no object."""
    run = await client.spawn("nap", {"seconds": 0.01}, result=str)
    await run.result(timeout=SOON)
    assert await suspensions(client, run.name) == []


async def test_a_sleep_is_ended_early(client: Client) -> None:
    """By a client that resumes the Execution; and once only."""
    run = await client.spawn("nap", {"seconds": 3600}, result=str)
    await client.wait_for_execution(run, until=[Phase.SUSPENDED], timeout=SOON)
    with pytest.raises(errors.InvalidPayload):
        await client.resume_execution(run, payload=1)
    (resumed,) = await client.resume_execution(run)
    assert resumed.spec.kind is SuspensionKind.SLEEP
    assert float(await run.result(timeout=SOON)) < 3600
    with pytest.raises(errors.InvalidState):
        await client.resume_execution(run)


async def test_the_end_of_a_sleep_is_moved_by_hand(client: Client) -> None:
    """``spec.resumeAt`` counts as it stands now."""
    run = await client.spawn("nap", {"seconds": 3600}, result=str)
    name = (await suspension(client, run)).metadata.name
    await patch(client, name, {"spec": {"resumeAt": datetime.now(UTC).isoformat()}})
    assert float(await run.result(timeout=SOON)) < 3600


async def test_a_deleted_suspension_is_created_again(client: Client) -> None:
    """With the end that it had: to end a wait, resume it, or cancel its Execution."""
    run = await client.spawn("nap", {"seconds": 3600}, result=str)
    one = await suspension(client, run)
    await client.wait_for_execution(run, until=[Phase.SUSPENDED], timeout=SOON)
    await client.kube.send(requests.delete(requests.SUSPENSIONS, client.namespace, one.metadata.name))
    again = await suspension(client, run, lambda found: found.metadata.uid != one.metadata.uid)
    assert (again.metadata.name, again.spec) == (one.metadata.name, one.spec)
    await client.resume_suspension(again)
    await run.result(timeout=SOON)


async def test_a_tree_is_resumed_recursively(client: Client) -> None:
    """Who reads a payload gets it, and sleeps end."""
    run = await client.spawn("family", result=list[str])
    async with asyncio.timeout(SOON.total_seconds()):
        while (
            len(
                [
                    one
                    for child in await client.get_child_executions(run)
                    for one in await suspensions(client, child.metadata.name)
                ]
            )
            < 2
        ):
            await asyncio.sleep(0.02)
    with pytest.raises(errors.InvalidState, match="recursive"):
        await client.resume_execution(run)
    assert len(await client.resume_execution(run, recursive=True, payload=YES)) == 2
    assert (await run.result(timeout=SOON))[0] == "True by ada"


@pytest.mark.parametrize(("function", "result"), [("until_there", "here"), ("until_there_sync", True)])
async def test_a_poll_survives_the_death_of_the_worker(
    client: Client, worker: Replica, tmp_path: Path, function: str, result: object
) -> None:
    """Whoever comes next looks, until it is there."""
    path = tmp_path / "there"
    run = await client.spawn(function, {"path": str(path)}, result=Any)
    await client.wait_for_execution(run, until=[Phase.SUSPENDED], timeout=SOON)
    worker.kill()
    worker.start()
    (tmp_path / "written").write_text("here")
    (tmp_path / "written").rename(path)  # whole, or not there
    assert await run.result(timeout=SOON) == result
    assert await suspensions(client, run.name) == []


async def test_a_poll_is_given_up(client: Client) -> None:
    """Its limit is a durable timer."""
    run = await client.spawn("never_there", result=str)
    assert await run.result(timeout=SOON) == "gave up"


@pytest.fixture
async def lost(client: Client) -> ExecutionHandle[Any]:
    """An Execution that waits for somebody."""
    run = await client.spawn("ask")
    await suspension(client, run)
    return run


async def test_nobody_is_asked_any_more(client: Client, lost: ExecutionHandle[Any]) -> None:
    """What lost a race is deleted, and so is what a canceled Execution waited for."""
    raced = await client.spawn("first", result=int)
    assert await raced.result(timeout=SOON) == 1
    await client.cancel(lost)
    async with asyncio.timeout(SOON.total_seconds()):
        while [*await suspensions(client, raced.name), *await suspensions(client, lost.name)]:
            await asyncio.sleep(0.02)
