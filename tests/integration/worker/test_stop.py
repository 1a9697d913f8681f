"""How long a worker takes to stop while the API server accepts connections and answers nothing."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from partition import wire

GRACE_S = 1
STARTS_IN_S = 60
STOPS_IN_S = 15
"""Grace, and a few seconds for each of two Leases; the rest is for a slow machine. One hanging request takes 10 s."""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("options", [(), ("--sharding",)], ids=["alone", "sharded"])
async def test_a_worker_stops_in_time_although_the_server_answers_nothing(
    place: Any, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Kubernetes would kill it otherwise, and with it what was to end in order."""
    async with wire(place.server.kubeconfig, tmp_path) as cable:
        worker = place.start("--grace", str(GRACE_S), *options, kubeconfig=cable.kubeconfig)
        await asyncio.to_thread(worker.ready)
        cable.cut()
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.wait, STOPS_IN_S) == 0
        told = [line["event"] for line in worker.lines()]
        assert told.index("worker draining") < told.index("lease not released")


async def test_a_worker_that_waits_for_an_answer_at_its_start_stops_in_time(place: Any, tmp_path: Path) -> None:
    """It holds nothing yet, or nothing that it could give back."""
    async with wire(place.server.kubeconfig, tmp_path) as cable:
        cable.cut()
        worker = place.start("--grace", str(GRACE_S), "--sharding", kubeconfig=cable.kubeconfig)
        async with asyncio.timeout(STARTS_IN_S):
            await cable.connected.wait()
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.wait, STOPS_IN_S) == 0
