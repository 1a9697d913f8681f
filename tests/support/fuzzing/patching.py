"""Patches of each kind, on a document that must stay as it was; and sets of fields."""

from __future__ import annotations

from typing import Any

import orjson

from fuzzing.target import target
from kontinue_engine.apiserver.apply import field_sets, managers
from kontinue_engine.apiserver.apply.field_sets import FieldSetError
from kontinue_engine.apiserver.apply.managers import InvalidEntriesError
from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.objects import patches, strategic_patch

CONTAINER = {"name": "c", "image": "i", "ports": [{"containerPort": 1, "protocol": "TCP"}], "args": ["x"]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER, {"name": "d"}], "volumes": []}}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a", "finalizers": ["x/a", "x/b"], "ownerReferences": [{"uid": "u", "name": "o"}]},
    "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "template": TEMPLATE},
}
RESOURCE = next(info for info in kinds.BUILT_IN if info.kind == "Deployment")


@target(
    b'[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"e"}},{"op":"test","path":"/x","value":null}]',
    b'[{"op":"move","from":"/metadata/finalizers/0","path":"/metadata/finalizers/-1"},{"op":"remove","path":"/spec"}]',
    b'[{"op":"copy","from":"/spec","path":"/metadata/a~1b~0"},{"op":"replace","path":"","value":{"kind":1}}]',
)
def json_patch(data: bytes) -> None:
    """Twice, because what a patch changes in place must be its own."""
    _unchanged(patches.apply_json_patch, data)


@target(b'{"spec":{"replicas":null,"template":{"spec":{"containers":[]}}},"x":{"y":{"z":null}}}', b"null", b"[1]")
def merge_patch(data: bytes) -> None:
    """Of any JSON; the handlers take objects only."""
    _unchanged(patches.apply_merge_patch, data)


@target(
    b'{"spec":{"template":{"spec":{"containers":[{"name":"d","$patch":"delete"},{"name":"c","args":["y"]}]}}}}',
    b'{"metadata":{"$deleteFromPrimitiveList/finalizers":["x/a"],"$setElementOrder/finalizers":["x/b","x/c"],'
    b'"finalizers":["x/c"],"ownerReferences":[{"$patch":"replace"},{"uid":"v"}]}}',
    b'{"spec":{"strategy":{"$retainKeys":["type"],"type":"RollingUpdate"},"template":{"$patch":"replace","spec":null}}}',
    b'{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"containers":[{"name":"c",'
    b'"ports":[{"containerPort":2}],"$setElementOrder/ports":[{"containerPort":2}]}]}}}}',
)
def strategic_merge_patch(data: bytes) -> None:
    """With directives wherever they make no sense."""

    def apply(document: Any, patch: Any) -> Any:
        return strategic_patch.apply_strategic_patch(RESOURCE, document, patch) if isinstance(patch, dict) else None

    _unchanged(apply, data)


def _unchanged(apply: Any, data: bytes) -> None:
    patch = requests.parse_json(data)
    before = orjson.dumps(DEPLOYMENT)
    try:
        first = apply(DEPLOYMENT, patch)
        assert apply(DEPLOYMENT, patch) == first
    finally:
        assert orjson.dumps(DEPLOYMENT) == before


@target(
    b'{"f:spec":{".":{},"f:replicas":{},"k:{\\"name\\":\\"c\\",\\"port\\":1.0}":{".":{},"f:image":{}},"v:\\"x\\"":{}},"i:0":{}}',
    b'{"f:":{"x:y":1},".":{},"i:-1":{"f:a":null},"v:[1]":{},"v:{\\"b\\":1,\\"a\\":[2]}":{}}',
)
def field_paths(data: bytes) -> None:
    """FieldsV1 as a set, which is the same when it is written and read again, and can be told to people."""
    try:
        found = field_sets.parse(requests.parse_json(data))
    except FieldSetError:
        return
    again = field_sets.dump(found)
    assert field_sets.parse(again) == found - {()}  # of the object itself nothing is said
    orjson.dumps(again)
    assert all(isinstance(field_sets.text(path), str) for path in found)


@target(
    b'[{"manager":"m","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","time":"2026-01-01T00:00:00Z",'
    b'"fieldsV1":{"f:spec":{"f:a":{}}},"subresource":"status"},{"operation":"Update","apiVersion":"v1",'
    b'"fieldsType":"FieldsV1"}]',
    b"[{}]",
)
def managed_fields(data: bytes) -> None:
    """What is taken says the same when it is written and read again."""
    try:
        owners = managers.decode(requests.parse_json(data))
    except InvalidEntriesError:
        return
    assert managers.decode(managers.encode(owners)) == owners
