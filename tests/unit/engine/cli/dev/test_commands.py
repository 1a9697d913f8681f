"""How ``kontinue dev`` starts its processes."""

from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.cli.dev.commands import DevOptions, command_of, worker_names
from kontinue_engine.sharding.leases import LeaseTimes

DATA_DIR = Path("/data")
KUBECONFIG = DATA_DIR / "kubeconfig"


def options(**changed: Any) -> DevOptions:
    given: dict[str, Any] = {"app": "a:app", "app_dir": Path(), "namespace": "team", "port": 6470, **changed}
    return DevOptions(**given)


def command(name: str, of: DevOptions) -> str:
    return " ".join(command_of(name, of, data_dir=DATA_DIR, kubeconfig=KUBECONFIG)[2:])


def test_the_server_is_told_its_data_and_port() -> None:
    """It writes the kubeconfig that the workers read."""
    assert command("server", options()) == "kontinue_engine.apiserver --data-dir /data --port 6470"


def test_one_worker_runs_its_group_alone() -> None:
    """Not sharded, and with as many runners as it likes."""
    wanted = "kontinue_engine.worker a:app --namespace team --kubeconfig /data/kubeconfig"
    assert worker_names(options()) == ["worker"]
    assert command("worker", options()) == wanted
    assert command("worker", options(runners=3)) == f"{wanted} --sync-runners 3"


def test_several_workers_have_shard_ids_of_their_own_that_stay() -> None:
    """A worker that is started again takes its own shard back."""
    group = options(replicas=2, cores=4)
    assert worker_names(group) == ["worker-0", "worker-1"]
    assert command("worker-1", group).endswith("--sharding --shard worker-1 --sync-runners 2")


@pytest.mark.parametrize(("cores", "replicas", "runners"), [(8, 3, [3, 3, 2]), (2, 3, [1, 1, 1]), (4, 4, [1, 1, 1, 1])])
def test_several_workers_share_the_cores(cores: int, replicas: int, runners: list[int]) -> None:
    """All cores are used, and each worker has one runner at least."""
    group = options(replicas=replicas, cores=cores)
    assert [int(command(name, group).rpartition(" ")[2]) for name in worker_names(group)] == runners


def test_workers_are_told_other_times_of_leases_only_if_the_user_gives_some() -> None:
    """To try a failover without waiting for 40 s."""
    assert command("worker", options(lease=LeaseTimes(8, 1.5))).endswith("--lease-duration 8 --lease-renew 1.5")


def test_a_given_number_of_runners_is_that_of_each_worker() -> None:
    """Whatever the machine has."""
    group = options(replicas=2, cores=8, runners=1)
    assert all(command(name, group).endswith("--sync-runners 1") for name in worker_names(group))
