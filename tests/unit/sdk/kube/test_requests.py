"""Requests carry exactly what the Kubernetes API expects."""

import msgspec
import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.kube import requests
from kontinue.kube.requests import CONFIGMAPS, CRDS, EXECUTIONS, LEASES, NAMESPACES


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "subresource", "path"),
    [
        (EXECUTIONS, "a", "", "", "/apis/kontinue.cloud/v1alpha1/namespaces/a/executions"),
        (EXECUTIONS, "a", "x", "status", "/apis/kontinue.cloud/v1alpha1/namespaces/a/executions/x/status"),
        (EXECUTIONS, "", "", "", "/apis/kontinue.cloud/v1alpha1/executions"),
        (CONFIGMAPS, "a", "x", "", "/api/v1/namespaces/a/configmaps/x"),
        (NAMESPACES, "ignored", "x", "", "/api/v1/namespaces/x"),
        (CRDS, "", "a.b", "", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b"),
        (EXECUTIONS, "a", "../b", "", "/apis/kontinue.cloud/v1alpha1/namespaces/a/executions/..%2Fb"),
    ],
)
def test_path_names_group_scope_object_and_subresource(resource, namespace, name, subresource, path):
    """Core and named groups, namespaced and cluster-scoped kinds; a name cannot leave its place in the path."""
    assert resource.path(namespace, name, subresource) == path


def test_api_version_leaves_out_the_empty_core_group():
    """``v1`` for core kinds, group and version for others."""
    assert (CONFIGMAPS.api_version, LEASES.api_version) == ("v1", "coordination.k8s.io/v1")


def test_create_posts_a_struct_as_json():
    """A struct becomes camelCase JSON; bytes pass unread."""
    execution = Execution(metadata=ObjectMeta(name="x"), spec=ExecutionSpec(function="f"))
    request = requests.create(EXECUTIONS, "a", execution)
    assert (request.method, request.path) == ("POST", EXECUTIONS.path("a"))
    assert msgspec.json.decode(request.body)["apiVersion"] == "kontinue.cloud/v1alpha1"
    assert requests.create(EXECUTIONS, "a", b"{}").body == b"{}"


def test_list_and_watch_encode_their_selectors():
    """Reserved characters of selectors are percent-encoded; what is unset stays out."""
    listed = requests.list_objects(EXECUTIONS, "a", label_selector="a=b,!c", field_selector="d!=e", limit=5)
    assert listed.query == "labelSelector=a%3Db%2C%21c&fieldSelector=d%21%3De&limit=5"
    assert requests.list_objects(EXECUTIONS, "a").target == EXECUTIONS.path("a")
    watched = requests.watch(EXECUTIONS, "a", resource_version="7", timeout_s=9)
    assert watched.query == "watch=true&resourceVersion=7&allowWatchBookmarks=true&timeoutSeconds=9"


def test_replace_writes_the_status_unless_told_otherwise():
    """The engine writes statuses; Leases have none."""
    assert requests.replace_status(EXECUTIONS, "a", "x", b"{}").path.endswith("/x/status")
    assert requests.replace(LEASES, "a", "x", b"{}").path.endswith("/x")


def test_patches_say_their_type():
    """JSON patch and merge patch differ by content type only."""
    json_patch = requests.json_patch(EXECUTIONS, "a", "x", [{"op": "remove", "path": "/a"}], subresource="status")
    assert json_patch.content_type == "application/json-patch+json"
    assert json_patch.body == b'[{"op":"remove","path":"/a"}]'
    assert requests.merge_patch(EXECUTIONS, "a", "x", {}).content_type == "application/merge-patch+json"


def test_delete_carries_only_the_preconditions_given():
    """Without uid and resourceVersion there are no preconditions."""
    bare = msgspec.json.decode(requests.delete(EXECUTIONS, "a", "x").body)
    assert bare == {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    strict = msgspec.json.decode(requests.delete(EXECUTIONS, "a", "x", uid="u", resource_version="3").body)
    assert strict["preconditions"] == {"uid": "u", "resourceVersion": "3"}
