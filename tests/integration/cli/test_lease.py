"""``koncli lease``, which is ``kontinue lease`` too, against an API server with a coordinator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from api_server import ApiServer
from kontinue.sync import Lease
from kontinue_engine.cli import koncli, main
from looked_after import World
from notices import without_notices
from polling import eventually

LONG = timedelta(seconds=60)
NAME = "leases.konductor.io/deploy"


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


Call = Callable[..., Awaitable[Said]]


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    """A namespace with a coordinator."""
    transport = api_server.transport()
    world = World(transport, api_server.namespace)
    async with world.looked_after():
        yield world
    await transport.close()


@pytest.fixture
def lease(world: World) -> Lease:
    """``deploy``, as somebody else sees it; it does not exist yet."""
    return Lease("deploy", world.client)


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``koncli lease``, as ``me``; returns exit code, stdout and stderr."""
    monkeypatch.setenv("KONDUCTOR_HOLDER_ID", "me")

    async def run(*words: str) -> Said:
        arguments = ["--kubeconfig", str(api_server.kubeconfig), "lease", *words]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


async def test_one_is_created_acquired_renewed_released_and_deleted(call: Call, lease: Lease):
    """Each verb says what it has done in one line; repeating create and delete is no error."""
    for what in ("created", "exists, unchanged"):
        assert await call("create", "deploy") == Said(0, f"{NAME} {what}\n", "")
    assert (await lease.get()).spec.ttl == "10m"
    said = await call("acquire", "deploy", "--priority", "5", "--timeout", "60s")
    assert said == Said(0, f"{NAME} acquired by me, token 1\n", "")
    assert await call("renew", "deploy") == Said(0, f"{NAME} renewed by me\n", "")
    header, row = (line.split() for line in (await call("list")).out.splitlines())
    assert header == ["NAME", "HOLDER", "PHASE", "ACQUIRED", "RENEWALS", "WAITING", "TOKEN", "AGE"]
    assert (row[:3], row[4:7]) == (["deploy", "me", "Held"], ["1", "0", "1"])
    shown = (await call("status", "deploy")).out
    assert "Holder:     me\n" in shown
    assert ["me", "Granted", "5"] in [line.split()[:3] for line in shown.splitlines()]
    assert await call("release", "deploy", "--token", "1") == Said(0, f"{NAME} released\n", "")
    for what in ("deleted", "was not there"):
        assert await call("delete", "deploy") == Said(0, f"{NAME} {what}\n", "")
    assert json.loads((await call("delete", "deploy", "-o", "json")).out) == {"lease": "deploy", "deleted": False}
    assert await call("delete", "deploy", "-o", "name") == Said(0, "", "")
    assert await call("list") == Said(0, "", "No leases found.\n")


async def test_programs_read_fields(call: Call, lease: Lease):
    """As JSON; names tell the Lease from one of coordination.k8s.io."""
    await lease.create(ttl=None, priority=2)
    acquired = await call("acquire", "deploy", "--holder", "you", "--ttl", "1h", "-o", "json")
    assert json.loads(acquired.out) == {"lease": "deploy", "holder": "you", "token": 1}
    found = json.loads((await call("status", "deploy", "-o", "json")).out)
    assert (found["phase"], found["holder"], found["ttl"], found["priority"]) == ("Held", "you", "1h", 2)
    assert [(one["holder"], one["phase"]) for one in found["requests"]] == [("you", "Granted")]
    assert (await call("list", "-o", "name")).out == f"{NAME}\n"


async def test_a_ttl_of_0_is_none_of_its_own(call: Call, lease: Lease):
    """So the object's own holds, as for whoever says nothing."""
    await lease.create(ttl=timedelta(hours=1))
    assert (await call("acquire", "deploy", "--ttl", "0", "--holder", "me")).code == 0
    assert (await lease.status()).ttl == "1h"


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, lease: Lease):
    """5 for what somebody else holds, 3 for a timeout, 2 for what is not there, 1 for other errors."""
    for verb in ("acquire", "renew", "release", "status"):
        assert (await call(verb, "deploy")).code == 2, verb
    assert (await call("with", "deploy", "--", "true")).code == 2
    await lease.create()
    assert (await call("release", "deploy")).code == 1
    held = await lease.acquire(holder="you", timeout=LONG)
    said = await call("acquire", "deploy", "--timeout", "0")
    assert (said.code, said.err.splitlines()[0]) == (5, "Lease deploy: held by you, 0 waiting")
    assert said.err.splitlines()[-1] == f"error: Lease {lease.namespace}/deploy is held by you"
    assert (await call("acquire", "deploy", "--timeout", "10s")).code == 3
    for verb in ("renew", "release"):
        assert (await call(verb, "deploy")).code == 5
        assert (await call(verb, "deploy", "--holder", "you", "--token", "7")).code == 5
    assert (await call("acquire", "deploy", "--holder", "pod/nobody", "--timeout", "0")).code == 2
    assert (await call("acquire", "deploy", "--priority", "-1")).code == 1
    assert (await call("create", "other", "--ttl", "soon")).code == 1
    await lease.release(held)


async def test_a_command_runs_while_it_is_held(call: Call, lease: Lease, tmp_path: Path):
    """Its exit code is passed on, it knows the token, and the Lease is free afterwards, however it ended."""
    await lease.create()
    script = 'echo "$KONDUCTOR_TOKEN $KONDUCTOR_HOLDER_ID" > "$0"; exit 7'
    said = await call("with", "deploy", "--ttl", "1m", "--", "sh", "-c", script, str(tmp_path / "said"))
    assert said.code == 7
    assert (tmp_path / "said").read_text() == "1 me\n"
    assert await lease.is_available()
    assert (await call("with", "deploy", "--", "true")).code == 0
    assert await lease.is_available()
    held = await lease.acquire(holder="you", timeout=LONG)
    assert (await call("with", "deploy", "--timeout", "0", "--", "true")).code == 5
    await lease.release(held)


@pytest.mark.slow
async def test_a_signal_ends_the_wait(lease: Lease, api_server: ApiServer):
    """As a Pod that is deleted: its request is withdrawn."""
    await lease.create()
    held = await lease.acquire(holder="first", timeout=LONG)
    program = "import sys; from kontinue_engine.cli.koncli import main; sys.exit(main(sys.argv[1:]))"
    words = ("lease", "with", "--kubeconfig", str(api_server.kubeconfig), "deploy", "--", "true")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, *words, env={**os.environ})
    await eventually(lambda: _waits(lease))
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 128 + 15
    assert [one.spec.holder for one in await lease.requests()] == ["first"]
    await lease.release(held)


async def _waits(lease: Lease) -> bool:
    return (await lease.get()).status.waiting == 1


async def test_kontinue_has_the_same_verbs(lease: Lease, api_server: ApiServer):
    """With the same codes."""
    await lease.create()
    options = ["--kubeconfig", str(api_server.kubeconfig), "lease"]
    assert await asyncio.to_thread(main.main, [*options, "acquire", "deploy", "--holder", "a", "--timeout", "60s"]) == 0
    assert await asyncio.to_thread(main.main, [*options, "acquire", "deploy", "--timeout", "0"]) == 5
