"""``koncli semaphore``, which is ``kontinue semaphore`` too, against an API server with a coordinator."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.sync import PermitPhase, Semaphore
from kontinue_engine.cli import koncli, main
from looked_after import World
from notices import without_notices
from polling import eventually

LONG = timedelta(seconds=60)
NAME = "semaphores.konductor.io/db"


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
def db(world: World) -> Semaphore:
    """``db``, as somebody else sees it; it does not exist yet."""
    return Semaphore("db", world.client)


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``koncli semaphore``; returns exit code, stdout and stderr."""

    async def run(*words: str) -> Said:
        arguments = ["--kubeconfig", str(api_server.kubeconfig), "semaphore", *words]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


async def test_one_is_created_acquired_released_and_deleted(call: Call, db: Semaphore):
    """Each verb says what it has done in one line; repeating create is no error."""
    for what in ("created", "exists, unchanged"):
        assert await call("create", "db", "--permits", "2", "--ttl", "1h") == Said(0, f"{NAME} {what}\n", "")
    said = await call("acquire", "db", "--holder", "me", "--timeout", "60s")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"{NAME} acquired by me: permit db-me-")
    listed = await call("list")
    header, row = (line.split() for line in listed.out.splitlines())
    assert header == ["NAME", "PERMITS", "IN-USE", "AVAILABLE", "PHASE", "WAITING", "TTL", "AGE"]
    assert row[:7] == ["db", "2", "1", "1", "Ready", "0", "1h"]
    assert ["me", "Granted"] in [line.split()[:2] for line in (await call("status", "db")).out.splitlines()]
    assert (await call("release", "db", "--holder", "me")).out.startswith(f"{NAME} released permit db-me-")
    assert await db.permits() == []
    assert await call("delete", "db") == Said(0, f"{NAME} deleted\n", "")
    assert await call("list") == Said(0, "", "No semaphores found.\n")


async def test_programs_read_fields(call: Call, db: Semaphore, capsys: pytest.CaptureFixture[str]):
    """As JSON, and of kontinue's own verb as well."""
    await db.create()
    acquired = json.loads((await call("acquire", "db", "--holder", "me", "-o", "json")).out)
    assert (acquired["semaphore"], acquired["holder"]) == ("db", "me")
    status = json.loads((await call("status", "db", "-o", "json")).out)
    assert (status["permits"], status["in-use"], status["available"], status["phase"]) == (1, 1, 0, "Full")
    assert [one["permit"] for one in status["holders"]] == [acquired["permit"]]
    assert (await call("list", "-o", "name")).out == f"{NAME}\n"


async def test_a_ttl_of_0_is_none_of_its_own(call: Call, db: Semaphore):
    """So the object's own holds; without one, no end."""
    await db.create(2, ttl=timedelta(hours=1))
    assert (await call("acquire", "db", "--ttl", "0", "--holder", "me")).code == 0
    (limited,) = await db.permits()
    assert limited.status.expires_at is not None
    await db.delete()
    await db.create(2)
    assert (await call("acquire", "db", "--ttl", "0", "--holder", "me")).code == 0
    (endless,) = await db.permits()
    assert endless.status.expires_at is None


async def test_one_that_is_missing_keeps_no_other_from_being_deleted(call: Call, db: Semaphore):
    """As with kubectl: each is told of, and the exit code is that of what went wrong first."""
    await db.create()
    assert (await call("create", "other")).code == 0
    said = await call("delete", "nope", "db", "..", "missing", "other")
    deleted = "".join(f"semaphores.konductor.io/{name} deleted\n" for name in ("db", "other"))
    assert (said.code, said.out) == (2, deleted)
    told = ('"nope" not found (namespace ', "'..' is no name", '"missing" not found (namespace ')
    for what, line in zip(told, said.err.splitlines(), strict=True):
        assert (line.startswith("error: "), what in line) == (True, True), line
    assert await call("list") == Said(0, "", "No semaphores found.\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.Unavailable("the server is away"), 1), (errors.Unauthorized("who are you", status=401), 4)],
    ids=lambda value: type(value).__name__,
)
async def test_what_concerns_all_of_them_is_tried_and_told_once(
    error: errors.ApiError, code: int, call: Call, db: Semaphore, monkeypatch: pytest.MonkeyPatch
):
    """Each name would take as long as the first to fail in the same way; who repeats it knows what is left."""
    for name in ("first", "db", "last"):
        assert (await call("create", name)).code == 0
    send, asked = KubeTransport.send, list[str]()

    async def fail(transport: KubeTransport, request: requests.Request, **options: Any) -> bytes:
        if request.method == "DELETE":
            asked.append(request.path.rpartition("/")[-1])
            if asked[-1] == "db":
                raise error
        return await send(transport, request, **options)

    with monkeypatch.context() as patched:
        patched.setattr(KubeTransport, "send", fail)
        said = await call("delete", "first", "db", "last", "nope")
    assert asked == ["first", "db"]
    assert (said.code, said.out) == (code, "semaphores.konductor.io/first deleted\n")
    assert said.err.count("error: ") == 1
    assert f"error: {error}" in said.err
    assert said.err.endswith(" (deleted before: first; not tried: last, nope)\n")
    assert (await call("list", "-o", "name")).out.split() == [
        f"semaphores.konductor.io/{name}" for name in ("db", "last")
    ]


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, db: Semaphore):
    """2 for what is not there, 3 for a timeout, 5 for what is held, 1 for the rest."""
    for verb in ("acquire", "release", "status", "delete"):
        assert (await call(verb, "db")).code == 2, verb
    assert (await call("with", "db", "--", "true")).code == 2
    await db.create()
    assert (await call("release", "db", "--holder", "me")).code == 2
    await db.acquire(timeout=LONG)
    held = await call("acquire", "db", "--timeout", "0")
    assert held.code == 5
    assert held.err.splitlines()[-1] == f"error: no permit of Semaphore {db.namespace}/db is free"
    late = await call("acquire", "db", "--timeout", "10s")
    assert late.code == 3
    assert late.err.splitlines()[0] == "Semaphore db: 1 of 1 in use, 0 waiting"
    assert (await call("acquire", "db", "--bound-to", "job/x")).code == 1
    assert (await call("acquire", "db", "--bound-to", "pod/missing")).code == 2
    assert (await call("create", "other", "--permits", "0")).code == 1


