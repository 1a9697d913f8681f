"""What ``ctx.run_job`` needs of a server: how ends of Jobs are written and seen, and what deleting one takes along."""

from __future__ import annotations

from typing import Any

import pytest

from api import MERGE_PATCH, Api, unique

JOBS = "batch/v1/jobs"
OURS = "kontinue.cloud/parent-group"
POD: dict[str, Any] = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
WHEN = "2026-01-01T00:00:00Z"


def condition(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": "", "message": "told", "lastTransitionTime": WHEN}


async def create_job(api: Api, group: str, **spec: Any) -> dict[str, Any]:
    """Create a Job that no controller touches, and return it."""
    body = {
        "metadata": {"name": unique("job"), "labels": {OURS: group}},
        "spec": {"managedBy": "example.com/none", "template": {"spec": POD}, **spec},
    }
    status, job = await api.send("POST", api.path(JOBS), body)
    assert status == 201, job
    found: dict[str, Any] = job
    return found


@pytest.mark.parametrize(
    "end",
    [
        {
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
            "startTime": WHEN,
            "completionTime": WHEN,
            "succeeded": 1,
        },
        {"conditions": [condition("FailureTarget"), condition("Failed")], "startTime": WHEN, "failed": 1},
    ],
    ids=["complete", "failed"],
)
async def test_the_end_of_a_job_is_a_condition_that_a_watch_by_label_shows(api: Api, end: dict[str, Any]) -> None:
    """Other Jobs are not shown."""
    group = unique("group")
    selected = f"{api.path(JOBS)}?labelSelector={OURS}%3D{group}"
    _, listed = await api.send("GET", selected)
    job = await create_job(api, group)
    await create_job(api, unique("other"))
    path = api.path(JOBS, job["metadata"]["name"], "status")
    status, answer = await api.send("PATCH", path, {"status": end}, content_type=MERGE_PATCH)
    assert status == 200, answer
    seen = []
    since = listed["metadata"]["resourceVersion"]
    async for event in api.watch(f"{selected}&watch=true&resourceVersion={since}&timeoutSeconds=30"):
        seen.append((event["type"], event["object"]["metadata"]["name"]))
        if event["object"]["status"].get("conditions"):
            assert [one["type"] for one in event["object"]["status"]["conditions"]] == [
                one["type"] for one in end["conditions"]
            ]
            break
    assert seen == [("ADDED", job["metadata"]["name"]), ("MODIFIED", job["metadata"]["name"])]


async def test_a_job_that_is_deleted_in_the_background_takes_its_pods_along(api: Api) -> None:
    """And no other Job of its name: the uid is compared."""
    job = await create_job(api, unique("group"))
    meta = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
    pod = {"metadata": {"name": unique("pod"), "ownerReferences": [owner]}, "spec": POD}
    assert (await api.send("POST", api.path("pods"), pod))[0] == 201
    path = api.path(JOBS, meta["name"])
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    status, refused = await api.send("DELETE", path, {**options, "preconditions": {"uid": "another"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    assert (await api.send("DELETE", path, {**options, "preconditions": {"uid": meta["uid"]}}))[0] == 200
    assert (await api.send("GET", path))[0] == 404
    await api.eventually(api.path("pods", pod["metadata"]["name"]), 404)


async def test_a_manifest_that_cannot_work_is_refused_with_each_of_its_fields(api: Api) -> None:
    """``ctx.run_job`` raises what the message says."""
    spec = {"backoffLimit": -1, "template": {"spec": {"restartPolicy": "Never", "containers": []}}}
    status, refused = await api.send("POST", api.path(JOBS), {"metadata": {"name": unique("job")}, "spec": spec})
    assert (status, refused["reason"]) == (422, "Invalid")
    for part in (
        "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
        "containers: Required value",
    ):
        assert part in refused["message"]
