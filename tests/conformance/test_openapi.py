"""OpenAPI v3: what kubectl reads before it validates, applies and explains."""

from __future__ import annotations

from typing import Any

import orjson

from api import Api

GVK = "x-kubernetes-group-version-kind"
EXECUTION = {"group": "kontinue.cloud", "version": "v1alpha1", "kind": "Execution"}


async def index(api: Api) -> Any:
    """Return the addresses by group version; kube-apiserver calls this JSON plain text."""
    _, found = await api.send("GET", "/openapi/v3")
    return (orjson.loads(found) if isinstance(found, bytes) else found)["paths"]


async def document(api: Api, root: str) -> Any:
    """Return the document of a group version, found by the index as clients find it."""
    status, found = await api.send("GET", (await index(api))[root]["serverRelativeURL"])
    assert status == 200
    return found


def schema_of(found: Any, kind: dict[str, str]) -> Any:
    """Return the schema that says it is that of ``kind``."""
    (schema,) = [schema for schema in found["components"]["schemas"].values() if kind in schema.get(GVK, [])]
    return schema


async def test_the_index_names_a_document_per_group_version(api: Api) -> None:
    """A hash in the address lets clients keep the document."""
    paths = await index(api)
    for root in ("api/v1", "apis/kontinue.cloud/v1alpha1", "apis/coordination.k8s.io/v1"):
        url = paths[root]["serverRelativeURL"]
        assert url.startswith(f"/openapi/v3/{root}?hash=")
        assert len(url.partition("hash=")[2]) >= 32


async def test_a_document_of_no_group_version_is_not_found(api: Api) -> None:
    """404."""
    assert (await api.send("GET", "/openapi/v3/apis/nothing.example.com/v1"))[0] == 404


async def test_documents_are_openapi_3(api: Api) -> None:
    """With paths and schemas."""
    found = await document(api, "apis/kontinue.cloud/v1alpha1")
    assert found["openapi"].startswith("3.0")
    assert "/apis/kontinue.cloud/v1alpha1/namespaces/{namespace}/executions/{name}/status" in found["paths"]


async def test_writes_name_their_kind_and_take_field_validation(api: Api) -> None:
    """By these two kubectl knows that the server validates, and with --dry-run=server that it may ask."""
    found = await document(api, "apis/kontinue.cloud/v1alpha1")
    collection = found["paths"]["/apis/kontinue.cloud/v1alpha1/namespaces/{namespace}/executions"]
    single = found["paths"]["/apis/kontinue.cloud/v1alpha1/namespaces/{namespace}/executions/{name}"]
    for operation in (collection["post"], single["put"], single["patch"]):
        assert operation[GVK] == EXECUTION
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert {"dryRun", "fieldManager", "fieldValidation"} <= names
    types = set(single["patch"]["requestBody"]["content"])
    assert {"application/json-patch+json", "application/merge-patch+json"} <= types
    assert "application/strategic-merge-patch+json" not in types


async def test_schemas_of_custom_kinds_are_those_of_their_crds(api: Api) -> None:
    """Kubectl explain prints the descriptions and follows metadata to ObjectMeta."""
    found = await document(api, "apis/kontinue.cloud/v1alpha1")
    schema = schema_of(found, EXECUTION)
    assert schema["description"]
    spec = schema["properties"]["spec"]
    assert spec["required"] == ["function"]
    assert spec["properties"]["function"]["type"] == "string"
    assert spec["properties"]["arguments"]["x-kubernetes-preserve-unknown-fields"] is True
    (reference,) = schema["properties"]["metadata"]["allOf"]
    name = reference["$ref"].removeprefix("#/components/schemas/")
    assert {"name", "labels", "ownerReferences"} <= set(found["components"]["schemas"][name]["properties"])
    items = schema_of(found, {**EXECUTION, "kind": "ExecutionList"})["properties"]["items"]
    assert items["type"] == "array"


async def test_schemas_of_built_in_kinds_are_there(api: Api) -> None:
    """For kubectl explain configmap, and for its check before a create."""
    schema = schema_of(await document(api, "api/v1"), {"group": "", "version": "v1", "kind": "ConfigMap"})
    assert schema["properties"]["data"]["additionalProperties"]
