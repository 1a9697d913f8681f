"""A list, and the watch from it, show every state that there was: whatever concurrent writers do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api import MERGE_PATCH, Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
SELECTORS = (
    "",
    f"labelSelector={quote('group in (x,y)')}",
    f"fieldSelector={quote('status.phase!=Completed')}",
    f"labelSelector=group&fieldSelector={quote('spec.function=hello,status.phase=Executing')}",
)
writes = st.tuples(
    st.sampled_from(["create", "label", "unlabel", "phase", "delete"]),
    st.integers(0, 3),
    st.sampled_from(["x", "y", "z"]),
)
EVENTS_PER_WATCH = 9
scripts = st.lists(st.lists(writes, min_size=5, max_size=20), min_size=2, max_size=4)


async def _write(api: Api, prefix: str, kind: str, number: int, value: str) -> None:
    """Do one write; others may have made it impossible."""
    name = f"{prefix}-{number}"
    one, labels = api.path(EXECUTIONS, name), {"metadata": {"labels": {"group": value}}}
    match kind:
        case "create":
            await api.send("POST", api.path(EXECUTIONS), execution(name, metadata={"labels": {"script": prefix}}))
        case "label":
            await api.send("PATCH", one, labels, content_type=MERGE_PATCH)
        case "unlabel":
            await api.send("PATCH", one, {"metadata": {"labels": {"group": None}}}, content_type=MERGE_PATCH)
        case "phase":
            phase = {"x": "Executing", "y": "Completed", "z": "Backoff"}[value]
            body = {"status": {"phase": phase}}
            await api.send("PATCH", api.path(EXECUTIONS, name, "status"), body, content_type=MERGE_PATCH)
        case _:
            await api.send("DELETE", one)


class Follower:
    """Lists a selection and replays the watch from there, beginning it anew every few events."""

    def __init__(self, api: Api, selector: str, last: str) -> None:
        self._api = api
        self._path = f"{api.path(EXECUTIONS)}?{selector}"
        self._last = last
        self.state: dict[str, Any] = {}
        self.versions: list[int] = []

    async def follow(self) -> None:
        """Follow until the object ``last`` executes."""
        _, listed = await self._api.send("GET", self._path)
        self.state = {item["metadata"]["name"]: item for item in listed["items"]}
        self.versions = [int(listed["metadata"]["resourceVersion"])]
        while not self._is_over():
            query = f"watch=1&timeoutSeconds=30&allowWatchBookmarks=true&resourceVersion={self.versions[-1]}"
            async with contextlib.aclosing(self._api.watch(f"{self._path}&{query}")) as events:
                resumes_at = len(self.versions) + EVENTS_PER_WATCH
                async for event in events:
                    self._take(event)
                    if self._is_over() or len(self.versions) == resumes_at:
                        break

    def _is_over(self) -> bool:
        last = self.state.get(self._last, {})
        return last.get("status", {}).get("phase") == "Executing"

    def _take(self, event: dict[str, Any]) -> None:
        item = event["object"]
        version = int(item["metadata"]["resourceVersion"])
        if event["type"] == "BOOKMARK":
            assert version >= self.versions[-1]
            return
        self.versions.append(version)
        name = item["metadata"]["name"]
        assert (event["type"] == "ADDED") is (name not in self.state)
        if event["type"] == "DELETED":
            del self.state[name]
        else:
            self.state[name] = item


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=scripts)
async def test_a_watch_replayed_over_its_list_is_the_final_list(api: Api, script: list[list[Any]]) -> None:
    """Deletes and changes of selection included; revisions rise strictly, so each change is told once."""
    prefix = unique("p")
    last = f"{prefix}-end"
    followers = [(Follower(api, selector, last), selector) for selector in SELECTORS]

    async def run(writer: list[Any]) -> None:
        for kind, number, value in writer:
            await _write(api, prefix, kind, number, value)

    async with asyncio.timeout(60), asyncio.TaskGroup() as following:
        for follower, _ in followers:
            following.create_task(follower.follow())
        async with asyncio.TaskGroup() as writing:
            for writer in script:
                writing.create_task(run(writer))
        # In every selection once it executes.
        await api.send("POST", api.path(EXECUTIONS), execution(last, metadata={"labels": {"group": "x"}}))
        body = {"status": {"phase": "Executing"}}
        await api.send("PATCH", api.path(EXECUTIONS, last, "status"), body, content_type=MERGE_PATCH)
    for follower, selector in followers:
        _, final = await api.send("GET", f"{api.path(EXECUTIONS)}?{selector}")
        assert follower.state == {item["metadata"]["name"]: item for item in final["items"]}
        assert all(earlier < later for earlier, later in itertools.pairwise(follower.versions))
