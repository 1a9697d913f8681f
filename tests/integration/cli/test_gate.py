"""``koncli gate``, which is ``kontinue gate`` too, and ``koncli status``, against an API server with a coordinator."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from api_server import ApiServer
from kontinue import errors
from kontinue.kube.http import KubeTransport
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from kontinue_engine.cli import koncli, main
from looked_after import World
from notices import is_notice, without_notices
from polling import eventually

NAME = "gates.konductor.io/go"


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
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``koncli``; returns exit code, stdout and stderr."""

    async def run(*words: str) -> Said:
        code = await asyncio.to_thread(koncli.main, ["--kubeconfig", str(api_server.kubeconfig), *words])
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


async def _has(gate: Gate, met: str) -> bool:
    return (await gate.status()).met == met


async def test_one_is_created_waited_for_and_deleted(call: Call, world: World):
    """Each verb says what it has done in one line; a list has one for each condition."""
    group, go = WaitGroup("jobs", world.client), Gate("go", world.client)
    await group.create()
    await group.add()
    create = ("gate", "create", "go", "--condition", "WaitGroup/jobs=Done", "--condition", "mutex/deploy=unlocked")
    for what in ("created", "exists, unchanged"):
        assert await call(*create) == Said(0, f"{NAME} {what}\n", "")
    await Mutex("deploy", world.client).create()
    await eventually(lambda: _has(go, "1/2"))
    assert await call("gate", "check", "go") == Said(0, f"{NAME} is not open\n", "")
    header, first, second = (line.split(maxsplit=3) for line in (await call("gate", "list")).out.splitlines())
    assert header[:3] == ["NAME", "PHASE", "MET"]
    assert first[:3] == ["go", "Waiting", "1/2"]
    assert first[3].split()[-5:] == ["WaitGroup/jobs=Done", "no:", "it", "is", "Waiting"]
    assert second == ["Mutex/deploy=Unlocked", "yes"]
    assert (await call("gate", "status", "go")).out.split()[-2:] == ["Mutex/deploy=Unlocked", "yes"]
    await group.done()
    assert (await call("gate", "wait", "go", "--timeout", "60s")).out == f"{NAME} open\n"
    assert await call("gate", "check", "go") == Said(0, f"{NAME} is open\n", "")
    assert await call("gate", "delete", "go") == Said(0, f"{NAME} deleted\n", "")
    assert await call("gate", "list") == Said(0, "", "No gates found.\n")


async def test_somebody_decides_by_hand(call: Call, world: World, api_server: ApiServer):
    """And takes it back; kontinue has the same verbs."""
    go = Gate("go", world.client)
    await go.create(["Job/migrate=Complete"])
    assert await call("gate", "open", "go") == Said(0, f"{NAME} opened\n", "")
    assert (await call("gate", "wait", "go", "--timeout", "0")).code == 0
    assert await call("gate", "close", "go") == Said(0, f"{NAME} closed\n", "")
    said = await call("gate", "wait", "go", "--timeout", "0")
    assert (said.code, said.err.splitlines()[-1].endswith("it was closed by hand")) == (3, True)
    assert await call("gate", "reset", "go") == Said(0, f"{NAME} reset\n", "")
    words = ["--kubeconfig", str(api_server.kubeconfig), "gate", "check", "go"]
    assert await asyncio.to_thread(main.main, words) == 0


async def test_programs_read_fields(call: Call, world: World):
    """As JSON or YAML."""
    go = Gate("go", world.client)
    await go.create(["Semaphore/db=Available:2"])
    await eventually(lambda: _has(go, "0/1"))
    missing = {
        "type": "Semaphore",
        "name": "db",
        "state": "Available",
        "met": False,
        "message": "there is no Semaphore db",
    }
    found = json.loads((await call("gate", "status", "go", "-o", "json")).out)
    assert found == {
        "gate": "go", "phase": "Waiting", "met": "0/1", "timeout": "", "override": "", "conditions": [missing]
    }  # fmt: skip
    assert yaml.safe_load((await call("status", "gate", "go", "-o", "yaml")).out) == found


async def test_a_wait_says_what_is_missing(world: World, api_server: ApiServer):
    """On stderr, while it waits."""
    go = Gate("go", world.client)
    await go.create(["Once/migrate=Done"])
    await eventually(lambda: _has(go, "0/1"))
    words = ("--kubeconfig", str(api_server.kubeconfig), "gate", "wait", "go")
    koncli_program = Path(sys.executable).parent / "koncli"
    process = await asyncio.create_subprocess_exec(
        koncli_program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    while is_notice(line := (await process.stderr.readline()).decode()):
        pass
    assert line == "Gate go: Once migrate is to be Done, but there is no Once migrate\n"
    await go.open()
    assert ((await process.communicate())[0], process.returncode) == (f"{NAME} open\n".encode(), 0)


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, world: World):
    """2 for what is not there, 3 for a timeout, 1 for one that has failed and for the rest."""
    for verb in ("wait", "status", "delete", "open", "close", "reset", "check"):
        assert (await call("gate", verb, "go")).code == 2, verb
    assert (await call("status", "gate", "go")).code == 2
    assert (await call("gate", "create", "go")).code == 1
    await Gate("still", world.client).create(["Once/migrate=Done"])
    assert (await call("gate", "wait", "still", "--timeout", "10s")).code == 3
    said = await call("gate", "create", "go", "--condition", "Mutex/deploy=Open")
    assert said.code == 1
    assert "none of Locked, Unlocked, Acquired, Available" in " ".join(said.err.split())
    assert (await call("gate", "create", "late", "--condition", "Job/a=Failed", "--timeout", "1ms")).code == 0
    said = await call("gate", "wait", "late", "--timeout", "60s")
    assert said.code == 1
    assert said.err.splitlines()[-1].endswith(
        "late has failed: not within 1ms: Job a is to be Failed, but there is no Job a"
    )


