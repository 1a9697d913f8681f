"""What the engine itself relies on: the requests that it sends, answered as it understands the answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api import JSON_PATCH, MERGE_PATCH, Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
LIVE = "?fieldSelector=status.phase!%3DCompleted,status.phase!%3DFailed"


async def create(api: Api, name: str) -> dict[str, Any]:
    status, created = await api.send("POST", api.path(EXECUTIONS), execution(name))
    assert status == 201, created
    return created


async def test_an_execution_without_a_status_is_in_no_phase(api: Api) -> None:
    """The worker's selector, phases that it does not want, takes what nobody has written a status of."""
    await create(api, "new")
    await create(api, "done")
    done = {"status": {"phase": "Completed"}}
    await api.send("PATCH", api.path(EXECUTIONS, "done", "status"), done, content_type=MERGE_PATCH)
    _, listed = await api.send("GET", api.path(EXECUTIONS) + LIVE)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["new"]
    _, listed = await api.send("GET", api.path(EXECUTIONS) + "?fieldSelector=status.phase%3D")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["new"]


async def test_an_execution_that_ends_leaves_the_worker_s_watch_with_its_last_status(api: Api) -> None:
    """DELETED for the selection; the object is what it was before the write, with the write's resourceVersion."""
    await create(api, "e")
    _, listed = await api.send("GET", api.path(EXECUTIONS) + LIVE)
    events = api.watch(
        f"{api.path(EXECUTIONS)}{LIVE}&watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
    )
    reading = asyncio.ensure_future(anext(events))
    done = {"status": {"phase": "Completed"}}
    _, written = await api.send("PATCH", api.path(EXECUTIONS, "e", "status"), done, content_type=MERGE_PATCH)
    event = await reading
    await events.aclose()
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
    assert "phase" not in event["object"].get("status", {})


async def test_a_cancel_of_an_execution_without_a_status_tests_that_there_is_none(api: Api) -> None:
    """The first patch writes the status; the second finds one and is refused."""
    await create(api, "e")
    operations = [
        {"op": "test", "path": "/status", "value": None},
        {"op": "add", "path": "/status", "value": {"phase": "Canceled"}},
    ]
    path = api.path(EXECUTIONS, "e", "status")
    status, canceled = await api.send("PATCH", path, operations, content_type=JSON_PATCH)
    assert (status, canceled["status"]["phase"]) == (200, "Canceled")
    status, refused = await api.send("PATCH", path, operations, content_type=JSON_PATCH)
    assert (status, refused["reason"]) == (422, "Invalid")


async def test_a_status_is_replaced_by_a_body_without_a_spec(api: Api) -> None:
    """The spec stays: the worker does not send it."""
    created = await create(api, "e")
    metadata = {key: created["metadata"][key] for key in ("name", "resourceVersion")}
    body = {"apiVersion": created["apiVersion"], "kind": "Execution", "metadata": metadata}
    path = api.path(EXECUTIONS, "e", "status")
    status, written = await api.send("PUT", path, {**body, "status": {"phase": "Executing"}})
    assert (status, written["status"], written["spec"]) == (200, {"phase": "Executing"}, created["spec"])
    assert written["metadata"]["generation"] == created["metadata"]["generation"]
    status, late = await api.send("PUT", path, {**body, "status": {"phase": "Completed"}})
    assert (status, late["reason"]) == (409, "Conflict")


async def test_a_status_is_written_after_somebody_deleted_the_execution(api: Api) -> None:
    """404, or 409 for its uid if there is a new one of that name: never a new object, never somebody else's status."""
    created = await create(api, "e")
    metadata = {key: created["metadata"][key] for key in ("name", "uid", "resourceVersion")}
    body = {
        "apiVersion": created["apiVersion"],
        "kind": "Execution",
        "metadata": metadata,
        "status": {"phase": "Failed"},
    }
    await api.send("DELETE", api.path(EXECUTIONS, "e"))
    path = api.path(EXECUTIONS, "e", "status")
    status, refused = await api.send("PUT", path, body)
    assert (status, refused["reason"]) == (404, "NotFound")
    await create(api, "e")
    status, refused = await api.send("PUT", path, body)
    assert (status, refused["reason"]) == (409, "Conflict")


@pytest.mark.parametrize("plural", ["executions", "functions"])
async def test_kontinue_s_own_definitions_are_accepted_as_they_are(api: Api, plural: str) -> None:
    """Established, names accepted, and a structural schema."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.kontinue.cloud"
    _, definition = await api.send("GET", path)
    conditions = {one["type"]: one["status"] for one in definition["status"]["conditions"]}
    assert (conditions["Established"], conditions["NamesAccepted"]) == ("True", "True")
    assert "NonStructuralSchema" not in conditions


async def test_a_default_below_status_does_not_make_a_status(api: Api) -> None:
    """Why an Execution that nobody has touched has no phase (ADR 0004): a default needs its parent to be there."""
    plural = unique("phased").replace("-", "")
    group = f"{plural}.example.com"
    phase = {"type": "string", "default": "Pending"}
    properties = {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "status": {"type": "object", "properties": {"phase": phase, "note": {"type": "string"}}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {"status": {}},
    }
    names = {
        "plural": plural,
        "singular": plural,
        "kind": plural.capitalize(),
        "listKind": f"{plural.capitalize()}List",
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, made = await api.send("POST", definitions, definition)
    assert status == 201, made
    try:
        collection = api.path(f"{group}/v1/{plural}")
        await api.eventually(collection, 200)
        body = {"apiVersion": f"{group}/v1", "kind": names["kind"], "metadata": {"name": "one"}, "spec": {}}
        _, created = await api.send("POST", collection, body)
        assert "status" not in created
        _, created = await api.send("POST", collection, {**body, "metadata": {"name": "two"}, "status": {"note": "x"}})
        assert "status" not in created
        path = api.path(f"{group}/v1/{plural}", "one", "status")
        _, written = await api.send("PATCH", path, {"status": {"note": "x"}}, content_type=MERGE_PATCH)
        assert written["status"] == {"note": "x", "phase": "Pending"}
    finally:
        await api.send("DELETE", f"{definitions}/{definition['metadata']['name']}")
