"""Figures of the primitives of konductor.io: counting, waking up, and handing over.

Each client is a process (``bench.peers``), and a coordinator runs beside them as in a cluster. Counting is compared
with what a bare client does: conditional writes of the status of one WaitGroup of the same size, each built on the
answer to the one before. An object takes no more of them, by however many clients. It does so before and after each
time that is compared with it: a machine is not equally fast at all times.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

import msgspec
import uvloop

from bench.figures import Figure, figure
from bench.objects import NAMESPACE
from bench.peers import Peer, peers
from bench.sleepers import percentile
from bench.subjects import Subject, running
from kontinue.client import Client, ClientOptions
from kontinue.sync import Mutex, Semaphore, WaitGroup

CLIENTS = 32
COUNT_S = 2.0
"""How long is counted, or written, at a time."""
TOGETHER_S = {"local": 10.0, "kube": 20.0}
"""How long it is counted that many do it, who begin at once."""
FIRST_S = {"local": 2.0, "kube": 5.0}
"""The begin of that, which is told apart, too: they get to know each other."""
BEGIN_S = 0.3
"""Between an order and its begin, by when all have heard of it."""
PLENTY = 1_000_000
TURNS = {"local": 100, "kube": 60}
PAUSE_S = 0.1
"""Who waits has its watch by then."""
COUNTING = (
    "raw_per_s",
    "bare_c32_per_s",
    *(f"done_c{n}_{value}" for n in (1, CLIENTS) for value in ("per_s", "vs_raw")),
    f"done_c{CLIENTS}_first_vs_raw",
)
HANDING = ("waitgroup_wake", "semaphore_handover", "mutex_handover")


def names(server: str) -> tuple[str, ...]:
    """Return the figures of a server, ``local`` or ``kube``."""
    counting = (f"{server}_waitgroup_{name}" for name in COUNTING)
    return (*counting, *(f"{server}_{what}_{value}" for what in HANDING for value in ("p50_ms", "p99_ms")))


def measure(server: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure all that counts, and each other thing that is wanted."""
    with (
        tempfile.TemporaryDirectory(prefix="kontinue-bench-") as folder,
        running(server, Path(folder)) as subject,
        coordinator(subject),
    ):
        yield from uvloop.run(_measure(server, subject, wanted, rounds))


