"""Whether what held a mutex or a slot still runs is asked of the API server, not of a watch that may be late."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.kube.requests import Request
from kontinue_engine.coordinator import fates
from kontinue_engine.sharding.fates import Fate
from scripted_transport import ScriptedTransport

HOLDER = ("w-1", "alive")
FREE = ("", "alive")


class Server:
    """One Execution that has ended, and the Lease of its owner: (holder, incarnation), None for no Lease."""

    def __init__(self, lease: tuple[str, str] | None, **status: Any) -> None:
        self.asked: list[str] = []
        self._lease = lease
        self._status = status

    def __call__(self, request: Request) -> bytes:
        name = request.path.rpartition("/")[2]
        self.asked.append(name)
        if "/executions/" in request.path:
            return msgspec.json.encode({"metadata": {"name": name, "uid": "u"}, "status": self._status})
        if self._lease is None:
            raise errors.NotFound("no such Lease", status=404)
        holder, incarnation = self._lease
        metadata = {"name": name, "annotations": {labels.INCARNATION: incarnation}}
        return msgspec.json.encode({"metadata": metadata, "spec": {"holderIdentity": holder}})


async def fate_of(transport: ScriptedTransport, server: Server, *, is_sharded: bool = True) -> Fate:
    transport.answer = server
    return await fates.fetch_fate(
        transport, "ns", group="g", is_sharded=is_sharded, name="a", uid="u", live={"seen alive"}
    )


@pytest.mark.parametrize(
    ("incarnation", "lease", "fate"),
    [
        pytest.param("alive", HOLDER, Fate.UNSURE, id="its owner has just taken its Lease, and no watch has shown it"),
        pytest.param("dead", HOLDER, Fate.STOPPED, id="another one has the Lease"),
        pytest.param("alive", FREE, Fate.STOPPED, id="it has been given back or taken away"),
        pytest.param("alive", None, Fate.UNSURE, id="somebody has deleted it"),
    ],
)
async def test_an_owner_counts_as_gone_only_if_its_lease_says_so(
    transport: ScriptedTransport, incarnation: str, lease: tuple[str, str] | None, fate: Fate
) -> None:
    """That no Lease of it was seen may be the watch's fault: a mutex would have two holders."""
    server = Server(lease, phase="Canceled", owner={"shard": "w-1", "incarnation": incarnation, "epoch": 1})
    assert await fate_of(transport, server) is fate
    assert server.asked == ["a", "kontinue-shard.g.w-1"]


async def test_in_a_group_that_is_not_sharded_leadership_tells(transport: ScriptedTransport) -> None:
    """Its owners have no other Lease."""
    server = Server(HOLDER, phase="Canceled", owner={"shard": "w-1", "incarnation": "dead", "epoch": 1})
    assert await fate_of(transport, server, is_sharded=False) is Fate.STOPPED
    assert server.asked == ["a", "kontinue-leader.g"]


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        pytest.param({"phase": "Executing"}, Fate.LIVE, id="lives"),
        pytest.param(
            {"phase": "Canceled", "conditions": [{"type": "Stopped", "status": "True"}]}, Fate.STOPPED, id="says so"
        ),
        pytest.param(
            {"phase": "Canceled", "owner": {"shard": "w-1", "incarnation": "seen alive", "epoch": 1}},
            Fate.UNSURE,
            id="is being stopped",
        ),
        pytest.param({"phase": "Canceled"}, Fate.UNSURE, id="has no owner"),
    ],
)
async def test_what_is_clear_without_the_lease_costs_no_request_more(
    transport: ScriptedTransport, status: dict[str, Any], fate: Fate
) -> None:
    """It is asked for every second while code is being stopped."""
    server = Server(HOLDER, **status)
    assert await fate_of(transport, server) is fate
    assert server.asked == ["a"]
