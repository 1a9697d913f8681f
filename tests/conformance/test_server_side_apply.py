"""Server-side apply: creating, conflicts, taking over, giving up, and what lists and maps are owned by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

import crds
from api import MERGE_PATCH, Api, execution
from applying import applied, apply, conflicts, entry, fields
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
ITEM = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": TEXT, "value": TEXT, "port": {"type": "integer"}},
}
SPEC = {
    "text": TEXT,
    "number": {"type": "integer", "default": 7},
    "inner": {"type": "object", "properties": {"a": TEXT, "b": TEXT}},
    "whole": {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "x-kubernetes-map-type": "atomic"},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "texts": {"type": "object", "additionalProperties": TEXT},
    "plain": TEXTS,
    "set": {**TEXTS, "x-kubernetes-list-type": "set"},
    "numbers": {"type": "array", "items": {"type": "number"}, "x-kubernetes-list-type": "set"},
    "map": {
        "type": "array",
        "items": ITEM,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
}


def path(api: Api, name: str = "a", subresource: str = "") -> str:
    return api.path(EXECUTIONS, name, subresource)


def config_map(name: str = "a", data: Any = None, **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **({"data": data} if data else {})}


class Things:
    """Objects of a kind with every kind of list and map."""

    def __init__(self, api: Api, group: str) -> None:
        self.api = api
        self.group = group
        self.path = api.path(f"{group}/v1/things", "a")

    def config(self, **spec: Any) -> dict[str, Any]:
        api_version = f"{self.group}/v1"
        return {"apiVersion": api_version, "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}

    async def applied(self, manager: str, *, force: bool = False, **spec: Any) -> Any:
        return await applied(self.api, self.path, self.config(**spec), manager, force=force)

    async def refused(self, manager: str, **spec: Any) -> set[tuple[str, str]]:
        status, body = await apply(self.api, self.path, self.config(**spec), manager)
        assert status == 409, body
        return conflicts(body)


@pytest.fixture
async def things(api: Api) -> AsyncIterator[Things]:
    group = crds.group()
    async with crds.installed(api, crds.definition(group, crds.version(spec=SPEC, status={}))):
        yield Things(api, group)


async def test_apply_creates_and_updates(api: Api) -> None:
    """The first apply answers 201, the next 200, and the manager owns what it said and nothing else."""
    status, created = await apply(api, path(api), execution("a", metadata={"labels": {"x": "1"}}))
    assert status == 201
    assert created["metadata"]["generation"] == 1
    assert entry(created, "one") == {
        "manager": "one",
        "operation": "Apply",
        "apiVersion": "kontinue.cloud/v1alpha1",
        "time": created["metadata"]["creationTimestamp"],
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:function": {}}},
    }
    status, updated = await apply(api, path(api), execution("a", metadata={"labels": {"x": "2"}}))
    assert status == 200
    assert updated["metadata"]["labels"] == {"x": "2"}
    assert updated["metadata"]["uid"] == created["metadata"]["uid"]
    _, read = await api.send("GET", path(api))
    assert read == updated


async def test_configuration_may_be_yaml(api: Api) -> None:
    """The media type is that of YAML, of which JSON is a part."""
    status, created = await apply(api, path(api), yaml.safe_dump(execution("a")).encode())
    assert (status, created["spec"]) == (201, {"function": "hello"})


async def test_what_changes_nothing_is_no_write(api: Api) -> None:
    """Applying the same again keeps the resourceVersion and the time of the manager's entry."""
    created = await applied(api, path(api), execution("a"))
    await asyncio.sleep(1.1)  # the time of an entry has seconds
    assert await applied(api, path(api), execution("a")) == created


async def test_manager_that_joins_without_a_change_has_no_time(api: Api) -> None:
    """A second manager that says the same shares the fields; its entry tells that it never changed the object."""
    await applied(api, path(api), execution("a"))
    joined = await applied(api, path(api), execution("a"), "two")
    first, second = entry(joined, "one"), entry(joined, "two")
    assert first
    assert second
    assert second["fieldsV1"] == first["fieldsV1"]
    assert "time" not in second


