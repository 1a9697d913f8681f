"""What a client has ended while nobody had it is closed; what a living replica has, it closes itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue.kube.requests import Request
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.closing import Closer
from scripted_transport import ScriptedTransport

LIST = {"metadata": {"resourceVersion": "9"}, "items": []}


def canceled(name: str, incarnation: str = "dead", **status: Any) -> dict[str, Any]:
    owner = {"shard": "w-1", "incarnation": incarnation, "epoch": 1}
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": "5"},
        "spec": {"function": "f"},
        "status": {"phase": "Canceled", "owner": owner, **status},
    }


class Server:
    """Executions that have been canceled; what is written is noted."""

    def __init__(self, *stored: dict[str, Any], unreadable: str = "") -> None:
        self.written: list[str] = []
        self._stored = {one["metadata"]["name"]: one for one in stored}
        self._unreadable = unreadable

    def __call__(self, request: Request) -> bytes:
        name = request.path.partition("/executions/")[2].partition("/")[0]
        if not name:
            is_wanted = "phase%3DCanceled" in request.query
            return msgspec.json.encode({**LIST, "items": list(self._stored.values()) if is_wanted else []})
        if request.method == "PUT":
            self.written.append(name)
        found = self._stored[name]
        if name == self._unreadable:
            found = {**found, "spec": {"function": 3}}
        return msgspec.json.encode(found)


async def close(transport: ScriptedTransport, server: Server) -> None:
    transport.answer = server
    live = {"alive"}
    closer = Closer(transport, namespace="ns", group="g", clock=SystemClock(), is_live=live.__contains__)
    await closer.close("w-1")


async def test_what_nobody_has_is_closed_and_what_a_replica_has_is_left_to_it(transport: ScriptedTransport) -> None:
    """Its code may still be cleaning up: who says Stopped too early gives its mutex away."""
    server = Server(canceled("a"), canceled("b", "alive"))
    await close(transport, server)
    assert server.written == ["a"]


async def test_what_has_stopped_is_left_alone(transport: ScriptedTransport) -> None:
    """Sweeps come again and again."""
    server = Server(canceled("a", conditions=[{"type": "Stopped", "status": "True"}]))
    await close(transport, server)
    assert server.written == []


async def test_one_that_cannot_be_read_keeps_nobody_from_closing_the_others(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """It would fell one leader after the other."""
    server = Server(canceled("a"), canceled("b"), unreadable="a")
    await close(transport, server)
    assert server.written == ["b"]
    assert "not closed" in caplog.text
