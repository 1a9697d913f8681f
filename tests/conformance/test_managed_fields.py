"""managedFields beside server-side apply: what other writes take, who they say they are, and what clears them.

An object has to have been applied: of others the local server keeps no account.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api import JSON_PATCH, MERGE_PATCH, Api, execution
from applying import applied, apply, conflicts, entry, fields

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FUNCTION = {"f:spec": {"f:function": {}}}


def path(api: Api, name: str = "a", subresource: str = "") -> str:
    return api.path(EXECUTIONS, name, subresource)


async def labelled(api: Api, manager: str = "", **labels: str | None) -> Any:
    """Change labels of the object a by a merge patch."""
    query = f"?fieldManager={manager}" if manager else ""
    patch = {"metadata": {"labels": labels}}
    status, body = await api.send("PATCH", path(api) + query, patch, content_type=MERGE_PATCH)
    assert status == 200, body
    return body


async def test_update_takes_what_it_changes(api: Api) -> None:
    """The one who applied loses the field, and the next apply of it is a conflict that tells how it was changed."""
    config = execution("a", metadata={"labels": {"x": "1", "y": "1"}})
    await applied(api, path(api), config)
    changed = await labelled(api, "editor", x="2")
    assert fields(changed, "one") == {"f:metadata": {"f:labels": {"f:y": {}}}, **FUNCTION}
    taken = entry(changed, "editor", "Update")
    assert taken
    assert taken["fieldsV1"] == {"f:metadata": {"f:labels": {"f:x": {}}}}
    assert taken["apiVersion"] == "kontinue.cloud/v1alpha1"
    assert "time" in taken
    status, body = await apply(api, path(api), config)
    assert status == 409
    assert conflicts(body) == {(".metadata.labels.x", 'conflict with "editor" using kontinue.cloud/v1alpha1')}


async def test_update_owns_what_it_adds_and_nobody_what_it_removes(api: Api) -> None:
    """A new map is owned with its members; a removed field leaves every entry."""
    await applied(api, path(api), execution("a", metadata={"annotations": {"x": "1"}}))
    added = await labelled(api, "editor", z="1")
    assert fields(added, "editor", "Update") == {"f:metadata": {"f:labels": {".": {}, "f:z": {}}}}
    patch = {"metadata": {"annotations": None, "labels": {"z": None, "w": "1"}}}
    _, left = await api.send("PATCH", f"{path(api)}?fieldManager=editor", patch, content_type=MERGE_PATCH)
    assert fields(left, "one") == FUNCTION
    assert fields(left, "editor", "Update") == {"f:metadata": {"f:labels": {".": {}, "f:w": {}}}}


async def test_update_that_changes_nothing_takes_nothing(api: Api) -> None:
    """Writing what is there is no write."""
    before = await applied(api, path(api), execution("a", metadata={"labels": {"x": "1"}}))
    assert await labelled(api, "editor", x="1") == before


@pytest.mark.parametrize(
    ("agent", "manager"),
    [("tool/1.2 (linux)", "tool"), ("my tool", "my tool"), ("a" * 200, "a" * 128)],
    ids=["program and version", "no version", "long"],
)
async def test_manager_of_an_update_is_named_by_the_user_agent(api: Api, agent: str, manager: str) -> None:
    """Unless the request names it: what stands before the first slash."""
    await applied(api, path(api), execution("a"))
    patch = {"metadata": {"labels": {"x": "1"}}}
    headers = {"User-Agent": agent}
    _, body = await api.send("PATCH", path(api), patch, content_type=MERGE_PATCH, **headers)
    assert fields(body, manager, "Update") == {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}
    patch = {"metadata": {"labels": {"x": "2"}}}
    _, body = await api.send("PATCH", f"{path(api)}?fieldManager=named", patch, content_type=MERGE_PATCH, **headers)
    assert fields(body, "named", "Update") == {"f:metadata": {"f:labels": {"f:x": {}}}}


@pytest.mark.parametrize(
    ("method", "kind"), [("POST", "CreateOptions"), ("PUT", "UpdateOptions"), ("PATCH", "PatchOptions")]
)
async def test_name_of_a_manager_is_judged(api: Api, method: str, kind: str) -> None:
    """At most 128 bytes, all of them printable, in every kind of write."""
    created = await applied(api, path(api), execution("a"))
    where = api.path(EXECUTIONS) if method == "POST" else path(api)
    body = execution("b") if method == "POST" else created
    content_type = MERGE_PATCH if method == "PATCH" else "application/json"
    for name in ("x" * 129, "a%07"):
        status, answer = await api.send(method, f"{where}?fieldManager={name}", body, content_type=content_type)
        assert (status, answer["reason"], answer["details"]["kind"]) == (422, "Invalid", kind)
        assert answer["details"]["causes"][0]["field"] == "fieldManager"


async def test_replacing_keeps_what_the_client_leaves_out(api: Api) -> None:
    """A PUT without managedFields does not lose them."""
    created = await applied(api, path(api), execution("a"))
    del created["metadata"]["managedFields"]
    created["metadata"]["labels"] = {"x": "1"}
    status, body = await api.send("PUT", f"{path(api)}?fieldManager=editor", created)
    assert status == 200
    assert fields(body, "one") == FUNCTION
    assert fields(body, "editor", "Update") == {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}


async def test_status_updates_have_entries_of_their_own(api: Api) -> None:
    """A manager of object and status owns both apart; free-form state is one field."""
    await applied(api, path(api), execution("a"), "both")
    _, read = await api.send("GET", path(api))
    read["status"] = {"phase": "Executing", "state": {"a": {"b": 1}}}
    status, body = await api.send("PUT", f"{path(api, subresource='status')}?fieldManager=both", read)
    assert status == 200
    assert fields(body, "both") == FUNCTION
    assert fields(body, "both", "Update", "status") == {"f:status": {".": {}, "f:phase": {}, "f:state": {}}}


async def test_status_updates_cannot_clear_managed_fields(api: Api) -> None:
    """Metadata is not theirs to change."""
    created = await applied(api, path(api), execution("a"))
    changed = {**created, "status": {"phase": "Executing"}}
    changed["metadata"] = {**created["metadata"], "managedFields": [{}]}
    _, body = await api.send("PUT", f"{path(api, subresource='status')}?fieldManager=two", changed)
    assert fields(body, "one") == FUNCTION
    assert fields(body, "two", "Update", "status") == {"f:status": {".": {}, "f:phase": {}}}


async def test_one_empty_entry_clears_everything(api: Api) -> None:
    """After that nobody owns anything, until somebody applies: then what was there was before the first apply."""
    await applied(api, path(api), execution("a", metadata={"labels": {"x": "1"}}))
    patch = {"metadata": {"managedFields": [{}]}}
    status, cleared = await api.send("PATCH", path(api), patch, content_type=MERGE_PATCH)
    assert status == 200
    assert "managedFields" not in cleared["metadata"]
    assert "managedFields" not in (await labelled(api, x="2"))["metadata"]
    config = execution("a", metadata={"labels": {"x": "1"}})
    status, body = await apply(api, path(api), config)
    assert status == 409
    message = 'conflict with "before-first-apply" using kontinue.cloud/v1alpha1'
    assert conflicts(body) == {(".metadata.labels.x", message)}
    body = await applied(api, path(api), config, force=True)
    assert fields(body, "one") == {"f:metadata": {"f:labels": {"f:x": {}}}, **FUNCTION}
    assert fields(body, "before-first-apply", "Update") == {
        "f:metadata": {"f:labels": {}},
        "f:spec": {".": {}, "f:function": {}},
    }


async def test_entries_that_cannot_be_read_are_ignored(api: Api) -> None:
    """A client that gets them wrong loses nothing."""
    created = await applied(api, path(api), execution("a"))
    wrong: list[list[dict[str, Any]]] = [
        [{"manager": "x"}],
        [{**created["metadata"]["managedFields"][0], "operation": "Steal"}],
        [{**created["metadata"]["managedFields"][0], "fieldsV1": {"nonsense": {}}}],
        [{**created["metadata"]["managedFields"][0], "fieldsType": "FieldsV0"}],
        [{**created["metadata"]["managedFields"][0], "apiVersion": ""}],
    ]
    for entries in wrong:
        patch = {"metadata": {"managedFields": entries}}
        status, body = await api.send("PATCH", path(api), patch, content_type=MERGE_PATCH)
        assert (status, body) == (200, created)


@pytest.mark.parametrize("entries", ["x", [3], {"a": 1}], ids=str)
async def test_managed_fields_of_a_wrong_type_are_refused(api: Api, entries: Any) -> None:
    """What is no list of entries is no object's metadata."""
    await applied(api, path(api), execution("a"))
    patch = {"metadata": {"managedFields": entries}}
    status, _ = await api.send("PATCH", path(api), patch, content_type=MERGE_PATCH)
    assert status in {400, 422}


