"""Clients of the primitives as processes of their own, which do what they are told and say when.

A peer reads an order a line (JSON: the verb, and its arguments) and answers each with a line. Times are of
``time.monotonic``, which all processes of a machine share. Used by ``bench.primitives``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bench.objects import NAMESPACE
from kontinue import errors
from kontinue.api.konductor.wait_groups import WaitGroup as StoredWaitGroup
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue.sync import Mutex, Semaphore, WaitGroup

ROOT = Path(__file__).resolve().parents[1]

Answer = dict[str, Any]


class Peer:
    """A client process, seen by who gives the orders.

    Attributes:
        pid: of the process.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    async def told(self) -> Answer:
        """Return its next answer."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a client has ended: its traceback is above")
        answer: Answer = json.loads(line)
        return answer

    def order(self, verb: str, **arguments: object) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")

    async def does(self, verb: str, **arguments: object) -> Answer:
        """Have it do something, and return what it says."""
        self.order(verb, **arguments)
        return await self.told()


@contextlib.asynccontextmanager
async def peers(kubeconfig: Path, count: int) -> AsyncIterator[list[Peer]]:
    """Start so many clients, which have talked to the server once."""
    command = (sys.executable, "-c", f"from bench.peers import main; main({str(kubeconfig)!r})")
    async with contextlib.AsyncExitStack() as stack:
        started: list[Peer] = []
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT, limit=2**22
            )
            stack.push_async_callback(_end, process)
            started.append(Peer(process))
        for one in started:
            await one.told()
        yield started


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


def main(kubeconfig: str) -> None:
    """Be a peer until stdin is closed."""
    asyncio.run(_obey(kubeconfig))


async def _obey(kubeconfig: str) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with Client(ClientOptions(kubeconfig=kubeconfig, namespace=NAMESPACE, qps=None)) as client:
        await client.list()
        _tell({"is_ready": True})
        held: dict[str, Any] = {}
        while line := await orders.readline():
            order = json.loads(line)
            _tell(await _VERBS[order.pop("verb")](client, held, **order))


def _tell(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)


class CountingTransport:
    """Passes requests on, and counts them."""

    def __init__(self, transport: Transport) -> None:
        self.sent = 0
        self.stream = transport.stream
        self.chunks = transport.chunks
        self._send = transport.send

    async def send(self, request: Request, **options: Any) -> bytes:
        """Send one request."""
        self.sent += 1
        return await self._send(request, **options)


class Times(msgspec.Struct):
    """From when until when something is repeated, and when its begin, which is told apart, is over."""

    begin_s: float
    first_until_s: float
    until_s: float


async def _repeated(act: Callable[[], Awaitable[object]], times: Times) -> Answer:
    """Do something until it is time; what has begun ends, which takes its time, but is not one of ``count``."""
    latencies_ms: list[float] = []
    first = count = 0
    await asyncio.sleep(times.begin_s - time.monotonic())
    while (begun_s := time.monotonic()) < times.until_s:
        await act()
        ended_s = time.monotonic()
        latencies_ms.append((ended_s - begun_s) * 1e3)
        first += ended_s < times.first_until_s
        count += ended_s < times.until_s
    return {"latencies_ms": latencies_ms, "first": first, "count": count}


async def _done(client: Client, held: dict[str, Any], *, name: str, **times: float) -> Answer:
    """Count down, one after the other."""
    if name not in held:
        counting = CountingTransport(client.kube)
        held[name] = counting, WaitGroup(name, Client.from_kube(counting, NAMESPACE))
    counting, group = held[name]
    before = counting.sent
    answer = await _repeated(group.done, Times(**times))
    return {**answer, "requests": counting.sent - before}


async def _write(client: Client, held: dict[str, Any], *, name: str, **times: float) -> Answer:
    """Write the status conditionally, each time what the answer before has shown: with nobody else, nothing is lost."""
    del held
    transport = CountingTransport(client.kube)  # as who is compared with it
    stored = orjson.loads(await transport.send(requests.get(requests.WAIT_GROUPS, NAMESPACE, name)))

    async def write() -> None:
        nonlocal stored
        stored["status"]["counter"] -= 1
        request = requests.replace_status(requests.WAIT_GROUPS, NAMESPACE, name, orjson.dumps(stored))
        stored = orjson.loads(await transport.send(request))

    return await _repeated(write, Times(**times))


async def _read_and_write(client: Client, held: dict[str, Any], *, name: str, **times: float) -> Answer:
    """Read the status and write it conditionally, and at once again until that is not refused."""
    del held

    async def write() -> None:
        while True:
            stored = orjson.loads(await client.kube.send(requests.get(requests.WAIT_GROUPS, NAMESPACE, name)))
            stored["status"]["counter"] -= 1
            request = requests.replace_status(requests.WAIT_GROUPS, NAMESPACE, name, orjson.dumps(stored))
            with contextlib.suppress(errors.Conflict):
                await client.kube.send(request)
                return

    return await _repeated(write, Times(**times))


async def _done_once(client: Client, held: dict[str, Any], *, name: str) -> Answer:
    del held
    begun_s = time.monotonic()
    await WaitGroup(name, client).done()
    return {"at_s": begun_s}


async def _wait(client: Client, held: dict[str, Any], *, name: str, count: int, watches: int) -> Answer:
    """Wait so many times at once, by so many watches; say when each wait has begun, and when each has ended."""
    del held
    woken_s: list[float] = []
    waiting: set[int] = set()
    groups = [WaitGroup(name, client) for _ in range(watches)]

    async def wait(number: int) -> None:
        def note(_: StoredWaitGroup) -> None:
            if number not in waiting:
                waiting.add(number)
                if len(waiting) == count:
                    _tell({"waits": count})

        await groups[number % watches].wait(on_progress=note)
        woken_s.append(time.monotonic())

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(wait(number), name=f"waiter-{number}")
    return {"woken_s": woken_s}


async def _acquire(client: Client, held: dict[str, Any], *, name: str) -> Answer:
    held[name] = await Semaphore(name, client).acquire()
    return {"at_s": time.monotonic()}


async def _release(client: Client, held: dict[str, Any], *, name: str) -> Answer:
    del client
    begun_s = time.monotonic()
    await held.pop(name).release()
    return {"at_s": begun_s}


async def _lock(client: Client, held: dict[str, Any], *, name: str) -> Answer:
    held[name] = await Mutex(name, client).lock()
    return {"at_s": time.monotonic()}


async def _unlock(client: Client, held: dict[str, Any], *, name: str) -> Answer:
    begun_s = time.monotonic()
    await Mutex(name, client).unlock(held.pop(name))
    return {"at_s": begun_s}


_VERBS: dict[str, Callable[..., Awaitable[Answer]]] = {
    "done": _done,
    "write": _write,
    "read_and_write": _read_and_write,
    "done_once": _done_once,
    "wait": _wait,
    "acquire": _acquire,
    "release": _release,
    "lock": _lock,
    "unlock": _unlock,
}