@contextlib.contextmanager
def coordinator(subject: Subject) -> Iterator[None]:
    """Run a coordinator of all namespaces."""
    command = (sys.executable, "-m", "kontinue_engine.arbiter", "--all-namespaces")
    with subprocess.Popen([*command, "--kubeconfig", str(subject.kubeconfig)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            while b"coordinator ready" not in (line := process.stdout.readline()):
                if not line:
                    raise RuntimeError("the coordinator has ended: its log is above")
            yield
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def client_of(subject: Subject) -> AsyncIterator[Client]:
    """Who prepares what is measured."""
    async with Client(ClientOptions(kubeconfig=str(subject.kubeconfig), namespace=NAMESPACE, qps=None)) as client:
        yield client


async def _measure(server: str, subject: Subject, wanted: Collection[str], rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    async with client_of(subject) as client:
        if any(f"{server}_waitgroup_{name}" in wanted for name in COUNTING):
            async with peers(subject.kubeconfig, CLIENTS) as started:
                figures += await _counting(server, client, started, rounds)
        async with peers(subject.kubeconfig, 2) as pair:
            for what, (measured, conditions) in _HAND_OVERS.items():
                if any(name.startswith(f"{server}_{what}_") for name in wanted):
                    late_ms = await measured(client, pair, TURNS[server])
                    note = f"{server} server, {TURNS[server]} times, {conditions}"
                    figures.append(figure(f"{server}_{what}_p50_ms", percentile(late_ms, 0.5), note))
                    figures.append(figure(f"{server}_{what}_p99_ms", percentile(late_ms, 0.99), note))
    return figures


class Counted(msgspec.Struct):
    """What several clients have done in some seconds.

    Attributes:
        per_s: how often, all together.
        first_per_s: how often when they began.
        latencies_ms: of each call, also of those that ended afterwards.
        least: how often the client that was served worst has done it.
        requests_each: that one call took, of the same ones.
    """

    per_s: float
    first_per_s: float
    latencies_ms: list[float]
    least: int
    requests_each: float


async def _counting(server: str, client: Client, started: list[Peer], rounds: int) -> list[Figure]:
    prefix = f"{server}_waitgroup"
    name = f"count-{uuid.uuid4().hex[:8]}"
    group = WaitGroup(name, client)
    await group.create()
    await group.add(PLENTY)
    await count_for(COUNT_S, "done", name, started)  # it remembers all of them: from now on it stays as large as it is
    kinds = {"bare": ("read_and_write", CLIENTS), "c1": ("done", 1), f"c{CLIENTS}": ("done", CLIENTS)}
    counted: dict[str, list[Counted]] = {kind: [] for kind in kinds}
    raws = [await count_for(COUNT_S, "write", name, started[:1])]
    limits: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, (verb, count) in kinds.items():
            length_s, first_s = (COUNT_S, 0.0) if count == 1 else (TOGETHER_S[server], FIRST_S[server])
            counted[kind].append(await count_for(length_s, verb, name, started[:count], first_s=first_s))
            raws.append(await count_for(COUNT_S, "write", name, started[:1]))
            limits[kind].append((raws[-2].per_s + raws[-1].per_s) / 2)
    rates = {kind: statistics.median(one.per_s for one in times) for kind, times in {**counted, "raw": raws}.items()}
    alone = f"one WaitGroup that remembers {CLIENTS} writers, for {COUNT_S:g} s"
    each = f"{alone}, median of {rounds}"
    together = f"{each}, where there are {CLIENTS} for {TOGETHER_S[server]:g} s from the begin of all at once"
    figures = [
        figure(
            f"{prefix}_raw_per_s",
            rates["raw"],
            f"{alone}, median of {len(raws)} before and after the others: conditional writes by one bare client",
        ),
        figure(
            f"{prefix}_bare_c{CLIENTS}_per_s",
            rates["bare"],
            f"{together}: {CLIENTS} bare clients, each reads and writes until it is not refused",
        ),
    ]
    for count in (1, CLIENTS):
        of_kind = counted[f"c{count}"]
        who = f"{count} client processes that have counted there before, one done after the other"
        note = f"{together}; {who}; {described(of_kind)}"
        of_limit = f"of {prefix}_raw_per_s just before and after"
        pairs = list(zip(of_kind, limits[f"c{count}"], strict=True))
        ratio = statistics.median(one.per_s / raw_per_s for one, raw_per_s in pairs)
        figures.append(figure(f"{prefix}_done_c{count}_per_s", rates[f"c{count}"], note))
        figures.append(figure(f"{prefix}_done_c{count}_vs_raw", ratio, f"{note}; {of_limit}"))
        if count > 1:
            ratio = statistics.median(one.first_per_s / raw_per_s for one, raw_per_s in pairs)
            note = f"{each}: the first {FIRST_S[server]:g} s of {who}, all at once; {of_limit}"
            figures.append(figure(f"{prefix}_done_c{count}_first_vs_raw", ratio, note))
    return figures


async def count_for(length_s: float, verb: str, name: str, clients: list[Peer], *, first_s: float = 0.0) -> Counted:
    """Have clients do something to a WaitGroup, one after the other each, and count how often, also at first."""
    begin_s = time.monotonic() + BEGIN_S
    times = {"begin_s": begin_s, "first_until_s": begin_s + first_s, "until_s": begin_s + length_s}
    orders = (one.does(verb, name=name, **times) for one in clients)
    answers = await asyncio.gather(*orders)
    latencies = [one_ms for answer in answers for one_ms in answer["latencies_ms"]]
    counts = [answer["count"] for answer in answers]
    requests = sum(answer.get("requests", 0) for answer in answers)
    first_per_s = sum(answer["first"] for answer in answers) / first_s if first_s else 0.0
    return Counted(sum(counts) / length_s, first_per_s, latencies, min(counts), requests / len(latencies))


def described(counted: list[Counted]) -> str:
    """Return what several rounds were like for the clients."""
    all_ms = [one_ms for one in counted for one_ms in one.latencies_ms]
    p50_ms, p99_ms = percentile(all_ms, 0.5), percentile(all_ms, 0.99)
    requests = statistics.median(one.requests_each for one in counted)
    least = min(one.least for one in counted)
    return (
        f"no client less than {least}; of all calls, also those that ended afterwards: p50 {p50_ms:.1f} ms, "
        f"p99 {p99_ms:.0f} ms, at most {max(all_ms):.0f} ms, {requests:.2f} requests each"
    )


async def _wake_ups(client: Client, pair: list[Peer], turns: int) -> list[float]:
    late_ms: list[float] = []
    for _ in range(turns):
        name = f"wake-{uuid.uuid4().hex[:8]}"
        group = WaitGroup(name, client)
        await group.create()
        await group.add()
        await pair[0].does("wait", name=name, count=1, watches=1)
        await asyncio.sleep(PAUSE_S)
        done = await pair[1].does("done_once", name=name)
        woken = await pair[0].told()
        late_ms.append((woken["woken_s"][0] - done["at_s"]) * 1e3)
    return late_ms


async def _semaphores(client: Client, pair: list[Peer], turns: int) -> list[float]:
    name = f"semaphore-{uuid.uuid4().hex[:8]}"
    await Semaphore(name, client).create(1)
    return await _handed_over(pair, turns, name, "acquire", "release")


async def _mutexes(client: Client, pair: list[Peer], turns: int) -> list[float]:
    name = f"mutex-{uuid.uuid4().hex[:8]}"
    await Mutex(name, client).create()
    return await _handed_over(pair, turns, name, "lock", "unlock")


async def _handed_over(pair: list[Peer], turns: int, name: str, take: str, give: str) -> list[float]:
    """One has it and the other one asks for it, by turns."""
    late_ms: list[float] = []
    await pair[0].does(take, name=name)
    for turn in range(turns):
        has, asks = pair[turn % 2], pair[1 - turn % 2]
        asks.order(take, name=name)
        await asyncio.sleep(PAUSE_S)
        given = await has.does(give, name=name)
        taken = await asks.told()
        late_ms.append((taken["at_s"] - given["at_s"]) * 1e3)
    await pair[turns % 2].does(give, name=name)
    return late_ms


_FROM = "from the begin of the call in one process to the return in another one"
_HAND_OVERS = {
    "waitgroup_wake": (_wake_ups, f"the last done wakes one waiter: {_FROM}"),
    "semaphore_handover": (_semaphores, f"a release lets the next acquire return, granted by a coordinator: {_FROM}"),
    "mutex_handover": (_mutexes, f"an unlock lets the next lock return: {_FROM}"),
}