async def test_entries_can_be_handed_over(api: Api) -> None:
    """A JSON patch that gives one manager's fields to another, as kubectl does after years of client-side apply."""
    await applied(api, path(api), execution("a"))
    changed = await labelled(api, "old", x="1")
    version = changed["metadata"]["resourceVersion"]
    entries = changed["metadata"]["managedFields"]
    for one in entries:
        if one["manager"] == "old":
            one.update({"manager": "two", "operation": "Apply"})
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]
    status, body = await api.send("PATCH", path(api), patch, content_type=JSON_PATCH)
    assert status == 200
    assert entry(body, "old", "Update") is None
    assert fields(body, "two") == {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}
    left = await applied(api, path(api), execution("a"), "two")
    assert "x" not in left["metadata"].get("labels", {})


async def test_entries_of_updates_are_kept_few(api: Api) -> None:
    """Of more than ten the oldest become one, and no field loses its owner."""
    where = api.path("configmaps", "a")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"applied": "1"}}
    await applied(api, where, config)
    keys = [f"k{number:02}" for number in range(14)]
    for key in keys:
        patch = {"data": {key: "1"}}
        _, body = await api.send("PATCH", f"{where}?fieldManager=m-{key}", patch, content_type=MERGE_PATCH)
    updates = [one for one in body["metadata"]["managedFields"] if one["operation"] == "Update"]
    assert len(updates) == 10
    owned = [key for one in updates for key in one["fieldsV1"]["f:data"] if key != "."]
    assert sorted(owned) == [f"f:{key}" for key in keys]
    assert len(fields(body, "ancient-changes", "Update")["f:data"]) >= 5
    assert fields(body, "m-k13", "Update") == {"f:data": {"f:k13": {}}}
    assert fields(body, "one") == {"f:data": {"f:applied": {}}}


