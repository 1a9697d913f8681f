"""What ``koncli`` and ``kontinue.sync`` say to input that makes no sense: an error, and the documented exit code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.client import Client
from kontinue.kube.http import KubeTransport
from kontinue.sync import Barrier, Holder, HolderKind, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from kontinue_engine.cli import koncli
from looked_after import LosesAnswers, World

SOON = timedelta(seconds=60)
KINDS = {
    "waitgroup": WaitGroup,
    "mutex": Mutex,
    "rwmutex": RWMutex,
    "once": Once,
    "semaphore": Semaphore,
    "barrier": Barrier,
    "lease": Lease,
}
COMMANDS = (
    *("waitgroup add NAME", "waitgroup done NAME", "waitgroup wait NAME", "mutex lock NAME", "mutex unlock NAME"),
    *("mutex with NAME -- true", "rwmutex lock NAME", "rwmutex rlock NAME", "rwmutex unlock NAME"),
    *("rwmutex with NAME -- true", "once do NAME -- true", "once check NAME", "semaphore acquire NAME"),
    *("semaphore release NAME", "semaphore with NAME -- true", "barrier arrive NAME", "barrier wait NAME"),
    *("lease acquire NAME", "lease renew NAME", "lease release NAME", "lease with NAME -- true"),
    *(f"gate {verb} NAME" for verb in ("wait", "open", "close", "check", "status")),
    *(f"{kind} status NAME" for kind in KINDS),
)
ODD_HOLDERS = ("a/b/c", "ünï☃", "with spaces", "-lead", "☃" * 253)


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


Call = Callable[..., Awaitable[Said]]


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    """A namespace."""
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``koncli``; returns exit code, stdout and stderr. What is no exit code is a bug and is raised."""

    async def run(*words: str) -> Said:
        arguments = ["--kubeconfig", str(api_server.kubeconfig), *words]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


async def test_names_are_as_long_as_kubernetes_allows(call: Call):
    """Longer than a label, too; one that exists is no error. What Kubernetes refuses is refused in its words."""
    for kind in KINDS:
        for length in (63, 64, 253):
            name = "n" * length
            for verb in ("create", "create", "status", "delete"):
                assert (await call(kind, verb, name)).code == 0, (kind, verb, length)
        for name, why in (("n" * 254, "no more than 253"), ("UPPER", "RFC 1123")):
            said = await call(kind, "create", name)
            assert (said.code, why in said.err) == (1, True), said


async def test_who_and_of_what_may_be_long_and_odd(call: Call, world: World):
    """A Permit and an Arrival have names that are made of both."""
    name = "n" * 253
    async with world.looked_after():
        for kind in ("semaphore", "barrier"):
            assert (await call(kind, "create", name)).code == 0
        for holder in ODD_HOLDERS:
            who = f"--holder={holder}"
            assert (await call("semaphore", "acquire", name, who, "--timeout", "60s")).code == 0
            assert (await call("semaphore", "release", name, who)).code == 0
            assert (await call("barrier", "arrive", name, who)).code == 0
        assert (await call("barrier", "wait", name, "--timeout", "60s")).code == 0


async def test_who_is_no_text_or_too_long_is_told_so(call: Call):
    """By all kinds alike, and so is a name: a command gives what is no UTF-8 as halves of characters."""
    verbs = {"mutex": "lock", "rwmutex": "lock", "semaphore": "acquire", "lease": "acquire", "barrier": "arrive"}
    for kind, verb in verbs.items():
        await call(kind, "create", "x")
        said = await call(kind, verb, "x", "--holder", "h" * 254)
        assert (said.code, "is longer than 253 characters" in said.err) == (1, True), said
        said = await call(kind, verb, "x", "--holder", "h\udcff")
        assert (said.code, "is no text that UTF-8 can say" in said.err) == (1, True), said
        said = await call(kind, verb, "x\udcff")
        assert (said.code, "is no text that UTF-8 can say" in said.err) == (1, True), said


async def test_a_lock_is_anybodys(call: Call):
    """Holders are any text up to 253 characters; two are told apart, and whoever is not there cannot hold it."""
    for kind in ("mutex", "rwmutex"):
        await call(kind, "create", "x")
        for holder in ODD_HOLDERS:
            assert (await call(kind, "lock", "x", f"--holder={holder}", "--timeout", "0")).code == 0
            assert (await call(kind, "unlock", "x", "--holder", "other")).code == 5
            assert (await call(kind, "unlock", "x", f"--holder={holder}")).code == 0
        said = await call(kind, "lock", "x", "--holder", "h" * 300)
        assert (said.code, "is longer than 253 characters" in said.err) == (1, True)
        for missing in ("pod/missing", "execution/missing"):
            assert (await call(kind, "lock", "x", "--holder", missing)).code == 2


