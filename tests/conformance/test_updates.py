"""Updates by PUT: optimistic concurrency, identity, the status split, generation, writes that change nothing."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api import JSON_PATCH, MERGE_PATCH, Api, execution
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
LEASES = "coordination.k8s.io/v1/leases"
Create = Callable[..., Awaitable[Any]]


@pytest.fixture
def path(api: Api) -> str:
    """The Execution ``a``."""
    return api.path(EXECUTIONS, "a")


@pytest.fixture
def create(api: Api) -> Create:
    """Create the Execution ``a`` and return it."""

    async def create(**fields: Any) -> Any:
        status, created = await api.send("POST", api.path(EXECUTIONS), execution("a", **fields))
        assert status == 201, created
        return created

    return create


def changed(document: Any, **metadata: Any) -> Any:
    """Return a copy with other members of metadata; None leaves one out."""
    result = copy.deepcopy(document)
    result["metadata"].update(metadata)
    result["metadata"] = {key: value for key, value in result["metadata"].items() if value is not None}
    return result


async def test_an_update_replaces_the_object(api: Api, path: str, create: Create) -> None:
    """What the body leaves out is gone, what the server owns stays."""
    created = await create(metadata={"labels": {"old": "1"}, "annotations": {"old": "1"}})
    status, updated = await api.send("PUT", path, changed(created, labels={"new": "1"}, annotations=None))
    assert (status, updated["metadata"]["labels"]) == (200, {"new": "1"})
    assert "annotations" not in updated["metadata"]
    assert updated["metadata"]["uid"] == created["metadata"]["uid"]
    assert int(updated["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    assert await api.send("GET", path) == (200, updated)


async def test_a_stale_update_is_a_conflict(api: Api, path: str, create: Create) -> None:
    """409 Conflict names the object; kinds with and without need of a revision alike."""
    stale = await create()
    await api.send("PATCH", path, {"metadata": {"labels": {"a": "1"}}}, content_type=MERGE_PATCH)
    status, answer = await api.send("PUT", path, stale)
    details = {"name": "a", "group": "kontinue.cloud", "kind": "executions"}
    assert (status, answer["reason"], answer["details"]) == (409, "Conflict", details)
    assert "the object has been modified; please apply your changes to the latest version" in answer["message"]
    maps = api.path("configmaps")
    _, stale = await api.send("POST", maps, {"metadata": {"name": "m"}, "data": {"a": "1"}})
    assert (await api.send("PUT", f"{maps}/m", {**stale, "data": {"a": "2"}}))[0] == 200
    assert (await api.send("PUT", f"{maps}/m", {**stale, "data": {"a": "3"}}))[0] == 409


@pytest.mark.parametrize("version", [None, "", "0"])
async def test_updates_of_custom_objects_must_name_a_revision(
    api: Api, path: str, create: Create, version: str | None
) -> None:
    """422 of metadata.resourceVersion, for the status too; what does not exist is 404 first."""
    created = await create()
    for place in (path, f"{path}/status"):
        status, answer = await api.send("PUT", place, changed(created, resourceVersion=version))
        assert (status, answer["reason"]) == (422, "Invalid")
        (cause,) = answer["details"]["causes"]
        assert (cause["field"], cause["reason"]) == ("metadata.resourceVersion", "FieldValueInvalid")
        assert "must be specified for an update" in cause["message"]
    missing = changed(created, resourceVersion=version, name="missing")
    assert (await api.send("PUT", api.path(EXECUTIONS, "missing"), missing))[0] == 404


@pytest.mark.parametrize("version", [None, "", "0"])
async def test_updates_of_config_maps_need_no_revision(api: Api, version: str | None) -> None:
    """The last one wins."""
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "m"}, "data": {"a": "1"}})
    body = changed({"metadata": {"name": "m"}, "data": {"a": "2"}}, resourceVersion=version)
    status, updated = await api.send("PUT", api.path("configmaps", "m"), body)
    assert (status, updated["data"]) == (200, {"a": "2"})


async def test_updates_of_leases_must_name_a_revision_and_create_missing_ones(api: Api) -> None:
    """A Lease is created by PUT; then whoever names the current revision takes it."""
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
    status, created = await api.send("PUT", api.path(LEASES, "l"), lease)
    assert (status, created["spec"]) == (201, {"holderIdentity": "a"})
    status, answer = await api.send("PUT", api.path(LEASES, "l"), lease)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")
    taken = changed({**created, "spec": {"holderIdentity": "b"}})
    assert (await api.send("PUT", api.path(LEASES, "l"), taken))[0] == 200
    assert (await api.send("PUT", api.path(LEASES, "l"), taken))[0] == 409


async def test_of_concurrent_updates_of_one_revision_one_wins(api: Api, path: str, create: Create) -> None:
    """All others get 409."""
    created = await create()
    updates = [api.send("PUT", path, changed(created, labels={"n": str(number)})) for number in range(10)]
    answers = await asyncio.gather(*updates)
    assert sorted(status for status, _ in answers) == [200] + [409] * 9
    (won,) = [body for status, body in answers if status == 200]
    assert await api.send("GET", path) == (200, won)


@pytest.mark.parametrize(
    ("metadata", "code"),
    [({"name": "b"}, 400), ({"name": None}, 400), ({"namespace": "other"}, 400), ({"uid": "other"}, 409)],
)
async def test_identity_must_be_that_of_the_path(
    api: Api, path: str, create: Create, metadata: dict[str, Any], code: int
) -> None:
    """Name and namespace are 400, a uid that is another object's 409; for the status too."""
    created = await create()
    for place in (path, f"{path}/status"):
        assert (await api.send("PUT", place, changed(created, **metadata)))[0] == code
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    body = changed({"metadata": {"name": "a"}}, **metadata)
    assert (await api.send("PUT", api.path("configmaps", "a"), body))[0] == code
    assert await api.send("GET", path) == (200, created)