async def test_metadata_alone_carries_them(api: Api) -> None:
    """PartialObjectMetadata is the metadata with nothing left out."""
    created = await applied(api, path(api), execution("a"))
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    _, body = await api.send("GET", path(api), Accept=accept)
    assert body["kind"] == "PartialObjectMetadata"
    assert fields(body, "one") == fields(created, "one")


async def test_client_side_apply_is_remembered(api: Api) -> None:
    """What kubectl applied on its side has an owner from the start, and so has what others then change.

    Its server-side apply can then tell its own fields from those of others.
    """
    config = execution("a")
    said = orjson.dumps(config).decode()
    created = execution("a", metadata={"annotations": {LAST_APPLIED: said}})
    where = f"{api.path(EXECUTIONS)}?fieldManager=kubectl-client-side-apply"
    _, body = await api.send("POST", where, created)
    assert fields(body, "kubectl-client-side-apply", "Update") == {
        "f:metadata": {"f:annotations": {".": {}, f"f:{LAST_APPLIED}": {}}},
        "f:spec": {".": {}, "f:function": {}},
    }
    body = await labelled(api, "kubectl-label", x="1")
    assert fields(body, "kubectl-label", "Update") == {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}


async def test_kubectl_may_change_what_it_applied_on_the_client_side(api: Api) -> None:
    """Its server-side apply does not meet its own past as a conflict; what others changed since is one."""
    where = api.path("configmaps", "a")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1", "y": "1"}}
    created = {**config, "metadata": {"name": "a", "annotations": {LAST_APPLIED: orjson.dumps(config).decode()}}}
    collection = f"{api.path('configmaps')}?fieldManager=kubectl-client-side-apply"
    assert (await api.send("POST", collection, created))[0] == 201
    changed = {**config, "data": {"x": "2", "y": "1"}}
    status, _ = await apply(api, where, changed, "another")
    assert status == 409
    body = await applied(api, where, changed, "kubectl")
    assert body["data"] == {"x": "2", "y": "1"}
    assert orjson.loads(body["metadata"]["annotations"][LAST_APPLIED]) == changed
    patch = {"data": {"y": "9"}}
    await api.send("PATCH", f"{where}?fieldManager=editor", patch, content_type=MERGE_PATCH)
    status, body = await apply(api, where, {**config, "data": {"x": "3", "y": "2"}}, "kubectl")
    assert (status, conflicts(body)) == (409, {(".data.y", 'conflict with "editor" using v1')})
