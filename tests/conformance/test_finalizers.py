"""Objects that finalizers hold: marked by a delete, gone with the last finalizer."""

from __future__ import annotations

from typing import Any

from api import JSON_PATCH, MERGE_PATCH, Api, execution
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
HOLD = "example.com/hold"


async def _held(api: Api, *finalizers: str) -> tuple[str, Any]:
    metadata = {"finalizers": list(finalizers or (HOLD,))}
    status, created = await api.send("POST", api.path(EXECUTIONS), execution("a", metadata=metadata))
    assert status == 201, created
    return api.path(EXECUTIONS, "a"), created


async def test_a_held_object_is_marked_and_answered(api: Api) -> None:
    """deletionTimestamp, a grace period of 0, one generation more; the rest as it was."""
    path, created = await _held(api)
    status, marked = await api.send("DELETE", path)
    assert status == 200
    metadata = marked["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 0
    assert metadata["generation"] == 2
    assert metadata["finalizers"] == [HOLD]
    assert metadata["deletionTimestamp"] >= metadata["creationTimestamp"]
    assert marked["spec"] == created["spec"]
    assert (await api.send("GET", path))[1] == marked


async def test_a_built_in_kind_without_generation_is_marked_without_one(api: Api) -> None:
    """ConfigMaps do not count their changes."""
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a", "finalizers": [HOLD]}})
    _, marked = await api.send("DELETE", api.path("configmaps", "a"))
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert "generation" not in marked["metadata"]
    await api.send("PATCH", api.path("configmaps", "a"), {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
    assert (await api.send("GET", api.path("configmaps", "a")))[0] == 404


async def test_a_second_delete_changes_nothing(api: Api) -> None:
    """The same object is answered, with the same resourceVersion."""
    path, _ = await _held(api)
    _, first = await api.send("DELETE", path)
    assert await api.send("DELETE", path) == (200, first)


async def test_removing_the_last_finalizer_deletes_the_object(api: Api) -> None:
    """The answer still shows it; the watch tells MODIFIED for each step but the last, which is DELETED."""
    path, created = await _held(api, HOLD, "example.com/too")
    since = created["metadata"]["resourceVersion"]
    await api.send("DELETE", path)
    for left in (["example.com/too"], []):
        status, body = await api.send("PATCH", path, {"metadata": {"finalizers": left}}, content_type=MERGE_PATCH)
        assert (status, body["metadata"].get("finalizers", [])) == (200, left)
    assert (await api.send("GET", path))[0] == 404
    await api.send("POST", api.path(EXECUTIONS), execution("end"))
    events = await events_of(api, f"{api.path(EXECUTIONS)}?watch=true&resourceVersion={since}", 4)
    assert [event["type"] for event in events] == ["MODIFIED", "MODIFIED", "DELETED", "ADDED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


async def test_a_dry_run_of_removing_the_last_finalizer_deletes_nothing(api: Api) -> None:
    """It answers as if."""
    path, _ = await _held(api)
    await api.send("DELETE", path)
    body = {"metadata": {"finalizers": None}}
    assert (await api.send("PATCH", f"{path}?dryRun=All", body, content_type=MERGE_PATCH))[0] == 200
    assert (await api.send("GET", path))[1]["metadata"]["finalizers"] == [HOLD]


async def test_finalizers_go_by_json_patch_with_a_test_of_the_version(api: Api) -> None:
    """As operators remove theirs: a failed test is 422 and changes nothing."""
    path, _ = await _held(api)
    _, marked = await api.send("DELETE", path)
    remove = {"op": "remove", "path": "/metadata/finalizers/0"}
    at = "/metadata/resourceVersion"
    stale = [{"op": "test", "path": at, "value": "1"}, remove]
    assert (await api.send("PATCH", path, stale, content_type=JSON_PATCH))[0] == 422
    current = [{"op": "test", "path": at, "value": marked["metadata"]["resourceVersion"]}, remove]
    assert (await api.send("PATCH", path, current, content_type=JSON_PATCH))[0] == 200
    assert (await api.send("GET", path))[0] == 404


async def test_an_object_being_deleted_takes_no_new_finalizers(api: Api) -> None:
    """422; fewer are fine, and so is every other write."""
    path, _ = await _held(api, HOLD, "example.com/too")
    await api.send("DELETE", path)
    more = {"metadata": {"finalizers": [HOLD, "example.com/too", "example.com/new"]}}
    status, body = await api.send("PATCH", path, more, content_type=MERGE_PATCH)
    assert (status, body["details"]["causes"][0]["reason"]) == (422, "FieldValueForbidden")
    assert body["details"]["causes"][0]["field"] == "metadata.finalizers"
    other = {"metadata": {"finalizers": [HOLD, "example.com/new"]}}
    assert (await api.send("PATCH", path, other, content_type=MERGE_PATCH))[0] == 422
    labelled = {"metadata": {"labels": {"x": "y"}, "finalizers": [HOLD]}}
    status, body = await api.send("PATCH", path, labelled, content_type=MERGE_PATCH)
    assert (status, body["metadata"]["labels"]) == (200, {"x": "y"})
    status, body = await api.send("PATCH", f"{path}/status", {"status": {"phase": "Failed"}}, content_type=MERGE_PATCH)
    assert (status, body["status"]["phase"]) == (200, "Failed")
    assert body["metadata"]["generation"] == 2


async def test_an_object_being_deleted_cannot_be_saved_or_replaced(api: Api) -> None:
    """Its deletionTimestamp stays, and its name is taken until it is gone."""
    path, _ = await _held(api)
    _, marked = await api.send("DELETE", path)
    alive = {**marked, "metadata": {k: v for k, v in marked["metadata"].items() if not k.startswith("deletion")}}
    _, still = await api.send("PUT", path, alive)
    assert still["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    status, body = await api.send("POST", api.path(EXECUTIONS), execution("a"))
    assert (status, body["reason"]) == (409, "AlreadyExists")
    assert "object is being deleted" in body["message"]


async def test_a_client_cannot_mark_an_object_by_writing_it(api: Api) -> None:
    """DeletionTimestamp in a create or update is not taken."""
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [HOLD]}
    _, created = await api.send("POST", api.path(EXECUTIONS), execution("a", metadata=metadata))
    assert "deletionTimestamp" not in created["metadata"]
    path = api.path(EXECUTIONS, "a")
    await api.send("PATCH", path, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, content_type=MERGE_PATCH)
    assert "deletionTimestamp" not in (await api.send("GET", path))[1]["metadata"]


async def test_removing_finalizers_of_a_living_object_deletes_nothing(api: Api) -> None:
    """Only a delete does."""
    path, _ = await _held(api)
    status, body = await api.send("PATCH", path, {"metadata": {"finalizers": []}}, content_type=MERGE_PATCH)
    assert (status, "finalizers" in body["metadata"]) == (200, False)
    assert (await api.send("GET", path))[0] == 200


async def test_preconditions_hold_for_marked_objects_too(api: Api) -> None:
    """409, as for any other."""
    path, created = await _held(api)
    await api.send("DELETE", path)
    stale = {"preconditions": {"resourceVersion": created["metadata"]["resourceVersion"]}}
    assert (await api.send("DELETE", path, stale))[0] == 409
