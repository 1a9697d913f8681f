"""Discovery in both forms, version, health, and paths that do not exist."""

from __future__ import annotations

from typing import Any

import pytest

from api import Api

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PLAIN = "application/json"
EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


def named(items: list[Any], name: str, key: str = "name") -> Any:
    """Return the one item of that name."""
    (found,) = [item for item in items if item[key] == name]
    return found


async def test_core_group_lists_its_version(api: Api) -> None:
    """/api is where old clients begin."""
    status, body = await api.send("GET", "/api")
    assert (status, body["kind"], body["versions"]) == (200, "APIVersions", ["v1"])
    assert body["serverAddressByClientCIDRs"]


async def test_groups_are_listed_with_a_preferred_version(api: Api) -> None:
    """/apis names each group once, as /apis/GROUP does."""
    _, body = await api.send("GET", "/apis")
    assert (body["kind"], body["apiVersion"]) == ("APIGroupList", "v1")
    expected = {"groupVersion": "kontinue.cloud/v1alpha1", "version": "v1alpha1"}
    group = named(body["groups"], "kontinue.cloud")
    assert (group["versions"], group["preferredVersion"]) == ([expected], expected)
    _, alone = await api.send("GET", "/apis/kontinue.cloud")
    assert alone == {"kind": "APIGroup", "apiVersion": "v1", **group}
    assert named(body["groups"], "coordination.k8s.io")["preferredVersion"]["version"] == "v1"


async def test_resources_of_a_version_are_listed_with_verbs_and_subresources(api: Api) -> None:
    """Kind, scope, verbs, short names and categories; the status stands as a resource of its own."""
    _, body = await api.send("GET", "/apis/kontinue.cloud/v1alpha1")
    assert (body["kind"], body["groupVersion"]) == ("APIResourceList", "kontinue.cloud/v1alpha1")
    listed = named(body["resources"], "executions")
    assert (listed["kind"], listed["singularName"], listed["namespaced"]) == ("Execution", "execution", True)
    assert (listed["shortNames"], listed["categories"]) == (["kex"], ["kontinue"])
    every = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    assert sorted(listed["verbs"]) == every
    below = named(body["resources"], "executions/status")
    assert (below["kind"], sorted(below["verbs"])) == ("Execution", ["get", "patch", "update"])


async def test_core_resources_are_listed(api: Api) -> None:
    """Namespaces are of the whole cluster and have no deletecollection; /finalize takes updates alone."""
    _, body = await api.send("GET", "/api/v1")
    assert body["groupVersion"] == "v1"
    namespaces = named(body["resources"], "namespaces")
    assert (namespaces["namespaced"], namespaces["shortNames"]) == (False, ["ns"])
    assert "deletecollection" not in namespaces["verbs"]
    assert named(body["resources"], "namespaces/finalize")["verbs"] == ["update"]
    maps = named(body["resources"], "configmaps")
    assert (maps["kind"], maps["shortNames"], maps["namespaced"]) == ("ConfigMap", ["cm"], True)


