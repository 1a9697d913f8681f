"""DELETE of one object: what it answers, its preconditions and its options."""

from __future__ import annotations

from typing import Any

import pytest

from api import Api, execution
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


async def _create(api: Api, name: str = "a", **metadata: Any) -> Any:
    status, created = await api.send("POST", api.path(EXECUTIONS), execution(name, metadata=metadata))
    assert status == 201, created
    return created


async def test_a_delete_answers_with_the_status_that_names_what_is_gone(api: Api) -> None:
    """Kind is the resource, group only where there is one; no code, as it is no failure."""
    created = await _create(api)
    status, body = await api.send("DELETE", api.path(EXECUTIONS, "a"))
    details = {"name": "a", "group": "kontinue.cloud", "kind": "executions", "uid": created["metadata"]["uid"]}
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    assert (status, body) == (200, {**success, "details": details})
    assert (await api.send("GET", api.path(EXECUTIONS, "a")))[0] == 404
    status, created = await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    status, body = await api.send("DELETE", api.path("configmaps", "a"))
    details = {"name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"]}
    assert (status, body) == (200, {**success, "details": details})


async def test_a_missing_object_cannot_be_deleted(api: Api) -> None:
    """404, in a namespace that does not exist too."""
    for path in (api.path(EXECUTIONS, "a"), api.path("configmaps", "a", namespace="never-was")):
        status, body = await api.send("DELETE", path)
        assert (status, body["reason"], body["details"]["name"]) == (404, "NotFound", "a")


@pytest.mark.parametrize("wrong", ["uid", "resourceVersion"])
async def test_a_precondition_that_does_not_hold_keeps_the_object(api: Api, wrong: str) -> None:
    """409; the one that does hold does not help."""
    metadata = (await _create(api))["metadata"]
    right = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    status, body = await api.send("DELETE", api.path(EXECUTIONS, "a"), {"preconditions": {**right, wrong: "1"}})
    assert (status, body["reason"]) == (409, "Conflict")
    assert "the precondition (1) does not match" in body["message"]
    assert body["details"] == {"name": "a", "group": "kontinue.cloud", "kind": "Execution"}
    assert (await api.send("DELETE", api.path(EXECUTIONS, "a"), {"preconditions": right}))[0] == 200


async def test_preconditions_are_not_read_from_the_query(api: Api) -> None:
    """Only a body can carry them; what nobody knows is ignored there as in the query."""
    await _create(api)
    path = api.path(EXECUTIONS, "a")
    assert (await api.send("DELETE", f"{path}?preconditions.uid=other&unknown=1", {"unknown": 1}))[0] == 200


async def test_a_body_hides_the_options_of_the_query(api: Api) -> None:
    """Also an empty object: dryRun in the query is not seen then."""
    await _create(api)
    path = api.path(EXECUTIONS, "a")
    assert (await api.send("DELETE", f"{path}?dryRun=All"))[0] == 200
    assert (await api.send("GET", path))[0] == 200
    assert (await api.send("DELETE", f"{path}?dryRun=All", {"propagationPolicy": "Background"}))[0] == 200
    assert (await api.send("GET", path))[0] == 404


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"dryRun": ["All"]}'),
        ("application/json", b'{"dryRun": ["All", "All"], "kind": "DeleteOptions", "apiVersion": "v1"}'),
        ("application/json", b'{"dryRun": ["All"], "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}'),
        ("application/json", b'{"dryRun": ["All"], "gracePeriodSeconds": -5, "preconditions": null}'),
        ("application/yaml", b"dryRun: [All]\n"),
    ],
)
async def test_a_dry_run_in_the_body_deletes_nothing(api: Api, content_type: str, body: bytes) -> None:
    """Whatever form the options have."""
    await _create(api)
    path = api.path(EXECUTIONS, "a")
    status, answer = await api.send("DELETE", path, body, content_type=content_type)
    assert (status, answer["status"]) == (200, "Success")
    assert (await api.send("GET", path))[0] == 200


async def test_a_dry_run_shows_the_object_as_it_would_be_marked(api: Api) -> None:
    """With the finalizer of its policy, and the resourceVersion that it has."""
    created = await _create(api)
    path = api.path(EXECUTIONS, "a")
    status, marked = await api.send("DELETE", path, {"propagationPolicy": "Foreground", "dryRun": ["All"]})
    assert (status, marked["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["generation"] == 2
    assert marked["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    assert (await api.send("GET", path))[1] == created


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"dryRun": ["Some"]}, "dryRun"),
        ({"propagationPolicy": "Never"}, "propagationPolicy"),
        ({"propagationPolicy": ""}, "propagationPolicy"),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, "propagationPolicy"),
    ],
)
async def test_options_with_impossible_values_are_refused(api: Api, options: Any, field: str) -> None:
    """422 for DeleteOptions, with the field; the object stays."""
    await _create(api)
    path = api.path(EXECUTIONS, "a")
    status, body = await api.send("DELETE", path, options)
    assert (status, body["reason"], body["details"]["kind"]) == (422, "Invalid", "DeleteOptions")
    assert [cause["field"] for cause in body["details"]["causes"]] == [field]
    assert (await api.send("GET", path))[0] == 200


