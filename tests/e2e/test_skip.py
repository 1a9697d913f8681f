"""Skips and cancels in a group of real workers: what runs in code, in memory, in another shard, or nowhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, SpawnOptions
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue_engine.lifecycle.conditions import is_stopped
from polling import eventually, stopped
from replica import Replica

SOON = timedelta(seconds=60)
BY_HAND = {"target": "by hand", "sizes": [2, 3]}

APP = "ending_app:app"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pair")]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where functions write what they do."""
    return tmp_path / "notes"


async def noted(notes: Path, text: str, count: int = 1) -> None:
    """Wait until functions have written it so often."""
    await eventually(lambda: notes.exists() and notes.read_text().splitlines().count(text) >= count)


async def test_a_parent_goes_on_with_the_result_of_a_skipped_child(client: Client, notes: Path) -> None:
    """Decoded by the signature; the child's code is told, and its own child is canceled."""
    handle = await client.spawn("release", {"file": str(notes)}, result=str, options=SpawnOptions(name="one"))
    await noted(notes, "hang")
    await noted(notes, "nap")
    await client.skip("one-build", result=BY_HAND, message="built elsewhere")
    assert await handle.result(timeout=SOON) == "by hand 5"
    skipped = await stopped(client, "one-build")
    assert (skipped.phase, skipped.status.reason) == (Phase.SKIPPED, "SkippedByClient")
    assert (await stopped(client, "one-build-nap")).phase is Phase.CANCELED
    assert "told built elsewhere" in notes.read_text()


async def test_a_skip_by_a_patch_of_the_status_is_one(client: Client, transport: KubeTransport, notes: Path) -> None:
    """As kubectl does it."""
    handle = await client.spawn("release", {"file": str(notes)}, result=str, options=SpawnOptions(name="two"))
    await noted(notes, "hang")
    patch = {"status": {"phase": "Skipped", "result": BY_HAND}}
    request = requests.merge_patch(requests.EXECUTIONS, "default", "two-build", patch, subresource="status")
    await transport.send(request)
    assert await handle.result(timeout=SOON) == "by hand 5"
    assert (await stopped(client, "two-build")).status.finished_at is not None


async def test_a_holder_of_a_mutex_gives_it_back_when_it_has_stopped(client: Client, notes: Path) -> None:
    """CPU-bound code that nobody can tell anything is killed; then the next one has its turn."""
    options = SpawnOptions(mutex="m", name="holder")
    await client.spawn("spin", {"file": str(notes), "good_try": 2}, options=options)
    await noted(notes, "spin")
    following = await client.spawn(
        "spin", {"file": str(notes), "good_try": 2}, result=str, options=SpawnOptions(mutex="m")
    )
    await client.skip("holder", result="by hand")
    assert await following.result(timeout=SOON) == "done"
    assert is_stopped((await client.get("holder")).status.conditions)


@pytest.mark.parametrize("verb", ["skip", "cancel"])
async def test_what_is_ended_while_nobody_lives_stays_ended(
    client: Client, notes: Path, pair: tuple[Replica, Replica], verb: str
) -> None:
    """Whoever comes next runs nothing of it, says that it has stopped, and ends what it had started."""
    handle = await client.spawn("release", {"file": str(notes)}, result=str, options=SpawnOptions(name=verb))
    await noted(notes, "hang")
    await noted(notes, "nap")
    await client.wait_for_execution(f"{verb}-build-nap", until=[Phase.SUSPENDED], timeout=SOON)
    for replica in pair:
        replica.kill()
    if verb == "skip":
        await client.skip("skip-build", result=BY_HAND)
    else:
        await client.cancel("cancel", message="never mind")
    for replica in pair:
        replica.start(wait=False)
    ended = [await stopped(client, name) for name in (f"{verb}-build", f"{verb}-build-nap")]
    expected = Phase.SKIPPED if verb == "skip" else Phase.CANCELED
    assert [one.phase for one in ended] == [expected, Phase.CANCELED]
    if verb == "skip":
        assert await handle.result(timeout=SOON) == "by hand 5"
    assert notes.read_text().splitlines().count("hang") == 1