def with_permit(api_server: ApiServer) -> list[str]:
    """Return the command line that runs the rest while a permit of ``db`` is held."""
    program = "import sys; from kontinue_engine.cli.koncli import main; sys.exit(main())"
    options = ["--kubeconfig", str(api_server.kubeconfig), "semaphore", "with", "db", "--timeout", "60s", "--"]
    return [sys.executable, "-c", program, *options]


async def test_a_command_runs_while_a_permit_is_held(
    db: Semaphore, world: World, api_server: ApiServer, tmp_path: Path
):
    """Its exit status is the exit code; a signal reaches it, and the permit is given back after its end."""
    await db.create()
    script = f"trap 'echo ended > {tmp_path}/ended; exit 7' TERM; touch {tmp_path}/begun; while :; do sleep 0.05; done"
    process = await asyncio.create_subprocess_exec(*with_permit(api_server), "sh", "-c", script)
    await eventually(lambda: (tmp_path / "begun").exists())
    assert [one.status.phase for one in await db.permits()] == [PermitPhase.GRANTED]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 7
    assert (tmp_path / "ended").exists()
    assert await db.permits() == []


async def test_a_command_whose_permit_is_lost_is_ended(
    db: Semaphore, world: World, api_server: ApiServer, tmp_path: Path
):
    """Others may have had theirs: the exit code is 1, and the message tells why."""
    await db.create()
    process = await asyncio.create_subprocess_exec(
        *with_permit(api_server),
        *("sh", "-c", f"touch {tmp_path}/begun; sleep 600"),
        stderr=asyncio.subprocess.PIPE,
    )
    await eventually((tmp_path / "begun").exists)
    (permit,) = await db.permits()
    await world.transport.send(requests.delete(requests.PERMITS, db.namespace, permit.metadata.name))
    _, said = await process.communicate()
    assert (process.returncode, b"was deleted" in said) == (1, True)


async def test_who_is_told_to_end_while_it_waits_withdraws(db: Semaphore, api_server: ApiServer):
    """As a Pod that is deleted; the command is not run."""
    await db.create()
    held = await db.acquire(timeout=LONG)
    process = await asyncio.create_subprocess_exec(*with_permit(api_server), "true")
    await eventually(lambda: _waits(db))
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 128 + signal.SIGTERM
    assert [one.metadata.name for one in await db.permits()] == [held.name]


async def _waits(db: Semaphore) -> bool:
    return (await db.status()).waiting == 1


@pytest.mark.parametrize(("command", "code"), [(["sh", "-c", "exit 3"], 3), (["/no/such/command"], 127)])
async def test_the_code_of_a_command_is_that_of_the_verb(
    db: Semaphore, api_server: ApiServer, command: list[str], code: int
):
    """127 for one that does not exist."""
    await db.create()
    process = await asyncio.create_subprocess_exec(*with_permit(api_server), *command)
    assert await process.wait() == code
    assert await db.permits() == []


async def test_kontinue_has_the_same_verbs(db: Semaphore, api_server: ApiServer):
    """With the same codes."""
    await db.create()
    options = ["--kubeconfig", str(api_server.kubeconfig), "semaphore"]
    assert await asyncio.to_thread(main.main, [*options, "acquire", "db", "--timeout", "60s"]) == 0
    assert await asyncio.to_thread(main.main, [*options, "acquire", "db", "--timeout", "0"]) == 5
