"""How a worker process starts, refuses to start, loses its Lease and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kontinue.api import labels

pytestmark = pytest.mark.slow

FAST_LEASE = ("--lease-duration", "7", "--lease-renew", "0.5")
"""Two seconds without the API server are too many."""


async def test_sigterm_gives_the_lease_back(place: Any, leases: Any) -> None:
    """The next replica need not wait."""
    worker = place.start("--shard", "first").ready()
    assert (await leases.read()).spec.holder_identity == "first"
    assert await asyncio.to_thread(worker.stop) == 0
    assert (await leases.read()).spec.holder_identity == ""
    place.start("--shard", "second").ready()
    assert (await leases.read()).spec.holder_identity == "second"


def test_a_second_worker_with_the_same_id_is_refused_and_told_who_holds_it(place: Any) -> None:
    """Two replicas would run every Execution twice."""
    first = place.start("--shard", "one").ready()
    second = place.start("--shard", "one")
    assert second.process.wait(60) == 1
    (line,) = second.lines()
    assert (line["event"], line["error"]) == ("worker cannot run", "LeaseHeld")
    assert "held by 'one' on host" in line["message"]
    assert f"pid {first.process.pid}" in line["message"]
    assert first.stop() == 0


def test_another_replica_stands_by_and_takes_over(place: Any) -> None:
    """Without sharding one replica runs everything; the others wait for their turn."""
    first = place.start("--shard", "first").ready()
    second = place.start("--shard", "second")
    second.wait_for("standing by")
    assert first.stop() == 0
    second.ready()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (("--group", "Not_A_Group"), "StartupError", "'Not_A_Group' cannot be used"),
        (("--group", ""), "StartupError", "'' cannot be used: it must be 1 to 63 characters"),
        (("--shard", ""), "StartupError", "shard id '' cannot be used: it must be 1 to 63 characters"),
        (("--shard", "a/b"), "StartupError", "shard id 'a/b' cannot be used"),
        (("--namespace", "nowhere"), "StartupError", "Create the namespace"),
        (("--context", "nothing"), "ConfigError", "nothing"),
    ],
)
def test_what_cannot_start_exits_with_1_and_one_line(place: Any, options: Any, error: str, says: str) -> None:
    """The line says why and what to do; there is no traceback."""
    worker = place.start(*options)
    assert worker.process.wait(60) == 1
    (line,) = worker.lines()
    assert (line["level"], line["event"], line["error"]) == ("error", "worker cannot run", error)
    assert says in line["message"]


def test_a_function_of_another_group_is_not_taken(place: Any) -> None:
    """Neither at once nor later: the other group may be asleep."""
    first = place.start().ready()
    assert first.stop() == 0
    worker = place.start("--group", "other")
    assert worker.process.wait(60) == 1
    (line,) = worker.lines()
    assert (line["level"], line["event"], line["error"]) == ("error", "worker cannot run", "FunctionOwnedError")
    assert "is owned by worker group g" in line["message"]


def test_an_app_that_does_not_import_exits_with_1_and_its_traceback(place: Any) -> None:
    """The user's own lines, as a field of the one log line."""
    place.write_app("import no_such_module\n")
    worker = place.start()
    assert worker.process.wait(60) == 1
    (line,) = worker.lines()
    assert line["event"] == "app failed to load"
    assert "no_such_module" in line["message"]
    assert "app.py" in line["traceback"]


async def test_a_lease_that_somebody_else_has_ends_the_worker_with_3(place: Any, leases: Any) -> None:
    """It must not write any more, and leaves the Lease alone."""
    worker = place.start(*FAST_LEASE).ready()
    other = {labels.INCARNATION: "other", labels.HOST: "elsewhere"}
    await leases.patch({"metadata": {"annotations": other}, "spec": {"holderIdentity": "other"}})
    assert await asyncio.to_thread(worker.process.wait, 60) == 3
    line = worker.lines()[-1]
    assert (line["level"], line["event"]) == ("error", "lease lost")
    assert "taken by 'other' on host 'elsewhere'" in line["message"]
    assert (await leases.read()).spec.holder_identity == "other"


async def test_a_server_away_for_longer_than_the_lease_fences_the_worker_until_it_is_back(
    place: Any, leases: Any
) -> None:
    """Nobody has taken over meanwhile, so the same process goes on. Events say so, where the Lease is."""
    worker = place.start(*FAST_LEASE).ready()
    place.server.kill()
    worker.wait_for("fenced: the Lease could not be renewed in time")
    place.server.start()
    worker.wait_for("the Lease is renewed, and nobody has taken it: going on")
    await leases.told("LeaderElected", "Fenced", "Resumed")
    assert worker.stop() == 0
