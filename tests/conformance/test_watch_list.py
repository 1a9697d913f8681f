"""Bookmarks, and watches that begin with what is there and say when that is done (WatchList)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from api import MERGE_PATCH, Api, execution, unique
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
END = {"k8s.io/initial-events-end": "true"}


async def _create(api: Api, name: str, plural: str = EXECUTIONS, **metadata: Any) -> int:
    body = {**(execution() if plural == EXECUTIONS else {}), "metadata": {"name": name, **metadata}}
    status, created = await api.send("POST", api.path(plural), body)
    assert status == 201, created
    return int(created["metadata"]["resourceVersion"])


async def _all(api: Api, query: str, plural: str = EXECUTIONS) -> list[Any]:
    """Return the events of a watch up to its first bookmark, or of one second."""
    found = []
    # The first of equal parameters counts.
    path = f"{api.path(plural)}?watch=1&{query}&timeoutSeconds={20 if 'allowWatchBookmarks' in query else 1}"
    async with contextlib.aclosing(api.watch(path)) as events:
        async for event in events:
            found.append(event)
            if event["type"] == "BOOKMARK":
                break
    return found


@pytest.mark.parametrize("version", ["", "resourceVersion=0&", "resourceVersion={first}&", "resourceVersion={last}&"])
async def test_a_watch_list_says_when_all_that_was_there_is_told(api: Api, version: str) -> None:
    """ADDED events of the current state, then a bookmark of the same kind with the annotation and a revision."""
    first = await _create(api, "a")
    last = await _create(api, "b")
    query = f"{version.format(first=first, last=last)}{INITIAL}&allowWatchBookmarks=true"
    added, also, bookmark = await _all(api, query)
    assert [added["type"], also["type"], bookmark["type"]] == ["ADDED", "ADDED", "BOOKMARK"]
    assert {added["object"]["metadata"]["name"], also["object"]["metadata"]["name"]} == {"a", "b"}
    told = bookmark["object"]
    assert (told["kind"], told["apiVersion"]) == ("Execution", "kontinue.cloud/v1alpha1")
    assert told["metadata"]["annotations"] == END
    assert int(told["metadata"]["resourceVersion"]) >= last
    assert not told["metadata"].get("name")


async def test_a_watch_list_of_a_built_in_kind(api: Api) -> None:
    """The bookmark is of that kind."""
    await _create(api, "a", "coordination.k8s.io/v1/leases")
    added, bookmark = await _all(api, f"{INITIAL}&allowWatchBookmarks=true", "coordination.k8s.io/v1/leases")
    assert added["object"]["metadata"]["name"] == "a"
    assert (bookmark["object"]["kind"], bookmark["object"]["apiVersion"]) == ("Lease", "coordination.k8s.io/v1")
    assert bookmark["object"]["metadata"]["annotations"] == END


async def test_a_watch_list_shows_its_selection(api: Api) -> None:
    """And its end even when nothing is selected."""
    await _create(api, "a", labels={"on": "1"})
    await _create(api, "b")
    events = await _all(api, f"{INITIAL}&allowWatchBookmarks=true&labelSelector=on")
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    (end,) = await _all(api, f"{INITIAL}&allowWatchBookmarks=true&labelSelector=off")
    assert (end["type"], end["object"]["metadata"]["annotations"]) == ("BOOKMARK", END)


async def test_a_watch_list_without_bookmarks_has_no_end_mark(api: Api) -> None:
    """Its initial events alone."""
    await _create(api, "a")
    path = f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds=60&{INITIAL}"
    async with contextlib.aclosing(api.watch(path)) as events:
        told = [await anext(events)]
        await _create(api, "b")
        told.append(await anext(events))
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in told] == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_watch_without_a_revision_that_allows_bookmarks_is_a_watch_list(api: Api) -> None:
    """As kube-apiserver takes it since WatchList is on."""
    await _create(api, "a")
    for query in ("", "&resourceVersion=0"):
        events = await _all(api, f"allowWatchBookmarks=true{query}")
        assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
        assert events[1]["object"]["metadata"]["annotations"] == END


async def test_a_watch_that_wants_no_initial_events_begins_after_its_revision(api: Api) -> None:
    """With none, or 0, it begins now."""
    first = await _create(api, "a")
    last = await _create(api, "b")
    # A real server's now is that of its cache, which must have seen the last one.
    path = f"{api.path(EXECUTIONS)}?resourceVersion={last}&resourceVersionMatch=NotOlderThan"
    assert (await api.send("GET", path))[0] == 200
    no = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    assert await asyncio.gather(_all(api, no), _all(api, f"{no}&resourceVersion=0")) == [[], []]
    (event,) = await events_of(api, f"{api.path(EXECUTIONS)}?watch=1&{no}&resourceVersion={first}", 1)
    assert event["object"]["metadata"]["name"] == "b"


async def test_a_watch_list_goes_on_without_a_gap_on_the_same_connection(api: Api) -> None:
    """What is written after its end mark follows."""
    await _create(api, "a")
    path = f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds=20&{INITIAL}&allowWatchBookmarks=true"
    seen = []
    async for event in api.watch(path):
        seen.append((event["type"], event["object"]["metadata"].get("name", "")))
        if event["type"] == "BOOKMARK" and event["object"]["metadata"].get("annotations") == END:
            await _create(api, "b")
            body = {"metadata": {"labels": {"x": "y"}}}
            await api.send("PATCH", api.path(EXECUTIONS, "a"), body, content_type=MERGE_PATCH)
            await api.send("DELETE", api.path(EXECUTIONS, "b"))
        if event["type"] == "DELETED":
            break
    told = [event for event in seen if event[0] != "BOOKMARK"]
    assert told == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_bookmarks_tell_a_quiet_watch_where_to_go_on(api: Api) -> None:
    """Before its time is over; it is not older than the last event, and a watch from it tells nothing twice.

    A real server has nothing to tell while nothing happens to the kind anywhere.
    """
    rev = await _create(api, "a")
    await _create(api, "b")
    watch = asyncio.create_task(_all(api, f"resourceVersion={rev}&allowWatchBookmarks=true"))
    elsewhere = api.path(EXECUTIONS, namespace="default")
    while not watch.done():
        name = unique("elsewhere")
        assert (await api.send("POST", elsewhere, execution(name)))[0] == 201
        assert (await api.send("DELETE", f"{elsewhere}/{name}"))[0] == 200
        await asyncio.wait({watch}, timeout=0.2)
    events = watch.result()
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    bookmark = events[-1]["object"]
    assert (bookmark["kind"], bookmark["apiVersion"]) == ("Execution", "kontinue.cloud/v1alpha1")
    assert not bookmark["metadata"].get("annotations")
    assert int(bookmark["metadata"]["resourceVersion"]) >= int(events[0]["object"]["metadata"]["resourceVersion"])
    assert await _all(api, f"resourceVersion={bookmark['metadata']['resourceVersion']}") == []
