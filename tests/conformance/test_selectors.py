"""Label and field selectors: which objects a list shows, and which selectors are refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from api import MERGE_PATCH, Api, execution, unique

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


async def _names(api: Api, query: str, plural: str = EXECUTIONS) -> list[str]:
    status, body = await api.send("GET", f"{api.path(plural)}?{query}")
    assert status == 200, body
    return [item["metadata"]["name"] for item in body["items"]]


async def _create_labelled(api: Api) -> None:
    labelled: dict[str, dict[str, str]] = {
        "a": {"app": "web", "tier": "", "size": "7"},
        "b": {"app": "db", "example.com/zone": "eu-1", "size": "10"},
        "c": {},
    }
    for name, labels in labelled.items():
        body = {"metadata": {"name": name, "labels": labels}}
        status, created = await api.send("POST", api.path("configmaps"), body)
        assert status == 201, created


async def test_label_selectors_select_by_every_operator(api: Api) -> None:
    """Equality, sets, presence and numbers; commas mean AND; spaces do not matter; absent labels are not equal."""
    await _create_labelled(api)
    # Every namespace of a real cluster has a ConfigMap of its own, without labels.
    expected = {
        "app=web": "a",
        "app==web": "a",
        " app = web ": "a",
        "app!=web": "bc",
        "app": "ab",
        "!app": "c",
        "! app": "c",
        "tier=": "a",
        "tier": "a",
        "missing=": "",
        "app in (web,db)": "ab",
        "app in(web)": "a",
        "app  in  ( web , db )": "ab",
        "tier in (,x)": "a",
        "app in ()": "",
        "app notin (web)": "bc",
        "app notin (web,db)": "c",
        "example.com/zone=eu-1,app,!tier": "b",
        "app=web,app=db": "",
        "size>7": "b",
        "size > 6,size<8": "a",
        "size<100": "ab",
        "app>1": "",
        "in in (in)": "",
        "notin!=in": "abc",
        "  ": "abc",
    }
    found = {}
    for selector in expected:
        names = await _names(api, f"labelSelector={quote(selector)}", "configmaps")
        found[selector] = "".join(name for name in names if name in "abc")
    assert found == expected


@pytest.mark.parametrize(
    "selector",
    [
        "app=web,",
        ",app=web",
        "=web",
        "app=a=b",
        "app===b",
        "app in web",
        "app in (web",
        "app in (we b)",
        "app gt 1",
        "app>x",
        "app>",
        "a b",
        "!",
        "!app=web",
        "app!",
        "()",
        "-app=web",
        "app=-web",
        'app="web"',
        "ä=1",
        "app=ä",
        "/x=1",
        "x/y/z=1",
        "UPPER.example.com/a=b",
        f"{'a' * 64}=x",
        f"app={'a' * 64}",
    ],
)
async def test_a_label_selector_that_is_none_is_a_bad_request(api: Api, selector: str) -> None:
    """Half a selector must select nothing, in lists as in watches."""
    for query in (f"labelSelector={quote(selector)}", f"watch=1&timeoutSeconds=1&labelSelector={quote(selector)}"):
        status, body = await api.send("GET", f"{api.path(EXECUTIONS)}?{query}")
        assert (status, body["reason"]) == (400, "BadRequest"), body


async def test_field_selectors_select_by_name_namespace_and_the_fields_of_a_definition(api: Api) -> None:
    """A field that is absent counts as empty, so phases are selected before there is a status."""
    for name, function in (("a", "hello"), ("b", "other"), ("c", "hello")):
        body = execution(name, metadata={"labels": {"g": name}}, spec={"function": function})
        assert (await api.send("POST", api.path(EXECUTIONS), body))[0] == 201
    done = {"status": {"phase": "Completed"}}
    assert (await api.send("PATCH", api.path(EXECUTIONS, "a", "status"), done, content_type=MERGE_PATCH))[0] == 200
    expected = {
        "status.phase=Completed": "a",
        "status.phase!=Completed": "bc",
        "status.phase=": "bc",
        "status.phase!=": "a",
        "spec.function=hello,status.phase!=Completed": "c",
        "spec.function==other": "b",
        "metadata.name=b": "b",
        "metadata.name!=b": "ac",
        "metadata.name=b,metadata.name=c": "",
        ",metadata.name=b,": "b",
        "metadata.name=b ": "",
        r"metadata.name=b\,c": "",
        f"metadata.namespace={api.namespace}": "abc",
        "metadata.namespace=elsewhere": "",
    }
    found = {selector: "".join(await _names(api, f"fieldSelector={quote(selector)}")) for selector in expected}
    assert found == expected
    both = f"fieldSelector={quote('spec.function=hello')}&labelSelector={quote('g in (b,c)')}"
    assert await _names(api, both) == ["c"]


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ("spec.nonsense=1", "field label not supported: spec.nonsense"),
        ("metadata.uid=1", "field label not supported: metadata.uid"),
        ("metadata.name = b", "field label not supported"),
        ("=b", "field label not supported"),
        ("metadata.name", "invalid selector"),
        ("metadata.name>b", "invalid selector"),
        ("metadata.name in (a,b)", "invalid selector"),
        ("metadata.name=a=b", ""),
        (r"metadata.name=a\b", ""),
    ],
)
async def test_a_field_selector_that_is_none_is_a_bad_request(api: Api, selector: str, problem: str) -> None:
    """Which fields can be selected is said by the kind; the rest is refused, in lists as in watches."""
    for query in (f"fieldSelector={quote(selector)}", f"watch=1&timeoutSeconds=1&fieldSelector={quote(selector)}"):
        status, body = await api.send("GET", f"{api.path(EXECUTIONS)}?{query}")
        assert (status, body["reason"], problem in body["message"]) == (400, "BadRequest", True), body


async def _create_event(api: Api, name: str, **fields: Any) -> None:
    involved = {"kind": "Execution", "namespace": api.namespace, "name": "one", "uid": "u-1"}
    body = {"metadata": {"name": name}, "involvedObject": involved, "type": "Normal", "reason": "Started", **fields}
    status, created = await api.send("POST", api.path("events"), body)
    assert status == 201, created


async def test_events_are_selected_by_what_they_tell_of(api: Api) -> None:
    """As ``kubectl describe`` and ``kubectl events`` ask."""
    await _create_event(api, "a", source={"component": "worker"})
    await _create_event(api, "b", type="Warning", reason="Failed", reportingComponent="other")
    expected = {
        "involvedObject.name=one,involvedObject.kind=Execution,involvedObject.uid=u-1": "ab",
        f"involvedObject.namespace={api.namespace}": "ab",
        "involvedObject.name=two": "",
        "involvedObject.uid!=u-1": "",
        "involvedObject.apiVersion=": "ab",
        "type=Warning": "b",
        "type!=Normal,reason=Failed": "b",
        "source=worker": "a",
        "reportingComponent=other": "b",
    }
    found = {
        selector: "".join(await _names(api, f"fieldSelector={quote(selector)}", "events")) for selector in expected
    }
    assert found == expected
    # The same Events in another group have other names for fields.
    renamed = {"regarding.name=one,reportingController=other": "b", "regarding.kind=Execution,reason=Started": "a"}
    plural = "events.k8s.io/v1/events"
    found = {selector: "".join(await _names(api, f"fieldSelector={quote(selector)}", plural)) for selector in renamed}
    assert found == renamed
    for path, selector in ((api.path("events"), "message=x"), (api.path(plural), "involvedObject.name=one")):
        assert (await api.send("GET", f"{path}?fieldSelector={quote(selector)}"))[0] == 400


async def test_built_in_kinds_have_fields_of_their_own(api: Api) -> None:
    """Secrets by type, namespaces by phase and name; what a kind does not have is refused."""
    for name, kind in (("a", "Opaque"), ("b", "example.com/own")):
        status, created = await api.send("POST", api.path("secrets"), {"metadata": {"name": name}, "type": kind})
        assert status == 201, created
    assert await _names(api, "fieldSelector=type%3Dexample.com/own", "secrets") == ["b"]
    here = quote(f"metadata.name={api.namespace},status.phase=Active")
    _, listed = await api.send("GET", f"/api/v1/namespaces?fieldSelector={here}")
    assert [item["metadata"]["name"] for item in listed["items"]] == [api.namespace]
    refused = {
        "/api/v1/namespaces": "metadata.namespace=default",
        api.path("secrets"): "data.a=1",
        api.path("configmaps"): "data.a=1",
        api.path("coordination.k8s.io/v1/leases"): "spec.holderIdentity=me",
    }
    for path, selector in refused.items():
        assert (await api.send("GET", f"{path}?fieldSelector={quote(selector)}"))[0] == 400


async def test_pods_and_jobs_are_selected_by_their_own_fields(api: Api) -> None:
    """What schedulers and ``kubectl get pods`` ask for."""
    container = {"name": "main", "image": "none"}
    for name, node in (("a", ""), ("b", unique("node"))):
        spec = {"containers": [container], **({"nodeName": node} if node else {})}
        status, created = await api.send("POST", api.path("pods"), {"metadata": {"name": name}, "spec": spec})
        assert status == 201, created
    assert await _names(api, "fieldSelector=spec.nodeName%3D", "pods") == ["a"]
    assert await _names(api, "fieldSelector=spec.nodeName%21%3D", "pods") == ["b"]
    assert await _names(api, "fieldSelector=status.phase%3DPending,spec.restartPolicy%3DAlways", "pods") == ["a", "b"]
    assert (await api.send("GET", f"{api.path('pods')}?fieldSelector=spec.hostname%3Dx"))[0] == 400
    jobs = api.path("batch/v1/jobs")
    assert (await api.send("GET", f"{jobs}?fieldSelector=status.successful%3D0"))[0] == 200
    assert (await api.send("GET", f"{jobs}?fieldSelector=status.active%3D0"))[0] == 400
