"""Two servers over one store: each is as if it were the only one, whoever of them wrote.

The store is a test double (``tests/support/shared_storage.py``) whose tails lag behind by random times. It stands for a
database behind several server processes; nothing above the storage knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from kontinue_engine.apiserver.server import LocalServer
from shared_storage import SharedLog, SharedStorage

LAG_S = 0.03


@pytest.fixture
async def servers(connect: Any) -> AsyncIterator[list[Any]]:
    """Clients of two servers that share a store."""
    log = SharedLog()
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            server = await stack.enter_async_context(LocalServer(SharedStorage(log, lag_s=LAG_S), token="t"))
            clients.append(connect(server.url, "t"))
            stack.push_async_callback(clients[-1].close)
        yield clients


async def test_what_was_written_through_one_server_is_read_at_once_through_the_other(servers: list[Any]) -> None:
    """GET, list, watch, and every kind of write see it; so do its deletion and its namespace."""
    a, b = servers
    for number in range(10):
        path = f"{a.executions}/x{number}"
        _, made = await a.send("POST", a.executions, a.execution(f"x{number}"))
        assert await b.send("GET", path) == (200, made)
        _, listed = await b.send("GET", f"{b.executions}?limit=100")
        assert f"x{number}" in [item["metadata"]["name"] for item in listed["items"]]
        assert (await b.send("POST", b.executions, b.execution(f"x{number}")))[0] == 409
        labels = {"metadata": {"labels": {"by": "b"}}}
        status, patched = await b.send("PATCH", path, labels, content_type=b.merge_patch)
        assert status == 200
        status, put = await a.send("PUT", path, patched | {"spec": {"function": "hello", "arguments": {"n": 1}}})
        assert status in {200, 422}, put  # the spec may be immutable, but never a conflict
        assert (await b.send("DELETE", path))[0] == 200
        assert (await a.send("GET", path))[0] == 404
        assert (await a.send("DELETE", path))[0] == 404
        assert (await a.send("POST", "/api/v1/namespaces", {"metadata": {"name": f"n{number}"}}))[0] == 201
        config = {"metadata": {"name": "c"}}
        assert (await b.send("POST", f"/api/v1/namespaces/n{number}/configmaps", config))[0] == 201


async def test_a_revision_of_one_server_is_waited_for_by_the_other(servers: list[Any]) -> None:
    """A read at least as new as, a page of a list begun elsewhere, a watch from there on."""
    a, b = servers
    for number in range(5):
        _, made = await a.send("POST", a.configmaps, {"metadata": {"name": f"c{number}"}})
        rev = made["metadata"]["resourceVersion"]
        assert (await b.send("GET", f"{b.configmaps}/c{number}?resourceVersion={rev}"))[0] == 200
    _, page = await a.send("GET", f"{a.configmaps}?limit=2")
    await a.send("DELETE", f"{a.configmaps}/c4")
    _, rest = await b.send("GET", f"{b.configmaps}?limit=9&continue={page['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in page["items"] + rest["items"]] == ["c0", "c1", "c2", "c3", "c4"]
    path = f"{b.configmaps}?watch=1&timeoutSeconds=1&resourceVersion={page['metadata']['resourceVersion']}"
    assert [event["type"] async for event in b.watch(path)] == ["DELETED"]


async def test_watches_on_both_servers_see_one_order_without_a_gap(servers: list[Any]) -> None:
    """Concurrent writers on both: each watch has every change once, revisions rising, and ends in the state of both."""
    _, before = await servers[0].send("GET", servers[0].configmaps)
    rev = before["metadata"]["resourceVersion"]

    async def follow(api: Any) -> list[tuple[str, str, int]]:
        seen = []
        async for event in api.watch(f"{api.configmaps}?watch=1&resourceVersion={rev}&timeoutSeconds=30"):
            metadata = event["object"]["metadata"]
            if metadata["name"] == "last":
                return seen
            seen.append((event["type"], metadata["name"], int(metadata["resourceVersion"])))
        raise AssertionError("the watch ended before its time")

    async def write(api: Any, choices: Iterator[Any]) -> int:
        made = 0
        for name, kind in choices:
            path = f"{api.configmaps}/{name}"
            body = {"metadata": {"name": name}, "data": {"n": str(random.random())}}
            if kind == "create":
                status, _ = await api.send("POST", api.configmaps, body)
            elif kind == "delete":
                status, _ = await api.send("DELETE", path)
            else:
                status, _ = await api.send("PATCH", path, body, content_type=api.merge_patch)
            assert status in {200, 201, 404, 409}
            made += status < 300
        return made

    def choices() -> Iterator[Any]:
        for _ in range(25):
            yield random.choice("abcd"), random.choice(["create", "delete", "patch", "patch"])

    following = [asyncio.create_task(follow(api)) for api in servers for _ in range(2)]
    made = await asyncio.gather(*(write(api, choices()) for api in servers for _ in range(4)))
    await servers[0].send("POST", servers[0].configmaps, {"metadata": {"name": "last"}})
    seen = await asyncio.gather(*following)
    assert all(other == seen[0] for other in seen)
    revs = [rev for _, _, rev in seen[0]]
    assert revs == sorted(set(revs))
    assert len(revs) == sum(made)
    state: dict[str, int] = {}
    for kind, name, changed in seen[0]:
        state.pop(name, None)
        if kind != "DELETED":
            state[name] = changed
    for api in servers:
        _, listed = await api.send("GET", api.configmaps)
        found = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}
        found.pop("last")
        assert found == state


async def test_of_writers_on_both_servers_one_wins_each_revision(servers: list[Any]) -> None:
    """A counter that 8 clients raise by read, PUT and retry on 409 loses no step."""
    config = {"metadata": {"name": "counter"}, "data": {"n": "0"}}
    assert (await servers[0].send("POST", servers[0].configmaps, config))[0] == 201

    async def count(api: Any) -> None:
        path = f"{api.configmaps}/counter"
        for _ in range(5):
            status = 409
            while status == 409:
                _, current = await api.send("GET", path)
                current["data"]["n"] = str(int(current["data"]["n"]) + 1)
                status, _ = await api.send("PUT", path, current)
            assert status == 200

    await asyncio.gather(*(count(api) for api in servers for _ in range(4)))
    _, current = await servers[1].send("GET", f"{servers[1].configmaps}/counter")
    assert current["data"]["n"] == "40"


async def test_a_store_that_cannot_be_asked_or_lags_for_too_long_is_a_status(
    servers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """504 and nothing done, not a stale answer; a read that names its revision goes on."""
    a, b = servers
    assert (await a.send("POST", a.configmaps, {"metadata": {"name": "x"}}))[0] == 201
    assert (await b.send("GET", f"{b.configmaps}/x"))[0] == 200
    monkeypatch.setattr("kontinue_engine.apiserver.objects.object_store.CATCH_UP_S", 0.05)
    monkeypatch.setattr(SharedStorage, "_show", lambda _: None)
    writing = asyncio.create_task(a.send("POST", a.configmaps, {"metadata": {"name": "y"}}))
    status, body = 200, {}
    async with asyncio.timeout(60):
        while status == 200:
            status, body = await b.send("GET", f"{b.configmaps}/x")
    assert (status, body["reason"]) == (504, "Timeout")
    assert (await b.send("GET", f"{b.configmaps}/x?resourceVersion=0"))[0] == 200
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