@pytest.mark.parametrize("name", ["..", "a/b", "a%b", "n" * 254])
async def test_nothing_is_bound_to_what_can_be_no_name(call: Call, name: str):
    """Nor to one that is too long. The option is named, whichever it is."""
    verbs = [("waitgroup", "add", "--holder"), ("mutex", "lock", "--holder"), ("semaphore", "acquire", "--bound-to")]
    why = "is longer than 253 characters" if len(name) > 253 else "no Pod can be called that"
    for kind, verb, option in verbs:
        await call(kind, "create", "x")
        said = await call(kind, verb, "x", option, f"pod/{name}")
        assert (said.code, option in said.err, why in said.err) == (1, True, True), said


@pytest.mark.parametrize("name", ["", "..", "x/status", "x%2fstatus"])
async def test_what_is_no_name_means_nothing_and_above_all_not_everything(call: Call, name: str):
    """An empty variable in a script must not delete all objects of a kind."""
    for kind in KINDS:
        await call(kind, "create", "x")
        for verb in ("delete", "status"):
            said = await call(kind, verb, name)
            assert (said.code, "is no name of" in said.err) == (1, True), said
        assert (await call(kind, "status", "x")).code == 0


async def test_what_does_not_exist_is_2(call: Call):
    """And is named in one line."""
    for command in COMMANDS:
        said = await call(*command.replace("NAME", "missing").split())
        assert (said.code, "missing" in said.err.splitlines()[-1]) == (2, True), command


async def test_what_is_forbidden_is_4(call: Call, monkeypatch: pytest.MonkeyPatch):
    """Whichever request it is, the error is the server's."""

    async def refuse(*_: Any, **__: Any) -> bytes:
        raise errors.Forbidden("somebody cannot do that", status=403, reason="Forbidden")

    monkeypatch.setattr(KubeTransport, "send", refuse)
    for command in (*COMMANDS, *(f"{kind} {verb} NAME" for kind in KINDS for verb in ("create", "delete"))):
        said = await call(*command.replace("NAME", "x").split())
        assert (said.code, "error: somebody cannot do that" in said.err) == (4, True), command
    for kind in KINDS:
        assert (await call(kind, "list")).code == 4


async def test_numbers_that_cannot_be_are_1_and_change_nothing(call: Call, world: World):
    """The server's limits, and those of the counter."""
    for kind in KINDS.values():
        await kind("x", world.client).create()
    for command, why in (
        ("waitgroup add x --delta -1", "cannot go below 0"),
        ("waitgroup add x --delta 99999999999999999999", "out of range"),
        ("waitgroup add x --delta -99999999999999999999", "out of range"),
        ("semaphore create y --permits 5001", "less than or equal to 5000"),
        ("semaphore acquire x --holder " + "h" * 300, "253"),
        ("barrier create y --expected 5001", "less than or equal to 5000"),
        ("barrier create y --expected 2 --quorum 3", "quorum"),
        ("barrier arrive x --holder " + "h" * 300, "253"),
    ):
        said = await call(*command.split())
        assert (said.code, why in said.err) == (1, True), said
    assert (await WaitGroup("x", world.client).get()).counter == 0
    assert await Semaphore("x", world.client).permits() == []
    for kind in (Semaphore, Barrier):
        with pytest.raises(errors.NotFound):
            await kind("y", world.client).get()


async def test_python_says_the_same(world: World):
    """Errors of ``kontinue.errors``, whose class says what it is about."""
    for kind in KINDS.values():
        for name in ("UPPER", "n" * 254):
            with pytest.raises(errors.Invalid):
                await kind(name, world.client).create()
        for name in ("", "..", "x/status"):
            with pytest.raises(errors.Invalid, match="is no name of"):
                kind(name, world.client)
        with pytest.raises(errors.NotFound):
            await kind("missing", world.client).get()


