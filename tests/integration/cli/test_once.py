"""``koncli once``, which is ``kontinue once`` too, against an API server; no coordinator runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from api_server import ApiServer
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.sync import Lock, Once
from kontinue_engine.cli import koncli
from notices import without_notices

NAME = "onces.konductor.io/migrate"

Call = Callable[..., Awaitable["Said"]]


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``koncli once`` as holder ``me``; returns exit code, stdout and stderr."""
    monkeypatch.setenv("KONDUCTOR_HOLDER_ID", "me")

    async def run(verb: str, *words: str) -> Said:
        arguments = ["once", verb, "--kubeconfig", str(api_server.kubeconfig), *words]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


@pytest.fixture
async def once(api_server: ApiServer) -> AsyncIterator[Once]:
    """``migrate``, as somebody else sees it; it does not exist yet."""
    transport = api_server.transport()
    yield Once("migrate", Client.from_kube(transport, api_server.namespace))
    await transport.close()


async def test_a_command_is_run_until_it_has_succeeded_once(call: Call, once: Once, tmp_path: Path):
    """Its exit code is passed on; any but 0 is Failed. What was executed is not run again."""
    for what in ("created", "exists, unchanged"):
        assert await call("create", "migrate", "--timeout", "30s") == Said(0, f"{NAME} {what}\n", "")
    assert await call("check", "migrate") == Said(0, f"{NAME} has not been executed\n", "")
    assert (await call("do", "migrate", "--", "sh", "-c", "exit 7")).code == 7
    assert "Failure:    CommandFailedError: exit status 7" in (await call("status", "migrate")).out
    assert (await call("do", "migrate", "--", str(tmp_path / "missing"))).code == 127
    script = 'echo "$KONDUCTOR_TOKEN" >> "$0"'
    command = ("migrate", "--", "sh", "-c", script, str(tmp_path / "said"))
    assert (await call("do", *command)).code == 0
    assert await call("do", *command) == Said(0, f"{NAME} has been executed\n", "")
    assert (tmp_path / "said").read_text() == "3\n"
    assert await call("check", "migrate") == Said(0, f"{NAME} has been executed\n", "")
    header, row = (line.split() for line in (await call("list")).out.splitlines())
    assert header == ["NAME", "EXECUTED", "EXECUTOR", "PHASE", "TRIES", "AGE"]
    assert row[:5] == ["migrate", "true", "me", "Executed", "3"]
    found = json.loads((await call("status", "migrate", "-o", "json")).out)
    assert (found["once"], found["executed"], found["tries"]) == ("migrate", True, 3)
    for what in ("deleted", "was not there"):
        assert await call("delete", "migrate") == Said(0, f"{NAME} {what}\n", "")
    assert json.loads((await call("delete", "migrate", "-o", "json")).out) == {"once": "migrate", "deleted": False}
    assert await call("delete", "migrate", "-o", "name") == Said(0, "", "")


async def test_what_somebody_has_set_running_by_hand_is_freed_by_hand(call: Call, once: Once, api_server: ApiServer):
    """Without a lease nobody is believed dead; without a name nobody does it."""
    await once.create()

    async def patch(**status: str) -> None:
        transport, what = api_server.transport(), (requests.ONCES, once.namespace, "migrate")
        await transport.send(requests.merge_patch(*what, {"status": status}, subresource="status"))
        await transport.close()

    await patch(executor="ghost", phase="Running")
    assert (await call("do", "migrate", "--timeout", "0", "--", "true")).code == 5
    assert "Executor:   ghost" in (await call("status", "migrate")).out
    await patch(executor="")
    assert (await call("do", "migrate", "--timeout", "0", "--", "true")).code == 0


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, once: Once):
    """2 for what is not there, 5 for what somebody else does now, 3 for a timeout."""
    for words in (("do", "migrate", "--", "true"), ("check", "migrate"), ("status", "migrate")):
        assert (await call(*words)).code == 2
    await once.create()

    async def work(_: Lock) -> None:
        assert (await call("do", "migrate", "--timeout", "0", "--", "true")).code == 5
        said = await call("do", "migrate", "--timeout", "10s", "--", "true")  # long enough to hear of it
        assert (said.code, "Once migrate: you does it, 1 waiting" in said.err) == (3, True)

    assert await once.do(work, holder="you")
