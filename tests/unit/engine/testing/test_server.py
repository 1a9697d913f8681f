"""The API server of a test environment: what its transport answers, and for whom it counts writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.kube import requests
from kontinue_engine.clock import SystemClock
from kontinue_engine.testing.server import InProcessTransport, start_server


@pytest.fixture
async def transport() -> AsyncIterator[InProcessTransport]:
    server = await start_server(SystemClock())
    yield InProcessTransport(server)
    await server.__aexit__(None, None, None)


def execution(name: str, **metadata: Any) -> requests.Request:
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {"name": name, **metadata},
        "spec": {"function": "f"},
    }
    return requests.create(requests.EXECUTIONS, "default", body)


async def test_it_answers_like_any_api_server(transport: InProcessTransport) -> None:
    """With the errors of the product's own client."""
    await transport.send(execution("e"))
    with pytest.raises(errors.AlreadyExists):
        await transport.send(execution("e"))
    with pytest.raises(errors.NotFound):
        await transport.send(requests.get(requests.EXECUTIONS, "default", "nobody"))
    with pytest.raises(errors.Invalid):
        await transport.send(requests.create(requests.EXECUTIONS, "default", {"kind": "Execution", "spec": {}}))


async def test_a_watch_tells_of_changes_until_it_is_left(transport: InProcessTransport) -> None:
    """What there was, then what happens, one line each; a refusal is an error at the first line."""
    await transport.send(execution("before"))
    names = []
    async with aclosing(
        transport.stream(requests.watch(requests.EXECUTIONS, "default", resource_version="1"))
    ) as lines:
        async with asyncio.timeout(60):
            async for line in lines:
                names.append(msgspec.json.decode(line)["object"]["metadata"]["name"])
                if len(names) == 3:
                    break
                await transport.send(execution(f"after-{len(names)}"))
    assert names == ["before", "after-1", "after-2"]
    with pytest.raises(errors.Invalid):
        await anext(transport.stream(requests.watch(requests.EXECUTIONS, "default", resource_version="x")))


async def test_writes_count_for_the_tree_that_they_belong_to(transport: InProcessTransport) -> None:
    """By the label of the root, or by the owner; Leases belong to nobody."""
    long = "r" * 70
    await transport.send(execution(long))
    await transport.send(execution("child", labels={labels.ROOT: labels.label_value(long)}))
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "child", "uid": "u"}
    page = {"metadata": {"name": "page", "ownerReferences": [owner]}}
    await transport.send(requests.create(requests.CONFIGMAPS, "default", page))
    await transport.send(requests.create(requests.LEASES, "default", {"metadata": {"name": "lease"}}))
    await transport.send(requests.get(requests.EXECUTIONS, "default", "child"))
    assert transport.writes == {labels.label_value(long): 3}
