from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.discovery import openapi
from kontinue_engine.apiserver.resources import ResourceInfo

EXECUTION = {"group": "kontinue.cloud", "version": "v1alpha1", "kind": "Execution"}


@pytest.fixture
def documents(execution_resource: ResourceInfo) -> dict[str, bytes]:
    found = openapi.OpenApi([*kinds.BUILT_IN, execution_resource])
    return {root: found.document(root) or b"" for root in found.build_index()["paths"]}


def references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {found for item in node for found in references(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own | {found for value in node.values() for found in references(value)}


def test_there_is_one_document_per_group_version(documents: dict[str, bytes], execution_resource: ResourceInfo):
    """The index names each with a hash, so that clients may cache it."""
    assert documents.keys() >= {"api/v1", "apis/batch/v1", "apis/kontinue.cloud/v1alpha1"}
    changed = msgspec.structs.replace(execution_resource, schema={"type": "object"})
    roots = ("api/v1", "apis/kontinue.cloud/v1alpha1")
    before, after = (
        [openapi.OpenApi([*kinds.BUILT_IN, info]).build_index()["paths"][root]["serverRelativeURL"] for root in roots]
        for info in (execution_resource, changed)
    )
    assert before[0] == after[0]
    assert before[0].startswith("/openapi/v3/api/v1?hash=")
    assert before[1] != after[1]


def test_every_reference_resolves(documents: dict[str, bytes]):
    """A dangling one breaks kubectl explain."""
    for text in documents.values():
        document = orjson.loads(text)
        known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert references(document) <= known


def test_a_patch_says_that_fields_are_validated(documents: dict[str, bytes]):
    """By this, kubectl leaves validation to the server."""
    document = orjson.loads(documents["apis/kontinue.cloud/v1alpha1"])
    single = document["paths"]["/apis/kontinue.cloud/v1alpha1/namespaces/{namespace}/executions/{name}"]
    patch = single["patch"]
    assert patch["x-kubernetes-group-version-kind"] == EXECUTION
    assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert [parameter["name"] for parameter in single["parameters"]] == ["namespace", "name"]


def test_paths_follow_scope_and_subresources(documents: dict[str, bytes]):
    """Kinds of the whole cluster have no namespace in their paths, and only kinds with a status have that path."""
    core = orjson.loads(documents["api/v1"])["paths"]
    assert {"/api/v1/namespaces", "/api/v1/namespaces/{name}", "/api/v1/namespaces/{name}/status"} <= core.keys()
    assert {"/api/v1/configmaps", "/api/v1/namespaces/{namespace}/configmaps"} <= core.keys()
    assert "/api/v1/namespaces/{namespace}/configmaps/{name}/status" not in core


def test_the_schema_of_a_kind_is_the_one_of_its_crd(documents: dict[str, bytes], execution_resource: ResourceInfo):
    """Descriptions are what kubectl explain prints; metadata is spelt out."""
    schemas = orjson.loads(documents["apis/kontinue.cloud/v1alpha1"])["components"]["schemas"]
    schema = schemas["cloud.kontinue.v1alpha1.Execution"]
    assert schema["x-kubernetes-group-version-kind"] == [EXECUTION]
    assert schema["description"] == execution_resource.schema["description"]
    assert schema["properties"]["spec"] == execution_resource.schema["properties"]["spec"]
    assert "ObjectMeta" in schema["properties"]["metadata"]["allOf"][0]["$ref"]
    items = schemas["cloud.kontinue.v1alpha1.ExecutionList"]["properties"]["items"]["items"]
    assert items == {"$ref": "#/components/schemas/cloud.kontinue.v1alpha1.Execution"}