async def test_aggregated_discovery_says_everything_at_once(api: Api) -> None:
    """One request for all groups; the content type is compared to the letter."""
    _, body = await api.send("GET", "/apis", Accept=f"{AGGREGATED},{PLAIN}")
    assert api.headers["Content-Type"] == AGGREGATED
    assert (body["kind"], body["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    (group,) = [item for item in body["items"] if item["metadata"]["name"] == "kontinue.cloud"]
    (served,) = group["versions"]
    assert (served["version"], served["freshness"]) == ("v1alpha1", "Current")
    listed = named(served["resources"], "executions", "resource")
    kind = {"group": "kontinue.cloud", "version": "v1alpha1", "kind": "Execution"}
    assert (listed["responseKind"], listed["scope"], listed["singularResource"]) == (kind, "Namespaced", "execution")
    assert (listed["shortNames"], listed["categories"]) == (["kex"], ["kontinue"])
    assert "deletecollection" in listed["verbs"]
    (status,) = listed["subresources"]
    assert (status["subresource"], status["responseKind"]) == ("status", kind)
    assert sorted(status["verbs"]) == ["get", "patch", "update"]


async def test_aggregated_discovery_of_the_core_group(api: Api) -> None:
    """It has no name."""
    _, body = await api.send("GET", "/api", Accept=AGGREGATED)
    assert api.headers["Content-Type"] == AGGREGATED
    (group,) = body["items"]
    assert not group["metadata"].get("name")
    listed = named(group["versions"][0]["resources"], "configmaps", "resource")
    assert listed["responseKind"]["kind"] == "ConfigMap"
    assert named(group["versions"][0]["resources"], "namespaces", "resource")["scope"] == "Cluster"


@pytest.mark.parametrize(
    ("accept", "is_aggregated"),
    [
        (f"{AGGREGATED.replace('v2', 'v2beta1')},{AGGREGATED},{PLAIN}", True),
        (f"{AGGREGATED.replace('v2', 'v9')},{PLAIN}", False),
        (f"{PLAIN},{AGGREGATED}", True),
        ("*/*", False),
    ],
)
async def test_discovery_is_aggregated_for_those_who_can_read_it(api: Api, accept: str, *, is_aggregated: bool) -> None:
    """Wherever the form stands in Accept; others get the plain one."""
    for path, plain in (("/api", "APIVersions"), ("/apis", "APIGroupList")):
        _, body = await api.send("GET", path, Accept=accept)
        assert body["kind"] == ("APIGroupDiscoveryList" if is_aggregated else plain)
        assert api.headers["Content-Type"].startswith(AGGREGATED.partition(";")[0])


@pytest.mark.parametrize("accept", ["text/html", AGGREGATED.replace("v2", "v9")])
async def test_discovery_in_another_form_is_not_acceptable(api: Api, accept: str) -> None:
    """406, and a Status all the same."""
    for path in ("/api", "/apis"):
        status, body = await api.send("GET", path, Accept=accept)
        assert (status, body["reason"]) == (406, "NotAcceptable")


async def test_version_says_which_kubernetes_is_followed(api: Api) -> None:
    """Clients choose features by it."""
    status, body = await api.send("GET", "/version")
    assert (status, body["major"], body["minor"]) == (200, "1", "36")
    assert body["gitVersion"].startswith("v1.36.")
    assert body["platform"]


@pytest.mark.parametrize("path", ["healthz", "livez", "readyz"])
async def test_health_is_text_with_checks_below(api: Api, path: str) -> None:
    """ok, or with verbose each check by name; a check has a path of its own."""
    assert await api.send("GET", f"/{path}") == (200, b"ok")
    assert api.headers["Content-Type"].startswith("text/plain")
    status, text = await api.send("GET", f"/{path}?verbose")
    assert status == 200
    assert text.startswith(b"[+]ping ok\n")
    assert text.endswith(f"{path} check passed\n".encode())
    assert await api.send("GET", f"/{path}/ping") == (200, b"ok")
    assert await api.send("GET", f"/{path}/nothing") == (404, b"404 page not found\n")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/apis/nothing.example.com",
        "/apis/nothing.example.com/v1/namespaces/default/things",
        "/apis/kontinue.cloud/v9",
        "/apis/kontinue.cloud/v1alpha1/nothing",
    ],
)
async def test_unknown_groups_and_custom_resources_are_a_plain_404(api: Api, path: str) -> None:
    """Text and no Status."""
    assert await api.send("GET", path) == (404, b"404 page not found\n")
    assert (await api.send("POST", path, {}))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/v9",
        "/api/v1/nothing",
        "/api/v1/namespaces/default/nothing/name",
        "/api/v1/namespaces/default/configmaps/name/status",
        "/apis/coordination.k8s.io/v1/nothing",
    ],
)
async def test_unknown_resources_of_built_in_groups_are_a_status(api: Api, path: str) -> None:
    """404 NotFound that names nothing."""
    status, body = await api.send("GET", path)
    assert (status, body["kind"], body["reason"]) == (404, "Status", "NotFound")
    assert body["message"] == "the server could not find the requested resource"
    assert body["details"] == {}, "kubectl debug reads into it"


async def test_an_unknown_subresource_of_a_custom_object_is_not_found(api: Api) -> None:
    """404 that names the object, there or not."""
    for subresource in ("scale", "nothing"):
        status, body = await api.send("GET", api.path(EXECUTIONS, "a", subresource))
        details = {"name": "a", "group": "kontinue.cloud", "kind": "executions"}
        assert (status, body["reason"], body["details"]) == (404, "NotFound", details)


async def test_a_trailing_slash_changes_nothing(api: Api) -> None:
    """Clients join paths carelessly."""
    for path in ("/api", "/apis", api.path(EXECUTIONS)):
        assert (await api.send("GET", f"{path}/"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/version"),
        ("OPTIONS", "/version"),
        ("PUT", "/api/v1/namespaces"),
        ("PATCH", "/api/v1/namespaces"),
        ("DELETE", "/api/v1/namespaces"),
        ("DELETE", "/api/v1/configmaps"),
        ("POST", "/api/v1/namespaces/default/configmaps/a"),
        ("OPTIONS", "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions"),
        ("PROPFIND", "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions"),
        ("DELETE", "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions/a/status"),
        ("POST", "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions/a/status"),
    ],
)
async def test_methods_that_a_path_does_not_have_are_refused(api: Api, method: str, path: str) -> None:
    """405 as a Status."""
    status, body = await api.send(method, path, None if method == "OPTIONS" else {})
    assert (status, body["kind"], body["reason"]) == (405, "Status", "MethodNotAllowed")


async def test_head_is_answered_for_custom_resources_and_health_alone(api: Api) -> None:
    """As a GET without its body; kube-apiserver has no HEAD for what is built in."""
    assert await api.send("HEAD", api.path(EXECUTIONS)) == (200, b"")
    assert await api.send("HEAD", api.path(EXECUTIONS, "nothing")) == (404, b"")
    assert (await api.send("HEAD", "/healthz"))[0] == 200
    assert (await api.send("HEAD", api.path("configmaps")))[0] == 405
    assert (await api.send("HEAD", "/version"))[0] == 405


async def test_the_root_names_the_paths_of_documents(api: Api) -> None:
    """Both forms of OpenAPI, health, version, and each group version."""
    status, body = await api.send("GET", "/")
    assert status == 200
    wanted = {"/api/v1", "/apis", "/apis/apps/v1", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
    assert wanted <= set(body["paths"])


@pytest.mark.parametrize("path", ["/", "/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/healthz", "/metrics"])
async def test_documents_outside_of_discovery_are_read_by_any_method(api: Api, path: str) -> None:
    """A server that only shows them does not look at what was asked with."""
    for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE"):
        assert (await api.send(method, path, None if method == "HEAD" else {}))[0] == 200, method
