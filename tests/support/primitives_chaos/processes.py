"""The processes that faults strike: clients, each in a Pod of its own, and the coordinator. What dies comes back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from kontinue_engine.processes import die_with_parent
from primitives_chaos import mortal
from primitives_chaos.book import Book, Event
from primitives_chaos.orders import Order, Report

SUPPORT = Path(__file__).parents[1]
LEASE = ("--lease-duration", "7", "--lease-renew", "0.5")
"""The shortest that can be kept: it is fenced five seconds before its end."""
_REPORTS = 2**24


class Struck:
    """A process that can be told to kill itself at one of its requests.

    Args:
        folder: for its log and its orders.
        name: of the process.
        module: what it runs, and with which arguments.
    """

    def __init__(self, folder: Path, name: str, *module: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.order = folder / f"{name}.order"
        self.process: asyncio.subprocess.Process | None = None
        self.deaths = 0
        self._module = module

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        return 0 if self.process is None else self.process.pid

    async def start(self) -> asyncio.subprocess.Process:
        """Start it; it dies with this one."""
        self.order.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *self._module),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_REPORTS,
                env={**os.environ, "PYTHONPATH": f"{SUPPORT}{os.pathsep}{os.getenv('PYTHONPATH', '')}"},
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        return self.process

    def kill(self) -> None:
        """SIGKILL it, if it lives."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)

    def kill_at(self, number: int, when: str) -> None:
        """Have it die at its n-th request from now on."""
        mortal.give(self.order, number, when)

    async def end(self) -> None:
        """SIGKILL it and wait for its end."""
        self.kill()
        if self.process is not None:
            await self.process.wait()


class Coordinator(Struck):
    """A coordinator that is started again whenever it ends."""

    def __init__(self, folder: Path, kubeconfig: Path, namespace: str) -> None:
        name = "coordinator"
        options = ("--kubeconfig", str(kubeconfig), "--namespace", namespace, *LEASE)
        super().__init__(folder, name, "primitives_chaos.mortal", str(folder / f"{name}.order"), *options)
        self.pause_s = 0.0
        self.unexpected: list[str] = []

    async def run(self) -> None:
        """Run it until cancelled."""
        try:
            while True:
                process = await self.start()
                assert process.stdout is not None
                with self.log.open("ab") as log:
                    while line := await process.stdout.readline():
                        log.write(line)
                status = await process.wait()
                self.deaths += 1
                if status != -signal.SIGKILL:
                    self.unexpected.append(f"the coordinator has ended by itself with status {status}")
                await asyncio.sleep(self.pause_s)
        finally:
            await self.end()


class ClientProcess(Struck):
    """A client that carries out orders; one that dies starts again with what it was told to do.

    Args:
        folder: for its log and its orders.
        kubeconfig: of the API server.
        namespace: where it works.
        name: of the client.
        ledger: where it writes what it does.
    """

    def __init__(self, folder: Path, kubeconfig: Path, namespace: str, name: str, ledger: Path) -> None:
        order = folder / f"{name}.order"
        arguments = (str(kubeconfig), namespace, name, str(ledger), str(order))
        super().__init__(folder, name, "primitives_chaos.client_process", *arguments)
        self._book = Book(ledger)

    async def carry_out(self, order_of: Callable[[], Awaitable[Order]]) -> Report:
        """Return what came of an order, which is asked for in each life."""
        while True:
            order = await order_of()
            if self.process is None or self.process.returncode is not None:
                await self.start()
            if (report := await self._try(order)) is not None:
                return report

    async def end(self) -> None:
        """SIGKILL it and wait for its end."""
        await super().end()
        self._book.close()

    async def _try(self, order: Order) -> Report | None:
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        line = await process.stdout.readline()
        if line.endswith(b"\n"):
            return msgspec.json.decode(line, type=Report)
        status = await process.wait()
        self._book.write(Event.DIED, pid=process.pid)
        self.deaths += 1
        if status != -signal.SIGKILL:
            return Report(problems=[f"{self.name} has ended by itself with status {status}: see {self.log}"])
        return None


@contextlib.asynccontextmanager
async def client_processes(
    folder: Path, kubeconfig: Path, namespace: str, ledger: Path, *, number: int
) -> AsyncIterator[list[ClientProcess]]:
    """Have so many clients, already started; they end with the block."""
    found = [ClientProcess(folder, kubeconfig, namespace, f"client-{n}", ledger) for n in range(number)]
    try:
        await asyncio.gather(*(one.start() for one in found))
        yield found
    finally:
        await asyncio.gather(*(one.end() for one in found))
