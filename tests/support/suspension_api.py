"""The Suspensions of an API server, and nothing else: answers that are late or lost are what it is there for."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from kontinue import errors
from kontinue.api.v1alpha1 import Suspension, SuspensionPhase, SuspensionStatus
from kontinue.kube.requests import Request

decode = msgspec.json.Decoder(Suspension).decode


class SuspensionApi:
    """Implements ``kontinue.kube.transport.Transport``; like a real one it repeats what was not answered.

    Attributes:
        objects: by name.
        sent: every request for a Suspension, in order.
        rejections: method -> what the next requests of it are answered with, and not carried out.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Suspension] = {}
        self.sent: list[Request] = []
        self.rejections: dict[str, list[errors.ApiError]] = {}
        self._numbers = itertools.count(1)
        self._late: dict[str, asyncio.Event] = {}
        self._held: dict[str, asyncio.Event] = {}
        self._lost: dict[str, Callable[[], object]] = {}

    def delay(self, method: str) -> asyncio.Event:
        """Let the next request of that method arrive only when the event is set."""
        return self._late.setdefault(method, asyncio.Event())

    def hold(self, method: str) -> asyncio.Event:
        """Let the next request of that method be answered, by what is true when it arrives, when the event is set."""
        return self._held.setdefault(method, asyncio.Event())

    def lose_answer(self, method: str, *, then: Callable[[], object]) -> None:
        """Carry out the next request of that method without an answer; ``then`` happens before it is repeated."""
        self._lost[method] = then

    def complete(self, name: str, **status: Any) -> Suspension:
        """Resume one; returns how it was before."""
        before = self.objects[name]
        given = {"resumed_at": datetime.now(UTC), "resumed_by": "Client", **status}
        self._put(msgspec.structs.replace(before, status=SuspensionStatus(phase=SuspensionPhase.COMPLETED, **given)))
        return before

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Answer a request."""
        if "/suspensions" not in request.path:
            return b"{}"  # Events
        self.sent.append(request)
        if (late := self._late.pop(request.method, None)) is not None:
            await late.wait()
        await asyncio.sleep(0)
        if rejections := self.rejections.get(request.method):
            raise rejections.pop(0)
        answer = self._answer(request)
        if (held := self._held.pop(request.method, None)) is not None:
            await held.wait()
        if (then := self._lost.pop(request.method, None)) is not None:
            then()
            return await self.send(request)
        return answer

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """There is nothing to watch."""
        for line in tuple[bytes, ...]():
            yield line

    def _answer(self, request: Request) -> bytes:
        body = json.loads(request.body or b"{}")
        if request.method == "POST":
            return self._create(decode(request.body))
        name = request.path.partition("/suspensions/")[2].partition("/")[0]
        seen = self.objects.get(name)
        if seen is None:
            raise errors.NotFound(f"no Suspension {name}", status=404)
        if request.method == "DELETE":
            if body["preconditions"] not in (
                {"uid": seen.metadata.uid},
                {"uid": seen.metadata.uid, "resourceVersion": seen.metadata.resource_version},
            ):
                raise errors.Conflict("another one, or changed since", status=409)
            del self.objects[name]
        elif request.method == "PUT":
            if body["metadata"]["resourceVersion"] != seen.metadata.resource_version:
                raise errors.Conflict("changed since", status=409)
            self._put(msgspec.structs.replace(seen, status=msgspec.convert(body["status"], SuspensionStatus)))
        return msgspec.json.encode(self.objects.get(name, seen))

    def _create(self, wanted: Suspension) -> bytes:
        name = wanted.metadata.name
        if name in self.objects:
            raise errors.AlreadyExists(f"Suspension {name} exists", status=409)
        meta = msgspec.structs.replace(wanted.metadata, uid=f"u-{next(self._numbers)}")
        self._put(msgspec.structs.replace(wanted, metadata=meta))
        return msgspec.json.encode(self.objects[name])

    def _put(self, one: Suspension) -> None:
        meta = msgspec.structs.replace(one.metadata, resource_version=str(next(self._numbers)))
        self.objects[meta.name] = msgspec.structs.replace(one, metadata=meta)
