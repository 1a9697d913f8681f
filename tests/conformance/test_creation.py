"""Creates: system metadata, names, kinds, namespaces."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import pytest

from api import Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
LEASES = "coordination.k8s.io/v1/leases"


@pytest.fixture
def path(api: Api) -> str:
    """The collection of Executions."""
    return api.path(EXECUTIONS)


async def test_system_metadata_is_the_servers(api: Api, path: str) -> None:
    """uid, times, generation and resourceVersion are not the client's; status does not come with a create."""
    forged = {
        "uid": "mine",
        "generation": 7,
        "creationTimestamp": "2020-01-01T00:00:00Z",
        "deletionTimestamp": "2020-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
        "selfLink": "/mine",
    }
    status, created = await api.send("POST", path, execution("a", metadata=forged, status={"phase": "Completed"}))
    assert status == 201
    metadata = created["metadata"]
    assert (metadata["name"], metadata["namespace"], metadata["generation"]) == ("a", api.namespace, 1)
    assert uuid.UUID(metadata["uid"]).version == 4
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert not metadata["creationTimestamp"].startswith("2020")
    assert int(metadata["resourceVersion"]) > 0
    assert not {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"} & metadata.keys()
    assert "status" not in created
    assert await api.send("GET", f"{path}/a") == (200, created)


async def test_a_write_is_read_at_once(api: Api) -> None:
    """By get and by list, on connections of their own."""

    async def write_and_read(number: int) -> None:
        maps = api.path("configmaps")
        status, created = await api.send("POST", maps, {"metadata": {"name": f"m{number}"}})
        assert status == 201
        assert (await api.send("GET", f"{maps}/m{number}"))[1] == created
        _, listed = await api.send("GET", f"{maps}?fieldSelector=metadata.name%3Dm{number}")
        assert [item["metadata"]["uid"] for item in listed["items"]] == [created["metadata"]["uid"]]

    await asyncio.gather(*map(write_and_read, range(20)))


async def test_a_name_that_exists_is_refused(api: Api, path: str) -> None:
    """409 AlreadyExists names the object; it stays as it was."""
    _, created = await api.send("POST", path, execution("a"))
    status, body = await api.send("POST", path, execution("a", spec={"function": "other"}))
    details = {"name": "a", "group": "kontinue.cloud", "kind": "executions"}
    assert (status, body["reason"], body["details"]) == (409, "AlreadyExists", details)
    assert body["message"] == 'executions.kontinue.cloud "a" already exists'
    assert (await api.send("GET", f"{path}/a"))[1] == created


async def test_what_does_not_exist_is_not_found(api: Api, path: str) -> None:
    """404 as a Status with name, group and plural; core kinds have no group."""
    status, body = await api.send("GET", f"{path}/nothing")
    assert status == 404
    assert body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'executions.kontinue.cloud "nothing" not found',
        "reason": "NotFound",
        "details": {"name": "nothing", "group": "kontinue.cloud", "kind": "executions"},
        "code": 404,
    }
    _, body = await api.send("GET", api.path("configmaps", "nothing"))
    assert (body["message"], body["details"]) == (
        'configmaps "nothing" not found',
        {"name": "nothing", "kind": "configmaps"},
    )


@pytest.mark.parametrize("name", ["Upper", "under_score", "-a", "a-", "a..b", "..", "a/b", "ü", "a" * 254])
async def test_names_are_dns_subdomains(api: Api, path: str, name: str) -> None:
    """422 Invalid points at metadata.name; dots are allowed inside."""
    for collection, body in ((path, execution(name)), (api.path("configmaps"), {"metadata": {"name": name}})):
        status, answer = await api.send("POST", collection, body)
        assert (status, answer["reason"], answer["details"]["name"]) == (422, "Invalid", name)
        cause = answer["details"]["causes"][0]
        assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "metadata.name")
    assert (await api.send("POST", path, execution("a.b-c.0")))[0] == 201


async def test_a_name_is_required(api: Api, path: str) -> None:
    """Of its own or generated."""
    nameless: list[tuple[str, Any]] = [
        (path, execution()),
        (path, {**execution(), "metadata": None}),
        (path, execution(metadata={"name": ""})),
        (api.path("configmaps"), {}),
        (api.path("configmaps"), {"metadata": {}}),
        ("/api/v1/namespaces", {}),
    ]
    for collection, body in nameless:
        status, answer = await api.send("POST", collection, body)
        assert (status, answer["reason"]) == (422, "Invalid")
        cause = answer["details"]["causes"][0]
        assert (cause["reason"], cause["field"]) == ("FieldValueRequired", "metadata.name")


async def test_names_of_namespaces_are_labels(api: Api) -> None:
    """No dots: they become part of host names."""
    status, answer = await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": unique("a.b")}})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "metadata.name")


