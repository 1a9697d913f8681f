from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.discovery import discovery
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.statuses import StatusError

KUBECTL = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@pytest.fixture
def served(execution_resource: ResourceInfo) -> list[ResourceInfo]:
    return [*kinds.BUILT_IN, execution_resource]


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (KUBECTL, "v2"),
        (KUBECTL.partition(",")[2], "v2beta1"),
        ("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json", ""),
        ("application/json, " + KUBECTL, "v2"),
        ("*/*", ""),
        ("", ""),
    ],
)
def test_the_first_form_that_can_be_served_wins(accept: str, version: str):
    """A client that knows only v2beta1 fails silently on v2."""
    assert discovery.negotiate(accept) == version


@pytest.mark.parametrize(
    "accept",
    [
        "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList",
        "application/vnd.kubernetes.protobuf, application/json;as=Table;g=meta.k8s.io;v=v1",
        "text/html",
    ],
)
def test_other_forms_are_not_acceptable(accept: str):
    """406 and not another form than the client can read."""
    with pytest.raises(StatusError) as caught:
        discovery.negotiate(accept)
    assert caught.value.code == 406


def test_content_types_are_exact():
    """They are compared by kubectl to the letter."""
    expected = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert discovery.AGGREGATED_CONTENT_TYPE["v2"] == expected


def test_groups_are_listed_without_the_core_group(served: list[ResourceInfo]):
    """The core group stands under /api."""
    groups = discovery.build_group_list(served)["groups"]
    names = [group["name"] for group in groups]
    assert {"apps", "batch", "coordination.k8s.io", "apiextensions.k8s.io"} <= set(names)
    assert names[-1] == "kontinue.cloud"
    assert groups[-1]["preferredVersion"] == {"groupVersion": "kontinue.cloud/v1alpha1", "version": "v1alpha1"}
    assert discovery.build_api_versions("127.0.0.1:1")["versions"] == ["v1"]


def test_one_group_is_described_or_unknown(served: list[ResourceInfo]):
    """The router answers 404 for None."""
    group = discovery.build_group(served, "kontinue.cloud")
    assert group is not None
    assert group["kind"] == "APIGroup"
    assert discovery.build_group(served, "example.com") is None
    assert discovery.build_group(served, "") is None


def test_a_resource_list_names_subresources(served: list[ResourceInfo]):
    """Clients find /status by it."""
    found = discovery.build_resource_list(served, "kontinue.cloud", "v1alpha1")
    assert found is not None
    execution, status = found["resources"]
    assert (execution["name"], execution["shortNames"], execution["categories"]) == (
        "executions",
        ["kex"],
        ["kontinue"],
    )
    assert (status["name"], status["verbs"]) == ("executions/status", ["get", "patch", "update"])
    core = discovery.build_resource_list(served, "", "v1")
    assert core is not None
    assert {entry["name"] for entry in core["resources"]} >= {"namespaces", "namespaces/finalize", "events"}
    assert discovery.build_resource_list(served, "kontinue.cloud", "v9") is None
    assert discovery.build_resource_list(served, "example.com", "v1") is None


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_aggregated_form_holds_everything_at_once(served: list[ResourceInfo], version: str):
    """Core under /api, all other groups under /apis."""
    core = discovery.build_aggregated(served, version=version, is_core=True)
    rest = discovery.build_aggregated(served, version=version, is_core=False)
    assert core["apiVersion"] == rest["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    assert [item["metadata"].get("name") for item in core["items"]] == [None]
    assert resource_names(core) | resource_names(rest) == {info.plural for info in served}
    (execution,) = rest["items"][-1]["versions"][0]["resources"]
    assert execution["responseKind"] == {"group": "kontinue.cloud", "version": "v1alpha1", "kind": "Execution"}
    assert execution["scope"] == "Namespaced"
    assert [entry["subresource"] for entry in execution["subresources"]] == ["status"]


def resource_names(document: dict[str, Any]) -> set[str]:
    return {
        entry["resource"]
        for item in document["items"]
        for version in item["versions"]
        for entry in version["resources"]
    }


def test_the_version_reads_as_one_of_kubernetes():
    """Clients parse major and minor."""
    version = discovery.build_version()
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")
