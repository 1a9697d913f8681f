"""A process that uses primitives as it is told to, and writes into the ledger what it does.

    python -m primitives_chaos.client_process KUBECONFIG NAMESPACE NAME LEDGER ORDER

It reads an order per line and answers each with a line. Started, killed and started again by ``actors``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import msgspec

from kontinue.client import Client, ClientOptions
from kontinue.sync import HeldPermit, Lock, Mutex, RWMutex, Semaphore, WaitGroup
from primitives_chaos import mortal
from primitives_chaos.book import Book, Event
from primitives_chaos.episode import play
from primitives_chaos.orders import Dones, Episode, Order, Report, Turns

PATIENCE = timedelta(seconds=240)
"""Of each call: a real control plane may take a minute to come back on a busy machine."""


async def serve(client: Client, book: Book, who: str) -> None:
    """Carry out orders until there are no more."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match msgspec.json.decode(line, type=Order):
            case Episode() as order:
                report = Report(problems=await play(client, book, who, order))
            case Dones() as order:
                report = await be_done(client, order)
            case Turns() as order:
                report = await take_turns(client, book, who, order)
        print(msgspec.json.encode(report).decode(), flush=True)


async def be_done(client: Client, order: Dones) -> Report:
    """Be done, all at once."""
    calls_s: list[float] = []
    shared = WaitGroup(order.name, client)

    async def one() -> None:
        group = WaitGroup(order.name, client) if order.are_strangers else shared
        begun_s = time.monotonic()
        await group.done()
        calls_s.append(time.monotonic() - begun_s)

    outcomes = await asyncio.gather(*(one() for _ in range(order.clients)), return_exceptions=True)
    return Report(problems=[repr(one) for one in outcomes if one is not None], calls_s=calls_s)


async def take_turns(client: Client, book: Book, who: str, order: Turns) -> Report:
    """Hold something, as many clients."""
    subject = f"{order.kind}/{order.name}"
    calls_s: list[float] = []

    async def one(number: int) -> None:
        scope, is_shared = scope_of(client, order, f"{who}-{number}", number)
        begun_s = time.monotonic()
        async with scope as held:
            calls_s.append(time.monotonic() - begun_s)
            id_, token = (held.id, held.token) if isinstance(held, Lock) else (held.name, 0)
            book.write(Event.ENTERED, subject, id=id_, token=token, is_shared=is_shared)
            await asyncio.sleep(order.hold_s)
            book.write(Event.LEFT, subject, id=id_)

    outcomes = await asyncio.gather(*(one(number) for number in range(order.clients)), return_exceptions=True)
    return Report(problems=[repr(one) for one in outcomes if one is not None], calls_s=calls_s)


def scope_of(
    client: Client, order: Turns, holder: str, number: int
) -> tuple[AbstractAsyncContextManager[Lock | HeldPermit], bool]:
    """Return what a client enters, and whether it shares it."""
    match order.kind:
        case "semaphore":
            return Semaphore(order.name, client).hold(holder=holder), False
        case "mutex":
            return Mutex(order.name, client).held(holder=holder), False
        case _:
            mutex = RWMutex(order.name, client)
            is_shared = number % 3 > 0
            held: Callable[..., AbstractAsyncContextManager[Lock]] = mutex.reading if is_shared else mutex.held
            return held(holder=holder), is_shared


async def main(kubeconfig: str, namespace: str, who: str, ledger: str, order: str) -> None:
    """Run one client's process."""
    mortal.obey(Path(order))
    book = Book(Path(ledger), who)
    async with Client(ClientOptions(kubeconfig=kubeconfig, namespace=namespace, qps=None)) as client:
        await serve(client.with_timeout(PATIENCE), book, who)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