async def test_managers_of_different_fields_commute(api: Api) -> None:
    """Each keeps what it applied, whoever came first."""
    outcomes = []
    for name, order in (("a", ("one", "two")), ("b", ("two", "one"))):
        for manager in order:
            config = execution(name, metadata={"labels": {manager: "x"}})
            body = await applied(api, path(api, name), config, manager)
        owned = {manager: fields(body, manager) for manager in order}
        outcomes.append((body["metadata"]["labels"], body["spec"], owned))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == {"one": "x", "two": "x"}


async def test_many_managers_at_once_lose_nothing(api: Api) -> None:
    """Applies that meet are done one after the other."""
    managers = [f"m{number}" for number in range(12)]
    configs = [config_map("a", {manager: "x"}) for manager in managers]
    where = api.path("configmaps", "a")
    answers = await asyncio.gather(
        *(apply(api, where, config, manager) for config, manager in zip(configs, managers, strict=True))
    )
    assert sorted(status for status, _ in answers) == [200] * 11 + [201]
    _, read = await api.send("GET", where)
    assert read["data"] == dict.fromkeys(managers, "x")
    assert all(fields(read, manager) == {"f:data": {f"f:{manager}": {}}} for manager in managers)


async def test_changing_what_another_manager_owns_is_a_conflict(api: Api) -> None:
    """409 names every field and whose it is, and nothing is changed."""
    created = await applied(api, path(api), execution("a", metadata={"labels": {"x": "1", "y": "1"}}))
    config = execution("a", metadata={"labels": {"x": "2"}})
    status, body = await apply(api, path(api), config, "two")
    assert status == 409
    assert conflicts(body) == {(".metadata.labels.x", 'conflict with "one"')}
    assert 'Apply failed with 1 conflict: conflict with "one": .metadata.labels.x' in body["message"]
    config["metadata"]["labels"]["y"] = "2"
    _, body = await apply(api, path(api), config, "two")
    assert {field for field, _ in conflicts(body)} == {".metadata.labels.x", ".metadata.labels.y"}
    assert "Apply failed with 2 conflicts" in body["message"]
    _, read = await api.send("GET", path(api))
    assert read == created


async def test_forced_apply_takes_over(api: Api) -> None:
    """With force the field changes hands, and the other manager now meets a conflict."""
    await applied(api, path(api), execution("a", metadata={"labels": {"x": "1", "y": "1"}}))
    taken = await applied(api, path(api), execution("a", metadata={"labels": {"x": "2"}}), "two", force=True)
    assert taken["metadata"]["labels"] == {"x": "2", "y": "1"}
    assert fields(taken, "one") == {"f:metadata": {"f:labels": {"f:y": {}}}, "f:spec": {"f:function": {}}}
    assert fields(taken, "two") == {"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:function": {}}}
    status, body = await apply(api, path(api), execution("a", metadata={"labels": {"x": "1", "y": "1"}}))
    assert (status, conflicts(body)) == (409, {(".metadata.labels.x", 'conflict with "two"')})


async def test_field_no_longer_applied_is_removed(api: Api) -> None:
    """What a manager leaves out goes, unless another one has it too."""
    labels = {"shared": "1", "mine": "1"}
    await applied(api, path(api), execution("a", metadata={"labels": labels}))
    await applied(api, path(api), execution("a", metadata={"labels": {"shared": "1"}}), "two")
    left = await applied(api, path(api), execution("a"))
    assert left["metadata"]["labels"] == {"shared": "1"}
    assert fields(left, "one") == {"f:spec": {"f:function": {}}}
    left = await applied(api, path(api), execution("a"), "two")
    assert "labels" not in left["metadata"]


async def test_field_that_an_update_set_is_not_removed(api: Api) -> None:
    """Only what the manager itself applied is its to remove."""
    await applied(api, path(api), execution("a", metadata={"labels": {"x": "1"}}))
    await api.send("PATCH", path(api), {"metadata": {"labels": {"y": "1"}}}, content_type=MERGE_PATCH)
    left = await applied(api, path(api), execution("a"))
    assert left["metadata"]["labels"] == {"y": "1"}


async def test_manager_that_gives_up_everything_has_no_entry(api: Api) -> None:
    """An empty configuration removes what was applied and the manager with it."""
    where = api.path("configmaps", "a")
    await applied(api, where, config_map("a", {"x": "1"}))
    await applied(api, where, config_map("a", {"y": "1"}), "two")
    left = await applied(api, where, config_map("a"))
    assert left["data"] == {"y": "1"}
    assert entry(left, "one") is None


