"""What clients of a server that is killed over and over know, and what they may demand of it after each restart.

Writers own their objects, so each knows what was acknowledged last and the one write whose answer it did not get.
Watchers live through all rounds and resume from their last revision. ``Ledger`` remembers what every revision was, so
that one handed out twice is noticed. Every violation is an AssertionError that says what is wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any

import aiohttp
import orjson

from api import JSON_PATCH, MERGE_PATCH, Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
CONFIG_MAPS = "configmaps"
LEASES = "coordination.k8s.io/v1/leases"
KINDS = {EXECUTIONS: "Execution", CONFIG_MAPS: "ConfigMap", LEASES: "Lease"}
NAMES_PER_WRITER = 4
SENTINEL = "sentinel"
MARKER = "marker"
"""Annotation that tells one write from all others."""
Key = tuple[str, str]
"""Plural and name."""
GONE = b"deleted"
CUT = (aiohttp.ClientError, ConnectionError)


def rev_of(document: dict[str, Any]) -> int:
    """Return the resourceVersion of an object or list."""
    return int(document["metadata"]["resourceVersion"])


def markers_of(document: dict[str, Any]) -> tuple[str, str]:
    """Return what the last writes to an object left in its annotations and in its status."""
    annotations = document["metadata"].get("annotations") or {}
    return annotations.get(MARKER, ""), (document.get("status") or {}).get("message", "")


class Ledger:
    """Every revision that any client has seen, with what it was."""

    def __init__(self) -> None:
        self.highest = 0
        self._known: dict[int, tuple[Key, bytes]] = {}

    def see(self, key: Key, rev: int, content: bytes) -> None:
        """Note that ``rev`` was ``content``; it must never have been anything else."""
        known = self._known.setdefault(rev, (key, content))
        assert known == (key, content), f"revision {rev} was handed out twice: {known} and {(key, content)}"
        self.highest = max(self.highest, rev)

    def see_object(self, plural: str, document: dict[str, Any]) -> None:
        """Note an object as an answer or a list shows it."""
        content = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        self.see((plural, document["metadata"]["name"]), rev_of(document), content)


@dataclasses.dataclass
class Watcher:
    """One watch over all rounds."""

    plural: str
    rev: int = 0
    state: dict[str, int] = dataclasses.field(default_factory=dict)
    sentinel: str = ""
    resumed: int = 0
    expired: int = 0
    events: int = 0

    async def follow(self, api: Api, ledger: Ledger) -> None:
        """List if it must, then watch until the connection is cut."""
        try:
            while True:
                if not self.rev:
                    await self._list(api, ledger)
                else:
                    self.resumed += 1
                path = f"{api.path(self.plural)}?watch=1&resourceVersion={self.rev}"
                async for event in api.watch(path):
                    if event["type"] == "ERROR":
                        assert event["object"]["code"] == 410, event
                        self.expired += 1
                        self.rev = 0
                    else:
                        self._take(event, ledger)
        except CUT:
            return

    async def _list(self, api: Api, ledger: Ledger) -> None:
        _, listed = await api.send("GET", api.path(self.plural))
        self.state = {item["metadata"]["name"]: rev_of(item) for item in listed["items"]}
        self.sentinel = next((markers_of(i)[0] for i in listed["items"] if i["metadata"]["name"] == SENTINEL), "")
        self.rev = rev_of(listed)
        ledger.highest = max(ledger.highest, self.rev)

    def _take(self, event: dict[str, Any], ledger: Ledger) -> None:
        document = event["object"]
        name, rev, kind = document["metadata"]["name"], rev_of(document), event["type"]
        assert rev > self.rev, f"{kind} of {self.plural} {name} at {rev} after {self.rev}"
        assert (kind == "ADDED") == (name not in self.state), f"gap: {kind} of {self.plural} {name} at {rev}"
        self.events += 1
        self.rev = rev
        if kind == "DELETED":
            ledger.see((self.plural, name), rev, GONE)
            del self.state[name]
            return
        ledger.see_object(self.plural, _bare(document))
        self.state[name] = rev
        if name == SENTINEL:
            self.sentinel = markers_of(document)[0]


class World:
    """Writers, watchers and the checks between rounds."""

    def __init__(self, seed: int, *, writers: int = 8) -> None:
        self.random = random.Random(seed)
        self.ledger = Ledger()
        self.watchers = [Watcher(plural) for plural in KINDS for _ in range(2)]
        self.writers = writers
        self.acknowledged: dict[Key, dict[str, Any]] = {}
        self.pending: dict[Key, str] = {}
        self.writes = 0
        self._next_marker = 0

    async def check(self, api: Api) -> None:
        """Compare what a restarted server has with what it acknowledged; it is quiet meanwhile."""
        for plural in KINDS:
            _, listed = await api.send("GET", api.path(plural))
            assert rev_of(listed) >= self.ledger.highest, f"revision {rev_of(listed)} after {self.ledger.highest}"
            items = [_bare(item) for item in listed["items"]]
            found = {(plural, item["metadata"]["name"]): item for item in items}
            for item in items:
                self.ledger.see_object(plural, item)
            for key in {key for key in (*self.acknowledged, *self.pending) if key[0] == plural} | set(found):
                self._check_one(key, found.get(key))
            self.acknowledged = {k: v for k, v in self.acknowledged.items() if k[0] != plural} | found
        self.pending.clear()

    def _check_one(self, key: Key, found: dict[str, Any] | None) -> None:
        expected = self.acknowledged.get(key)
        if found == expected:
            return
        wanted = self.pending.get(key)
        assert wanted is not None, f"lost: {key} is {found}, acknowledged was {expected}"
        if found is None:
            assert wanted == "", f"lost: {key} is gone, acknowledged was {expected}, under way {wanted}"
            return
        assert wanted in markers_of(found), f"lost: {key} is {found}, acknowledged {expected}, under way {wanted}"
        assert rev_of(found) > (rev_of(expected) if expected else 0)

    async def check_watchers(self, api: Api) -> None:
        """Wait until every watch has seen a new write, and compare what it knows with a list."""
        for plural in KINDS:
            await self._change(api, (plural, SENTINEL), "create" if self._is_new(plural) else "merge")
            marker = markers_of(self.acknowledged[plural, SENTINEL])[0]
            _, listed = await api.send("GET", api.path(plural))
            found = {item["metadata"]["name"]: rev_of(item) for item in listed["items"]}
            for watcher in self.watchers:
                if watcher.plural == plural:
                    async with asyncio.timeout(60):
                        while watcher.sentinel != marker:
                            await asyncio.sleep(0.002)
                    assert watcher.state == found, f"the watch of {plural} differs from a list"

    async def run(self, api: Api) -> None:
        """Write until the server is killed."""
        await asyncio.gather(*(self._write(api, writer) for writer in range(self.writers)))

    def _is_new(self, plural: str) -> bool:
        return (plural, SENTINEL) not in self.acknowledged

    async def _write(self, api: Api, writer: int) -> None:
        try:
            while True:
                plural = self.random.choice(list(KINDS))
                key = (plural, f"w{writer}-{self.random.randrange(NAMES_PER_WRITER)}")
                kinds = ["put", "merge", "json", "delete", "status" if plural == EXECUTIONS else "put"]
                await self._change(api, key, self.random.choice(kinds) if key in self.acknowledged else "create")
        except CUT:
            return

    async def _change(self, api: Api, key: Key, kind: str) -> None:
        self._next_marker += 1
        marker = "" if kind == "delete" else f"m{self._next_marker}"
        current = self.acknowledged.get(key)
        self.pending[key] = marker
        status, body = await _send(api, key, kind, marker, current)
        assert status in {200, 201}, (kind, key, status, body)
        del self.pending[key]
        self.writes += 1
        if kind == "delete":
            del self.acknowledged[key]
            return
        body = _bare(body)
        assert current is None or rev_of(body) > rev_of(current), f"{key} at {rev_of(current)} became {rev_of(body)}"
        self.ledger.see_object(key[0], body)
        self.acknowledged[key] = body


async def _send(api: Api, key: Key, kind: str, marker: str, current: dict[str, Any] | None) -> tuple[int, Any]:
    plural, name = key
    path = api.path(plural, name)
    annotations = {"annotations": {MARKER: marker}}
    if kind == "create":
        metadata = {"name": name, **annotations}
        body = execution(metadata=metadata) if plural == EXECUTIONS else {"metadata": metadata}
        return await api.send("POST", api.path(plural), body)
    if kind == "delete":
        return await api.send("DELETE", path)
    assert current is not None
    if kind == "merge":
        return await api.send("PATCH", path, {"metadata": annotations}, content_type=MERGE_PATCH)
    if kind == "json":
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": str(rev_of(current))},
            {"op": "add", "path": "/metadata/annotations", "value": {MARKER: marker}},
        ]
        return await api.send("PATCH", path, patch, content_type=JSON_PATCH)
    if kind == "status":
        patch = {"status": {"message": marker}}
        return await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH)
    typed = {**current, "apiVersion": plural.rpartition("/")[0] or "v1", "kind": KINDS[plural]}
    return await api.send("PUT", path, {**typed, "metadata": {**current["metadata"], **annotations}})


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what lists may leave out of their items."""
    return {field: value for field, value in document.items() if field not in {"apiVersion", "kind"}}
