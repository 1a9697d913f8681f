"""Workers as processes of their own against an API server, which the tests stop or write to."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinue.api.meta import Event, Lease, ObjectList
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from startable import StartableServer, startable

APP = """
from kontinue import App

app = App(group="g")


@app.function
def add(a: int, b: int) -> int:
    return a + b
"""
LEASE = "kontinue-leader.g"
DEADLINE_S = 60.0


class Worker:
    """One worker process and what it logs."""

    def __init__(self, folder: Path, kubeconfig: Path, *options: str) -> None:
        self._log = folder / f"worker-{time.monotonic_ns()}.log"
        command = ["-m", "kontinue_engine.worker", "app:app", "--app-dir", str(folder), "--kubeconfig", str(kubeconfig)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--sync-runners", "1", *options], stdout=log, stderr=log
            )

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged so far; a line that is no JSON, such as one of a traceback, fails the test."""
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, event: str) -> None:
        """Wait until it has logged that."""
        wait_for(lambda: any(line["event"] == event for line in self.lines()) or self.process.poll())
        assert self.process.poll() is None, self._log.read_text()

    def ready(self) -> Worker:
        """Wait until it takes work."""
        self.wait_for("worker ready")
        return self

    def stop(self) -> int:
        """Ask it to end and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


class Place:
    """A folder with an app, beside an API server."""

    def __init__(self, folder: Path, server: StartableServer) -> None:
        self.server = server
        self._folder = folder
        self._workers: list[Worker] = []
        self.write_app(APP)

    def write_app(self, text: str) -> None:
        """Replace the app."""
        (self._folder / "app.py").write_text(text)

    def start(self, *options: str, kubeconfig: Path | None = None) -> Worker:
        """Start a worker; it may reach the server in its own way."""
        worker = Worker(self._folder, kubeconfig or self.server.kubeconfig, *options)
        self._workers.append(worker)
        return worker

    def end(self) -> None:
        """Kill what still runs."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()


def wait_for(check: Callable[[], object]) -> None:
    """Poll until ``check`` is true."""
    end = time.monotonic() + DEADLINE_S
    while not check():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartableServer]:
    """An API server without a worker."""
    one = startable(server_kind, tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def place(tmp_path: Path, server: StartableServer) -> Iterator[Place]:
    """Where to start workers."""
    one = Place(tmp_path, server)
    yield one
    one.end()


class Leases:
    """The leader Lease of the app's group, as another client sees it."""

    def __init__(self, transport: KubeTransport) -> None:
        self._transport = transport

    async def read(self) -> Lease:
        """Read it."""
        body = await self._transport.send(requests.get(requests.LEASES, "default", LEASE))
        return msgspec.json.decode(body, type=Lease)

    async def patch(self, patch: object) -> None:
        """Change it."""
        await self._transport.send(requests.merge_patch(requests.LEASES, "default", LEASE, patch))

    async def told(self, *reasons: str) -> None:
        """Wait until there are Events about it with these reasons."""
        chosen = requests.list_objects(requests.EVENTS, "default", field_selector=f"involvedObject.name={LEASE}")
        async with asyncio.timeout(DEADLINE_S):
            while True:
                listed = msgspec.json.decode(await self._transport.send(chosen), type=ObjectList[Event])
                uid = (await self.read()).metadata.uid
                if {*reasons} <= {event.reason for event in listed.items if event.involved_object.uid == uid}:
                    return
                await asyncio.sleep(0.05)


@pytest.fixture
async def leases(place: Place) -> AsyncIterator[Leases]:
    """The Lease of ``place``."""
    transport = KubeTransport(load_config(kubeconfig=str(place.server.kubeconfig)), user_agent="tests")
    yield Leases(transport)
    await transport.close()