async def test_generation_counts_applied_changes(api: Api, things: Things) -> None:
    """As with any write: a change of the spec counts, one of metadata does not."""
    assert (await things.applied("one", text="a"))["metadata"]["generation"] == 1
    assert (await things.applied("one", text="b"))["metadata"]["generation"] == 2
    labelled = {**things.config(text="b"), "metadata": {"name": "a", "labels": {"x": "1"}}}
    assert (await applied(api, things.path, labelled))["metadata"]["generation"] == 2


async def test_objects_are_owned_member_by_member(things: Things) -> None:
    """Nested objects, free ones and maps of texts merge; each member has its owner."""
    await things.applied("one", inner={"a": "1"}, free={"x": {"y": 1}}, texts={"p": "1"})
    merged = await things.applied("two", inner={"b": "2"}, free={"x": {"z": 2}}, texts={"q": "2"})
    assert merged["spec"]["inner"] == {"a": "1", "b": "2"}
    assert merged["spec"]["free"] == {"x": {"y": 1, "z": 2}}
    assert merged["spec"]["texts"] == {"p": "1", "q": "2"}
    assert fields(merged, "two") == {
        "f:spec": {
            "f:inner": {"f:b": {}},
            "f:free": {"f:x": {".": {}, "f:z": {}}},
            "f:texts": {"f:q": {}},
        }
    }
    assert await things.refused("two", inner={"a": "2"}) == {(".spec.inner.a", 'conflict with "one"')}


async def test_atomic_object_is_owned_as_a_whole(things: Things) -> None:
    """Another value is a conflict, whichever member differs; forced, it is replaced and not merged."""
    created = await things.applied("one", whole={"a": "1"})
    assert fields(created, "one") == {"f:spec": {"f:whole": {}}}
    assert await things.refused("two", whole={"b": "2"}) == {(".spec.whole", 'conflict with "one"')}
    replaced = await things.applied("two", whole={"b": "2"}, force=True)
    assert replaced["spec"]["whole"] == {"b": "2"}
    assert fields(replaced, "one") is None


async def test_list_without_a_type_is_owned_as_a_whole(things: Things) -> None:
    """A plain list has one owner."""
    created = await things.applied("one", plain=["a", "b"])
    assert fields(created, "one") == {"f:spec": {"f:plain": {}}}
    assert await things.refused("two", plain=["a"]) == {(".spec.plain", 'conflict with "one"')}
    assert (await things.applied("two", plain=["c"], force=True))["spec"]["plain"] == ["c"]


async def test_set_is_owned_value_by_value(things: Things) -> None:
    """Values of two managers come together, and each takes its own away again."""
    await things.applied("one", set=["a", "b"])
    merged = await things.applied("two", set=["b", "c"])
    assert sorted(merged["spec"]["set"]) == ["a", "b", "c"]
    assert fields(merged, "two") == {"f:spec": {"f:set": {'v:"b"': {}, 'v:"c"': {}}}}
    left = await things.applied("one", set=["a"])
    assert sorted(left["spec"]["set"]) == ["a", "b", "c"]
    left = await things.applied("two", text="x")
    assert left["spec"]["set"] == ["a"]


async def test_numbers_of_any_size_are_values_of_sets(things: Things) -> None:
    """Also those that no integer holds are told apart, kept and removed."""
    await things.applied("one", numbers=[1e30, 2.5, 3])
    body = await things.applied("two", numbers=[1e30, 4])
    assert sorted(body["spec"]["numbers"]) == [2.5, 3, 4, 1e30]
    body = await things.applied("one", numbers=[3])
    assert sorted(body["spec"]["numbers"]) == [3, 4, 1e30]


async def test_list_map_is_owned_item_by_item(things: Things) -> None:
    """Items are found by their key, wherever they stand, and merge member by member."""
    await things.applied("one", map=[{"name": "a", "value": "1"}, {"name": "b", "value": "1"}])
    merged = await things.applied("two", map=[{"name": "b", "port": 2}, {"name": "c"}])
    assert merged["spec"]["map"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "1", "port": 2},
        {"name": "c"},
    ]
    assert fields(merged, "two") == {
        "f:spec": {
            "f:map": {
                'k:{"name":"b"}': {".": {}, "f:name": {}, "f:port": {}},
                'k:{"name":"c"}': {".": {}, "f:name": {}},
            }
        }
    }
    assert await things.refused("two", map=[{"name": "a", "value": "2"}]) == {
        ('.spec.map[name="a"].value', 'conflict with "one"')
    }
    left = await things.applied("one", map=[{"name": "a", "value": "1"}])
    assert left["spec"]["map"] == [{"name": "a", "value": "1"}, {"name": "b", "port": 2}, {"name": "c"}]


