"""A client that resumes a Suspension knows what it has written itself, and overwrites nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Suspension, SuspensionKind, SuspensionPhase, SuspensionSpec, SuspensionStatus
from kontinue.client.resuming import resume
from kontinue.kube.requests import Request

OPEN = Suspension(
    metadata=ObjectMeta(name="s", uid="u"), spec=SuspensionSpec(execution="e", kind=SuspensionKind.MANUAL)
)


def completed(**status: Any) -> Suspension:
    return msgspec.structs.replace(OPEN, status=SuspensionStatus(phase=SuspensionPhase.COMPLETED, **status))


class Server:
    """Has one Suspension. ``losses``: so many answers get lost; what was sent is sent again, as a transport does."""

    def __init__(self, *, losses: int = 0, other: Suspension | None = None) -> None:
        self.now = OPEN
        self.losses = losses
        self.other = other
        self.patches = 0

    async def send(self, request: Request) -> bytes:
        if request.method == "GET":
            return msgspec.json.encode(self.now)
        if self.other is not None:
            self.now = self.other
        self._patch(request)
        if self.losses:
            self.losses -= 1
            self._patch(request)
        return b"{}"

    def _patch(self, request: Request) -> None:
        self.patches += 1
        if not self.now.is_open:
            raise errors.Invalid("a test failed", status=422)
        status = msgspec.json.decode(request.body)[-1]["value"]
        self.now = msgspec.structs.replace(self.now, status=msgspec.convert(status, SuspensionStatus))


async def test_a_write_whose_answer_was_lost_has_resumed_it() -> None:
    """The transport sends it again, and the server refuses that: it is over."""
    server = Server(losses=1)
    await resume(server.send, "ns", "s", None)
    assert not server.now.is_open
    assert server.patches == 2


@pytest.mark.parametrize("by", ["Client", "Timer", "ada"])
async def test_who_comes_second_is_told_so(by: str) -> None:
    """Another client is somebody else, too."""
    server = Server(other=completed(resumed_by=by, resumed_at=datetime(2026, 1, 1, tzinfo=UTC)))
    with pytest.raises(errors.InvalidState, match=f"completed already by {by}"):
        await resume(server.send, "ns", "s", None)


async def test_one_that_is_completed_is_not_written() -> None:
    """It is read first."""
    server = Server()
    server.now = completed()
    with pytest.raises(errors.InvalidState, match=r"completed already$"):
        await resume(server.send, "ns", "s", None)
    assert server.patches == 0