async def test_everything_is_shown_at_once(call: Call, world: World):
    """A table for each kind that there is; names and documents of all kinds together."""
    assert await call("status", "all") == Said(0, "", "No primitives found.\n")
    client = world.client
    await Barrier("start", client).create(2)
    await Gate("go", client).create(["Barrier/start=Open"])
    await Lease("leader", client).create()
    await Semaphore("db", client).create(2)
    for primitive in (Mutex("deploy", client), Once("migrate", client), RWMutex("catalog", client)):
        await primitive.create()
    await WaitGroup("jobs", client).create()
    kinds = ["barriers", "gates", "leases", "mutexes", "onces", "rwmutexes", "semaphores", "waitgroups"]
    names = ["start", "go", "leader", "deploy", "migrate", "catalog", "db", "jobs"]
    parts = (await call("status", "all")).out.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [f"{kind}:" for kind in kinds]
    assert [part.splitlines()[2].split()[0] for part in parts] == names
    references = [f"{kind}.konductor.io/{name}" for kind, name in zip(kinds, names, strict=True)]
    assert (await call("status", "all", "-o", "name")).out.splitlines() == references
    listed = json.loads((await call("status", "all", "-o", "json")).out)
    assert [one["metadata"]["name"] for one in listed["items"]] == names
    for kind, name in zip(
        ("barrier", "gate", "lease", "mutex", "once", "rwmutex", "semaphore", "waitgroup"), names, strict=True
    ):
        said = await call("status", kind, name)
        assert (said.code, name in said.out.splitlines()[0]) == (0, True), kind


async def test_what_cannot_be_is_1_and_changes_nothing(call: Call, world: World):
    """Names, numbers and states; an empty variable in a script does not delete all Gates."""
    for length in (63, 253):
        assert (await call("gate", "create", "n" * length, "--condition", f"Job/{'n' * length}=Complete")).code == 0
    many = [word for number in range(65) for word in ("--condition", f"Job/{number}=Complete")]
    for words, why in (
        (["", "--condition", "Job/a=Complete"], "'' is no name of an object of kind Gate"),
        (["UPPER", "--condition", "Job/a=Complete"], "RFC 1123"),
        (["n" * 254, "--condition", "Job/a=Complete"], "no more than 253"),
        (["go", "--condition", "Job/UPPER=Complete"], "spec.conditions[0].name"),
        (["go", "--condition", "Job/a.b/c=Complete"], "spec.conditions[0].namespace"),
        (["go", "--condition", "Semaphore/a=Available:99999999999"], "spec.conditions[0].value"),
        (["go", "--condition", "Semaphore/a=Available:-1"], "is not a number of permits"),
        (["go", "--condition", "Semaphore/a=Available:"], "'Semaphore/a=Available:': its VALUE is empty"),
        (["go", "--condition", "Job//a=Complete"], "'Job//a=Complete': its NAMESPACE is empty"),
        (["go", "--condition", "Job/a=Complete", "--timeout", "-1h"], "is negative"),
        (["go", *many], "64"),
    ):
        said = await call("gate", "create", *words)
        assert (said.code, why in " ".join(said.err.split())) == (1, True), said
    for verb in ("delete", "status", "open", "close", "reset", "check"):
        for name in ("", "..", "x/status"):
            said = await call("gate", verb, name)
            assert (said.code, "is no name of" in said.err) == (1, True), said
    assert len((await call("gate", "list", "-o", "name")).out.splitlines()) == 2


async def test_what_is_forbidden_is_4(call: Call, monkeypatch: pytest.MonkeyPatch):
    """Whichever request it is, the error is the server's."""

    async def refuse(*_: object, **__: object) -> bytes:
        raise errors.Forbidden("somebody cannot do that", status=403, reason="Forbidden")

    monkeypatch.setattr(KubeTransport, "send", refuse)
    verbs = ("create", "wait", "open", "close", "reset", "check", "list", "status", "delete")
    for words in (*(("gate", verb) for verb in verbs), ("status", "gate"), ("status", "all")):
        name = [] if words[1] in {"list", "all"} else ["go"]
        condition = ["--condition", "Job/a=Complete"] if words[1] == "create" else []
        said = await call(*words, *name, *condition)
        assert (said.code, "error: somebody cannot do that" in said.err) == (4, True), said