async def test_order_of_items_is_that_of_the_configuration(things: Things) -> None:
    """Items that both have stand as the last one applied has them; others stay behind the one before them."""
    await things.applied("one", set=["a", "b", "c"])
    assert (await things.applied("two", set=["c", "a"]))["spec"]["set"] == ["b", "c", "a"]
    assert (await things.applied("two", set=["x", "c", "a", "y"]))["spec"]["set"] == ["b", "x", "c", "a", "y"]


async def test_defaults_belong_to_nobody(things: Things) -> None:
    """What the schema fills in can be set by any manager without a conflict."""
    created = await things.applied("one", text="x")
    assert created["spec"]["number"] == 7
    assert fields(created, "one") == {"f:spec": {"f:text": {}}}
    changed = await things.applied("two", number=8)
    assert changed["spec"] == {"text": "x", "number": 8}
    left = await things.applied("two", text="x")
    assert left["spec"]["number"] == 7


async def test_free_form_fields_of_executions_are_owned_as_a_whole(api: Api) -> None:
    """Arguments, which may be large, are one field."""
    spec = {"arguments": {"a": 1, "b": {"c": 2}}}
    created = await applied(api, path(api), execution("a", spec=spec))
    assert fields(created, "one") == {"f:spec": {"f:arguments": {}, "f:function": {}}}
    status, body = await apply(api, path(api), execution("a", spec={"arguments": {"a": 2}}), "two")
    assert (status, conflicts(body)) == (409, {(".spec.arguments", 'conflict with "one"')})


async def test_status_is_applied_by_itself(api: Api) -> None:
    """Through /status only the status is applied and owned; through the object it is ignored."""
    await applied(api, path(api), execution("a"))
    condition = {"type": "Stopped", "status": "True", "reason": "x", "message": ""}
    status = {"phase": "Executing", "conditions": [condition], "state": {"a": {"b": 1}}}
    config = execution("a", metadata={"labels": {"x": "1"}}, spec={"function": "other"}, status=status)
    body = await applied(api, path(api, subresource="status"), config)
    assert body["status"] == status
    assert body["spec"] == {"function": "hello"}
    assert "labels" not in body["metadata"]
    assert fields(body, "one") == {"f:spec": {"f:function": {}}}
    assert fields(body, "one", subresource="status") == {
        "f:status": {
            "f:phase": {},
            "f:state": {},
            "f:conditions": {
                'k:{"type":"Stopped"}': {".": {}, "f:message": {}, "f:reason": {}, "f:status": {}, "f:type": {}}
            },
        }
    }
    ignored = await applied(api, path(api), execution("a", status={"phase": "Suspended"}), "two")
    assert ignored["status"] == status
    assert fields(ignored, "two") == {"f:spec": {"f:function": {}}}


async def test_status_has_conflicts_of_its_own(api: Api) -> None:
    """The conflict tells that the other manager wrote through the subresource."""
    await applied(api, path(api), execution("a"))
    where = path(api, subresource="status")
    await applied(api, where, execution("a", status={"phase": "Executing"}))
    status, body = await apply(api, where, execution("a", status={"phase": "Suspended"}), "two")
    assert status == 409
    assert conflicts(body) == {(".status.phase", 'conflict with "one" with subresource "status"')}


async def test_status_of_no_object_is_not_created(api: Api) -> None:
    """Only the object itself comes into being by an apply."""
    status, body = await apply(api, path(api, subresource="status"), execution("a", status={"phase": "Pending"}))
    assert (status, body["reason"]) == (404, "NotFound")


