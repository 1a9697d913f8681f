"""The official Python client: typed, custom objects, dynamic, informers, leader election, and its asyncio half."""

from __future__ import annotations

import datetime
import queue
import threading
from collections.abc import Iterator
from typing import Any

import kubernetes
import kubernetes.aio
import pytest
from kubernetes.client import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from api import execution
from servers import Server

GROUP, VERSION, PLURAL = "kontinue.cloud", "v1alpha1", "executions"
PATIENCE_S = 60.0


@pytest.fixture
def client(server: Server) -> Iterator[kubernetes.client.ApiClient]:
    """A client by the server's kubeconfig."""
    with kubernetes.config.new_client_from_config(str(server.kubeconfig)) as client:
        yield client


@pytest.fixture
def core(client: kubernetes.client.ApiClient) -> kubernetes.client.CoreV1Api:
    """Typed, v1."""
    return kubernetes.client.CoreV1Api(client)


@pytest.fixture
def custom(client: kubernetes.client.ApiClient) -> kubernetes.client.CustomObjectsApi:
    """Dictionaries, any group."""
    return kubernetes.client.CustomObjectsApi(client)


def _where(namespace: str) -> tuple[str, str, str, str]:
    return GROUP, VERSION, namespace, PLURAL


def test_typed_objects_are_written_and_read(core: kubernetes.client.CoreV1Api, namespace: str) -> None:
    """Create, replace with a conflict, patch, list, delete with preconditions."""
    body = kubernetes.client.V1ConfigMap(metadata={"name": "a", "labels": {"x": "y"}}, data={"a": "1"})
    created = core.create_namespaced_config_map(namespace, body)
    assert created.metadata.creation_timestamp <= datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
    created.data["a"] = "2"
    replaced = core.replace_namespaced_config_map("a", namespace, created)
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", namespace, created)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    patched = core.patch_namespaced_config_map("a", namespace, {"data": {"b": "3"}})
    assert patched.data == {"a": "2", "b": "3"}
    listed = core.list_namespaced_config_map(namespace, label_selector="x=y")
    assert [item.metadata.name for item in listed.items] == ["a"]
    stale = kubernetes.client.V1Preconditions(resource_version=replaced.metadata.resource_version)
    with pytest.raises(ApiException) as caught:
        core.delete_namespaced_config_map("a", namespace, body=kubernetes.client.V1DeleteOptions(preconditions=stale))
    assert caught.value.status == 409
    assert core.delete_namespaced_config_map("a", namespace)["status"] == "Success"
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_config_map("a", namespace)
    assert caught.value.status == 404


def test_collections_are_deleted(core: kubernetes.client.CoreV1Api, namespace: str) -> None:
    """The method of the client accepts the answer, which is a list."""
    for name in "ab":
        core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"x": name}}})
    core.delete_collection_namespaced_config_map(namespace, label_selector="x")
    assert core.list_namespaced_config_map(namespace, label_selector="x").items == []


def test_custom_objects_are_written_and_read(custom: kubernetes.client.CustomObjectsApi, namespace: str) -> None:
    """Whole objects, status and patches of both kinds; options of a delete in the query."""
    where = _where(namespace)
    created = custom.create_namespaced_custom_object(*where, execution("a"))
    created["metadata"]["labels"] = {"x": "y"}
    custom.replace_namespaced_custom_object(*where, "a", created)
    status = {"status": {"phase": "Executing"}}
    patched = custom.patch_namespaced_custom_object_status(*where, "a", status)
    assert (patched["status"]["phase"], patched["metadata"]["labels"]) == ("Executing", {"x": "y"})
    operations = [{"op": "replace", "path": "/metadata/labels/x", "value": "z"}]
    patched = custom.patch_namespaced_custom_object(
        *where, "a", operations, _content_type="application/json-patch+json"
    )
    assert patched["metadata"]["labels"] == {"x": "z"}
    listed = custom.list_namespaced_custom_object(*where, label_selector="x=z", limit=1)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
    marked = custom.delete_namespaced_custom_object(*where, "a", propagation_policy="Foreground", dry_run="All")
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert custom.delete_namespaced_custom_object(*where, "a")["status"] == "Success"
    with pytest.raises(ApiException) as caught:
        custom.create_namespaced_custom_object(*where, {**execution("a"), "spec": {}})
    assert caught.value.status == 422


def test_a_watch_tells_what_happens(custom: kubernetes.client.CustomObjectsApi, namespace: str) -> None:
    """From the list on, each change once."""
    where = _where(namespace)
    since = custom.list_namespaced_custom_object(*where)["metadata"]["resourceVersion"]
    custom.create_namespaced_custom_object(*where, execution("a"))
    custom.patch_namespaced_custom_object(*where, "a", {"metadata": {"labels": {"x": "y"}}})
    custom.delete_namespaced_custom_object(*where, "a")
    watch = kubernetes.watch.Watch()
    seen = []
    for event in watch.stream(
        custom.list_namespaced_custom_object, *where, resource_version=since, timeout_seconds=int(PATIENCE_S)
    ):
        seen.append(event["type"])
        if event["type"] == "DELETED":
            watch.stop()
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_from_nowhere_begins_with_what_is_there(core: kubernetes.client.CoreV1Api, namespace: str) -> None:
    """And ends by itself after its timeout."""
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a", "labels": {"x": "y"}}})
    watch = kubernetes.watch.Watch()
    seen = [
        (event["type"], event["object"].metadata.name)
        for event in watch.stream(
            core.list_namespaced_config_map, namespace, label_selector="x=y", timeout_seconds=5, _request_timeout=60
        )
    ]
    assert seen[0] == ("ADDED", "a")


