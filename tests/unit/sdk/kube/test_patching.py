"""A patch that tests what was seen is built anew when that has changed, and given up when it has not."""

from __future__ import annotations

import pytest

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.kube import requests
from kontinue.kube.patching import TRIES, patch_as_seen
from kontinue.kube.requests import Request
from virtual_time import virtual_time


class Server:
    """One object: its version changes with each read unless it rests; ``refusals`` are raised one after the other."""

    def __init__(self, *refusals: errors.ApiError, rests: bool = False) -> None:
        self.refusals = list(refusals)
        self.rests = rests
        self.reads = 0
        self.built: list[int] = []

    async def read(self) -> Execution:
        self.reads += 1
        version = "1" if self.rests else str(self.reads)
        return Execution(metadata=ObjectMeta(name="x", resource_version=version), spec=ExecutionSpec(function="f"))

    async def build(self, found: Execution, refusals: int) -> Request | None:
        self.built.append(refusals)
        return requests.json_patch(requests.EXECUTIONS, "ns", found.metadata.name, [])

    async def send(self, request: Request) -> bytes:
        assert request.method == "PATCH"
        if self.refusals:
            raise self.refusals.pop(0)
        return b"answer"

    async def patch(self) -> bytes | None:
        return await patch_as_seen(read=self.read, build=self.build, send=self.send)


def refused(status: int = 422) -> errors.ApiError:
    return (errors.Conflict if status == 409 else errors.Invalid)("refused", status=status)


@virtual_time
async def test_it_is_built_anew_from_what_stands_there_then() -> None:
    """Whoever builds it is told how often it was refused: it may have been sent twice."""
    server = Server(refused(), refused(409))
    assert await server.patch() == b"answer"
    assert server.built == [0, 1, 2]


@virtual_time
async def test_a_refusal_of_something_else_is_raised() -> None:
    """Nothing has changed, so it was not what was tested; or the server says so itself."""
    for server, tries in ((Server(refused(), refused(), rests=True), 2), (Server(refused(400)), 1)):
        with pytest.raises(errors.Invalid):
            await server.patch()
        assert len(server.built) == tries


@virtual_time
async def test_somebody_who_is_always_faster_is_given_way_in_the_end() -> None:
    """After a number of tries that no life of an object needs."""
    server = Server(*(refused(409) for _ in range(TRIES)))
    with pytest.raises(errors.Conflict):
        await server.patch()
    assert (len(server.built), server.refusals) == (TRIES, [])


async def test_nothing_is_sent_if_nothing_is_to_be_done() -> None:
    """Who builds it finds that the wish is fulfilled."""
    server = Server()

    async def build(found: Execution, refusals: int) -> Request | None:
        del found, refusals
        return None

    assert await patch_as_seen(read=server.read, build=build, send=server.send) is None