async def test_system_metadata_is_kept_whatever_an_update_says(api: Api, path: str, create: Create) -> None:
    """Generation, creation and uid; a time is taken in any form of RFC 3339, as the Python client writes it."""
    created = await create()
    forged = changed(created, generation=9, creationTimestamp="2026-11-20T04:11:19.445316+00:00", uid=None)
    status, updated = await api.send("PUT", path, forged)
    assert (status, updated["metadata"]) == (200, created["metadata"])
    status, answer = await api.send("PUT", path, changed(created, creationTimestamp="yesterday"))
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_a_deletion_cannot_be_marked_by_hand(api: Api, path: str, create: Create) -> None:
    """422 of the field; only DELETE sets it."""
    created = await create()
    for field, value in (("deletionTimestamp", "2026-01-01T00:00:00Z"), ("deletionGracePeriodSeconds", 5)):
        status, answer = await api.send("PUT", path, changed(created, **{field: value}))
        assert (status, answer["details"]["causes"][0]["field"]) == (422, f"metadata.{field}")


async def test_a_finalizer_goes_by_put_with_the_deletions_time_in_another_form(
    api: Api, path: str, create: Create
) -> None:
    """The Python client writes back every time with an offset."""
    await create(metadata={"finalizers": ["example.com/hold"]})
    _, marked = await api.send("DELETE", path)
    written = marked["metadata"]["deletionTimestamp"].replace("Z", "+00:00")
    status, _ = await api.send("PUT", path, changed(marked, finalizers=None, deletionTimestamp=written))
    assert status == 200
    assert (await api.send("GET", path))[0] == 404


async def test_kind_and_version_must_be_those_of_the_path(api: Api, path: str, create: Create) -> None:
    """As for creates."""
    created = await create()
    for fields, code in (({"kind": "Function"}, 422), ({"apiVersion": "kontinue.cloud/v9"}, 400), ({"kind": ""}, 400)):
        assert (await api.send("PUT", path, {**created, **fields}))[0] == code


async def test_status_and_the_rest_are_written_separately(api: Api, path: str, create: Create) -> None:
    """/status changes the status alone, the main path everything but it."""
    created = await create(metadata={"labels": {"a": "1"}})
    both = changed(created, labels={"b": "1"}, annotations={"b": "1"}, finalizers=["example.com/hold"])
    both |= {"spec": {"function": "other"}, "status": {"phase": "Executing"}}
    status, updated = await api.send("PUT", f"{path}/status", both)
    assert (status, updated["spec"], updated["status"]) == (200, created["spec"], {"phase": "Executing"})
    assert updated["metadata"]["labels"] == {"a": "1"}
    assert not {"annotations", "finalizers"} & updated["metadata"].keys()
    again = {**updated, "spec": {"function": "hello", "retry": {"retries": 2}}, "status": {"phase": "Completed"}}
    status, updated = await api.send("PUT", path, again)
    assert (status, updated["status"], updated["spec"]) == (200, {"phase": "Executing"}, again["spec"])
    assert await api.send("GET", f"{path}/status") == (200, updated)


