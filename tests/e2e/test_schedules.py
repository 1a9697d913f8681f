"""Schedules in a group of real workers: what is due is started once, whoever leads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml

from api import unique
from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase, ScheduledExecution
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from polling import eventually
from replica import Replica
from startable import StartableServer
from write_counts import written

SOON_S = 60.0
LAST_YEAR, THIS_YEAR = (datetime(year, 1, 1, tzinfo=UTC) for year in (2025, 2026))
YEARLY = "0 0 1 1 *"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "schedules.md"

pytestmark = pytest.mark.slow

APP = """
import time
from pathlib import Path
from kontinue import App

app = App(group="reports")


@app.function
def report(kind: str, gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return f"{kind} report"
"""

decode = msgspec.json.Decoder(ScheduledExecution).decode


class Office:
    """A namespace with workers and schedules."""

    def __init__(self, folder: Path, server: StartableServer, namespace: str, client: Client) -> None:
        self.namespace = namespace
        self.client = client
        self.gate = folder / "gate"
        self.folder = folder
        self._server = server
        self.workers: list[Replica] = []
        (folder / "app.py").write_text(APP)

    def worker(self, shard: str, *, sharding: bool = False) -> Replica:
        """Start a worker."""
        options = ("--namespace", self.namespace)
        worker = Replica(
            self.folder, self._server.kubeconfig, "app:app", self.folder, shard, *options, sharding=sharding
        )
        self.workers.append(worker)
        worker.start()
        return worker

    def end(self) -> None:
        """Kill what still runs."""
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()

    async def create(self, name: str, **spec: Any) -> None:
        """Create a schedule whose next occurrence is far away."""
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "ScheduledExecution",
            "metadata": {"name": name},
            "spec": {
                "schedule": YEARLY,
                "function": "report",
                "arguments": {"kind": "yearly", "gate": str(self.gate)},
                **spec,
            },
        }
        await self.client.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, self.namespace, body))
        await self.status_of(name, lambda one: one.status.next_schedule_time is not None)

    def schedules_written(self) -> int:
        """Return how many writes of schedules the server has counted."""
        return written(self._server.metrics(), "scheduledexecutions")

    async def edit(self, name: str, spec: dict[str, Any]) -> None:
        """Change a schedule."""
        await self.client.kube.send(
            requests.merge_patch(requests.SCHEDULED_EXECUTIONS, self.namespace, name, {"spec": spec})
        )

    async def make_due(self, name: str, occurrence: datetime) -> None:
        """Have the status say that nobody has dealt with an occurrence of the past."""
        patch = {"status": {"nextScheduleTime": occurrence.isoformat()}}
        await self.client.kube.send(
            requests.merge_patch(requests.SCHEDULED_EXECUTIONS, self.namespace, name, patch, subresource="status")
        )

    async def get(self, name: str) -> ScheduledExecution:
        """Return a schedule."""
        return decode(await self.client.kube.send(requests.get(requests.SCHEDULED_EXECUTIONS, self.namespace, name)))

    async def status_of(self, name: str, check: Callable[[ScheduledExecution], object]) -> ScheduledExecution:
        """Read a schedule until it is as wanted."""
        async with asyncio.timeout(SOON_S):
            while not check(found := await self.get(name)):
                await asyncio.sleep(0.02)
            return found

    async def runs(self, name: str) -> list[Execution]:
        """Return the schedule's Executions, oldest occurrence first."""
        found = await self.client.list(schedule=name)
        return sorted(found, key=lambda one: one.metadata.annotations[labels.OCCURRENCE])

    async def only_run(self, name: str) -> Execution:
        """Wait until there is one."""
        await eventually(lambda: self.runs(name))
        (run,) = await self.runs(name)
        return run


@pytest.fixture
async def office(tmp_path: Path, own_server: StartableServer) -> AsyncIterator[Office]:
    """A fresh namespace."""
    namespace = unique("office")
    options = ClientOptions(kubeconfig=str(own_server.kubeconfig), namespace=namespace, qps=None)
    async with Client(options) as client:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client.kube.send(requests.create(requests.NAMESPACES, "", body))
        one = Office(tmp_path, own_server, namespace, client)
        yield one
        one.end()


@pytest.mark.parametrize("sharding", [False, True], ids=["one-replica", "sharded"])
async def test_what_is_due_runs_and_says_which_occurrence_it_is(office: Office, sharding: bool) -> None:
    """With the schedule's arguments and defaults; the status tells the last one and the next one."""
    office.gate.touch()
    written_before = office.schedules_written()
    office.worker("w-0", sharding=sharding)
    await office.create("books", executionDefaults={"retry": {"retries": 2}, "ttl": {"deleteAfter": "720h"}})
    await office.make_due("books", THIS_YEAR)
    run = await office.only_run("books")
    ended = await office.client.wait_for_execution(run.metadata.name)
    assert (ended.phase, msgspec.json.decode(ended.status.result)) == (Phase.COMPLETED, "yearly report")
    assert ended.metadata.name == f"books-{int(THIS_YEAR.timestamp()) // 60}"
    assert ended.metadata.annotations[labels.OCCURRENCE] == "2026-01-01T00:00:00Z"
    assert ended.spec.retry is not None
    assert ended.spec.ttl is not None
    assert (ended.spec.retry.retries, ended.spec.ttl.delete_after) == (2, "720h")

    schedule = await office.status_of("books", lambda one: one.status.last_schedule_time and not one.status.active)
    assert schedule.status.last_schedule_time == THIS_YEAR
    assert schedule.status.next_schedule_time is not None
    assert schedule.status.next_schedule_time > datetime.now(UTC)
    assert [(one.type, one.status) for one in schedule.status.conditions] == [("Ready", "True")]
    by_us, first_status = 2, 1
    # A real server counts a request a little after its answer.
    await eventually(lambda: office.schedules_written() - written_before - by_us - first_status == 2)


async def test_an_occurrence_is_started_once_by_whoever_leads(office: Office) -> None:
    """The leader dies; the next one starts what is due. A lost status write makes it look due again: it is known."""
    office.gate.touch()
    leader = office.worker("w-0", sharding=True)
    await office.create("books")
    office.worker("w-1", sharding=True)
    leader.kill()
    await office.make_due("books", THIS_YEAR)
    first = await office.only_run("books")
    await office.client.wait_for_execution(first.metadata.name)
    await office.status_of("books", lambda one: one.status.last_schedule_time == THIS_YEAR and not one.status.active)
    await office.make_due("books", THIS_YEAR)
    again = await office.status_of("books", lambda one: one.status.next_schedule_time != THIS_YEAR)
    assert again.status.last_schedule_time == THIS_YEAR
    assert [run.metadata.uid for run in await office.runs("books")] == [first.metadata.uid]


async def test_replace_cancels_what_runs_and_starts_the_next_one_when_it_has_stopped(office: Office) -> None:
    """The function cannot notice a cancel, so its runner has to be killed first."""
    office.worker("w-0")
    await office.create("books", concurrencyPolicy="Replace")
    await office.make_due("books", LAST_YEAR)
    # Of several missed ones the last counts: that of this year.
    first = await office.only_run("books")
    await office.client.wait_for_execution(first.metadata.name, until=[Phase.EXECUTING])
    await office.edit("books", {"schedule": "* * * * *"})
    await office.make_due("books", datetime.now(UTC).replace(second=0, microsecond=0))

    async def is_replaced() -> bool:
        return len(await office.runs("books")) > 1

    await eventually(is_replaced)
    replaced = await office.client.get(first.metadata.name)
    assert (replaced.phase, replaced.status.reason) == (Phase.CANCELED, "Replaced")
    assert [(one.type, one.status) for one in replaced.status.conditions] == [("Stopped", "True")]


async def test_executions_of_a_schedule_go_with_it(office: Office) -> None:
    """As the Jobs of a CronJob do."""
    office.gate.touch()
    office.worker("w-0")
    await office.create("books")
    await office.make_due("books", THIS_YEAR)
    run = await office.only_run("books")
    await office.client.wait_for_execution(run.metadata.name)
    await office.client.kube.send(requests.delete(requests.SCHEDULED_EXECUTIONS, office.namespace, "books"))

    async def is_gone() -> bool:
        try:
            await office.client.get(run.metadata.name)
        except errors.NotFound:
            return True
        return False

    await eventually(is_gone)


async def test_a_schedule_of_a_function_that_nobody_has_says_so(office: Office) -> None:
    """Any leader of the namespace tells it."""
    office.worker("w-0")
    await office.create("books", function="nothing")
    schedule = await office.status_of("books", lambda one: one.status.conditions)
    (ready,) = schedule.status.conditions
    assert (ready.status, ready.reason) == ("False", "UnknownFunction")
    assert ready.message == "no worker group owns function nothing"


async def test_the_example_of_the_documentation_works(office: Office) -> None:
    """App and object as they stand there."""
    code, document = (
        re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[0] for language in ("python", "yaml")
    )
    (office.folder / "app.py").write_text(code)
    office.worker("w-0")
    body = yaml.safe_load(document)
    name = body["metadata"]["name"]
    await office.client.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, office.namespace, body))
    schedule = await office.status_of(name, lambda one: one.status.next_schedule_time is not None)
    next_ = schedule.status.next_schedule_time
    assert next_ is not None
    berlin = next_.astimezone(ZoneInfo("Europe/Berlin"))
    assert (berlin.hour, berlin.minute, berlin.weekday() < 5) == (2, 30, True)
    await office.edit(name, {"startingDeadline": "87600h"})
    await office.make_due(name, next_ - timedelta(days=7))
    run = await office.only_run(name)
    ended = await office.client.wait_for_execution(run.metadata.name)
    assert msgspec.json.decode(ended.status.result) == "books of north closed"
