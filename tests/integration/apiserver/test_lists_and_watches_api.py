"""Lists, selectors, pages, resourceVersions and watches over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any
from urllib.parse import quote

import pytest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


async def _create(api: Any, name: str, **fields: Any) -> Any:
    status, created = await api.send("POST", api.executions, api.execution(name, **fields))
    assert status == 201, created
    return created


async def _set_phase(api: Any, name: str, phase: str) -> Any:
    status, body = await api.send(
        "PATCH", f"{api.executions}/{name}/status", {"status": {"phase": phase}}, content_type=api.merge_patch
    )
    assert status == 200, body
    return body


async def _events(api: Any, query: str, count: int) -> list[tuple[str, str]]:
    """Return the first ``count`` events of a watch as (type, name)."""
    found = []
    async for event in api.watch(f"{api.executions}?watch=true&{query}"):
        found.append((event["type"], event["object"]["metadata"].get("name", "")))
        if len(found) == count:
            break
    return found


async def test_lists_select_by_labels_and_fields(api: Any) -> None:
    """Selectors combine; a missing status counts as an empty phase; unknown fields are 400."""
    await _create(api, "a", metadata={"labels": {"g": "1"}})
    await _create(api, "b", metadata={"labels": {"g": "2"}}, spec={"function": "other"})
    await _create(api, "c")
    await _set_phase(api, "a", "Completed")

    async def names(query: str) -> list[str]:
        status, body = await api.send("GET", f"{api.executions}?{query}")
        assert status == 200, body
        return [item["metadata"]["name"] for item in body["items"]]

    assert await names("labelSelector=g") == ["a", "b"]
    assert await names(f"labelSelector={quote('g notin (1)')}") == ["b", "c"]
    assert await names(f"fieldSelector={quote('status.phase!=Completed')}") == ["b", "c"]
    assert await names(f"fieldSelector={quote('spec.function=hello,status.phase=Completed')}") == ["a"]
    assert await names("fieldSelector=metadata.name%3Db") == ["b"]
    status, body = await api.send("GET", f"{api.executions}?fieldSelector=spec.nonsense%3D1")
    assert (status, "field label not supported" in body["message"]) == (400, True)


async def test_pages_show_one_revision_whatever_is_written_between_them(api: Any) -> None:
    """All pages of a list are of the first page's revision."""
    for name in "abcde":
        await _create(api, name)
    _, first = await api.send("GET", f"{api.executions}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.send("DELETE", f"{api.executions}/c")
    await _create(api, "bb")
    await _set_phase(api, "d", "Executing")
    _, second = await api.send("GET", f"{api.executions}?limit=2&continue={first['metadata']['continue']}")
    _, third = await api.send("GET", f"{api.executions}?limit=2&continue={second['metadata']['continue']}")
    pages = [first, second, third]
    assert [[item["metadata"]["name"] for item in page["items"]] for page in pages] == [["a", "b"], ["c", "d"], ["e"]]
    assert {page["metadata"]["resourceVersion"] for page in pages} == {first["metadata"]["resourceVersion"]}
    assert "status" not in second["items"][1]
    assert "continue" not in third["metadata"]


async def test_a_page_whose_revision_is_forgotten_is_gone_with_a_token_to_go_on(api: Any, local_server: Any) -> None:
    """410 Expired carries a token that continues at the same place, now."""
    for name in "abc":
        await _create(api, name)
    _, first = await api.send("GET", f"{api.executions}?limit=1")
    await _create(api, "d")
    await local_server.server.compact()
    status, body = await api.send("GET", f"{api.executions}?limit=1&continue={first['metadata']['continue']}")
    assert (status, body["reason"]) == (410, "Expired")
    _, rest = await api.send("GET", f"{api.executions}?continue={body['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "c", "d"]
    assert (await api.send("GET", f"{api.executions}?continue=nonsense"))[0] == 400


async def test_resource_versions_of_lists_follow_the_rules_of_kubernetes(api: Any, local_server: Any) -> None:
    """Exact means exactly, 0 means any, the future waits and then is 504, combinations that make no sense are 422."""
    old = (await _create(api, "a"))["metadata"]["resourceVersion"]
    await _create(api, "b")

    async def count(query: str) -> int:
        status, body = await api.send("GET", f"{api.executions}?{query}")
        assert status == 200, body
        return len(body["items"])

    async def refusal(query: str) -> int:
        return (await api.send("GET", f"{api.executions}?{query}"))[0]

    assert await count(f"resourceVersion={old}&resourceVersionMatch=Exact") == 1
    assert await count(f"resourceVersion={old}&limit=5") == 1
    assert await count(f"resourceVersion={old}") == 2
    assert await count("resourceVersion=0") == 2
    assert await refusal("resourceVersion=0&resourceVersionMatch=Exact") == 422
    assert await refusal("resourceVersionMatch=Exact") == 422
    assert await refusal("sendInitialEvents=true") == 422
    assert await refusal("resourceVersion=abc") == 400
    waiting = asyncio.create_task(api.send("GET", f"{api.executions}?resourceVersion={int(old) + 2}"))
    await asyncio.sleep(0)
    await _create(api, "c")
    status, body = await waiting
    assert (status, len(body["items"])) == (200, 3)
    await local_server.server.compact()
    assert await refusal(f"resourceVersion={old}&resourceVersionMatch=Exact") == 410


async def test_a_revision_that_does_not_come_up_is_a_timeout(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """504 with the cause that client-go looks for."""
    monkeypatch.setattr("kontinue_engine.apiserver.reading.FUTURE_REVISION_WAIT_S", 0.01)
    status, body = await api.send("GET", f"{api.executions}?resourceVersion=999999")
    assert (status, body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


async def test_a_watch_without_a_revision_begins_with_what_is_there(api: Any) -> None:
    """Synthetic ADDED events first, then what happens."""
    await _create(api, "a")
    watching = asyncio.create_task(_events(api, "timeoutSeconds=5", 3))
    await asyncio.sleep(0.05)
    await _set_phase(api, "a", "Executing")
    await api.send("DELETE", f"{api.executions}/a")
    assert await watching == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_an_object_enters_and_leaves_a_selection_as_added_and_deleted(api: Any) -> None:
    """DELETED of a selector watch carries the previous content at the new revision."""
    await _create(api, "a")
    _, listed = await api.send("GET", api.executions)
    rev = listed["metadata"]["resourceVersion"]
    await _set_phase(api, "a", "Executing")
    left = await _set_phase(api, "a", "Completed")
    selector = quote("status.phase=Executing")
    path = f"{api.executions}?watch=1&resourceVersion={rev}&fieldSelector={selector}&timeoutSeconds=1"
    events = [event async for event in api.watch(path)]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]
    assert events[1]["object"]["status"]["phase"] == "Executing"
    assert events[1]["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]


async def test_a_deletion_carries_the_last_content_at_the_revision_of_the_deletion(api: Any) -> None:
    """A client resumes from it and sees nothing twice."""
    created = await _create(api, "a")
    rev = created["metadata"]["resourceVersion"]
    await api.send("DELETE", f"{api.executions}/a")
    path = f"{api.executions}?watch=1&resourceVersion={rev}&timeoutSeconds=1"
    (event,) = [event async for event in api.watch(path)]
    assert (event["type"], event["object"]["spec"]) == ("DELETED", created["spec"])
    assert int(event["object"]["metadata"]["resourceVersion"]) == int(rev) + 1


async def test_a_watch_from_a_forgotten_revision_is_an_error_event(api: Any, local_server: Any) -> None:
    """HTTP 200 and one ERROR event with code 410, as in kube-apiserver."""
    await _create(api, "a")
    await local_server.server.compact()
    (event,) = [event async for event in api.watch(f"{api.executions}?watch=1&resourceVersion=1&timeoutSeconds=5")]
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_list_ends_its_initial_events_with_a_bookmark(api: Any) -> None:
    """A WatchList gives ADDED events and then a bookmark of the same kind with the annotation."""
    await _create(api, "a")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    events = [event async for event in api.watch(f"{api.executions}?watch=1&{query}")]
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["kind"] == "Execution"
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (await api.send("GET", f"{api.executions}?watch=1&sendInitialEvents=true"))[0] == 422


async def test_bookmarks_tell_a_quiet_watch_the_current_revision(api: Any) -> None:
    """Two seconds before its end a watch that allows bookmarks gets one, so that it resumes from there."""
    watching = asyncio.create_task(_events(api, "resourceVersion=1&allowWatchBookmarks=1&timeoutSeconds=3", 1))
    assert await watching == [("BOOKMARK", "")]


async def test_tables_and_metadata_are_served_on_lists_and_watches(api: Any) -> None:
    """Columns come in the first event of a watch only; metadata views carry nothing else."""
    await _create(api, "a")
    _, table = await api.send("GET", api.executions, Accept=TABLE)
    assert (table["kind"], table["rows"][0]["cells"][:2]) == ("Table", ["a", "hello"])
    _, partial = await api.send("GET", api.executions, Accept=METADATA_LIST)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert set(partial["items"][0]) == {"apiVersion", "kind", "metadata"}
    assert (await api.send("GET", api.executions, Accept="text/html"))[0] == 406


@pytest.mark.parametrize("seed", range(3))
async def test_a_list_and_the_watch_from_it_give_the_final_state_under_random_writers(api: Any, seed: int) -> None:
    """Replaying the events over the list equals the final list; revisions rise strictly, each seen once."""
    rng = random.Random(seed)
    writers, writes = 6, 40

    async def write(writer: int) -> None:
        for _ in range(writes):
            name = f"e{rng.randrange(8)}"
            match rng.randrange(4):
                case 0:
                    await api.send("POST", api.executions, api.execution(name))
                case 1:
                    await api.send("DELETE", f"{api.executions}/{name}")
                case _:
                    body = {"metadata": {"labels": {f"w{writer}": str(rng.randrange(1000))}}}
                    await api.send("PATCH", f"{api.executions}/{name}", body, content_type=api.merge_patch)

    async def follow() -> tuple[dict[str, Any], list[int]]:
        _, listed = await api.send("GET", api.executions)
        state = {item["metadata"]["name"]: item for item in listed["items"]}
        rev, seen = listed["metadata"]["resourceVersion"], []
        async for event in api.watch(f"{api.executions}?watch=1&resourceVersion={rev}&timeoutSeconds=30"):
            item = event["object"]
            seen.append(int(item["metadata"]["resourceVersion"]))
            if item["metadata"]["name"] == "the-end":
                break
            if event["type"] == "DELETED":
                del state[item["metadata"]["name"]]
            else:
                assert (event["type"] == "ADDED") is (item["metadata"]["name"] not in state)
                state[item["metadata"]["name"]] = item
        return state, seen

    followers = []
    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(writer))
            await asyncio.sleep(0.01)
            followers.append(asyncio.create_task(follow()))
    _, final = await api.send("GET", api.executions)
    await _create(api, "the-end")
    expected = {item["metadata"]["name"]: item for item in final["items"]}
    for state, seen in await asyncio.gather(*followers):
        assert state == expected
        assert all(earlier < later for earlier, later in itertools.pairwise(seen))
