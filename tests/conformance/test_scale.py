"""The scale subresource: what ``kubectl scale`` and autoscalers do to custom resources and to Deployments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import crds
from api import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api
from crds import definition, version
from servers import Server, install_crd

PATHS = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


@pytest.fixture(scope="module")
def group(server: Server) -> Iterator[str]:
    """A group with a kind that can be scaled; one for all tests, because a new one takes a real server seconds."""
    name = crds.group()
    spec = {"replicas": {"type": "integer", "maximum": 5}, "other": {"type": "string"}}
    status = {"replicas": {"type": "integer"}, "selector": {"type": "string"}}
    crd = definition(name, version(spec=spec, status=status, subresources={"status": {}, "scale": PATHS}))
    install_crd(server, crd)
    yield name
    server.request("DELETE", crds.path(crd))


@pytest.fixture
async def thing(api: Api, group: str) -> str:
    """Path of an object with two replicas wanted and one there."""
    things = api.path(f"{group}/v1/things")
    body = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one", "labels": {"a": "b"}}}
    code, created = await api.send("POST", things, {**body, "spec": {"replicas": 2, "other": "x"}})
    assert code == 201, created
    code, _ = await api.send("POST", things, {**body, "metadata": {"name": "none"}})
    assert code == 201
    created["status"] = {"replicas": 1, "selector": "a=b"}
    code, _ = await api.send("PUT", f"{things}/one/status", created)
    assert code == 200
    return f"{things}/one"


async def test_replicas_are_read_and_written_as_a_scale(api: Api, thing: str) -> None:
    """Whatever the kind: what is wanted, what is there and the selector; only what is wanted can be written."""
    _, whole = await api.send("GET", thing)
    status, scale = await api.send("GET", f"{thing}/scale")
    assert (status, scale["kind"], scale["apiVersion"]) == (200, "Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    assert scale["metadata"] == {
        key: whole["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    scale["spec"]["replicas"] = 3
    scale["status"]["replicas"] = 9
    status, answer = await api.send("PUT", f"{thing}/scale", scale)
    assert (status, answer["kind"], answer["spec"], answer["status"]["replicas"]) == (200, "Scale", {"replicas": 3}, 1)
    _, changed = await api.send("GET", thing)
    assert changed["spec"] == {"replicas": 3, "other": "x"}
    assert changed["status"] == {"replicas": 1, "selector": "a=b"}
    assert changed["metadata"]["generation"] == whole["metadata"]["generation"] + 1
    assert changed["metadata"]["labels"] == {"a": "b"}
    assert changed["metadata"]["resourceVersion"] == answer["metadata"]["resourceVersion"]
    status, body = await api.send("PUT", f"{thing}/scale", scale)
    assert (status, body["reason"], body["details"]["kind"]) == (409, "Conflict", "things")


async def test_a_scale_can_be_patched(api: Api, thing: str) -> None:
    """By merge patch, as kubectl does, and by JSON patch; null means none."""
    for patch, kind, wanted in (
        ({"spec": {"replicas": 4}}, MERGE_PATCH, {"replicas": 4}),
        ([{"op": "replace", "path": "/spec/replicas", "value": 5}], JSON_PATCH, {"replicas": 5}),
        ({"spec": {"replicas": 2}, "metadata": {"labels": {"c": "d"}}}, MERGE_PATCH, {"replicas": 2}),
        ({"spec": {"replicas": None}}, MERGE_PATCH, {}),
    ):
        status, answer = await api.send("PATCH", f"{thing}/scale", patch, content_type=kind)
        assert (status, answer["kind"], answer["spec"]) == (200, "Scale", wanted)
    _, changed = await api.send("GET", thing)
    assert (changed["spec"]["replicas"], changed["metadata"]["labels"]) == (0, {"a": "b"})
    patch = {"spec": {"replicas": 1}}
    status, answer = await api.send("PATCH", f"{thing}/scale?dryRun=All", patch, content_type=MERGE_PATCH)
    assert (status, answer["spec"]) == (200, {"replicas": 1})
    _, scale = await api.send("GET", f"{thing}/scale")
    assert scale["spec"] == {}


async def test_a_scale_without_version_and_kind_is_taken_as_one(api: Api, thing: str) -> None:
    """Typed clients may leave them out; without a resourceVersion there is no precondition."""
    status, answer = await api.send("PUT", f"{thing}/scale", {"metadata": {"name": "one"}, "spec": {"replicas": 1}})
    assert (status, answer["spec"]) == (200, {"replicas": 1})
    status, answer = await api.send("PUT", f"{thing}/scale", {"metadata": {"name": "one"}, "spec": {}})
    assert (status, answer["spec"]) == (200, {})


async def test_what_is_no_good_scale_is_refused(api: Api, thing: str) -> None:
    """Wrong kinds, names, numbers and types; and what the kind's own schema does not allow."""
    scale: dict[str, Any] = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "one"}}
    for change, code, reason in (
        ({"metadata": {"name": "two"}, "spec": {"replicas": 1}}, 400, "BadRequest"),
        ({"kind": "Thing", "spec": {"replicas": 1}}, 400, "BadRequest"),
        ({"spec": {"replicas": "1"}}, 400, "BadRequest"),
        ({"spec": {"replicas": -1}}, 422, "Invalid"),
        ({"spec": {"replicas": 9}}, 422, "Invalid"),
    ):
        status, body = await api.send("PUT", f"{thing}/scale", {**scale, **change})
        assert (status, body["reason"]) == (code, reason), change
    status, body = await api.send("PUT", f"{thing}/scale", {**scale, "spec": {"replicas": -1}})
    assert crds.causes(body) == {("FieldValueInvalid", ".spec.replicas")}
    patches: tuple[tuple[str, Any, str, int], ...] = (
        (thing, {"spec": {"replicas": "4"}}, MERGE_PATCH, 422),
        (thing, {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}, MERGE_PATCH, 409),
        (thing, {"spec": {"replicas": 4}}, STRATEGIC_PATCH, 415),
        (thing.replace("/one", "/none"), {"metadata": {}}, MERGE_PATCH, 400),
        (thing.replace("/one", "/nobody"), {"spec": {"replicas": 4}}, MERGE_PATCH, 404),
    )
    for path, patch, kind, code in patches:
        status, _ = await api.send("PATCH", f"{path}/scale", patch, content_type=kind)
        assert status == code, patch
    for method in ("POST", "DELETE"):
        status, _ = await api.send(method, f"{thing}/scale", scale)
        assert status == 405