async def test_metadata_is_owned_by_key_value_and_uid(api: Api) -> None:
    """Labels and annotations by key, finalizers by value, owners by uid and then as a whole."""
    where = api.path("configmaps", "a")
    owners = []
    for name in ("x", "y"):  # the garbage collector looks for them
        uid = (await applied(api, api.path("configmaps", name), config_map(name)))["metadata"]["uid"]
        owners.append({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
    first = owners[0]["uid"]
    one = {"annotations": {"k": "1"}, "finalizers": ["example.com/one"], "ownerReferences": [owners[0]]}
    await applied(api, where, config_map("a", **one))
    merged = await applied(
        api, where, config_map("a", finalizers=["example.com/two"], ownerReferences=[owners[1]]), "two"
    )
    assert merged["metadata"]["finalizers"] == ["example.com/one", "example.com/two"]
    assert merged["metadata"]["ownerReferences"] == owners
    assert fields(merged, "one") == {
        "f:metadata": {
            "f:annotations": {"f:k": {}},
            "f:finalizers": {'v:"example.com/one"': {}},
            "f:ownerReferences": {f'k:{{"uid":"{first}"}}': {}},
        }
    }
    other = {**owners[0], "name": "z"}
    status, body = await apply(api, where, config_map("a", ownerReferences=[other]), "two")
    assert (status, conflicts(body)) == (409, {(f'.metadata.ownerReferences[uid="{first}"]', 'conflict with "one"')})
    left = await applied(api, where, config_map("a", ownerReferences=[owners[0]]))
    assert left["metadata"]["finalizers"] == ["example.com/two"]
    assert "annotations" not in left["metadata"]
    await applied(api, where, config_map("a"), "two")


async def test_resource_version_in_the_configuration_is_a_precondition(api: Api) -> None:
    """A stale one is refused as in any write; where there is no object yet it says nothing."""
    config = execution("a", metadata={"resourceVersion": "1"})
    created = await applied(api, path(api), config)
    status, body = await apply(api, path(api), config)
    assert (status, body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in body["message"]
    config["metadata"] = {"name": "a", "resourceVersion": created["metadata"]["resourceVersion"], "labels": {"x": "1"}}
    assert (await applied(api, path(api), config))["metadata"]["labels"] == {"x": "1"}


async def test_uid_in_the_configuration_must_be_that_of_the_object(api: Api) -> None:
    """A uid cannot be chosen, neither of a new object nor of one that exists."""
    config = execution("a", metadata={"uid": "mine"})
    status, body = await apply(api, path(api), config)
    assert (status, body["reason"]) == (409, "Conflict")
    await applied(api, path(api), execution("a"))
    status, body = await apply(api, path(api), config)
    assert (status, body["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in body["details"]["causes"]} == {"metadata.uid"}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"apiVersion": "v1"}, "invalid object type"),
        ({"apiVersion": "kontinue.cloud/v9"}, "invalid object type"),
        ({"apiVersion": None}, "invalid object type"),
        ({"kind": "Function"}, "invalid object type"),
        ({"kind": None}, "invalid object type"),
        ({"metadata": {"name": "b"}}, "does not match the name on the URL"),
        ({"metadata": {"name": "a", "namespace": "other"}}, "does not match the namespace"),
        ({"metadata": {"name": "a", "managedFields": []}}, "metadata.managedFields must be nil"),
    ],
    ids=str,
)
@pytest.mark.parametrize("exists", [True, False], ids=["existing", "new"])
async def test_configuration_of_something_else_is_refused(api: Api, change: Any, part: str, *, exists: bool) -> None:
    """apiVersion, kind, name and namespace are those of the path; managedFields are not the client's to set."""
    if exists:
        await applied(api, path(api), execution("a"))
    config = {key: value for key, value in {**execution("a"), **change}.items() if value is not None}
    status, body = await apply(api, path(api), config)
    assert (status, body["reason"]) == (400, "BadRequest")
    assert part in body["message"]
    assert (await api.send("GET", path(api)))[0] == (200 if exists else 404)


async def test_name_may_be_left_out_only_of_what_exists(api: Api) -> None:
    """An object is not created from a configuration without a name."""
    config = {key: value for key, value in execution().items() if key != "metadata"}
    status, body = await apply(api, path(api), config)
    assert (status, body["reason"]) == (400, "BadRequest")
    await applied(api, path(api), execution("a"))
    assert (await apply(api, path(api), config))[0] == 200


@pytest.mark.parametrize("text", [b"{a", b"[1]", b"text", b"", b"\xff"], ids=repr)
async def test_body_that_is_no_object_is_refused(api: Api, text: bytes) -> None:
    """400, whatever it is instead."""
    status, body = await apply(api, path(api), text)
    assert (status, body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("manager", "reason"), [("", "FieldValueRequired"), ("x" * 129, "FieldValueTooLong"), ("a\a", "FieldValueInvalid")]
)
async def test_field_manager_is_required_and_judged(api: Api, manager: str, reason: str) -> None:
    """Without a name nobody could own the fields."""
    status, body = await apply(api, path(api), execution("a"), manager)
    assert (status, body["reason"]) == (422, "Invalid")
    assert body["details"]["kind"] == "PatchOptions"
    assert [(cause["reason"], cause["field"]) for cause in body["details"]["causes"]] == [(reason, "fieldManager")]


async def test_force_is_only_for_apply(api: Api) -> None:
    """Other patches have no conflicts to force."""
    await applied(api, path(api), execution("a"))
    status, body = await api.send("PATCH", f"{path(api)}?force=true", {}, content_type=MERGE_PATCH)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "force")


async def test_dry_run_stores_nothing(api: Api) -> None:
    """The answer shows object and owners as they would be."""
    status, body = await apply(api, path(api), execution("a"), dryRun="All")
    assert (status, fields(body, "one")) == (201, {"f:spec": {"f:function": {}}})
    assert (await api.send("GET", path(api)))[0] == 404
    created = await applied(api, path(api), execution("a"))
    status, body = await apply(api, path(api), execution("a", metadata={"labels": {"x": "1"}}), "two", dryRun="All")
    assert (status, body["metadata"]["labels"]) == (200, {"x": "1"})
    assert (await api.send("GET", path(api)))[1] == created


async def test_applied_object_is_validated(api: Api) -> None:
    """Limits and rules hold as for other writes, and a refused apply leaves no trace."""
    status, body = await apply(api, path(api), execution("a", spec={"retry": {"retries": -1}}))
    assert (status, body["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in body["details"]["causes"]} == {"spec.retry.retries"}
    created = await applied(api, path(api), execution("a"))
    status, body = await apply(api, path(api), execution("a", spec={"function": "other"}))
    assert (status, body["reason"]) == (422, "Invalid")
    assert (await api.send("GET", path(api)))[1] == created


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"unknown": 1}, ".spec.unknown: field not declared in schema"),
        ({"text": 3}, ".spec.text: expected string"),
        ({"inner": "x"}, ".spec.inner"),
        ({"set": ["a", "a"]}, '.spec.set: duplicate entries for key [="a"]'),
        ({"map": [{"name": "a"}, {"name": "a"}]}, '.spec.map: duplicate entries for key [name="a"]'),
        ({"map": [{"value": "x"}]}, ".spec.map: element 0"),
    ],
    ids=str,
)
async def test_configuration_that_has_no_place_in_the_schema_is_refused(things: Things, spec: Any, part: str) -> None:
    """What cannot be owned cannot be applied; kube-apiserver says so with 500, we with the 400 that it is."""
    status, body = await apply(things.api, things.path, things.config(**spec))
    assert status in {400, 500}
    assert part in body["message"]
    assert (await things.api.send("GET", things.path))[0] == 404


