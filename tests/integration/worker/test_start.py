"""A worker has its Lease before it does anything else, and keeps it however long its start takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

MANY = """
from kontinue import App

app = App(group="g")


def answer() -> int:
    return 42


for number in range(1500):
    app.function(name=f"answer-{number}")(answer)
"""
SHORT_LEASE = ("--lease-duration", "20", "--lease-renew", "0.5")
"""Without a renewal nothing may be written after fifteen seconds, for which no machine stalls."""
pytestmark = pytest.mark.slow


async def test_an_app_with_many_functions_starts_although_that_takes_longer_than_its_lease(
    place: Any, leases: Any
) -> None:
    """It renews the Lease while it registers them."""
    place.write_app(MANY)
    worker = place.start("--sync-runners", "1", *SHORT_LEASE)
    await asyncio.to_thread(worker.ready)
    lease = (await leases.read()).spec
    assert lease.renew_time > lease.acquire_time
    assert worker.stop() == 0
    assert not any(line["event"].startswith("fenced") for line in worker.lines())