async def test_names_are_generated_from_a_prefix(api: Api, path: str) -> None:
    """Five characters without vowels follow; a name of its own wins."""
    names = set()
    for _ in range(5):
        status, created = await api.send("POST", path, execution(metadata={"generateName": "run-"}))
        assert (status, created["metadata"]["generateName"]) == (201, "run-")
        names.add(created["metadata"]["name"])
    assert len(names) == 5
    assert all(re.fullmatch("run-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)
    _, created = await api.send("POST", path, execution("own", metadata={"generateName": "run-"}))
    assert created["metadata"]["name"] == "own"


async def test_a_long_prefix_is_cut(api: Api) -> None:
    """To 58 characters, so that the name fits a label."""
    _, created = await api.send("POST", api.path("configmaps"), {"metadata": {"generateName": "a" * 100}})
    assert created["metadata"]["name"].startswith("a" * 58)
    assert len(created["metadata"]["name"]) == 63


@pytest.mark.parametrize("prefix", ["Upper-", "-", "a_"])
async def test_prefixes_are_judged(api: Api, path: str, prefix: str) -> None:
    """422 points at the prefix and at what was made of it."""
    status, answer = await api.send("POST", path, execution(metadata={"generateName": prefix}))
    assert status == 422
    assert {cause["field"] for cause in answer["details"]["causes"]} >= {"metadata.generateName", "metadata.name"}


async def test_a_resource_version_is_not_for_creates(api: Api, path: str) -> None:
    """kube-apiserver refuses it as 500 without a reason, we as the 400 that it is; 0 means none."""
    for collection, body in ((path, execution("a")), (api.path("configmaps"), {"metadata": {"name": "a"}})):
        body["metadata"]["resourceVersion"] = "5"
        status, answer = await api.send("POST", collection, body)
        assert (status in {400, 500}, answer["kind"]) == (True, "Status")
        assert answer["message"] == "resourceVersion should not be set on objects to be created"
        assert (await api.send("GET", f"{collection}/a"))[0] == 404
        body["metadata"]["resourceVersion"] = "0"
        assert (await api.send("POST", collection, body))[0] == 201


async def test_custom_objects_must_say_their_kind_and_version(api: Api, path: str) -> None:
    """400 without, or with another version; 422 with another kind of the group."""
    for changed in ({"kind": None}, {"apiVersion": None}, {"apiVersion": "kontinue.cloud/v9"}, {"apiVersion": "v1"}):
        body = {key: value for key, value in {**execution("a"), **changed}.items() if value}
        status, answer = await api.send("POST", path, body)
        assert (status, answer["reason"]) == (400, "BadRequest"), changed
    status, answer = await api.send("POST", path, {**execution("a"), "kind": "Function"})
    assert (status, answer["reason"], answer["details"]["causes"][0]["field"]) == (422, "Invalid", "kind")


async def test_built_in_objects_may_leave_out_their_kind_and_version(api: Api) -> None:
    """As typed clients do; another kind or version is 400."""
    maps = api.path("configmaps")
    for number, given in enumerate(({}, {"kind": "ConfigMap"}, {"apiVersion": "v1"})):
        status, created = await api.send("POST", maps, {"metadata": {"name": f"m{number}"}, **given})
        assert (status, created["kind"], created["apiVersion"]) == (201, "ConfigMap", "v1")
    _, created = await api.send("POST", api.path(LEASES), {"metadata": {"name": "l"}, "spec": {}})
    assert (created["kind"], created["apiVersion"]) == ("Lease", "coordination.k8s.io/v1")
    for given in ({"kind": "Secret", "apiVersion": "v1"}, {"kind": "ConfigMap", "apiVersion": "v2"}):
        status, answer = await api.send("POST", maps, {"metadata": {"name": "x"}, **given})
        assert (status, answer["reason"]) == (400, "BadRequest")


async def test_the_namespace_is_that_of_the_path(api: Api, path: str) -> None:
    """Another one in the body is 400; objects of the cluster have none."""
    for collection, body in ((path, execution("a")), (api.path("configmaps"), {"metadata": {"name": "a"}})):
        body["metadata"]["namespace"] = "other"
        status, answer = await api.send("POST", collection, body)
        assert (status, answer["reason"]) == (400, "BadRequest")
        assert "does not match the namespace" in answer["message"]
    name = unique("cluster")
    _, created = await api.send(
        "POST", "/api/v1/namespaces?dryRun=All", {"metadata": {"name": name, "namespace": "other"}}
    )
    assert "namespace" not in created["metadata"]


async def test_a_namespace_must_exist(api: Api) -> None:
    """404 names the namespace and not the object."""
    for plural, body in ((EXECUTIONS, execution("a")), ("configmaps", {"metadata": {"name": "a"}})):
        status, answer = await api.send("POST", api.path(plural, namespace="nowhere"), body)
        details = {"name": "nowhere", "kind": "namespaces"}
        assert (status, answer["reason"], answer["details"]) == (404, "NotFound", details)
        assert answer["message"] == 'namespaces "nowhere" not found'


async def test_a_malformed_object_is_refused_with_the_path_of_each_field(api: Api, path: str) -> None:
    """422 Invalid with causes and the kind."""
    status, answer = await api.send("POST", path, execution("a", spec={"retry": {"retries": -1}}))
    assert (status, answer["reason"]) == (422, "Invalid")
    assert (answer["details"]["group"], answer["details"]["kind"]) == ("kontinue.cloud", "Execution")
    assert answer["details"]["causes"][0]["field"] == "spec.retry.retries"
    assert answer["message"].startswith('Execution.kontinue.cloud "a" is invalid: ')
    status, answer = await api.send("POST", path, {**execution("a"), "spec": {}})
    cause = answer["details"]["causes"][0]
    assert (status, cause["reason"], cause["field"]) == (422, "FieldValueRequired", "spec.function")


async def test_built_in_kinds_without_a_generation_get_none(api: Api) -> None:
    """ConfigMaps and Leases do not count their changes."""
    _, created = await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    assert "generation" not in created["metadata"]


async def test_the_answer_must_be_acceptable_before_anything_is_written(api: Api, path: str) -> None:
    """406, and no object."""
    for accept in ("text/xml", "application/json;as=Nothing;g=meta.k8s.io;v=v1"):
        status, answer = await api.send("POST", path, execution("a"), Accept=accept)
        assert (status, answer["reason"]) == (406, "NotAcceptable")
        assert (await api.send("GET", path, Accept=accept))[0] == 406
    assert (await api.send("GET", f"{path}/a"))[0] == 404