async def test_null_is_refused_where_the_schema_has_none(things: Things) -> None:
    """In an apply null is a value, not the wish to remove something."""
    status, body = await apply(things.api, things.path, things.config(inner=None))
    assert (status, body["reason"]) == (422, "Invalid")
    assert "spec.inner" in {cause["field"] for cause in body["details"]["causes"]}


@pytest.mark.parametrize(
    "metadata",
    [
        {"ownerReferences": [{"apiVersion": [None], "kind": "", "name": "", "uid": ""}]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": 3}]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u", "controller": "yes"}]},
    ],
    ids=["list", "number", "text"],
)
@pytest.mark.parametrize("kind", ["Execution", "ConfigMap"])
async def test_metadata_of_the_wrong_types_is_not_stored(api: Api, kind: str, metadata: Any) -> None:
    """Nor where the object is there already; kube-apiserver takes some of it for a fault of its own."""
    config = execution("a") if kind == "Execution" else config_map("a")
    address = path(api) if kind == "Execution" else api.path("configmaps", "a")
    before = await applied(api, address, config)
    wrong = {**config, "metadata": {"name": "a", **metadata}}
    assert (await apply(api, address, wrong))[0] >= 400
    assert (await api.send("GET", address))[1]["metadata"] == before["metadata"]


