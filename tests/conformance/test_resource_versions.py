"""What a resourceVersion asks for: at a get, a list and the start of a watch."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from api import MERGE_PATCH, PATIENCE_S, Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
FUTURE = 10**12


async def _create(api: Api, *names: str) -> list[int]:
    """Create Executions; returns their revisions."""
    revs = []
    for name in names:
        status, created = await api.send("POST", api.path(EXECUTIONS), execution(name))
        assert status == 201, created
        revs.append(int(created["metadata"]["resourceVersion"]))
    return revs


async def _list(api: Api, query: str) -> Any:
    status, body = await api.send("GET", f"{api.path(EXECUTIONS)}?{query}")
    assert status == 200, body
    return body


async def _names(api: Api, query: str) -> str:
    return "".join(item["metadata"]["name"] for item in (await _list(api, query))["items"])


async def test_a_list_is_of_the_state_that_its_revision_asks_for(api: Api) -> None:
    """None: now. 0: any. N: not older. N and Exact, or N and a limit: exactly that one."""
    first, second, third = await _create(api, "a", "b", "c")
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    expected = {
        "": "bc",
        f"resourceVersion={second}": "bc",
        f"resourceVersion={second}&resourceVersionMatch=NotOlderThan": "bc",
        f"resourceVersion={second}&resourceVersionMatch=NotOlderThan&limit=9": "bc",
        f"resourceVersion={second}&resourceVersionMatch=Exact": "ab",
        f"resourceVersion={second}&limit=9": "ab",
        f"resourceVersion={third}&resourceVersionMatch=Exact&limit=9": "abc",
        f"resourceVersion={first - 1}&resourceVersionMatch=Exact": "",
        f"resourceVersion={third}&resourceVersionMatch=Exact&fieldSelector=metadata.name%3Da": "a",
        "resourceVersion=0&resourceVersionMatch=NotOlderThan": "bc",
        "resourceVersion=0": "bc",
    }
    # What need not be the latest may lag.
    await api.eventually(f"{api.path(EXECUTIONS)}?resourceVersion=0", lambda listed: len(listed["items"]) == 2)
    assert {query: await _names(api, query) for query in expected} == expected


async def test_a_list_tells_its_revision(api: Api) -> None:
    """Of an exact list the one asked for; else at least that of the newest object, and a watch can begin there."""
    first, second = await _create(api, "a", "b")
    exact = await _list(api, f"resourceVersion={first}&resourceVersionMatch=Exact")
    assert exact["metadata"]["resourceVersion"] == str(first)
    latest = await _list(api, "")
    assert int(latest["metadata"]["resourceVersion"]) >= second
    assert [item["metadata"]["resourceVersion"] for item in latest["items"]] == [str(first), str(second)]


async def test_an_exact_page_goes_on_at_its_revision(api: Api) -> None:
    """The token keeps it."""
    _, second = await _create(api, "a", "b")
    await _create(api, "c")
    page = await _list(api, f"resourceVersion={second}&resourceVersionMatch=Exact&limit=1")
    assert page["metadata"]["remainingItemCount"] == 1
    assert await _names(api, f"continue={page['metadata']['continue']}") == "b"


async def test_get_reads_the_latest_whatever_older_revision_is_named(api: Api) -> None:
    """A revision is a lower bound."""
    await _create(api, "a")
    change = {"metadata": {"labels": {"x": "y"}}}
    _, changed = await api.send("PATCH", api.path(EXECUTIONS, "a"), change, content_type=MERGE_PATCH)
    for query in ("", "?resourceVersion=1", f"?resourceVersion={changed['metadata']['resourceVersion']}"):
        assert await api.send("GET", api.path(EXECUTIONS, "a") + query) == (200, changed)
    assert (await api.send("GET", f"{api.path(EXECUTIONS, 'zz')}?resourceVersion=1"))[0] == 404


async def test_a_revision_that_comes_up_soon_is_waited_for(api: Api) -> None:
    """Another server, or another kind, may be ahead of what this list has seen."""
    (rev,) = await _create(api, "a")
    were_late = True
    async with asyncio.timeout(PATIENCE_S):
        while were_late:
            began = time.monotonic()
            paths = (api.path(EXECUTIONS), api.path(EXECUTIONS, "a"))
            reads = [asyncio.create_task(api.send("GET", f"{path}?resourceVersion={rev + 3}")) for path in paths]
            written = await asyncio.gather(*(_create(api, unique("next")) for _ in range(3)))
            were_late = time.monotonic() - began > 2  # our writes, on a busy machine: three seconds are waited for them
            rev = max(version for (version,) in written)
            statuses = [status for status, _ in await asyncio.gather(*reads)]
    assert statuses == [200, 200]


async def test_a_revision_of_the_future_is_a_timeout_with_its_cause(api: Api) -> None:
    """504 with the cause that client-go looks for; a watch that begins with what is there tells it as an event."""
    await _create(api, "a")
    queries = {
        api.path(EXECUTIONS, "a"): f"resourceVersion={FUTURE}",
        api.path(EXECUTIONS): f"resourceVersion={FUTURE}",
        api.path(EXECUTIONS) + "?": f"resourceVersion={FUTURE}&resourceVersionMatch=Exact",
        api.path(EXECUTIONS) + "?limit=1&": f"resourceVersion={FUTURE}&resourceVersionMatch=NotOlderThan",
    }
    paths = [f"{path}{'' if '?' in path else '?'}{query}" for path, query in queries.items()]
    initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=9"

    async def watched() -> list[Any]:
        path = f"{api.path(EXECUTIONS)}?watch=1&resourceVersion={FUTURE}&{initial}"
        return [event async for event in api.watch(path)]

    events, *answers = await asyncio.gather(watched(), *(api.send("GET", path) for path in paths))
    assert [event["type"] for event in events] == ["ERROR"]
    for body in (events[0]["object"], *(body for _, body in answers)):
        assert (body["kind"], body["code"], body["reason"]) == ("Status", 504, "Timeout")
        assert body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        assert body["details"]["retryAfterSeconds"] == 1
        assert "Too large resource version" in body["message"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("resourceVersionMatch=Exact", ["resourceVersionMatch"]),
        ("resourceVersionMatch=NotOlderThan", ["resourceVersionMatch"]),
        ("resourceVersionMatch=Exact&resourceVersion=0", ["resourceVersionMatch"]),
        ("resourceVersionMatch=exact&resourceVersion=1", ["resourceVersionMatch"]),
        ("resourceVersionMatch=Sometimes", ["resourceVersionMatch", "resourceVersionMatch"]),
        ("sendInitialEvents=true", ["sendInitialEvents"]),
        ("sendInitialEvents=false&resourceVersionMatch=Exact", ["resourceVersionMatch", "sendInitialEvents"]),
        ("watch=1&sendInitialEvents=true", ["resourceVersionMatch"]),
        ("watch=1&sendInitialEvents=false", ["resourceVersionMatch"]),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", ["resourceVersionMatch"] * 2),
        ("watch=1&resourceVersion=1&resourceVersionMatch=NotOlderThan", ["resourceVersionMatch"]),
        ("watch=1&resourceVersionMatch=Exact", ["resourceVersionMatch"] * 2),
    ],
)
async def test_options_that_do_not_go_together_are_invalid(api: Api, query: str, fields: list[str]) -> None:
    """422 with a cause for each."""
    status, body = await api.send("GET", f"{api.path(EXECUTIONS)}?{query}")
    assert (status, body["reason"], body["details"]["kind"]) == (422, "Invalid", "ListOptions"), body
    assert [cause["field"] for cause in body["details"]["causes"]] == fields


@pytest.mark.parametrize("version", ["abc", "-1", "1.5", "%C2%B2", str(10**30)])
async def test_a_revision_that_is_none_is_refused(api: Api, version: str) -> None:
    """By lists with 400; gets and watches refuse it as well, before a stream begins."""
    await _create(api, "a")
    query = f"resourceVersion={version}"
    status, body = await api.send("GET", f"{api.path(EXECUTIONS)}?{query}")
    assert (status, body["reason"]) == (400, "BadRequest")
    for path in (f"{api.path(EXECUTIONS, 'a')}?{query}", f"{api.path(EXECUTIONS)}?watch=1&timeoutSeconds=1&{query}"):
        status, body = await api.send("GET", path)
        assert (status >= 400, body["status"], "resourceVersion" in body["message"]) == (True, "Failure", True)