async def test_a_status_is_written_without_the_rest(api: Api, path: str, create: Create) -> None:
    """A spec that is missing or wrong does not matter there; a status of a wrong type does."""
    created = await create()
    status, updated = await api.send(
        "PUT", f"{path}/status", {**created, "spec": None, "status": {"phase": "Executing"}}
    )
    assert (status, updated["spec"], updated["status"]) == (200, created["spec"], {"phase": "Executing"})
    status, updated = await api.send("PUT", f"{path}/status", {**updated, "spec": {"function": 5}})
    assert (status, updated["spec"]) == (200, created["spec"])
    status, answer = await api.send("PUT", f"{path}/status", {**updated, "status": "text"})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "status")


async def test_generation_counts_changes_of_the_spec(api: Api, path: str, create: Create) -> None:
    """Neither metadata nor status raise it; a deletion that is held does."""
    await create(metadata={"finalizers": ["example.com/hold"]})
    writes = (
        (path, {"metadata": {"labels": {"a": "1"}}}, 1),
        (f"{path}/status", {"status": {"phase": "Executing"}}, 1),
        (path, {"status": {"phase": "Completed"}}, 1),
        (path, {"spec": {"retry": {"retries": 1}}}, 2),
        (path, {"spec": {"retry": {"retries": 1}}, "metadata": {"labels": {"a": "2"}}}, 2),
    )
    for place, patch, generation in writes:
        _, updated = await api.send("PATCH", place, patch, content_type=MERGE_PATCH)
        assert updated["metadata"]["generation"] == generation
    _, marked = await api.send("DELETE", path)
    assert marked["metadata"]["generation"] == 3
    await api.send("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)


async def test_a_write_that_changes_nothing_is_none(api: Api, path: str, create: Create) -> None:
    """It keeps the resourceVersion, and a watch sees the next real change first; the order of members is no change."""
    created = await create(spec={"arguments": {"x": 1, "y": 2}})
    reordered = {**created, "spec": {"arguments": {"y": 2, "x": 1}, "function": "hello"}}
    writes: list[tuple[str, str, Any, str]] = [
        ("PUT", path, created, "application/json"),
        ("PUT", path, reordered, "application/json"),
        ("PUT", f"{path}/status", created, "application/json"),
        ("PATCH", path, {}, MERGE_PATCH),
        ("PATCH", path, {"spec": {"function": "hello"}}, MERGE_PATCH),
        ("PATCH", path, [], JSON_PATCH),
        ("PATCH", f"{path}/status", {"spec": {"function": "other"}}, MERGE_PATCH),
    ]
    for method, place, body, kind in writes:
        status, answer = await api.send(method, place, body, content_type=kind)
        assert (status, answer["metadata"]["resourceVersion"]) == (200, created["metadata"]["resourceVersion"])
    _, updated = await api.send("PATCH", path, {"metadata": {"labels": {"a": "1"}}}, content_type=MERGE_PATCH)
    since = created["metadata"]["resourceVersion"]
    (event,) = await events_of(api, f"{api.path(EXECUTIONS)}?watch=true&resourceVersion={since}", 1)
    assert (event["type"], event["object"]) == ("MODIFIED", updated)


async def test_config_maps_that_do_not_change_keep_their_revision(api: Api) -> None:
    """Built-in kinds too."""
    body = {"metadata": {"name": "m"}, "data": {"a": "1"}}
    _, created = await api.send("POST", api.path("configmaps"), body)
    for sent in (body, created):
        assert await api.send("PUT", api.path("configmaps", "m"), sent) == (200, created)


async def test_rules_of_the_schema_hold_for_updates(api: Api, path: str, create: Create) -> None:
    """A spec that may not change, a phase that is final."""
    created = await create()
    status, answer = await api.send("PUT", path, {**created, "spec": {"function": "other"}})
    assert (status, answer["reason"]) == (422, "Invalid")
    for phase, code in (("Completed", 200), ("Executing", 422)):
        patch = {"status": {"phase": phase}}
        assert (await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH))[0] == code


async def test_a_name_other_than_that_of_the_path_is_refused_whether_or_not_there_is_an_object(api: Api) -> None:
    """400, before anything is looked up."""
    for name in ("there", "absent"):
        if name == "there":
            assert (await api.send("POST", api.path("configmaps"), {"metadata": {"name": name}}))[0] == 201
        status, body = await api.send("PUT", api.path("configmaps", name), {"metadata": {"name": "other"}})
        assert (status, body["reason"]) == (400, "BadRequest")
        assert f"the name of the object (other) does not match the name on the URL ({name})" in body["message"]
