"""Watches: where they begin, what they tell, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import quote

import pytest

from api import MERGE_PATCH, Api, execution, unique
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
END = "zz-end"


async def _create(api: Api, name: str, **metadata: Any) -> Any:
    status, created = await api.send("POST", api.path(EXECUTIONS), execution(name, metadata=metadata))
    assert status == 201, created
    return created


async def _set_phase(api: Api, name: str, phase: str) -> Any:
    body = {"status": {"phase": phase}}
    status, changed = await api.send("PATCH", api.path(EXECUTIONS, name, "status"), body, content_type=MERGE_PATCH)
    assert status == 200, changed
    return changed


async def _set_labels(api: Api, name: str, **labels: str | None) -> Any:
    body = {"metadata": {"labels": labels}}
    status, changed = await api.send("PATCH", api.path(EXECUTIONS, name), body, content_type=MERGE_PATCH)
    assert status == 200, changed
    return changed


async def _rev(api: Api, plural: str = EXECUTIONS, **where: Any) -> str:
    _, listed = await api.send("GET", api.path(plural, **where))
    return str(listed["metadata"]["resourceVersion"])


async def _events(api: Api, query: str, count: int, plural: str = EXECUTIONS, **where: Any) -> list[Any]:
    """Return the first ``count`` events of a watch."""
    return await events_of(api, f"{api.path(plural, **where)}?watch=1&{query}", count)


async def _all(api: Api, query: str, *, phase: str = "", **where: Any) -> list[Any]:
    """Return all events that a watch tells up to now: those before one of a last object, which every selection has."""
    await _create(api, END, labels={"on": "end"})
    if phase:
        await _set_phase(api, END, phase)
    found = []
    path = f"{api.path(EXECUTIONS, **where)}?watch=1&timeoutSeconds=20&{query}"
    async with contextlib.aclosing(api.watch(path)) as events:
        async for event in events:
            if event["object"]["metadata"]["name"] == END:
                break
            found.append(event)
    await api.send("DELETE", api.path(EXECUTIONS, END))
    return found


async def _second(api: Api, query: str, **where: Any) -> list[Any]:
    """Return all events of a watch of one second."""
    path = f"{api.path(EXECUTIONS, **where)}?watch=1&timeoutSeconds=1&{query}"
    return [event async for event in api.watch(path)]


def _told(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


@pytest.mark.parametrize("query", ["", "resourceVersion=0"])
async def test_a_watch_without_a_revision_begins_with_what_is_there(api: Api, query: str) -> None:
    """An ADDED event for every object, then what happens."""
    await _create(api, "a")
    await _create(api, "b")
    await api.eventually(f"{api.path(EXECUTIONS)}?resourceVersion=0", lambda listed: len(listed["items"]) == 2)
    told = []
    async with contextlib.aclosing(api.watch(f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds=20&{query}")) as events:
        async for event in events:
            told += _told([event])
            if len(told) == 2:
                await _set_phase(api, "b", "Executing")
                await api.send("DELETE", api.path(EXECUTIONS, "b"))
                await _create(api, "c")
            if len(told) == 5:
                break
    assert sorted(told[:2]) == [("ADDED", "a"), ("ADDED", "b")]
    assert told[2:] == [("MODIFIED", "b"), ("DELETED", "b"), ("ADDED", "c")]


async def test_a_watch_from_a_revision_tells_what_came_after_it(api: Api) -> None:
    """Each change once, in order, with the object as it was then and its revision then."""
    created = await _create(api, "a")
    executing = await _set_phase(api, "a", "Executing")
    labelled = await _set_labels(api, "a", x="y")
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    events = await _all(api, f"resourceVersion={created['metadata']['resourceVersion']}")
    assert _told(events) == [("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert [event["object"] for event in events[:2]] == [executing, labelled]


async def test_a_deletion_carries_the_last_content_at_its_own_revision(api: Api) -> None:
    """A client resumes from it and sees nothing twice."""
    created = await _create(api, "a")
    rev = created["metadata"]["resourceVersion"]
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    (event,) = await _all(api, f"resourceVersion={rev}")
    deleted = event["object"]
    assert (event["type"], deleted["spec"], deleted["metadata"]["uid"]) == (
        "DELETED",
        created["spec"],
        created["metadata"]["uid"],
    )
    assert int(deleted["metadata"]["resourceVersion"]) > int(rev)
    assert await _all(api, f"resourceVersion={deleted['metadata']['resourceVersion']}") == []


async def test_a_deletion_that_a_finalizer_holds_is_a_change_first(api: Api) -> None:
    """MODIFIED with a deletionTimestamp; DELETED when the finalizer has gone, with the state before that."""
    created = await _create(api, "a", finalizers=["example.com/hold"])
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    body = {"metadata": {"finalizers": None}}
    await api.send("PATCH", api.path(EXECUTIONS, "a"), body, content_type=MERGE_PATCH)
    marked, gone = await _all(api, f"resourceVersion={created['metadata']['resourceVersion']}")
    assert (marked["type"], gone["type"]) == ("MODIFIED", "DELETED")
    assert marked["object"]["metadata"]["finalizers"] == ["example.com/hold"]
    for event in (marked, gone):
        assert event["object"]["metadata"]["deletionTimestamp"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in (marked, gone)]
    assert versions[0] < versions[1]


async def test_what_changes_nothing_is_no_event(api: Api) -> None:
    """Writes without effect, dry runs and refused writes are silence."""
    created = await _create(api, "a", labels={"x": "y"})
    await _set_labels(api, "a", x="y")
    await api.send("PUT", api.path(EXECUTIONS, "a"), created)
    labels = {"metadata": {"labels": {"x": "z"}}}
    dry = f"{api.path(EXECUTIONS, 'a')}?dryRun=All"
    assert (await api.send("PATCH", dry, labels, content_type=MERGE_PATCH))[0] == 200
    assert (await api.send("POST", f"{api.path(EXECUTIONS)}?dryRun=All", execution("b")))[0] == 201
    assert (await api.send("DELETE", dry))[0] == 200
    assert (await api.send("POST", api.path(EXECUTIONS), execution("a")))[0] == 409
    assert await _all(api, f"resourceVersion={created['metadata']['resourceVersion']}") == []


async def test_an_object_enters_and_leaves_a_selection_of_labels(api: Api) -> None:
    """As ADDED and DELETED; DELETED carries the content from before, at the revision of the change."""
    rev = (await _create(api, "a"))["metadata"]["resourceVersion"]
    entered = await _set_labels(api, "a", on="1")
    changed = await _set_labels(api, "a", on="2")
    left = await _set_labels(api, "a", on=None)
    await _set_labels(api, "a", other="1")
    await _set_labels(api, "a", on="3")
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    events = await _all(api, f"resourceVersion={rev}&labelSelector=on")
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    assert [event["object"] for event in events[:2]] == [entered, changed]
    gone = events[2]["object"]["metadata"]
    assert (gone["labels"], gone["resourceVersion"]) == ({"on": "2"}, left["metadata"]["resourceVersion"])


async def test_an_object_enters_and_leaves_a_selection_of_fields(api: Api) -> None:
    """A status that is absent counts as an empty phase."""
    rev = (await _create(api, "a"))["metadata"]["resourceVersion"]
    await _set_phase(api, "a", "Executing")
    left = await _set_phase(api, "a", "Completed")
    executing = await _all(
        api, f"resourceVersion={rev}&fieldSelector={quote('status.phase=Executing')}", phase="Executing"
    )
    assert [event["type"] for event in executing] == ["ADDED", "DELETED"]
    assert executing[1]["object"]["status"]["phase"] == "Executing"
    assert executing[1]["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
    living = await _all(api, f"resourceVersion={rev}&fieldSelector={quote('status.phase!=Completed')}")
    assert [event["type"] for event in living] == ["MODIFIED", "DELETED"]
    both = f"labelSelector=on&fieldSelector={quote('status.phase=Executing')}"
    assert await _all(api, f"resourceVersion={rev}&{both}", phase="Executing") == []


async def test_one_object_is_watched_by_its_name(api: Api) -> None:
    """By a field selector; on the path of an object ``watch`` means nothing."""
    rev = (await _create(api, "a"))["metadata"]["resourceVersion"]
    await _create(api, "b")
    await _set_phase(api, "a", "Executing")
    assert _told(await _events(api, "fieldSelector=metadata.name%3Db", 1)) == [("ADDED", "b")]
    status, read = await api.send("GET", f"{api.path(EXECUTIONS, 'a')}?watch=true&timeoutSeconds=1")
    assert (status, read["kind"]) == (200, "Execution")
    assert (await api.send("GET", f"{api.path(EXECUTIONS, 'zz')}?watch=true"))[0] == 404
    for name in "ba":
        await api.send("DELETE", api.path(EXECUTIONS, name))
    for name, before in (("a", "MODIFIED"), ("b", "ADDED")):
        events = await _events(api, f"resourceVersion={rev}&fieldSelector=metadata.name%3D{name}", 2)
        assert _told(events) == [(before, name), ("DELETED", name)]


async def test_a_watch_across_namespaces_sees_all_of_them(api: Api) -> None:
    """And one of a namespace sees that one alone."""
    other = unique("test")
    await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    try:
        rev = await _rev(api, namespace="")
        await _create(api, "a")
        status, _ = await api.send("POST", api.path(EXECUTIONS, namespace=other), execution("b"))
        assert status == 201
        everywhere = {
            (event["object"]["metadata"]["namespace"], event["object"]["metadata"]["name"])
            for event in await _all(api, f"resourceVersion={rev}", namespace="")
        }
        assert {(api.namespace, "a"), (other, "b")} <= everywhere
        assert _told(await _all(api, f"resourceVersion={rev}")) == [("ADDED", "a")]
        one = f"resourceVersion={rev}&fieldSelector=metadata.namespace%3D{other}"
        assert _told(await _events(api, one, 1, namespace="")) == [("ADDED", "b")]
    finally:
        await api.send("DELETE", f"/api/v1/namespaces/{other}")


async def test_a_namespace_that_does_not_exist_is_watched_in_silence(api: Api) -> None:
    """It may come to be."""
    assert await _second(api, "", namespace=unique("nowhere")) == []


async def test_a_watch_of_the_future_is_silent_until_then(api: Api) -> None:
    """What comes up to the revision named is not told."""
    rev = int((await _create(api, "a"))["metadata"]["resourceVersion"])
    assert await _second(api, f"resourceVersion={rev + 10_000_000}") == []


async def test_a_watch_ends_when_its_time_is_over(api: Api) -> None:
    """Cleanly, so that the client goes on where it was; a negative time is over at once."""
    await _create(api, "a")
    path = f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds=5"
    assert _told([event async for event in api.watch(path)]) == [("ADDED", "a")]
    path = f"{api.path(EXECUTIONS)}?watch=1&resourceVersion={await _rev(api)}&timeoutSeconds=-1"
    assert [event async for event in api.watch(path)] == []
    for wrong in ("soon", "1.5", str(2**63)):
        assert (await api.send("GET", f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds={wrong}"))[0] == 400


async def test_watch_is_true_unless_it_is_0_or_false(api: Api) -> None:
    """As Go reads booleans of queries."""
    await _create(api, "a")
    for yes in ("1", "true", "True", "yes", ""):
        path = f"{api.path(EXECUTIONS)}?watch={yes}&timeoutSeconds=20"
        async with contextlib.aclosing(api.watch(path)) as events:
            assert _told([await anext(events)]) == [("ADDED", "a")]
    for no in ("0", "false", "FALSE"):
        _, listed = await api.send("GET", f"{api.path(EXECUTIONS)}?watch={no}&timeoutSeconds=1")
        assert listed["kind"] == "ExecutionList"


async def test_a_watcher_that_does_not_read_disturbs_nobody_and_misses_nothing(api: Api) -> None:
    """Others are told at once; when it reads at last, it finds every change up to where its stream ended, in order."""
    body = {"metadata": {"name": "a"}, "data": {}}
    _, created = await api.send("POST", api.path("configmaps"), body)
    path = f"{api.path('configmaps')}?watch=1&resourceVersion={created['metadata']['resourceVersion']}"
    slow, quick = api.watch(f"{path}&timeoutSeconds=60"), api.watch(f"{path}&timeoutSeconds=60")
    changes = 24
    versions, seen_at_once, seen_late = [], [], []
    starting = asyncio.create_task(anext(slow))
    async with contextlib.aclosing(quick), contextlib.aclosing(slow):
        for number in range(changes):  # more in all than buffers on the way hold
            body["data"] = {"filler": f"{number:06}" + "x" * 900_000}
            _, changed = await api.send("PUT", api.path("configmaps", "a"), body)
            versions.append(changed["metadata"]["resourceVersion"])
            seen_at_once.append((await anext(quick))["object"]["metadata"]["resourceVersion"])
        assert seen_at_once == versions
        seen_late = [(await starting)["object"]["metadata"]["resourceVersion"]]
        async for event in slow:
            seen_late.append(event["object"]["metadata"]["resourceVersion"])
            if len(seen_late) == changes:
                break
    assert seen_late == versions[: len(seen_late)]


async def test_a_watch_lasts_for_a_client_that_keeps_no_connections(api: Api) -> None:
    """``Connection: close``, which Python's urllib sends with every request, is about what comes after the watch."""
    path = f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds=20&resourceVersion={await _rev(api)}"
    async with contextlib.aclosing(api.watch(path, Connection="close")) as events:
        first = asyncio.ensure_future(anext(events))
        await _create(api, "later")
        event = await first
    assert _told([event]) == [("ADDED", "later")]
