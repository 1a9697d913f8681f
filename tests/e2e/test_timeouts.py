"""Limits of time in a group of real workers: code that cannot notice, code that cleans up, and nobody there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kontinue import RetryPolicy, TimeoutPolicy
from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, SpawnOptions
from polling import eventually, stopped
from replica import Replica

SOON = timedelta(seconds=60)
ONCE_MORE = RetryPolicy(retries=1, backoff=timedelta())

APP = "ending_app:app"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pair")]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where functions write what they do."""
    return tmp_path / "notes"


def limits(*, attempt: float | None = None, overall: float | None = None) -> TimeoutPolicy:
    seconds = [None if value is None else timedelta(seconds=value) for value in (attempt, overall)]
    return TimeoutPolicy(attempt=seconds[0], overall=seconds[1])


@pytest.mark.parametrize("function", ["spin", "wait_for_thread"])
async def test_code_that_nobody_can_stop_is_killed_and_tried_again(client: Client, notes: Path, function: str) -> None:
    """CPU-bound code at once, a step in a thread after the grace; neither is charged a crash."""
    options = SpawnOptions(timeout=limits(attempt=10), retry=ONCE_MORE)
    handle = await client.spawn(function, {"file": str(notes), "good_try": 2}, result=str, options=options)
    assert await handle.result(timeout=SOON) == "done"
    ended = await client.get(handle.name)
    assert [attempt.reason for attempt in ended.status.attempts] == ["AttemptTimeout", ""]
    assert ended.status.crashes == 0
    assert notes.read_text().splitlines().count("spin" if function == "spin" else "thread") == 2


async def test_a_thread_does_not_outlive_its_attempt(client: Client, notes: Path) -> None:
    """When the Execution has stopped, nothing of it runs any more: not even a step that was given up."""
    options = SpawnOptions(timeout=limits(attempt=10))
    handle = await client.spawn("wait_for_thread", {"file": str(notes), "good_try": 2}, options=options)
    ended = await stopped(client, handle.name)
    assert (ended.phase, ended.status.reason) == (Phase.FAILED, "AttemptTimeout")
    beats = len(notes.read_text().splitlines())
    follower = await client.spawn("nap", {"file": str(notes.with_name("other")), "seconds": 1}, result=str)
    assert await follower.result(timeout=SOON) == "rested"
    assert len(notes.read_text().splitlines()) == beats


async def test_a_deadline_takes_children_along_and_leaves_time_to_clean_up(client: Client, notes: Path) -> None:
    """Final at once; stopped when everything has ended."""
    options = SpawnOptions(timeout=limits(overall=15), name="limited")
    handle = await client.spawn("build", {"file": str(notes)}, options=options)
    ended = await client.wait_for_execution(handle, timeout=SOON)
    assert (ended.phase, ended.status.reason) == (Phase.FAILED, "OverallTimeout")
    assert (await stopped(client, "limited-nap")).phase is Phase.CANCELED
    await stopped(client, "limited")
    assert f"told {ended.status.message}" in notes.read_text()
    assert "woken" in notes.read_text()


async def test_a_deadline_that_passes_while_nobody_lives_strikes_first(
    client: Client, notes: Path, pair: tuple[Replica, Replica]
) -> None:
    """Whoever comes back runs nothing of what is over, neither of the Execution nor of its attempt."""
    spinning = [
        await client.spawn("spin_with_context", {"file": str(notes)}, options=SpawnOptions(timeout=policy))
        for policy in (limits(overall=15), limits(attempt=15))
    ]
    await eventually(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2)
    for handle in spinning:
        await client.wait_for_execution(handle, until=[Phase.EXECUTING], timeout=SOON)
    over = datetime.now(UTC) + timedelta(seconds=15)
    for replica in pair:
        replica.kill()
    await eventually(lambda: datetime.now(UTC) > over)
    for replica in pair:
        replica.start(wait=False)
    ended = [await client.wait_for_execution(handle, timeout=SOON) for handle in spinning]
    assert [one.status.reason for one in ended] == ["OverallTimeout", "AttemptTimeout"]
    assert len(notes.read_text().splitlines()) == 2
