"""``koncli`` while the API server does not answer: each verb that waits ends within its ``--timeout``, by its code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_server import ApiServer, kubeconfig_for
from faulty_proxy import Message, SilentProxy, silent_proxy
from kontinue import errors
from kontinue.api.konductor.mutexes import Mutex as StoredMutex
from kontinue.api.konductor.mutexes import MutexSpec
from kontinue.api.meta import ObjectMeta
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from kontinue_engine.cli import koncli
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.primitives.creating import create_or_find
from polling import eventually
from scripted_transport import ScriptedTransport
from silent_server import kubeconfig_of, silent_server, unreachable_port
from silent_transport import SilentTransport
from virtual_time import elapsed_s, virtual_time

GUARD_S = 60.0
WAITS = (
    ("barrier", "arrive", "x", "--wait"),
    ("barrier", "wait", "x"),
    ("gate", "wait", "x"),
    ("lease", "acquire", "x"),
    ("lease", "with", "x", "--", "true"),
    ("mutex", "lock", "x"),
    ("mutex", "with", "x", "--", "true"),
    ("once", "do", "x", "--", "true"),
    ("rwmutex", "lock", "x"),
    ("rwmutex", "rlock", "x"),
    ("rwmutex", "with", "x", "--", "true"),
    ("semaphore", "acquire", "x"),
    ("semaphore", "with", "x", "--", "true"),
    ("waitgroup", "wait", "x"),
)
"""All verbs that wait for others."""


def test_each_verb_that_waits_is_called_here() -> None:
    """As ``koncli`` knows them."""
    verbs = {(kind, verb) for kind, verbs in koncli.WAITS.items() for verb in verbs}
    assert {words[:2] for words in WAITS} == verbs


async def codes(kubeconfig: Path, timeout: str) -> dict[str, int]:
    """Call all that wait at once; return their exit codes."""

    def call(words: tuple[str, ...]) -> tuple[str, int]:
        kind, verb, *others = words
        return " ".join(words), koncli.main(
            [kind, verb, "--kubeconfig", str(kubeconfig), "--timeout", timeout, *others]
        )

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(WAITS)) as threads:
        async with asyncio.timeout(GUARD_S):
            return dict(await asyncio.gather(*(loop.run_in_executor(threads, call, words) for words in WAITS)))


@pytest.fixture(params=["takes connections", "takes none"])
async def nobody(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    """Leads to where nobody answers."""
    with ExitStack() as stack:
        if request.param == "takes none":
            yield kubeconfig_of(stack.enter_context(unreachable_port()), tmp_path)
            return
        async with silent_server() as port:
            yield kubeconfig_of(port, tmp_path)


async def test_a_server_that_says_nothing_is_an_error_and_no_timeout(nobody: Path) -> None:
    """Nothing was seen of what is waited for."""
    assert set((await codes(nobody, "200ms")).values()) == {1}


@pytest.fixture
async def client(api_server: ApiServer) -> AsyncIterator[Client]:
    """Somebody else, who has everything; no coordinator works."""
    transport = api_server.transport()
    client = Client.from_kube(transport, api_server.namespace)
    await Barrier("x", client).create(2)
    await Gate("x", client).create(["Job/j=Complete"])
    await Lease("x", client).create()
    await Semaphore("x", client).create()
    await WaitGroup("x", client).create()
    await WaitGroup("x", client).add()
    for one in (mutex := Mutex("x", client), rw := RWMutex("x", client), once := Once("x", client)):
        await one.create()
    await mutex.lock(holder="other")
    await rw.lock(holder="other")
    await once.running(holder="other", lease=timedelta(hours=1)).take()
    yield client
    await transport.close()


@pytest.fixture
async def proxy(api_server: ApiServer) -> AsyncIterator[SilentProxy]:
    """What ``koncli`` speaks to."""
    async with silent_proxy(api_server) as proxy:
        yield proxy


def through(proxy: SilentProxy, api_server: ApiServer, folder: Path) -> Path:
    """Return a kubeconfig that leads to a proxy."""
    return kubeconfig_for(api_server.namespace, api_server.kubeconfig, folder / "proxied", server=proxy.url)


async def left_behind(client: Client) -> list[str]:
    """Return who waits still."""
    mutex, rw = await Mutex("x", client).status(), await RWMutex("x", client).status()
    left = [one.holder for one in (*mutex.waiters, *rw.waiters, *(await Once("x", client).status()).waiters)]
    left += [one.metadata.name for one in await Semaphore("x", client).permits()]
    return left + [one.metadata.name for one in await Lease("x", client).requests()]


@pytest.mark.slow
async def test_a_watch_that_says_nothing_is_a_timeout(
    client: Client, proxy: SilentProxy, api_server: ApiServer, tmp_path: Path
) -> None:
    """What is waited for was shown, and was not so. Who has asked withdraws."""
    proxy.is_silent = lambda asked: asked.is_watch
    found = await codes(through(proxy, api_server, tmp_path), "20s")  # long enough for the other answers, anywhere
    assert found == {" ".join(words): 3 for words in WAITS}
    assert await left_behind(client) == []


@pytest.mark.slow
async def test_a_write_that_is_not_answered_leaves_nothing_behind(
    client: Client, proxy: SilentProxy, api_server: ApiServer, tmp_path: Path
) -> None:
    """It is carried out, which nobody hears of: whoever has asked so withdraws none the less."""
    asked: list[str] = []

    def is_first(message: Message) -> bool:
        if message.method not in ("PUT", "POST") or message.kind in asked:
            return False
        asked.append(message.kind)
        return True

    proxy.is_silent = is_first
    found = await codes(through(proxy, api_server, tmp_path), "20s")
    told = {kind: {code for call, code in found.items() if call.startswith(f"{kind} ")} for kind in koncli.WAITS}
    # Of two that ask by an object one was not answered. Who asks for a lock has seen whose it is.
    assert told == {kind: {1, 3} if kind in ("barrier", "lease", "semaphore") else {3} for kind in koncli.WAITS}
    assert await left_behind(client) == []


@pytest.mark.parametrize("exists", [False, True])
@virtual_time
async def test_create_is_tried_for_as_long_as_other_verbs(exists: bool) -> None:
    """And not for ever: whether it is to be created, or one that exists is to be read."""

    def answer(_: requests.Request) -> bytes:
        raise errors.AlreadyExists("it exists", status=409)

    inner: Any = ScriptedTransport()
    inner.answer = answer
    transport = SilentTransport(inner)
    transport.answer(int(exists))
    config = KubeConfig(server="http://127.0.0.1:1", namespace="default")
    connection = Connection(config, transport, Client.from_kube(transport, "default"))
    wanted = StoredMutex(metadata=ObjectMeta(name="x"), spec=MutexSpec())
    with pytest.raises(errors.Unavailable):
        await create_or_find(connection, requests.MUTEXES, wanted)
    assert elapsed_s() == 30


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Path]:
    """Leads to where nobody is to be asked."""
    with unreachable_port() as port:
        yield kubeconfig_of(port, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ("barrier", "arrive", "x", "--holder", ""),
        ("barrier", "arrive", "x", "--arrival-id="),
        ("barrier", "arrive", "x", ""),
        ("lease", "acquire", "x", "--holder", ""),
        ("lease", "release", "x", "--holder="),
        ("mutex", "lock", "x", "--holder", ""),
        ("mutex", "unlock", "x", "--holder", ""),
        ("once", "do", "x", "--holder", "", "--", "true"),
        ("rwmutex", "rlock", "x", "--holder", ""),
        ("semaphore", "acquire", "x", "--holder", ""),
        ("semaphore", "acquire", "x", "--bound-to", ""),
        ("semaphore", "release", "x", "--holder", ""),
        ("waitgroup", "add", "x", "--holder", ""),
        ("waitgroup", "done", "x", "--operation-id", ""),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_default(
    words: tuple[str, ...], nowhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is not set would have others' locks taken, or counts bound to nobody. The server is not asked."""
    monkeypatch.setenv("KONDUCTOR_HOLDER_ID", "me")
    kind, verb, *others = words
    assert koncli.main([kind, verb, "--kubeconfig", str(nowhere), *others]) == 1
    assert "it is empty" in " ".join(capsys.readouterr().err.replace("│", " ").split())


