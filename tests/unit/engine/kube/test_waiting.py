"""Loops wait for news, and look again when there is none."""

import asyncio

import pytest

from kontinue_engine.kube.waiting import until_set
from virtual_time import elapsed_s, virtual_time


@pytest.mark.parametrize(
    ("news_at_s", "at_most_s", "ends_at_s"),
    [
        pytest.param(3, 10, 3, id="news in time"),
        pytest.param(30, 10, 10, id="no news in time"),
        pytest.param(30, None, 30, id="no limit"),
        pytest.param(0, 10, 0, id="news that were there before"),
    ],
)
@virtual_time
async def test_a_wait_ends_with_news_or_in_time(news_at_s, at_most_s, ends_at_s):
    """Whichever is first."""
    news = asyncio.Event()
    if news_at_s:
        asyncio.get_running_loop().call_later(news_at_s, news.set)
    else:
        news.set()
    await until_set(news, at_most_s)
    assert elapsed_s() == ends_at_s
    assert news.is_set() == (news_at_s == ends_at_s)
