"""User code that kills processes which are not its own: it fails, and its neighbours hardly notice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cluster import Cluster
from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client, ClientOptions

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = ("--sync-runners", "2")
    folder = tmp_path_factory.mktemp("killers")
    with Cluster(folder, "killer_app:app", app_dir=HERE, server=server_kind, worker_options=options) as one:
        yield one


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(ClientOptions(kubeconfig=str(cluster.kubeconfig), qps=None, namespace="default")) as one:
        yield one


@pytest.mark.parametrize("function", ["kill_group", "kill_parent"])
async def test_who_kills_its_parent_or_its_group_ends_only_its_own_runner(
    client: Client, tmp_path: Path, function: str
) -> None:
    """Its fourth death is a failure; whoever runs beside it is not even resumed."""
    file = tmp_path / "go"
    innocent = await client.spawn("work", {"path": str(file)})
    guilty = await client.wait_for_execution((await client.spawn(function)).name, timeout=SOON)
    assert (guilty.status.phase, guilty.status.reason) == (Phase.FAILED, "RunnerCrashed"), guilty.status
    file.touch()
    ended = await client.wait_for_execution(innocent.name, timeout=SOON)
    assert (ended.status.phase, ended.status.resumptions, ended.status.crashes) == (Phase.COMPLETED, 0, 0)


async def test_who_kills_the_process_that_starts_runners_is_found(client: Client, tmp_path: Path) -> None:
    """Everything that runs dies each time, yet only the guilty one fails."""
    file = tmp_path / "go"
    innocent = await client.spawn("work", {"path": str(file)})
    waiting = await client.spawn("nap", {"ms": 500})
    guilty = await client.wait_for_execution((await client.spawn("kill_zygote")).name, timeout=SOON * 3)
    assert (guilty.status.phase, guilty.status.reason) == (Phase.FAILED, "RunnerCrashed"), guilty.status
    file.touch()
    for handle in (innocent, waiting):
        ended = await client.wait_for_execution(handle.name, timeout=SOON)
        assert ended.status.phase is Phase.COMPLETED
        assert ended.status.crashes == 0
        assert ended.status.resumptions < 40