SHOWN: dict[str, tuple[Any, requests.Resource, dict[str, object], str]] = {
    "lease acquire": (
        Lease,
        requests.KONDUCTOR_LEASES,
        {"phase": "Held", "holder": "other", "waiting": 1},
        "Lease held: held by other, 1 waiting",
    ),
    "semaphore acquire": (
        Semaphore,
        requests.SEMAPHORES,
        {"phase": "Full", "inUse": 1, "available": 0, "waiting": 1},
        "Semaphore held: 1 of 1 in use, 1 waiting",
    ),
    "barrier arrive --wait": (
        Barrier,
        requests.BARRIERS,
        {"phase": "Waiting", "arrived": 7},
        "Barrier held: 7 of 1",
    ),
    "barrier wait": (Barrier, requests.BARRIERS, {"phase": "Waiting", "arrived": 7}, "Barrier held: 7 of 1"),
}
"""A verb that waits; a status, as a coordinator writes it, that comes while it waits; and what it says then."""


@pytest.mark.parametrize("verb", SHOWN)
async def test_who_waits_is_told_for_whom(verb: str, api_server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    """In lines on stderr, as other waits do; it hears of changes by a watch."""
    make, resource, status, said = SHOWN[verb]
    transport = api_server.transport()
    one = make("held", Client.from_kube(transport, api_server.namespace))
    await one.create()
    words = [*verb.split(), "--kubeconfig", str(api_server.kubeconfig), "--timeout", "60s", "held"]
    waiting = asyncio.create_task(asyncio.to_thread(koncli.main, words))
    patch = {"status": status}
    await transport.send(requests.merge_patch(resource, api_server.namespace, "held", patch, subresource="status"))
    err = ""

    def is_said() -> bool:
        nonlocal err
        err += capsys.readouterr().err
        return said in err

    await eventually(is_said)
    await one.delete()
    assert await waiting == 2
    await transport.close()
