"""``koncli rwmutex``, which is ``kontinue rwmutex`` too, against an API server; no coordinator runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from api_server import ApiServer
from kontinue.client import Client
from kontinue.sync import RWMutex
from kontinue_engine.cli import koncli
from notices import without_notices

NAME = "rwmutexes.konductor.io/catalog"

Call = Callable[..., Awaitable["Said"]]


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``koncli rwmutex`` as holder ``me``; returns exit code, stdout and stderr."""
    monkeypatch.setenv("KONDUCTOR_HOLDER_ID", "me")

    async def run(verb: str, *words: str) -> Said:
        arguments = ["rwmutex", verb, "--kubeconfig", str(api_server.kubeconfig), *words]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


@pytest.fixture
async def mutex(api_server: ApiServer) -> AsyncIterator[RWMutex]:
    """``catalog``, as somebody else sees it; it does not exist yet."""
    transport = api_server.transport()
    yield RWMutex("catalog", Client.from_kube(transport, api_server.namespace))
    await transport.close()


async def test_it_is_locked_to_read_and_to_write(call: Call, mutex: RWMutex):
    """Each verb says what it has done in one line; who may not have it now gets 5, or 3 after a timeout."""
    for what in ("created", "exists, unchanged"):
        assert await call("create", "catalog", "--ttl", "1h") == Said(0, f"{NAME} {what}\n", "")
    assert await call("rlock", "catalog") == Said(0, f"{NAME} locked to read by me, token 1\n", "")
    assert (await call("rlock", "catalog", "--holder", "you", "--timeout", "0")).code == 0
    assert (await call("lock", "catalog", "--holder", "writer", "--timeout", "0")).code == 5
    said = await call("lock", "catalog", "--holder", "writer", "--timeout", "10s")  # long enough to hear
    assert (said.code, "RWMutex catalog: read by me, you, 1 waiting" in said.err) == (3, True)
    header, row = (line.split() for line in (await call("list")).out.splitlines())
    assert header == ["NAME", "WRITEHOLDER", "READERS", "PHASE", "LOCKED", "WAITERS", "AGE"]
    assert row[:3] == ["catalog", "2", "ReadLocked"]
    table = [line.split() for line in (await call("status", "catalog")).out.splitlines()]
    assert [row[:3] for row in table[-2:]] == [["me", "read", "1"], ["you", "read", "2"]]
    for holder in ("me", "you"):
        assert await call("unlock", "catalog", "--holder", holder) == Said(0, f"{NAME} unlocked\n", "")
    assert (await call("unlock", "catalog")).code == 1
    assert await call("lock", "catalog") == Said(0, f"{NAME} locked to write by me, token 3\n", "")
    found = json.loads((await call("status", "catalog", "-o", "json")).out)
    assert (found["rwmutex"], found["writeHolder"], found["phase"]) == ("catalog", "me", "WriteLocked")
    assert (await call("with", "catalog", "--read", "--timeout", "0", "--", "true")).code == 5
    await mutex.unlock(holder="me")
    for words in (("--read",), ()):
        assert (await call("with", "catalog", *words, "--", "sh", "-c", "exit 7")).code == 7
    for what in ("deleted", "was not there"):
        assert await call("delete", "catalog") == Said(0, f"{NAME} {what}\n", "")
    assert json.loads((await call("delete", "catalog", "-o", "json")).out) == {"rwmutex": "catalog", "deleted": False}
    assert await call("delete", "catalog", "-o", "name") == Said(0, "", "")
