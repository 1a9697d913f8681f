"""What a kubelet is told about a worker, from its start to its end."""

from __future__ import annotations

import asyncio
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, ClientOptions
from ports import free_port

FAST_LEASE = ("--lease-duration", "7", "--lease-renew", "0.5")
PATIENCE_S = 60.0
APP = """
import pathlib, time
from kontinue import App

app = App(group="g")
here = pathlib.Path(__file__).parent
while not (here / "go").exists():
    time.sleep(0.02)


@app.function
def hold() -> None:
    while not (here / "end").exists():
        time.sleep(0.02)
"""

pytestmark = pytest.mark.slow


class Kubelet:
    """Asks one worker."""

    def __init__(self) -> None:
        self._port = free_port()
        self.option = ("--health-port", str(self._port))

    def ask(self, path: str) -> tuple[int, str]:
        """Return the status and what is said; status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode().strip()
        except OSError:
            return 0, ""

    async def finds(self, path: str, status: int, says: str) -> None:
        """Ask until the answer is this."""
        found: tuple[int, str] = (0, "")
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await asyncio.to_thread(self.ask, path)) != (status, says):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{path} said {found}") from None


@pytest.fixture
async def client(place: Any) -> AsyncIterator[Client]:
    """A client of the same server."""
    async with Client(ClientOptions(kubeconfig=str(place.server.kubeconfig), qps=None)) as one:
        yield one


async def test_a_replica_lives_at_once_and_is_ready_while_it_works(place: Any, client: Client, tmp_path: Path) -> None:
    """An import that takes long does not cost its life, and a rollout waits until it takes work."""
    place.write_app(APP)
    kubelet = Kubelet()
    worker = place.start(*kubelet.option, "--grace", "30")
    await kubelet.finds("/livez", 200, "ok")
    starting = "it is starting: loading the app, taking its Lease, or listing its Executions"
    assert kubelet.ask("/readyz") == (503, starting)
    (tmp_path / "go").touch()
    await kubelet.finds("/readyz", 200, "ok")
    held = await client.spawn("hold")
    await client.wait_for_execution(held.name, until=[Phase.EXECUTING])
    worker.process.send_signal(signal.SIGTERM)
    await kubelet.finds("/readyz", 503, "it is stopping")
    assert kubelet.ask("/livez") == (200, "ok")
    (tmp_path / "end").touch()
    assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 0


@pytest.mark.parametrize("options", [(), ("--sharding",)])
async def test_who_stands_by_is_ready(place: Any, options: tuple[str, ...]) -> None:
    """In a group without sharding, or where it ends; otherwise a rolling update would wait for it for ever."""
    first, second = Kubelet(), Kubelet()
    worker = place.start(*first.option, *options, "--shard", "first").ready()
    place.start(*second.option, "--shard", "second")
    await second.finds("/readyz", 200, "ok")
    assert await asyncio.to_thread(worker.stop) == 0
    assert first.ask("/livez")[0] == 0
    await second.finds("/readyz", 200, "ok")


async def test_without_the_api_server_a_replica_is_not_ready_but_lives(place: Any) -> None:
    """It is fenced; to start it anew would cost what it has in memory, and bring no server back."""
    kubelet = Kubelet()
    worker = place.start(*kubelet.option, *FAST_LEASE).ready()
    place.server.kill()
    await kubelet.finds("/readyz", 503, "it is fenced: its Lease could not be renewed in time")
    assert kubelet.ask("/livez") == (200, "ok")
    place.server.start()
    await kubelet.finds("/readyz", 200, "ok")
    assert await asyncio.to_thread(worker.stop) == 0
