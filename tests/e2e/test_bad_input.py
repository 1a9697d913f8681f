"""What users do wrong, through the whole system: each gets an error that names object, field and remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cluster import Cluster
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client, ClientOptions
from kontinue.errors import ExecutionFailed, InvalidArguments, UnknownFunction

HERE = Path(__file__).parent
KUBECTL = Path(sys.executable).parent / "kubectl"
SOON = timedelta(seconds=60)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("bad"), "bad_input_app:app", app_dir=HERE, server=server_kind) as one:
        yield one


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(ClientOptions(kubeconfig=str(cluster.kubeconfig), qps=None, namespace="default")) as one:
        yield one


def apply(cluster: Cluster, name: str, spec: str) -> subprocess.CompletedProcess[str]:
    """Do as a user of kubectl: no labels, no help from the client library."""
    manifest = f"apiVersion: kontinue.cloud/v1alpha1\nkind: Execution\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.data_dir)}
    return subprocess.run(
        [str(KUBECTL), "apply", "-f", "-"], input=manifest, text=True, capture_output=True, env=environment, check=False
    )


async def ended(client: Client, name: str) -> Execution:
    return await client.wait_for_execution(name, timeout=SOON)


async def test_an_execution_applied_by_hand_runs(cluster: Cluster, client: Client) -> None:
    """Kubectl is a client like any other: no labels are needed."""
    done = apply(cluster, "by-hand", "{function: place, arguments: {order: {item: a, count: 3}}}")
    assert done.returncode == 0, done.stderr
    assert bytes((await ended(client, "by-hand")).status.result) == b"3"


async def test_arguments_that_do_not_fit_create_nothing(client: Client) -> None:
    """The client names the path; no object is left behind."""
    before = len(await client.list())
    with pytest.raises(InvalidArguments) as caught:
        await client.spawn("place", {"order": {"item": "a", "count": "three"}})
    assert "order" in caught.value.path
    with pytest.raises(InvalidArguments, match="orderr"):
        await client.spawn("place", {"orderr": {}})
    assert len(await client.list()) == before


async def test_arguments_that_do_not_fit_fail_an_execution_applied_by_hand(cluster: Cluster, client: Client) -> None:
    """Failed, reason InvalidArguments, with the path of the field."""
    apply(cluster, "bad-arguments", "{function: place, arguments: {order: {item: a, count: three}}}")
    failed = await ended(client, "bad-arguments")
    assert (failed.phase, failed.status.reason) == (Phase.FAILED, "InvalidArguments")
    assert "count" in failed.status.message


async def test_an_unknown_function_is_refused_with_a_suggestion(client: Client) -> None:
    """The client knows what is registered."""
    with pytest.raises(UnknownFunction) as caught:
        await client.spawn("plase", {})
    assert caught.value.suggestion == "place"


async def test_an_unknown_function_applied_by_hand_waits_and_says_for_what(cluster: Cluster, client: Client) -> None:
    """Pending, and kubectl shows why."""
    apply(cluster, "nobodys", "{function: nobody-has-this}")
    while not (waiting := (await client.get("nobodys")).status.waiting_for):
        pass
    assert (waiting[0].name, waiting[0].message) == ("nobody-has-this", "no worker group owns it")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{}", "spec.function: Required value"),
        ("{function: 3}", "spec.function"),
        ("{function: place, arguments: [1]}", "spec.arguments"),
        ("{function: place, arguements: {}}", "arguements"),
        ("{function: place, retry: {backoff: soon}}", "spec.retry.backoff"),
        ("{function: place, retry: {retries: -1}}", "spec.retry.retries"),
    ],
)
async def test_a_malformed_execution_is_refused_with_the_field(cluster: Cluster, spec: str, says: str) -> None:
    """Nothing is stored, and the message names the field."""
    done = apply(cluster, "malformed", spec)
    assert done.returncode != 0
    assert says in done.stderr


@pytest.mark.parametrize(
    ("function", "reason", "says"),
    [
        ("unserialisable", "InvalidResult", "object"),
        ("oversized", "InvalidResult", "524,288"),
        ("fetch-in-body", "ContextMisuse", "step"),
    ],
)
async def test_what_cannot_be_recorded_fails_with_reason_limit_and_remedy(
    cluster: Cluster, client: Client, function: str, reason: str, says: str
) -> None:
    """The message says what, how large, and what to do instead."""
    name = f"e-{function}"
    apply(cluster, name, f"{{function: {function.replace('-', '_')}}}")
    failed = await ended(client, name)
    assert (failed.phase, failed.status.reason) == (Phase.FAILED, reason)
    assert says in failed.status.message


async def test_records_that_no_object_could_hold_are_kept(cluster: Cluster, client: Client) -> None:
    """Two megabytes in pages."""
    apply(cluster, "e-hoard", "{function: hoard}")
    done = await ended(client, "e-hoard")
    assert (done.phase, bytes(done.status.result)) == (
        Phase.COMPLETED,
        b"%d" % sum(len(str(number)) * 100 * 1024 for number in range(20)),
    )


async def test_an_exception_reaches_the_caller_with_type_message_and_traceback(client: Client) -> None:
    """What the user needs to debug is in the error."""
    handle = await client.spawn("raises", {"text": "no such order"})
    with pytest.raises(ExecutionFailed, match="no such order") as caught:
        await handle.result(timeout=SOON)
    assert caught.value.type.endswith("ValueError")
    assert "bad_input_app.py" in caught.value.traceback
    assert "kontinue_engine" not in caught.value.traceback


async def test_a_function_that_kills_its_runner_fails_once_its_budget_is_spent(client: Client) -> None:
    """Three resumptions, then Failed, and everything else goes on."""
    handle = await client.spawn("die", {})
    failed = await handle.wait(timeout=SOON)
    assert (failed.phase, failed.status.reason) == (Phase.FAILED, "RunnerCrashed")
    assert failed.status.resumptions == 3
    other = await client.spawn("place", {"order": {"item": "a", "count": 1}}, result=int)
    assert await other.result(timeout=SOON) == 1


async def test_code_changed_under_a_running_execution_blocks_it_and_the_old_code_continues_it(
    tmp_path: Path, server_kind: str
) -> None:
    """Blocked shows both sides; a build that matches goes on from the records."""
    with Cluster(
        tmp_path, "bad_input_app:app", app_dir=HERE, server=server_kind, environment={"KONTINUE_BUILD": "one"}
    ) as cluster:
        async with Client(ClientOptions(kubeconfig=str(cluster.kubeconfig), namespace="default")) as client:
            handle = await client.spawn("pay", {})
            await client.wait_for_execution(handle, until=["Suspended"], timeout=SOON)
            cluster.restart_worker({"KONTINUE_BUILD": "two", "BAD_INPUT_VERSION": "2"})
            await client.resume_execution(handle)
            blocked = await client.wait_for_execution(handle, until=["Blocked"], timeout=SOON)
            assert blocked.status.reason == "CodeChanged"
            assert "charge" in blocked.status.message
            assert "refund" in blocked.status.message
            cluster.restart_worker({"KONTINUE_BUILD": "one"})
            assert (await client.wait_for_execution(handle, until=["Completed"], timeout=SOON)).phase is Phase.COMPLETED


async def test_a_default_that_changes_does_not_change_a_call_that_has_begun(tmp_path: Path, server_kind: str) -> None:
    """Effective arguments are recorded at the first activation."""
    with Cluster(tmp_path, "bad_input_app:app", app_dir=HERE, server=server_kind) as cluster:
        async with Client(ClientOptions(kubeconfig=str(cluster.kubeconfig), namespace="default")) as client:
            handle = await client.spawn("greet", {}, result=str)
            await client.wait_for_execution(handle, until=["Suspended"], timeout=SOON)
            cluster.restart_worker({"BAD_INPUT_VERSION": "2"})
            await client.resume_execution(handle)
            assert await handle.result(timeout=SOON) == "one"
            later = await client.spawn("greet", {}, result=str)
            await client.wait_for_execution(later, until=["Suspended"], timeout=SOON)
            await client.resume_execution(later)
            assert await later.result(timeout=SOON) == "two"