def test_the_dynamic_client_discovers_and_applies(client: kubernetes.client.ApiClient, namespace: str) -> None:
    """Server-side apply by two managers, of which the second must force its way."""
    dynamic = DynamicClient(client)
    executions = dynamic.resources.get(api_version="kontinue.cloud/v1alpha1", kind="Execution")
    assert (executions.name, executions.namespaced) == ("executions", True)
    body = execution("a", metadata={"labels": {"owner": "one"}})
    executions.server_side_apply(body, namespace=namespace, field_manager="one")
    body["metadata"]["labels"]["owner"] = "two"
    with pytest.raises(kubernetes.dynamic.exceptions.ConflictError):
        executions.server_side_apply(body, namespace=namespace, field_manager="two")
    forced = executions.server_side_apply(body, namespace=namespace, field_manager="two", force_conflicts=True)
    assert forced.metadata.labels.owner == "two"
    labels = {"metadata": {"name": "a", "labels": {"x": "y"}}}
    executions.patch(body=labels, namespace=namespace, content_type="application/merge-patch+json")
    assert [item.metadata.labels.x for item in executions.get(namespace=namespace).items] == ["y"]
    first = next(iter(executions.watch(namespace=namespace, timeout=int(PATIENCE_S))))
    assert (first["type"], first["object"].metadata.name) == ("ADDED", "a")
    assert executions.delete(name="a", namespace=namespace).status == "Success"


def test_an_informer_follows_typed_objects(core: kubernetes.client.CoreV1Api, namespace: str) -> None:
    """Its cache and its handlers agree with what was done."""
    events: queue.Queue[tuple[str, str]] = queue.Queue()
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "before", "labels": {"x": "y"}}})
    informer = SharedInformer(core.list_namespaced_config_map, namespace=namespace, label_selector="x=y")
    for kind in (ADDED, MODIFIED, DELETED):
        informer.add_event_handler(kind, lambda found, kind=kind: events.put((kind, found.metadata.name)))
    informer.start()
    try:
        assert events.get(timeout=PATIENCE_S) == (ADDED, "before")
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "a", "labels": {"x": "y"}}})
        assert events.get(timeout=PATIENCE_S) == (ADDED, "a")
        core.patch_namespaced_config_map("a", namespace, {"data": {"k": "v"}})
        assert events.get(timeout=PATIENCE_S) == (MODIFIED, "a")
        assert informer.cache.get_by_key(f"{namespace}/a").data == {"k": "v"}
        core.delete_namespaced_config_map("a", namespace)
        assert events.get(timeout=PATIENCE_S) == (DELETED, "a")
        assert informer.cache.list_keys() == [f"{namespace}/before"]
    finally:
        informer.stop()


@pytest.mark.slow
def test_one_candidate_leads_after_the_other(
    client: kubernetes.client.ApiClient, server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second takes the Lease over when the first has not renewed it in time."""
    monkeypatch.setattr(kubernetes.client.Configuration, "_default", client.configuration)
    lead: list[str] = []

    def campaign(identity: str) -> None:
        def begin() -> None:
            lead.append(identity)
            raise _LeadingEndsError

        lock = LeaseLock("election", namespace, identity)
        config = electionconfig.Config(
            lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=begin, onstopped_leading=None
        )
        leaderelection.LeaderElection(config).run()

    for identity in ("first", "second"):
        candidate = threading.Thread(target=campaign, args=(identity,), daemon=True)
        candidate.start()
        candidate.join(PATIENCE_S)
        assert not candidate.is_alive()
    lease = kubernetes.client.CoordinationV1Api(client).read_namespaced_lease("election", namespace)
    assert (lead, lease.spec.holder_identity) == (["first", "second"], "second")


class _LeadingEndsError(Exception):
    """What a leader's work ends with."""


async def test_the_asyncio_client_does_the_same(server: Server, namespace: str) -> None:
    """Custom and typed objects, and a watch that sees both ends of one."""
    async with await kubernetes.aio.config.new_client_from_config(config_file=str(server.kubeconfig)) as client:
        core, custom = kubernetes.aio.client.CoreV1Api(client), kubernetes.aio.client.CustomObjectsApi(client)
        where = _where(namespace)
        since = (await custom.list_namespaced_custom_object(*where))["metadata"]["resourceVersion"]
        created = await custom.create_namespaced_custom_object(*where, execution("a"))
        created["status"] = {"phase": "Executing"}
        updated = await custom.replace_namespaced_custom_object_status(*where, "a", created)
        assert updated["status"]["phase"] == "Executing"
        await custom.delete_namespaced_custom_object(*where, "a")
        assert await _types(custom, where, since) == ["ADDED", "MODIFIED", "DELETED"]
        config_map = await core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        assert config_map.data == {"k": "v"}
        with pytest.raises(kubernetes.aio.client.exceptions.ApiException) as caught:
            await core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
        assert caught.value.status == 409
        assert (await core.delete_namespaced_config_map("a", namespace))["status"] == "Success"


async def _types(custom: Any, where: tuple[str, str, str, str], since: str) -> list[str]:
    seen = []
    async with kubernetes.aio.watch.Watch() as watch:
        async for event in watch.stream(
            custom.list_namespaced_custom_object, *where, resource_version=since, timeout_seconds=int(PATIENCE_S)
        ):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                break
    return seen
