"""dryRun=All: everything is judged and answered as usual, and nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest

from api import JSON_PATCH, MERGE_PATCH, Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


@pytest.fixture
async def stored(api: Api) -> Any:
    """An Execution ``a`` that dry runs must leave alone."""
    status, created = await api.send("POST", api.path(EXECUTIONS), execution("a", metadata={"labels": {"l": "1"}}))
    assert status == 201
    return created


@pytest.fixture
def path(api: Api) -> str:
    """Where it is."""
    return api.path(EXECUTIONS, "a")


async def test_a_create_is_shown_and_not_stored(api: Api) -> None:
    """With a uid and without a resourceVersion; the name stays free."""
    maps = api.path("configmaps")
    for collection, body in ((api.path(EXECUTIONS), execution("b")), (maps, {"metadata": {"name": "b"}})):
        for _ in range(2):
            status, shown = await api.send("POST", f"{collection}?dryRun=All", body)
            assert (status, shown["metadata"]["name"]) == (201, "b")
            assert shown["metadata"]["uid"]
            assert "resourceVersion" not in shown["metadata"]
        assert (await api.send("GET", f"{collection}/b"))[0] == 404
    status, shown = await api.send(
        "POST", f"{api.path(EXECUTIONS)}?dryRun=All", execution(metadata={"generateName": "g-"})
    )
    assert (status, len(shown["metadata"]["name"])) == (201, 7)


async def test_a_namespace_is_shown_and_not_stored(api: Api) -> None:
    """Cluster-wide kinds too."""
    name = unique("dry")
    status, shown = await api.send("POST", "/api/v1/namespaces?dryRun=All", {"metadata": {"name": name}})
    assert (status, shown["status"]["phase"]) == (201, "Active")
    assert (await api.send("GET", f"/api/v1/namespaces/{name}"))[0] == 404


async def test_what_would_be_refused_is_refused(api: Api, path: str, stored: Any) -> None:
    """With the same codes."""
    collection = f"{api.path(EXECUTIONS)}?dryRun=All"
    assert (await api.send("POST", collection, execution("a")))[0] == 409
    assert (await api.send("POST", collection, execution("Upper")))[0] == 422
    assert (await api.send("POST", collection, execution("b", spec={"function": 5})))[0] == 422
    assert (await api.send("PUT", f"{path}?dryRun=All", {**stored, "spec": {"function": "other"}}))[0] == 422
    stale = {"metadata": {"resourceVersion": "1"}}
    assert (await api.send("PATCH", f"{path}?dryRun=All", stale, content_type=MERGE_PATCH))[0] == 409
    assert (await api.send("DELETE", f"{path}?dryRun=All", {"preconditions": {"uid": "other"}}))[0] == 409
    assert (await api.send("DELETE", f"{api.path(EXECUTIONS, 'b')}?dryRun=All"))[0] == 404


async def test_changes_are_shown_and_not_stored(api: Api, path: str, stored: Any) -> None:
    """By every verb; the revision that is shown is the current one."""
    spec = {"function": "hello", "retry": {"retries": 3}}
    patch = [{"op": "add", "path": "/status", "value": {"phase": "Failed"}}]
    changes: list[tuple[str, str, Any, str, str, Any]] = [
        ("PUT", path, {**stored, "spec": spec}, "application/json", "spec", spec),
        ("PATCH", path, {"spec": {"retry": {"retries": 3}}}, MERGE_PATCH, "spec", spec),
        ("PATCH", f"{path}/status", patch, JSON_PATCH, "status", {"phase": "Failed"}),
    ]
    for method, place, body, content_type, field, value in changes:
        status, shown = await api.send(method, f"{place}?dryRun=All", body, content_type=content_type)
        assert (status, shown[field]) == (200, value)
        assert shown["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
        assert await api.send("GET", path) == (200, stored)


async def test_deletes_are_shown_and_not_done(api: Api, path: str, stored: Any) -> None:
    """Whether asked for in the query or in the body; of collections too."""
    assert (await api.send("DELETE", f"{path}?dryRun=All"))[0] == 200
    assert (await api.send("DELETE", path, {"dryRun": ["All"]}))[0] == 200
    status, _ = await api.send("DELETE", f"{api.path(EXECUTIONS)}?dryRun=All")
    assert status == 200
    assert await api.send("GET", path) == (200, stored)


@pytest.mark.parametrize("value", ["", "None", "all", "All,All"])
async def test_only_all_is_a_dry_run(api: Api, path: str, stored: Any, value: str) -> None:
    """422 of the options and not of the object, and nothing is written."""
    writes: list[tuple[str, str, Any, str, str]] = [
        ("POST", api.path(EXECUTIONS), execution("b"), "application/json", "CreateOptions"),
        ("PUT", path, stored, "application/json", "UpdateOptions"),
        ("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, MERGE_PATCH, "PatchOptions"),
    ]
    for method, place, body, content_type, kind in writes:
        status, answer = await api.send(method, f"{place}?dryRun={value}", body, content_type=content_type)
        assert (status, answer["reason"], answer["details"]["kind"]) == (422, "Invalid", kind)
        assert answer["details"]["causes"][0]["field"] == "dryRun"
    assert await api.send("GET", path) == (200, stored)
