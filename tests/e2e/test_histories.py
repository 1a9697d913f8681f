"""Long histories in real workers that are killed in the middle of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from kontinue.api.v1alpha1 import MemoPage, Phase
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.reflector import Reflector
from replica import replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=50)
STEPS = 300

pytestmark = pytest.mark.slow


def lines(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


async def _until_noted(folder: Path, count: int) -> None:
    async with asyncio.timeout(SOON.total_seconds()):
        while len(lines(folder)) < count:
            await asyncio.sleep(0.01)


async def _pages(transport: KubeTransport, execution: str) -> list[MemoPage]:
    found = (await Reflector(transport, requests.MEMO_PAGES, "default", type_=MemoPage).fetch()).objects
    return [page for page in found if page.spec.execution == execution]


async def _run_and_kill(
    server: StartableServer, client: Client, folder: Path, function: str, moments: Sequence[int], **arguments: object
) -> tuple[str, int]:
    """Run a function to its end; kill the worker whenever so many steps have been taken. Return its name and result."""
    name = ""
    for moment in moments:
        with replicas(folder, server.kubeconfig, "history_app:app", HERE, "w-0") as [replica]:
            replica.wait_for("worker ready")
            name = name or (await client.spawn(function, {"folder": str(folder), **arguments})).name
            await _until_noted(folder, moment)
            replica.kill()
    with replicas(folder, server.kubeconfig, "history_app:app", HERE, "w-0"):
        done = await client.wait_for_execution(name, timeout=SOON)
        assert done.phase is Phase.COMPLETED, done.status.message
        return name, int(bytes(done.status.result))


@pytest.mark.parametrize("function", ["long_one", "long_one_in_threads"])
async def test_a_long_function_goes_on_where_it_was_after_a_kill(
    own_server: StartableServer, client: Client, transport: KubeTransport, tmp_path: Path, function: str
) -> None:
    """Of hundreds of steps only the one that was under way runs twice; its records are in pages that belong to it."""
    moments = (STEPS // 3, 2 * STEPS // 3)
    name, result = await _run_and_kill(own_server, client, tmp_path, function, moments, count=STEPS)
    assert result == STEPS
    runs = Counter(lines(tmp_path))
    assert sorted(map(int, runs)) == list(range(STEPS))
    assert sum(runs.values()) <= STEPS + len(moments)
    done = await client.get(name)
    found = await _pages(transport, name)
    assert done.status.memo_pages is not None
    assert done.status.memo_pages.count <= len(found) <= done.status.memo_pages.count + len(moments)
    assert {one.uid for page in found for one in page.metadata.owner_references} == {done.metadata.uid}


async def test_a_function_that_starts_again_loses_nothing_to_kills(
    own_server: StartableServer, client: Client, transport: KubeTransport, tmp_path: Path
) -> None:
    """Each run does its part; pages of runs that nobody was killed in do not stay."""
    name, result = await _run_and_kill(own_server, client, tmp_path, "rounds", (60, 130), left=6)
    assert (result, (await client.get(name)).status.run_epoch) == (6, 5)
    runs = Counter(lines(tmp_path))
    assert sorted(runs) == sorted(f"{run}.{number}" for run in range(6) for number in range(40))
    assert sum(runs.values()) <= 6 * 40 + 2
    assert 5 in {page.spec.run_epoch for page in await _pages(transport, name)}
    assert 0 not in {page.spec.run_epoch for page in await _pages(transport, name)}
