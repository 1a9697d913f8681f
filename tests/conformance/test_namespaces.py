"""The life of namespaces: what they begin with, how they end, and which ones always are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api import MERGE_PATCH, Api, execution, unique

NAMESPACES = "/api/v1/namespaces"
EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
NAME_LABEL = "kubernetes.io/metadata.name"
HOLD = "example.com/hold"
EMPTYING_S = 90.0
"""A real namespace controller begins after 5 s, asks for one kind after the other, and again 8 s later."""


@pytest.fixture
async def name(api: Api) -> AsyncIterator[str]:
    """Name of a namespace that is not there yet, and is deleted afterwards."""
    name = unique("extra")
    yield name
    await api.send("DELETE", f"{NAMESPACES}/{name}")


async def _create(api: Api, name: str, **fields: Any) -> Any:
    status, created = await api.send("POST", NAMESPACES, {"metadata": {"name": name}, **fields})
    assert status == 201, created
    return created


async def test_a_namespace_begins_active_with_its_name_as_a_label(api: Api, name: str) -> None:
    """Status and label are the server's; finalizers of the spec may be added to."""
    metadata = {"name": name, "labels": {"a": "b", NAME_LABEL: "other"}}
    created = await _create(
        api, name, metadata=metadata, spec={"finalizers": ["example.com/own"]}, status={"phase": "Terminating"}
    )
    assert created["metadata"]["labels"] == {"a": "b", NAME_LABEL: name}
    assert sorted(created["spec"]["finalizers"]) == ["example.com/own", "kubernetes"]
    assert created["status"] == {"phase": "Active"}
    body = {"spec": {"finalizers": ["kubernetes"]}}
    status, _ = await api.send("PUT", f"{NAMESPACES}/{name}/finalize", {"metadata": {"name": name}, **body})
    assert status == 200


async def test_an_update_changes_neither_spec_nor_status_nor_the_label(api: Api, name: str) -> None:
    """Each has its own way; other labels are free."""
    await _create(api, name)
    change = {
        "metadata": {"labels": {NAME_LABEL: None, "a": "b"}},
        "spec": {"finalizers": []},
        "status": {"phase": "x"},
    }
    status, body = await api.send("PATCH", f"{NAMESPACES}/{name}", change, content_type=MERGE_PATCH)
    assert (status, body["metadata"]["labels"]) == (200, {"a": "b", NAME_LABEL: name})
    assert (body["spec"], body["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


async def test_the_status_cannot_say_what_is_not_so(api: Api, name: str) -> None:
    """422; conditions may be added."""
    await _create(api, name)
    path = f"{NAMESPACES}/{name}/status"
    status, body = await api.send("PATCH", path, {"status": {"phase": "Terminating"}}, content_type=MERGE_PATCH)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "status.Phase")
    conditions = [{"type": "Mine", "status": "True"}]
    status, body = await api.send("PATCH", path, {"status": {"conditions": conditions}}, content_type=MERGE_PATCH)
    assert (status, body["status"]["conditions"][0]["type"]) == (200, "Mine")


async def test_finalize_takes_put_alone_and_only_finalizers_that_can_be(api: Api, name: str) -> None:
    """Neither read nor patched; a name without a domain must be one of Kubernetes' own."""
    created = await _create(api, name)
    path = f"{NAMESPACES}/{name}/finalize"
    assert (await api.send("GET", path))[0] == 405
    assert (await api.send("PATCH", path, {"spec": {}}, content_type=MERGE_PATCH))[0] == 405
    created["spec"]["finalizers"] = ["nonsense"]
    status, body = await api.send("PUT", path, created)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "spec.finalizers[0]")


async def test_a_namespace_cannot_begin_with_a_finalizer_that_cannot_be(api: Api, name: str) -> None:
    """422: nobody could take it away."""
    body = {"metadata": {"name": name}, "spec": {"finalizers": ["nonsense"]}}
    status, answer = await api.send("POST", NAMESPACES, body)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert answer["details"]["causes"][0]["field"].startswith("spec.finalizers")


async def test_names_are_generated_for_namespaces_too(api: Api) -> None:
    """The label follows."""
    status, created = await api.send("POST", NAMESPACES, {"metadata": {"generateName": "test-"}})
    name = created["metadata"]["name"]
    assert (status, created["metadata"]["labels"]) == (201, {NAME_LABEL: name})
    await api.send("DELETE", f"{NAMESPACES}/{name}")


@pytest.mark.parametrize("wrong", ["uid", "resourceVersion"])
async def test_preconditions_hold_for_namespaces(api: Api, name: str, wrong: str) -> None:
    """409, and it stays active."""
    await _create(api, name)
    status, body = await api.send("DELETE", f"{NAMESPACES}/{name}", {"preconditions": {wrong: "1"}})
    assert (status, body["reason"], body["details"]["kind"]) == (409, "Conflict", "namespaces")
    assert (await api.send("GET", f"{NAMESPACES}/{name}"))[1]["status"]["phase"] == "Active"


async def test_a_dry_run_shows_a_terminating_namespace_and_leaves_it(api: Api, name: str) -> None:
    """Active as before."""
    created = await _create(api, name)
    _, body = await api.send("DELETE", f"{NAMESPACES}/{name}?dryRun=All")
    assert body["status"]["phase"] == "Terminating"
    assert (await api.send("GET", f"{NAMESPACES}/{name}"))[1] == created


