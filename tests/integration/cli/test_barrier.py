"""``koncli barrier``, which is ``kontinue barrier`` too, against an API server with a coordinator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from api_server import ApiServer
from kontinue.kube import requests
from kontinue.sync import Barrier
from kontinue_engine.cli import koncli, main
from looked_after import World
from notices import without_notices
from polling import eventually

NAME = "barriers.konductor.io/start"


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


Call = Callable[..., Awaitable[Said]]


@pytest.fixture
async def start(api_server: ApiServer) -> AsyncIterator[Barrier]:
    """``start``, as somebody else sees it, in a namespace with a coordinator; it does not exist yet."""
    transport = api_server.transport()
    world = World(transport, api_server.namespace)
    async with world.looked_after():
        yield Barrier("start", world.client)
    await transport.close()


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``koncli barrier``; returns exit code, stdout and stderr."""

    async def run(*words: str) -> Said:
        arguments = ["--kubeconfig", str(api_server.kubeconfig), "barrier", *words]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


async def test_one_is_created_arrived_at_waited_for_and_deleted(call: Call, start: Barrier):
    """Each verb says what it has done in one line; repeating create or arrive is no error."""
    for what in ("created", "exists, unchanged"):
        assert await call("create", "start", "--expected", "3", "--quorum", "2") == Said(0, f"{NAME} {what}\n", "")
        arrive = ("arrive", "start", "--holder", "a", "--wait-for-update", "--update-timeout", "60s")
        assert await call(*arrive) == Said(0, f"{NAME} arrived 1 of 2\n", "")
    assert (await call("arrive", "start", "b", "--wait", "--timeout", "60s")).out == f"{NAME} arrived 2 of 2\n"
    assert await call("wait", "start") == Said(0, f"{NAME} open 2 of 2\n", "")
    header, row = (line.split() for line in (await call("list")).out.splitlines())
    assert header == ["NAME", "EXPECTED", "QUORUM", "ARRIVED", "PHASE", "OPENED", "AGE"]
    assert row[:5] == ["start", "3", "2", "2", "Open"]
    assert (await call("status", "start")).out.split()[-2:] == ["a", "b"]
    assert await call("delete", "start") == Said(0, f"{NAME} deleted\n", "")
    assert await call("list") == Said(0, "", "No barriers found.\n")


async def test_who_was_not_counted_yet_is_told_no_number(call: Call):
    """It would not include him: here nobody counts."""
    await call("create", "start", "--expected", "2")
    for _ in range(2):
        assert await call("arrive", "start", "a") == Said(0, f"{NAME} arrived, not counted yet\n", "")
    assert json.loads((await call("arrive", "start", "a", "-o", "json")).out)["counted"] is False


async def test_who_comes_when_it_is_open_is_told_no_number_that_leaves_him_out(call: Call, api_server: ApiServer):
    """He need not wait until he is counted, either."""
    await call("create", "start", "--expected", "2")
    transport = api_server.transport()
    status = {"status": {"phase": "Open", "arrived": 2, "arrivals": ["a", "b"]}}
    patch = requests.merge_patch(requests.BARRIERS, api_server.namespace, "start", status, subresource="status")
    await transport.send(patch)
    await transport.close()
    for words in ((), ("--wait-for-update",)):
        assert await call("arrive", "start", "z", *words) == Said(0, f"{NAME} arrived, not counted yet\n", "")


async def test_programs_read_fields(call: Call, start: Barrier, api_server: ApiServer):
    """As JSON, and kontinue has the same verbs."""
    await start.create(2)
    arrived = json.loads((await call("arrive", "start", "--arrival-id", "a", "-o", "json")).out)
    assert (arrived["barrier"], arrived["holder"], arrived["required"]) == ("start", "a", 2)
    await eventually(lambda: _has_arrived(start))
    arrived = json.loads((await call("arrive", "start", "--arrival-id", "a", "-o", "json")).out)
    assert (arrived["arrived"], arrived["counted"]) == (1, True)
    status = json.loads((await call("status", "start", "-o", "json")).out)
    assert (status["expected"], status["arrived"], status["phase"], status["arrivals"]) == (2, 1, "Waiting", ["a"])
    words = ["--kubeconfig", str(api_server.kubeconfig), "barrier", "wait", "start", "--timeout", "0"]
    assert await asyncio.to_thread(main.main, words) == 3


async def _has_arrived(start: Barrier) -> bool:
    return (await start.status()).arrived == 1


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, start: Barrier):
    """2 for what is not there, 3 for a timeout, 1 for one that has failed and for the rest."""
    for verb in ("arrive", "wait", "status", "delete"):
        assert (await call(verb, "start")).code == 2, verb
    assert (await call("create", "start", "--expected", "1", "--quorum", "2")).code == 1
    assert (await call("create", "start", "--expected", "0")).code == 1
    await start.create(2, timeout=timedelta(hours=1))
    assert (await call("wait", "start", "--timeout", "10s")).code == 3
    assert (await call("create", "late", "--expected", "2", "--timeout", "1ms")).code == 0
    said = await call("wait", "late", "--timeout", "60s")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("error: Barrier ")
    assert said.err.splitlines()[-1].endswith("late has failed: 0 of 2 have arrived within 1ms")
    assert (await call("arrive", "late")).code == 1
