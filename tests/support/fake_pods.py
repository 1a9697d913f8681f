"""Pods and what they print, in memory, as a ``Transport`` sees them: answers end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from kontinue import errors
from kontinue.api.batch import Pod
from kontinue.kube.requests import Request

RUNNING: Mapping[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
DONE: Mapping[str, Any] = {"terminated": {"exitCode": 0}}
KILLED: Mapping[str, Any] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
WAITING: Mapping[str, Any] = {"waiting": {"reason": "ContainerCreating"}}


class FakePods:
    """Pods of one container, ``main``, in the namespace ``ns``.

    Attributes:
        is_away: no Pod can be read.
        refusal: of each request for a log; None: it is answered.
        opened: how many logs were asked for.
        looks: how many requests there were for Pods.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.refusal: Exception | None = None
        self.opened = 0
        self.looks = 0
        self._pods: dict[str, dict[str, Any]] = {}
        self._lines: dict[str, list[tuple[str, str]]] = {}
        self._cuts: dict[str, Exception | None] = {}
        """Logs whose answers are to end, by the Pod's name, and how."""
        self._changed = asyncio.Event()

    def put(
        self, name: str, *, uid: str = "", state: Mapping[str, Any] = RUNNING, phase: str = "Running", **more: Any
    ) -> Pod:
        """Create a Pod, or change it."""
        spec = {"containers": [{"name": "main"}], "restartPolicy": more.pop("restart_policy", "Never")}
        metadata = {"name": name, "namespace": "ns", "uid": uid or name, **more}
        status = {"phase": phase, "containerStatuses": [{"name": "main", "state": state}]}
        self._pods[name] = {"metadata": metadata, "spec": spec, "status": status}
        self._lines.setdefault(name, [])
        return msgspec.convert(self._pods[name], Pod)

    def remove(self, name: str) -> None:
        """Delete a Pod, and what it has printed."""
        del self._pods[name], self._lines[name]

    def print(self, name: str, *lines: tuple[str, str]) -> None:
        """Print lines: a time and a text with its line end."""
        self._lines[name] += lines
        self._changed.set()

    def end_answer(self, name: str, failure: Exception | None = None) -> None:
        """End the answer that follows the log of a Pod now, wherever it is."""
        self._cuts[name] = failure
        self._changed.set()

    async def send(self, request: Request, **_: Any) -> bytes:
        """Answer a request for one Pod, or for those with a label."""
        self.looks += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise errors.Unavailable(f"GET {request.path}: nobody there")
        url = urlsplit(request.target)
        if selector := parse_qs(url.query).get("labelSelector"):
            key, _, value = selector[0].partition("=")
            found = [pod for pod in self._pods.values() if pod["metadata"].get("labels", {}).get(key) == value]
            return msgspec.json.encode({"metadata": {}, "items": found})
        name = url.path.rpartition("/")[2]
        if name not in self._pods:
            raise errors.NotFound(f"no {name}", status=404)
        return msgspec.json.encode(self._pods[name])

    async def chunks(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Answer a request for a log, as a kubelet: each line is looked at, whether it is old enough."""
        assert timeout_s is None
        url = urlsplit(request.target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name = url.path.split("/")[-2]
        self.opened += 1
        await asyncio.sleep(0)
        if name not in self._pods:
            raise errors.NotFound(f"no {name}", status=404)
        if query["container"] != "main":
            raise errors.Invalid(f"container {query['container']} is not valid for pod {name}", status=400)
        if "waiting" in self._state(name):
            raise errors.Invalid("container main is waiting to start", status=400)
        if self.refusal is not None:
            raise self.refusal
        self._cuts.pop(name, None)
        since = datetime.fromisoformat(query.get("sinceTime", "0001-01-01T00:00:00Z"))
        lines, told = self._lines[name], 0
        while True:
            while told < len(lines):
                stamp, text = lines[told]
                told += 1
                if datetime.fromisoformat(stamp) >= since:
                    yield f"{stamp} {text}".encode() if "timestamps" in query else text.encode()
            if "follow" not in query or "terminated" in self._state(name):
                return
            self._changed.clear()
            await self._changed.wait()
            if name in self._cuts:
                if (failure := self._cuts.pop(name)) is not None:
                    raise failure
                return

    def _state(self, name: str) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._pods[name]["status"]["containerStatuses"][0]["state"]
        return state
