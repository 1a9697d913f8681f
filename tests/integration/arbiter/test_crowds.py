"""Many clients of many processes at once: a ledger to which all of them write is the judge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_server import ApiServer
from looked_after import World
from primitives_chaos import crowds
from primitives_chaos.processes import client_processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HOLD_S = 0.01


@pytest.fixture
async def place(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[crowds.Place]:
    """Ten processes of clients, and a coordinator."""
    transport = api_server.transport()
    world = World(transport, api_server.namespace)
    (ledger := tmp_path / "ledger").touch()
    running = client_processes(tmp_path, api_server.kubeconfig, api_server.namespace, ledger, number=crowds.PROCESSES)
    async with world.looked_after(), running as processes:
        yield crowds.Place(world.client, processes, ledger)
    await transport.close()


async def test_nothing_is_lost_or_doubled_and_nobody_is_inside_beside_others(place: crowds.Place):
    """A hundred are done at once, by ten processes; fifty hold five permits; others lock and read.

    The counter ends at exactly 0, never more than five hold a permit, and fencing tokens grow.
    """
    assert (await crowds.dones(place, "jobs")).violations == []
    held = await crowds.permits(place, "db", hold_s=1)  # long enough for five to have heard of theirs
    assert (held.violations, held.most) == ([], crowds.PERMITS)
    assert (await crowds.mutex(place, "deploy", clients=10, hold_s=HOLD_S)).violations == []
    assert (await crowds.readers_and_writers(place, "catalog", clients=30, hold_s=HOLD_S)).violations == []