@pytest.mark.parametrize("query", ["dryRun=Some", "propagationPolicy=Never", "gracePeriodSeconds=soon"])
async def test_options_of_the_query_are_judged_too(api: Api, query: str) -> None:
    """Values that do not exist 422, numbers that are none 400."""
    await _create(api)
    path = api.path(EXECUTIONS, "a")
    status, _ = await api.send("DELETE", f"{path}?{query}")
    assert status == (400 if "grace" in query else 422)
    assert (await api.send("GET", path))[0] == 200


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b"[]", 400),
        ("application/json", b"nonsense", 400),
        ("application/json", b'{"gracePeriodSeconds": "soon"}', 400),
        ("application/json", b'{"dryRun": "All"}', 400),
        ("application/json", b'{"kind": "Execution", "apiVersion": "kontinue.cloud/v1alpha1"}', 400),
        ("application/merge-patch+json", b"{}", 415),
        ("text/plain", b"{}", 415),
    ],
)
async def test_a_body_that_is_no_options_is_refused(api: Api, content_type: str, body: bytes, code: int) -> None:
    """And the object stays."""
    await _create(api)
    path = api.path(EXECUTIONS, "a")
    assert (await api.send("DELETE", path, body, content_type=content_type))[0] == code
    assert (await api.send("GET", path))[0] == 200


async def test_a_grace_period_is_nothing_to_kinds_that_have_none(api: Api) -> None:
    """They go at once."""
    await _create(api)
    assert (await api.send("DELETE", api.path(EXECUTIONS, "a"), {"gracePeriodSeconds": 60}))[1]["status"] == "Success"
    assert (await api.send("GET", api.path(EXECUTIONS, "a")))[0] == 404


@pytest.mark.parametrize("plural", ["serviceaccounts", "pods"])
async def test_some_kinds_answer_with_the_object_that_is_gone(api: Api, plural: str) -> None:
    """Service accounts as they were; Pods that nobody runs as they were marked."""
    spec = {"containers": [{"name": "a", "image": "x"}]} if plural == "pods" else None
    await api.send("POST", api.path(plural), {"metadata": {"name": "a"}, **({"spec": spec} if spec else {})})
    status, body = await api.send("DELETE", api.path(plural, "a"))
    assert (status, body["metadata"]["name"]) == (200, "a")
    assert body["metadata"].get("deletionGracePeriodSeconds") == (0 if plural == "pods" else None)
    assert (await api.send("GET", api.path(plural, "a")))[0] == 404


async def test_a_pod_that_runs_is_given_time(api: Api) -> None:
    """It stays until a delete without grace; another delete can only shorten its time."""
    spec = {"containers": [{"name": "a", "image": "x"}], "nodeName": "somewhere"}
    path = api.path("pods", "a")
    assert (await api.send("POST", api.path("pods"), {"metadata": {"name": "a"}, "spec": spec}))[0] == 201
    for options, period_s in ((None, 30), ({"gracePeriodSeconds": 5}, 5), ({"gracePeriodSeconds": 50}, 5)):
        status, body = await api.send("DELETE", path, options)
        assert (status, body["metadata"]["deletionGracePeriodSeconds"]) == (200, period_s)
        assert body["metadata"]["generation"] == 2
    assert (await api.send("DELETE", f"{path}?gracePeriodSeconds=0"))[0] == 200
    assert (await api.send("GET", path))[0] == 404


async def test_a_job_leaves_its_dependents_unless_it_is_told_not_to(api: Api) -> None:
    """Its default policy is Orphan, as it was before there were policies."""
    jobs = "batch/v1/jobs"
    template = {"spec": {"containers": [{"name": "a", "image": "x"}], "restartPolicy": "Never"}}
    spec = {"suspend": True, "template": template}
    _, job = await api.send("POST", api.path(jobs), {"metadata": {"name": "a"}, "spec": spec})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": job["metadata"]["uid"]}
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "below", "ownerReferences": [owner]}})
    status, body = await api.send("DELETE", api.path(jobs, "a"))
    assert (status, body["metadata"]["finalizers"]) == (200, ["orphan"])
    await api.eventually(api.path(jobs, "a"), 404)
    assert "ownerReferences" not in (await api.send("GET", api.path("configmaps", "below")))[1]["metadata"]


async def test_a_watch_sees_the_last_content_at_the_revision_of_the_delete(api: Api) -> None:
    """DELETED carries what was there, with a newer resourceVersion."""
    created = await _create(api, labels={"x": "y"})
    since = created["metadata"]["resourceVersion"]
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    await _create(api, "end")
    events = await events_of(api, f"{api.path(EXECUTIONS)}?watch=true&resourceVersion={since}", 2)
    assert [event["type"] for event in events] == ["DELETED", "ADDED"]
    metadata = events[0]["object"]["metadata"]
    assert int(metadata["resourceVersion"]) > int(since)
    assert (metadata["labels"], metadata["uid"]) == ({"x": "y"}, created["metadata"]["uid"])
