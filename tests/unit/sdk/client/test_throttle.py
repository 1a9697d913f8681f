"""The throttle lets a burst pass and then the average, and says so once."""

import asyncio

import pytest

from kontinue.client.throttle import Throttle
from virtual_time import elapsed_s, virtual_time


@virtual_time
async def test_a_burst_passes_at_once_and_the_rest_at_the_rate(caplog):
    """Ten at once, then five per second; one warning."""
    throttle = Throttle(5, 10)
    await asyncio.gather(*(throttle.wait() for _ in range(10)))
    assert elapsed_s() == 0
    await asyncio.gather(*(throttle.wait() for _ in range(5)))
    assert elapsed_s() == pytest.approx(1)
    assert len(caplog.records) == 1
    assert "qps=None" in caplog.text


@virtual_time
async def test_tokens_come_back_up_to_the_burst():
    """A pause refills the burst, not more."""
    throttle = Throttle(5, 10)
    await asyncio.gather(*(throttle.wait() for _ in range(10)))
    await asyncio.sleep(100)
    await asyncio.gather(*(throttle.wait() for _ in range(10)))
    assert elapsed_s() == pytest.approx(100)
    await throttle.wait()
    assert elapsed_s() == pytest.approx(100.2)


@virtual_time
async def test_no_limit_means_no_waiting():
    """``qps=None`` switches it off."""
    throttle = Throttle(None, 1)
    await asyncio.gather(*(throttle.wait() for _ in range(1000)))
    assert elapsed_s() == 0
