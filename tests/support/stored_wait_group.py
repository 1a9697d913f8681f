"""One WaitGroup behind a transport without a network: conditional writes, and answers that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from kontinue import errors
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupStatus
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import Request


class StoredWaitGroup:
    """Implements ``kontinue.kube.transport.Transport`` for requests about one WaitGroup.

    Attributes:
        group: as it is stored.
        sent: methods of the requests so far.
        before: called before each request; may raise instead of the server.
        after: called after each request was carried out; may raise, and the answer is lost.
    """

    def __init__(self, status: WaitGroupStatus | None = None) -> None:
        self.group = WaitGroup(
            metadata=ObjectMeta(name="jobs", namespace="default", uid="u", resource_version="1"),
            status=status or WaitGroupStatus(),
        )
        self.sent: list[str] = []
        self.before: Callable[[Request], None] = lambda _: None
        self.after: Callable[[Request], None] = lambda _: None

    def write(self, status: WaitGroupStatus) -> None:
        """Write as somebody else."""
        version = str(int(self.group.metadata.resource_version) + 1)
        metadata = msgspec.structs.replace(self.group.metadata, resource_version=version)
        self.group = msgspec.structs.replace(self.group, metadata=metadata, status=status)

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Carry out a GET, or a PUT of the status."""
        self.sent.append(request.method)
        await asyncio.sleep(0)
        self.before(request)
        if request.method == "PUT":
            wanted = msgspec.json.decode(request.body, type=WaitGroup)
            if wanted.metadata.resource_version != self.group.metadata.resource_version:
                raise errors.Conflict("the object has been modified", status=409, reason="Conflict")
            self.write(wanted.status)
        answer = msgspec.json.encode(self.group)
        self.after(request)
        return answer

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Nobody watches it."""
        raise AssertionError(f"unexpected watch {request}")
        yield b""
