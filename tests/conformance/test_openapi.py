"""OpenAPI v3: what kubectl reads before it validates, applies and explains."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

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


async def test_operations_are_named_for_generators_of_clients(api: Api) -> None:
    """By verb, group version, scope, kind and subresource, each name once."""
    paths = (await document(api, "apis/kontinue.cloud/v1alpha1"))["paths"]
    root = "/apis/kontinue.cloud/v1alpha1"
    one = f"{root}/namespaces/{{namespace}}/executions/{{name}}"
    named = {
        (path, method): operation["operationId"]
        for path in (f"{root}/executions", f"{root}/namespaces/{{namespace}}/executions", one, f"{one}/status")
        for method, operation in paths[path].items()
        if method != "parameters"
    }
    assert sorted(named.values()) == [
        "createKontinueCloudV1alpha1NamespacedExecution",
        "deleteKontinueCloudV1alpha1CollectionNamespacedExecution",
        "deleteKontinueCloudV1alpha1NamespacedExecution",
        "listKontinueCloudV1alpha1ExecutionForAllNamespaces",
        "listKontinueCloudV1alpha1NamespacedExecution",
        "patchKontinueCloudV1alpha1NamespacedExecution",
        "patchKontinueCloudV1alpha1NamespacedExecutionStatus",
        "readKontinueCloudV1alpha1NamespacedExecution",
        "readKontinueCloudV1alpha1NamespacedExecutionStatus",
        "replaceKontinueCloudV1alpha1NamespacedExecution",
        "replaceKontinueCloudV1alpha1NamespacedExecutionStatus",
    ]


@pytest.mark.parametrize(
    ("root", "path", "names"),
    [
        ("api/v1", "/api/v1/namespaces", {"get": "listCoreV1Namespace", "post": "createCoreV1Namespace"}),
        ("api/v1", "/api/v1/namespaces/{name}/finalize", {"put": "replaceCoreV1NamespaceFinalize"}),
        (
            "apis/apps/v1",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
            {
                "get": "readAppsV1NamespacedDeploymentScale",
                "put": "replaceAppsV1NamespacedDeploymentScale",
                "patch": "patchAppsV1NamespacedDeploymentScale",
            },
        ),
    ],
    ids=["no-deletecollection", "finalize", "scale"],
)
async def test_operations_of_built_in_kinds_are_those_that_are_served(
    api: Api, root: str, path: str, names: dict[str, str]
) -> None:
    """Of each path: what can be done, under its name."""
    found = (await document(api, root))["paths"][path]
    assert {key: value["operationId"] for key, value in found.items() if key != "parameters"} == names


async def test_operations_say_what_is_sent_and_answered(api: Api) -> None:
    """Objects as JSON or YAML, options of a delete, codes, and a Scale where replicas are scaled."""
    found = await document(api, "apis/kontinue.cloud/v1alpha1")
    collection = found["paths"]["/apis/kontinue.cloud/v1alpha1/namespaces/{namespace}/executions"]
    single = found["paths"]["/apis/kontinue.cloud/v1alpha1/namespaces/{namespace}/executions/{name}"]
    assert {"application/json", "application/yaml"} <= set(collection["post"]["requestBody"]["content"])
    assert [set(collection["post"]["responses"]), set(single["put"]["responses"])] == [
        {"200", "201", "202", "401"},
        {"200", "201", "401"},
    ]
    options = single["delete"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    properties = found["components"]["schemas"][options.rpartition("/")[2]]["properties"]
    assert {"preconditions", "propagationPolicy", "gracePeriodSeconds"} <= set(properties)
    names = {parameter["name"] for parameter in single["delete"]["parameters"]}
    assert {"dryRun", "propagationPolicy", "gracePeriodSeconds"} <= names
    status = found["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.Status"]
    assert {"apiVersion", "kind", "code", "reason", "details"} <= set(status["properties"])
    apps = await document(api, "apis/apps/v1")
    scale = apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale[GVK] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


async def test_openapi_v2_comes_as_json_or_as_gnostic_binary(api: Api) -> None:
    """Kubectl reads it for a kind that nothing else knows, before it says that there is no such kind."""
    status, found = await api.send("GET", "/openapi/v2")
    assert (status, found["swagger"], found["info"]["title"]) == (200, "2.0", "Kubernetes")
    for form in ("@v1.0", ".v1.0"):
        accept = f"application/com.github.proto-openapi.spec.v2{form}+protobuf"
        status, binary = await api.send("GET", "/openapi/v2", Accept=accept)
        assert (status, binary[:5]) == (200, b"\n\x032.0")
        assert api.headers["Content-Type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
