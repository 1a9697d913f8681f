"""Which Jobs and Pods are run on a laptop, as their objects come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from kontinue.api import labels
from kontinue.kube.requests import Request
from kontinue_engine.cli.dev.job_runner import JobRunner
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time


def pod(uid: str) -> dict[str, Any]:
    """Return a Pod that no command of this machine stands for: it ends at once."""
    metadata = {"name": "p", "uid": uid, "resourceVersion": uid, "labels": {labels.PARENT_GROUP: "g"}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "shop:1"}]}}


class MadeAnew(ScriptedTransport):
    """The Pod that is run is replaced by another one of its name, at the moment in which its end has been said."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = self._answer
        self.stored = pod("1")
        self.ends: list[str] = []
        self._is_ending = asyncio.Event()
        self._has_ended = asyncio.Event()

    def _answer(self, request: Request) -> bytes:
        if request.path.endswith("/p"):
            return msgspec.json.encode(self.stored)
        items = [self.stored] if request.path.endswith("/pods") else []
        return msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": items})

    async def send(self, request: Request, **options: Any) -> bytes:
        if request.method != "PATCH":
            return await super().send(request, **options)
        self.ends.append(self.stored["metadata"]["uid"])
        self._is_ending.set()
        await self._has_ended.wait()
        return b"{}"

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        if "/pods" in request.path:
            await self._is_ending.wait()
            old, self.stored = self.stored, pod("2")
            self._has_ended.set()  # whoever waits for that goes on before whoever hears of the events below
            yield msgspec.json.encode({"type": "DELETED", "object": old}) + b"\n"
            yield msgspec.json.encode({"type": "ADDED", "object": self.stored}) + b"\n"
        async for line in super().stream(request, timeout_s=timeout_s):
            yield line


@virtual_time
async def test_one_that_was_made_anew_while_the_last_one_ended_is_run(tmp_path: Path) -> None:
    """The end of one says nothing of another one of its name."""
    transport = MadeAnew()
    runner = JobRunner(transport, namespace="ns", directory=tmp_path, logs=tmp_path, say=lambda text: None)
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(60)
    running.cancel()
    await asyncio.wait([running])
    assert transport.ends == ["1", "2"]
