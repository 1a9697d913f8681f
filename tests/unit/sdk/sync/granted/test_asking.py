"""Who asks by an object of his own, and what becomes of it when it is not granted."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue import errors
from kontinue.api.konductor.semaphores import Permit, PermitSpec
from kontinue.api.meta import ObjectMeta
from kontinue.kube import requests
from kontinue.kube.requests import Request
from kontinue.sync.granted.asking import Asker, Words
from scripted_transport import ScriptedTransport

PERMIT = Permit(metadata=ObjectMeta(name="p"), spec=PermitSpec(semaphore="db", holder="me"))


def asker(transport: Any) -> Asker[Permit]:
    """Ask for permits."""
    words = Words("a permit", lambda _: "no permit is free", "no permit was free")
    return Asker(transport, requests.PERMITS, Permit, "default", words=words, retry_for_s=1.0)


async def prepare() -> Permit:
    """Return what asks."""
    return PERMIT


async def exists() -> None:
    """Say that what is asked of exists."""


@pytest.mark.parametrize(
    ("refusal", "deleted"),
    [
        (errors.Unavailable("too many requests", status=429), True),
        (errors.Unavailable("etcd changes its leader", status=500), True),
        (errors.Unavailable("no answer"), True),
        (errors.Forbidden("you may not", status=403), False),
    ],
    ids=["429", "500", "none", "403"],
)
async def test_what_may_have_been_created_is_deleted(refusal: errors.ApiError, deleted: bool):
    """The answer to a create may have been lost before another try was refused for a while."""
    transport = ScriptedTransport()

    def answer(request: Request) -> bytes:
        if request.method == "POST":
            raise refusal
        return b"{}"

    transport.answer = answer
    with pytest.raises(type(refusal)):
        await asker(transport).granted("p", prepare, limit=None, exists=exists)
    assert [one.method for one in transport.sent] == (["POST", "DELETE"] if deleted else ["POST"])
