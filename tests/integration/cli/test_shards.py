"""``kontinue shards`` beside replicas that share a group, of which one dies; and what Events and describe say of it."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kontinue.api import labels
from kontinue.client import Client, ClientOptions
from kontinue.kube import requests
from notices import is_notice
from replica import Replica, replicas
from startable import StartableServer, startable

pytestmark = pytest.mark.slow

LEASE_S = 15
"""A replica may stand still for 10 s before its work is moved, as it does where a disk hangs."""

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import
WaitUntil = Callable[..., None]


@pytest.fixture(scope="module")
def server(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartableServer]:
    """An API server."""
    one = startable(server_kind, tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def beside(kontinue: Kontinue, server: StartableServer) -> Kontinue:
    """The command line in the folder of the app, told where the server is."""
    kontinue.env["KUBECONFIG"] = str(server.kubeconfig)
    return kontinue


def replicas_of(kontinue: Kontinue, server: StartableServer, *shards: str) -> Any:
    folder: Path = kontinue.folder
    options = ("--lease-duration", str(LEASE_S))
    return replicas(folder, server.kubeconfig, "app:app", folder, *shards, options=options)


def group_of(kontinue: Kontinue) -> dict[str, Any]:
    done = kontinue("shards", "--group", "cli-tests", "-o", "json")
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)["groups"]
    assert len(groups) == 1
    return dict(groups[0])


def reasons(kontinue: Kontinue) -> set[tuple[str, str]]:
    return {(event["lease"].rpartition(".")[2], event["reason"]) for event in group_of(kontinue)["events"]}


def test_without_workers_there_is_nothing_to_show(beside: Kontinue) -> None:
    """Who asked for a group hears by the exit code, too, that there is none; the reason is on stderr."""
    done = beside("shards", "--group", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "No worker group nobody found in namespace default: no worker of it has run there yet, or the name is another "
        "one. `kontinue shards -A` shows all groups.\n"
    )


def test_an_execution_of_a_group_that_nobody_runs_is_described_as_such(beside: Kontinue, server: Any) -> None:
    """No worker could tell: the label keeps all others away."""
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {"name": "forgotten", "labels": {labels.WORKER_GROUP: "without-workers"}},
        "spec": {"function": "f"},
    }

    async def create() -> None:
        async with Client(ClientOptions(kubeconfig=str(server.kubeconfig))) as client:
            await client.kube.send(requests.create(requests.EXECUTIONS, "default", body))

    asyncio.run(create())
    done = beside("describe", "forgotten")
    assert (
        "\nNo worker of group without-workers, which the label kontinue.cloud/worker-group names, runs in"
        in done.stdout
    )


def test_it_goes_on_looking_until_ctrl_c(beside: Kontinue) -> None:
    """With -w, as a table only."""
    process = beside.start("shards", "-w", "--group", "nobody")
    lines = (line for line in process.stderr if not is_notice(line))
    seen = [next(lines) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line[:22] for line in seen] == ["No worker group nobody"] * 2
    refused = beside("shards", "-w", "-o", "json")
    assert refused.returncode == 2
    assert "-o wide" in refused.stderr


def test_a_dead_replica_is_seen_and_its_executions_are_told_to_be_moved(
    beside: Kontinue, server: StartableServer, wait_until: WaitUntil
) -> None:
    """Leader, counts and builds; then the verdict and the moves as Events, and the loss in describe."""
    with replicas_of(beside, server, "w-0") as [first]:
        first.wait_for("leading")
        with replicas_of(beside, server, "w-1") as [second]:
            for _ in range(4):
                assert beside("execute", "--detach", "nap", "-p", "seconds=600").returncode == 0
            check_group(beside, wait_until)
            kill_and_check(beside, second, wait_until)


def check_group(kontinue: Kontinue, wait_until: WaitUntil) -> None:
    wait_until(
        "all of them to be placed", lambda: [one["executions"] for one in group_of(kontinue)["shards"]] == naps(2, 2)
    )
    group = group_of(kontinue)
    assert (group["isSharded"], group["leader"]) == (True, "w-0")
    shown = [(one["shard"], one["state"], one.get("isLeader", False)) for one in group["shards"]]
    assert shown == [("w-0", "Live", True), ("w-1", "Live", False)]
    assert len({one["build"] for one in group["shards"]}) == 1
    wait_until("the Event", lambda: ("cli-tests", "LeaderElected") in reasons(kontinue))
    table = kontinue("shards").stdout.splitlines()
    assert table[0].startswith("Group cli-tests: 2 shards, led by w-0 on ")
    assert table[1].split()[:4] == ["SHARD", "STATE", "LEADER", "RENEWED"]
    names = kontinue("shards", "-o", "name").stdout.split()
    assert names == [f"leases.coordination.k8s.io/kontinue-shard.cli-tests.{name}" for name in ("w-0", "w-1")]


def naps(*counts: int) -> list[dict[str, int]]:
    none = dict.fromkeys(["Pending", "Executing", "Backoff", "Blocked"], 0)
    return [{**none, "Suspended": count} for count in counts]


def kill_and_check(kontinue: Kontinue, victim: Replica, wait_until: WaitUntil) -> None:
    victim.kill()
    soon = {"deadline_s": 3 * LEASE_S + 30.0}  # those that only wait are moved one more Lease later
    wait_until("the moves", lambda: [one["executions"] for one in group_of(kontinue)["shards"]] == naps(4, 0), **soon)
    wait_until("the Events", lambda: {("w-1", "ShardDead"), ("w-1", "Reassigned")} <= reasons(kontinue), **soon)
    assert {one["shard"]: one["state"] for one in group_of(kontinue)["shards"]} == {"w-0": "Live", "w-1": "Expired"}
    text = kontinue("shards", "-o", "wide").stdout
    assert "2 Executions moved to w-0 (2): w-1 is dead" in text
    assert f"had not renewed its Lease for {LEASE_S} s: w-0, the leader, has taken it away" in text
    names = [line for line in kontinue("get", "-o", "name").stdout.split() if "/nap-" in line]
    described = [kontinue("describe", name).stdout for name in names]
    lost = [text for text in described if "replica died that had it" in text]
    assert len(lost) == 2
    for text in lost:
        assert "Shard:      w-0" in text
        assert "moved from w-1 to w-0: w-1 is dead" in text