async def test_an_object_that_could_not_be_scaled_is_refused(api: Api, group: str, thing: str) -> None:
    """Its numbers are integers of 32 bits that are not negative, whatever the schema says; 2.0 is none in JSON."""
    spec, status = ("FieldValueInvalid", ".spec.replicas"), ("FieldValueInvalid", ".status.replicas")
    things = thing.removesuffix("/one")
    for replicas in (-1, 2.0, -(2**31) - 1):
        body = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "two"}}
        code, answer = await api.send("POST", things, {**body, "spec": {"replicas": replicas}})
        assert (code, crds.causes(answer)) == (422, {spec}), replicas
        code, answer = await api.send("PATCH", thing, {"spec": {"replicas": replicas}}, content_type=MERGE_PATCH)
        assert (code, crds.causes(answer)) == (422, {spec}), replicas
    for replicas in (-1, 2.0, 2**31):
        patch = {"status": {"replicas": replicas}}
        code, answer = await api.send("PATCH", f"{thing}/status", patch, content_type=MERGE_PATCH)
        assert (code, crds.causes(answer)) == (422, {status}), replicas
    for replicas in (2.0, 2**31, -(2**31) - 1):
        scale = {"metadata": {"name": "one"}, "spec": {"replicas": replicas}}
        assert (await api.send("PUT", f"{thing}/scale", scale))[0] == 400, replicas
        code, answer = await api.send("PATCH", f"{thing}/scale", scale, content_type=MERGE_PATCH)
        assert (code, crds.causes(answer)) == (422, {("FieldValueInvalid", "patch")}), replicas
    _, scale = await api.send("GET", f"{thing}/scale")
    assert (scale["spec"], scale["status"]["replicas"]) == ({"replicas": 2}, 1)


async def test_an_object_that_says_nothing_of_replicas_gets_them(api: Api, thing: str) -> None:
    """Reading its scale fails, writing it does not."""
    none = thing.replace("/one", "/none")
    status, body = await api.send("GET", f"{none}/scale")
    assert status >= 400
    assert 'the spec replicas field ".spec.replicas" does not exist' in body["message"]
    patch = {"spec": {"replicas": 1}}
    status, answer = await api.send("PATCH", f"{none}/scale", patch, content_type=MERGE_PATCH)
    assert (status, answer["spec"], answer["status"]) == (200, {"replicas": 1}, {"replicas": 0})


async def test_discovery_names_the_scale(api: Api, thing: str) -> None:
    """Clients find it as a subresource of the kind autoscaling/v1 Scale."""
    root = thing.partition("/namespaces/")[0]
    found = await api.eventually(root, lambda body: len(body["resources"]) == 3)
    scale = next(one for one in found["resources"] if one["name"] == "things/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    assert sorted(scale["verbs"]) == ["get", "patch", "update"]


async def test_a_deployment_can_be_scaled(api: Api) -> None:
    """Its selector is shown as text."""
    labels = {"app": "web", "tier": "front"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    deployments = api.path("apps/v1/deployments")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    status, created = await api.send("POST", deployments, body)
    assert status == 201, created
    status, scale = await api.send("GET", f"{deployments}/web/scale")
    assert (status, scale["kind"], scale["spec"]) == (200, "Scale", {})
    assert scale["status"] == {"replicas": 0, "selector": "app=web,tier=front"}
    status, answer = await api.send(
        "PATCH", f"{deployments}/web/scale", {"spec": {"replicas": 1}}, content_type=MERGE_PATCH
    )
    assert (status, answer["kind"], answer["spec"]) == (200, "Scale", {"replicas": 1})
    _, read = await api.send("GET", f"{deployments}/web")
    assert read["spec"]["replicas"] == 1
