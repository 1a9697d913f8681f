"""Schedules in virtual time: every run at its time, whoever leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from kontinue import App, ExecutionContext
from kontinue.api import labels
from kontinue.kube import requests
from kontinue_engine.testing import TestEnvironment

app = App(group="g")
BEFORE_SUMMER_TIME = datetime(2026, 3, 27, 12, tzinfo=UTC)


@app.function
async def report(ctx: ExecutionContext) -> str:
    begin = ctx.now()
    await ctx.sleep(timedelta(hours=1))
    return f"{begin:%d %H:%M}"


@app.function
def price(article: str, *, count: int = 1) -> str:
    return f"{count} {article}"


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment(start=BEFORE_SUMMER_TIME) as environment:
        environment.use(app)
        yield environment


async def schedule(
    env: TestEnvironment, cron: str, zone: str, *, function: str = "report", **arguments: object
) -> None:
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "ScheduledExecution",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": cron, "timeZone": zone, "function": function, "arguments": arguments},
    }
    await env.client.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, "default", body))


async def test_a_schedule_runs_at_its_local_times_over_a_change_of_the_clocks(env: TestEnvironment) -> None:
    """At six in Berlin: five in UTC, and four in summer; over the deaths of workers none is lost or doubled."""
    await schedule(env, "0 6 * * *", "Europe/Berlin")
    for _ in range(8):
        await env.advance(timedelta(hours=11))
        await env.restart_worker()
    await env.advance(timedelta(hours=2))
    results = sorted(bytes(one.status.result).decode() for one in await env.client.list(function="report"))
    assert results == ['"28 05:00"', '"29 04:00"', '"30 04:00"', '"31 04:00"']


async def test_a_schedule_whose_arguments_do_not_fit_starts_nothing_and_says_why(env: TestEnvironment) -> None:
    """Where people look: in its condition. Once they fit, what is due starts."""
    await schedule(env, "0 6 * * *", "UTC", function="price", article="hat", count="many")
    await env.advance(timedelta(days=2))
    found = await env.client.get_scheduled_execution("nightly")
    (ready,) = found.status.conditions
    assert (ready.status, ready.reason) == ("False", "InvalidArguments")
    assert ready.message == "price: $.count: expected integer, got 'many'"
    assert await env.client.list(function="price") == []
    fits = {"spec": {"arguments": {"article": "hat", "count": 3}}}
    await env.client.kube.send(requests.merge_patch(requests.SCHEDULED_EXECUTIONS, "default", "nightly", fits))
    await env.advance(timedelta(minutes=1))
    (run,) = await env.client.list(function="price")
    assert bytes(run.status.result) == b'"3 hat"'