async def test_label_or_annotation_of_null_is_empty(api: Api) -> None:
    """Created, or applied to what is there."""
    nothing = {"annotations": {"a": None}, "labels": {"b": None}}
    for _ in range(2):
        found = await applied(api, path(api), execution("a", metadata=nothing))
        assert (found["metadata"]["annotations"], found["metadata"]["labels"]) == ({"a": ""}, {"b": ""})


async def test_key_that_is_given_twice_is_refused_or_warned_of(api: Api) -> None:
    """As fieldValidation asks: 400, a warning, or nothing."""
    text = yaml.safe_dump(execution("a")).encode() + b"kind: Execution\n"
    status, body = await apply(api, path(api), text, fieldValidation="Strict")
    assert (status, body["reason"]) == (400, "BadRequest")
    assert 'key "kind" already set in map' in body["message"]
    status, _ = await apply(api, path(api), text)
    assert status == 201
    assert 'key \\"kind\\" already set in map' in api.headers["Warning"]
    status, _ = await apply(api, path(api), text, fieldValidation="Ignore")
    assert status == 200
    assert "Warning" not in api.headers


async def test_nothing_is_applied_into_a_namespace_that_is_not_there(api: Api) -> None:
    """404 names the namespace."""
    status, body = await apply(api, api.path(EXECUTIONS, "a", namespace="nowhere"), execution("a"))
    assert (status, body["details"]["kind"], body["details"]["name"]) == (404, "namespaces", "nowhere")


async def test_collections_are_not_applied(api: Api) -> None:
    """An apply names its object in the path."""
    status, body = await apply(api, api.path("configmaps"), config_map("a"))
    assert (status, body["reason"]) == (405, "MethodNotAllowed")


async def test_object_that_is_being_deleted_gets_no_finalizers(api: Api) -> None:
    """They can only be given up, and with the last one the object goes."""
    where = api.path("configmaps", "a")
    await applied(api, where, config_map("a", finalizers=["example.com/one"]))
    await api.send("DELETE", where)
    finalizers = ["example.com/one", "example.com/two"]
    status, body = await apply(api, where, config_map("a", finalizers=finalizers))
    assert (status, body["details"]["causes"][0]["field"]) == (422, "metadata.finalizers")
    await applied(api, where, config_map("a"))
    await api.eventually(where, 404)


async def test_built_in_kinds_are_applied(api: Api) -> None:
    """Data of config maps and secrets by key, leases by field, as with custom kinds."""
    where = api.path("configmaps", "a")
    await applied(api, where, config_map("a", {"x": "1"}))
    merged = await applied(api, where, config_map("a", {"y": "2"}), "two")
    assert merged["data"] == {"x": "1", "y": "2"}
    assert fields(merged, "two") == {"f:data": {"f:y": {}}}
    status, body = await apply(api, where, config_map("a", {"x": "2"}), "two")
    assert (status, conflicts(body)) == (409, {(".data.x", 'conflict with "one"')})
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}}
    where = api.path("coordination.k8s.io/v1/leases", "a")
    body = await applied(api, where, {**lease, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 5}})
    assert fields(body, "one") == {"f:spec": {"f:holderIdentity": {}, "f:leaseDurationSeconds": {}}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"x": "y"}}
    body = await applied(api, api.path("secrets", "a"), secret)
    assert (body["data"], body["type"]) == ({"x": "eQ=="}, "Opaque")
    assert await applied(api, api.path("secrets", "a"), secret) == body


async def test_what_is_told_by_a_watch_is_what_was_answered(api: Api) -> None:
    """An object has its managedFields wherever it is read."""
    created = await applied(api, path(api), execution("a"))
    version = created["metadata"]["resourceVersion"]
    updated = await applied(api, path(api), execution("a", metadata={"labels": {"x": "1"}}), "two")
    (event,) = await events_of(api, f"{api.path(EXECUTIONS)}?watch=true&resourceVersion={version}", 1)
    assert (event["type"], event["object"]) == ("MODIFIED", updated)
