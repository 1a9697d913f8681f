"""What all clients of primitives do with an object."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.client import Client
from kontinue.kube.requests import Request
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from scripted_transport import ScriptedTransport

KINDS = [Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup]
MISSING = errors.NotFound("there is none", status=404, reason="NotFound")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_read_can_be_deleted(kind: Any):
    """It may be of another version, or spoilt; only the one that was seen is deleted."""
    transport = ScriptedTransport()
    spoilt = {"metadata": {"name": "x", "namespace": "default", "uid": "u"}, "spec": "none", "status": 5}
    transport.answer = lambda _: json.dumps(spoilt).encode()
    await kind("x", Client.from_kube(transport, "default")).delete()
    assert [one.method for one in transport.sent] == ["GET", "DELETE"]
    assert msgspec.json.decode(transport.sent[1].body)["preconditions"] == {"uid": "u"}


@pytest.mark.parametrize("kind", KINDS)
async def test_deleting_what_is_not_there_is_an_error_unless_it_is_a_lock(kind: Any):
    """As documented: a lock that is gone is nobody's, and scripts delete it again."""
    transport = ScriptedTransport()

    def answer(_: Request) -> bytes:
        raise MISSING

    transport.answer = answer
    subject = kind("x", Client.from_kube(transport, "default"))
    if kind in {Lease, Mutex, Once, RWMutex}:
        await subject.delete()
    else:
        with pytest.raises(errors.NotFound):
            await subject.delete()


@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        (Mutex, "Unlocked"),
        (RWMutex, "Unlocked"),
        (Once, "Pending"),
        (WaitGroup, "Done"),
        (Lease, None),
        (Barrier, None),
    ],
)
async def test_the_status_of_a_fresh_object_says_what_is_so(kind: Any, phase: str | None):
    """Clients decide about locks and counters; about the others a coordinator does, and none has looked yet."""
    transport = ScriptedTransport()
    fresh = {"metadata": {"name": "x"}, "spec": {"expected": 1} if kind is Barrier else {}}
    transport.answer = lambda _: json.dumps(fresh).encode()
    assert (await kind("x", Client.from_kube(transport, "default")).status()).phase == phase