async def test_python_refuses_what_cannot_be_meant(world: World):
    """Numbers, durations and holders."""
    client = world.client
    mutex, semaphore, barrier = Mutex("x", client), Semaphore("x", client), Barrier("x", client)
    for subject in (mutex, semaphore, barrier):
        await subject.create()
    nobody = Holder(kind=HolderKind.POD, name="missing")
    for asking, error in (
        (Mutex("y", client).create(ttl=-SOON), ValueError),
        (Semaphore("y", client).create(0), errors.Invalid),
        (Semaphore("y", client).create(5001), errors.Invalid),
        (Barrier("y", client).create(-1), errors.Invalid),
        (Barrier("y", client).create(2, quorum=3), errors.Invalid),
        (Barrier("y", client).create(timeout=-SOON), ValueError),
        (mutex.lock(holder="h" * 300), errors.InvalidState),
        (mutex.lock(ttl=-SOON, holder="a", timeout=SOON), ValueError),
        (mutex.lock(holder=nobody), errors.NotFound),
        (mutex.unlock(holder="a"), errors.InvalidState),
        (semaphore.acquire(holder="h" * 300), errors.InvalidState),
        (semaphore.acquire(ttl=-SOON), ValueError),
        (semaphore.acquire(bound_to=nobody), errors.NotFound),
        (semaphore.release("nobody"), errors.NotFound),
        (barrier.arrive("h" * 300), errors.InvalidState),
        (barrier.wait(timeout=-SOON), errors.WaitTimeout),
    ):
        with pytest.raises(error):
            await asking


@pytest.mark.parametrize("variable", ["KONDUCTOR_HOLDER_ID", "HOSTNAME"])
async def test_who_says_nothing_is_who_the_environment_says(
    call: Call, world: World, monkeypatch: pytest.MonkeyPatch, variable: str
):
    """The same name for all kinds, from the command line and from Python."""
    monkeypatch.delenv("KONDUCTOR_HOLDER_ID", raising=False)
    monkeypatch.setenv(variable, "me")
    mutex, semaphore, barrier = Mutex("x", world.client), Semaphore("x", world.client), Barrier("x", world.client)
    for subject in (mutex, semaphore, barrier):
        await subject.create()
    async with world.looked_after():
        assert (await call("mutex", "lock", "x")).code == 0
        assert (await mutex.get()).status.holder == "me"
        await mutex.unlock()
        assert (await mutex.lock()).holder == "me"
        assert (await call("semaphore", "acquire", "x", "--timeout", "60s")).code == 0
        assert await semaphore.release()
        assert (await semaphore.acquire(timeout=SOON)).holder == "me"
        assert (await barrier.arrive()).spec.holder == "me"
        assert (await call("barrier", "arrive", "x")).code == 0
        assert (await barrier.wait(timeout=SOON)).status.arrivals == ["me"]


async def test_what_is_deleted_is_deleted_once(world: World):
    """Although the answer got lost: that it is gone when it is deleted again is what was wanted."""
    client = Client.from_kube(LosesAnswers(world.transport), world.namespace)
    for kind in KINDS.values():
        await kind("x", client).create()
        await kind("x", client).delete()
        with pytest.raises(errors.NotFound):
            await kind("x", client).get()


@pytest.mark.parametrize("name", ["", "..", "x/status"])
async def test_nothing_is_created_under_what_is_no_name(call: Call, name: str):
    """In the words of all other verbs, and without asking the server."""
    for kind in KINDS:
        needed = ("--condition", "Job/x=Complete") if kind == "gate" else ()
        said = await call(kind, "create", name, *needed)
        assert (said.code, f"{name!r} is no name of an object of kind" in said.err) == (1, True), said


async def test_a_variable_that_names_no_holder_is_named(call: Call, monkeypatch: pytest.MonkeyPatch):
    """Nobody has written the option."""
    for kind, verb in {"mutex": "lock", "lease": "acquire", "semaphore": "acquire", "barrier": "arrive"}.items():
        await call(kind, "create", "x")
        for value, why in (("h" * 300, "is longer than 253 characters"), (" ", "is blank")):
            monkeypatch.setenv("KONDUCTOR_HOLDER_ID", value)
            said = await call(kind, verb, "x")
            assert (said.code, "$KONDUCTOR_HOLDER_ID" in said.err, why in said.err) == (1, True, True), said


@pytest.mark.parametrize(("command", "why"), [("", "'' is no command"), (" ", "' ': No such file or directory")])
async def test_what_is_no_command_is_quoted(call: Call, command: str, why: str):
    """An empty variable would not be seen."""
    await call("mutex", "create", "x")
    said = await call("mutex", "with", "x", "--", command)
    assert (said.code, why in said.err) == (127, True), said
