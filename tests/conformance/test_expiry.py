"""What is asked of a state that the server has forgotten: 410, and how to go on."""

from __future__ import annotations

import pytest

from api import Api, execution
from servers import Server

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def _create(api: Api, name: str) -> str:
    status, created = await api.send("POST", api.path(EXECUTIONS), execution(name))
    assert status == 201, created
    return str(created["metadata"]["resourceVersion"])


async def test_a_forgotten_state_is_gone_and_a_page_of_it_has_a_token_to_go_on(api: Api, server: Server) -> None:
    """410 Expired; of a page with a token that continues at the same place, with what there is now."""
    if server.forget_history is None:
        pytest.skip("an existing cluster forgets when it likes")
    for name in "abc":
        rev = await _create(api, name)
    _, first = await api.send("GET", f"{api.path(EXECUTIONS)}?limit=1")
    await _create(api, "bb")
    await _create(api, "d")
    server.forget_history()
    exact = f"{api.path(EXECUTIONS)}?resourceVersion={rev}&resourceVersionMatch=Exact"
    await api.eventually(exact, 410)  # a real server looks every 15 seconds
    for path in (exact, f"{api.path(EXECUTIONS)}?resourceVersion={rev}&limit=5"):
        status, body = await api.send("GET", path)
        assert (status, body["reason"], body["metadata"].get("continue")) == (410, "Expired", None)
    _, listed = await api.send("GET", f"{api.path(EXECUTIONS)}?resourceVersion={rev}")
    assert len(listed["items"]) == 5
    page = f"{api.path(EXECUTIONS)}?limit=2&continue="
    status, body = await api.send("GET", page + first["metadata"]["continue"])
    assert (status, body["kind"], body["reason"]) == (410, "Status", "Expired")
    _, second = await api.send("GET", page + body["metadata"]["continue"])
    assert [item["metadata"]["name"] for item in second["items"]] == ["b", "bb"]
    _, third = await api.send("GET", page + second["metadata"]["continue"])
    assert [item["metadata"]["name"] for item in third["items"]] == ["c", "d"]
    assert int(third["metadata"]["resourceVersion"]) > int(rev)


@pytest.mark.parametrize("accept", ["application/json", TABLE])
async def test_a_watch_from_a_forgotten_revision_is_an_error_event(api: Api, server: Server, accept: str) -> None:
    """HTTP 200 and one ERROR event with code 410, whatever form events have; then the stream ends."""
    await _create(api, "a")
    if server.forget_history is not None:
        server.forget_history()
    path = f"{api.path(EXECUTIONS)}?watch=1&resourceVersion=1&timeoutSeconds=20"
    (event,) = [event async for event in api.watch(path, Accept=accept)]
    assert (event["type"], event["object"]["kind"]) == ("ERROR", "Status")
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
