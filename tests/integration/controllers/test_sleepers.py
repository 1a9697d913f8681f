"""Executions that sleep without an activation: little is kept of them, and whatever happens to them is noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from api_server import ApiServer
from controller_world import GROUP, World, eventually, replica
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionOwner, ExecutionSpec, ExecutionStatus, Phase, WaitingFor
from kontinue.kube import requests
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.times import ms_of

TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def put_to_sleep(server: ApiServer, name: str) -> None:
    """Store an Execution as a worker that is dead has left it: Suspended until tomorrow."""
    transport = server.transport()
    try:
        meta = ObjectMeta(name=name, labels={labels.WORKER_GROUP: GROUP})
        request = requests.create(
            requests.EXECUTIONS, server.namespace, Execution(metadata=meta, spec=ExecutionSpec(function="f"))
        )
        created = msgspec.json.decode(await transport.send(request), type=Execution).metadata
        status = ExecutionStatus(
            phase=Phase.SUSPENDED,
            owner=ExecutionOwner(shard="w-0", incarnation="one", epoch=1),
            state=MemoBytes(build="b1", timers={"0": ms_of(TOMORROW)}).encode(),
            attempt_count=1,
            started_at=created.creation_timestamp,
            waiting_for=[WaitingFor(kind="Timer", name="nap", until=TOMORROW)],
        )
        written = await executions.write_status(
            transport,
            namespace=server.namespace,
            name=name,
            uid=created.uid,
            version=created.resource_version,
            status=status,
        )
        assert isinstance(written, executions.Written)
    finally:
        await transport.close()


async def folded(world: World, name: str) -> Entry:
    await eventually(lambda: (one := world.entries.by_name(name)) is not None and one.is_folded)
    entry = world.entries.by_name(name)
    assert entry is not None
    return entry


async def change(world: World, name: str, operations: list[dict[str, Any]], subresource: str = "") -> None:
    request = requests.json_patch(requests.EXECUTIONS, world.namespace, name, operations, subresource=subresource)
    await world.client.send(request)


async def test_what_is_changed_of_a_sleeper_is_known_and_it_sleeps_on(api_server: ApiServer) -> None:
    """The newer object takes the place of what was put away, and is put away itself."""
    await put_to_sleep(api_server, "e")
    async with replica(api_server, "two") as world:
        entry = await folded(world, "e")
        before = entry.version
        await change(world, "e", [{"op": "add", "path": "/metadata/labels/team", "value": "blue"}])
        await eventually(lambda: entry.version != before)
        assert await folded(world, "e") is entry
        assert (entry.labels["team"], entry.status.phase) == ("blue", Phase.SUSPENDED)
        assert world.runners.submitted == []


async def test_a_sleeper_that_is_canceled_is_written_as_stopped(api_server: ApiServer) -> None:
    """Nothing of it runs, and nobody has to wake it to say so."""
    await put_to_sleep(api_server, "e")
    async with replica(api_server, "two") as world:
        await folded(world, "e")
        operations = [
            {"op": "test", "path": "/status/phase", "value": "Suspended"},
            {"op": "replace", "path": "/status/phase", "value": "Canceled"},
        ]
        await change(world, "e", operations, subresource="status")
        await eventually(lambda: world.entries.by_name("e") is None)
        assert is_stopped((await world.get("e")).status.conditions)
        assert world.runners.submitted == []