@pytest.mark.timeout(5 * EMPTYING_S)
async def test_a_deleted_namespace_ends_when_its_content_is_gone(api: Api, name: str) -> None:
    """Terminating refuses new objects, empties itself, says what keeps it, and goes with the last object."""
    created = await _create(api, name)
    executions, config_maps = (api.path(plural, namespace=name) for plural in (EXECUTIONS, "configmaps"))
    held = {"metadata": {"name": "held", "finalizers": [HOLD]}}
    assert (await api.send("POST", config_maps, held))[0] == 201
    assert (await api.send("POST", executions, execution("free")))[0] == 201

    path = f"{NAMESPACES}/{name}"
    status, terminating = await api.send("DELETE", path)
    assert (status, terminating["status"]["phase"]) == (200, "Terminating")
    assert "deletionGracePeriodSeconds" not in terminating["metadata"]
    status, again = await api.send("DELETE", path, {"propagationPolicy": "Orphan"})
    assert (status, again["metadata"].get("finalizers")) == (200, None)
    await _refuses_new_objects(api, name)

    await api.eventually(f"{executions}/free", 404, patience_s=EMPTYING_S)
    await api.eventually(
        f"{config_maps}/held", lambda body: "deletionTimestamp" in body["metadata"], patience_s=EMPTYING_S
    )
    reported = await api.eventually(path, lambda body: body["status"].get("conditions"), patience_s=EMPTYING_S)
    conditions = {condition["type"]: condition for condition in reported["status"]["conditions"]}
    remaining, finalizers = conditions["NamespaceContentRemaining"], conditions["NamespaceFinalizersRemaining"]
    assert (remaining["status"], remaining["reason"]) == ("True", "SomeResourcesRemain")
    assert "configmaps. has 1 resource instances" in remaining["message"]
    assert f"{HOLD} in 1 resource instances" in finalizers["message"]
    assert conditions["NamespaceDeletionContentFailure"]["status"] == "False"

    body = {"metadata": {"finalizers": None}}
    assert (await api.send("PATCH", f"{config_maps}/held", body, content_type=MERGE_PATCH))[0] == 200
    await api.eventually(path, 404, patience_s=EMPTYING_S)
    assert (await _create(api, name))["metadata"]["uid"] != created["metadata"]["uid"]


async def _refuses_new_objects(api: Api, name: str) -> None:
    for plural, body in ((EXECUTIONS, execution("new")), ("configmaps", {"metadata": {"generateName": "new"}})):
        for query in ("", "?dryRun=All"):
            status, answer = await api.send("POST", api.path(plural, namespace=name) + query, body)
            assert (status, answer["reason"], answer["details"]["name"]) == (403, "Forbidden", "new")
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {name} is being terminated"}
            assert answer["details"]["causes"] == [{**cause, "field": "metadata.namespace"}]
    change = {"data": {"a": "b"}}
    status, _ = await api.send(
        "PATCH", api.path("configmaps", "held", namespace=name), change, content_type=MERGE_PATCH
    )
    assert status == 200
    status, answer = await api.send("POST", NAMESPACES, {"metadata": {"name": name}})
    assert (status, answer["reason"]) == (409, "AlreadyExists")


@pytest.mark.timeout(5 * EMPTYING_S)
async def test_finalizers_of_a_namespace_hold_it_when_its_content_is_gone(api: Api, name: str) -> None:
    """Those of its metadata and those of its spec, which only /finalize takes away."""
    metadata = {"name": name, "finalizers": [HOLD]}
    await _create(api, name, metadata=metadata, spec={"finalizers": ["example.com/own"]})
    path = f"{NAMESPACES}/{name}"
    await api.send("DELETE", path)
    own = {"finalizers": ["example.com/own"]}
    emptied = await api.eventually(path, lambda body: body["spec"] == own, patience_s=EMPTYING_S)
    emptied["spec"] = {"finalizers": []}
    status, body = await api.send("PUT", f"{path}/finalize", emptied)
    assert (status, body["spec"]) == (200, {})
    status, _ = await api.send("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
    assert status == 200
    await api.eventually(path, 404, patience_s=EMPTYING_S)


async def test_nothing_is_created_where_there_is_no_namespace(api: Api) -> None:
    """404 of the namespace; lists are empty."""
    path = api.path("configmaps", namespace="never-was")
    status, body = await api.send("POST", path, {"metadata": {"name": "a"}})
    assert (status, body["details"]) == (404, {"name": "never-was", "kind": "namespaces"})
    assert (await api.send("GET", path))[1]["items"] == []


@pytest.mark.parametrize("standing", ["default", "kube-system", "kube-public"])
async def test_the_first_namespaces_cannot_be_deleted(api: Api, standing: str) -> None:
    """403, in a dry run too."""
    for query in ("", "?dryRun=All"):
        status, body = await api.send("DELETE", f"{NAMESPACES}/{standing}{query}")
        message = f'namespaces "{standing}" is forbidden: this namespace may not be deleted'
        assert (status, body["reason"], body["message"]) == (403, "Forbidden", message)
    _, namespace = await api.send("GET", f"{NAMESPACES}/{standing}")
    assert namespace["status"]["phase"] == "Active"
    assert namespace["metadata"]["labels"][NAME_LABEL] == standing


async def test_the_namespace_of_node_leases_is_there_but_not_protected(api: Api) -> None:
    """As Kubernetes has it."""
    status, body = await api.send("DELETE", f"{NAMESPACES}/kube-node-lease?dryRun=All")
    assert (status, body["status"]["phase"]) == (200, "Terminating")
    assert (await api.send("GET", f"{NAMESPACES}/kube-node-lease"))[1]["status"]["phase"] == "Active"
