"""What is read of Jobs and Pods: whether they have ended, how, and what holds them up."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kontinue.jobs import ContainerResult, JobResult, PodResult
from kontinue_engine.kube.job_views import JobView, encode_result, ended_at_ms, job_result, pod_result

LATER = "2026-01-01T00:00:09Z"
LATER_MS = 1_767_225_609_000


def view(*, name: str = "x", spec: dict[str, Any] | None = None, **status: Any) -> JobView:
    body = {"metadata": {"name": name}, "spec": spec or {}, "status": status}
    return msgspec.json.decode(json.dumps(body), type=JobView)


def condition(type_: str, *, status: str = "True", **more: str) -> dict[str, Any]:
    return {"type": type_, "status": status, **more}


def ended(name: str, exit_code: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "restartCount": 0, "state": {"terminated": {"exitCode": exit_code, **more}}}


@pytest.mark.parametrize(
    ("status", "has_ended", "has_succeeded"),
    [
        ({}, False, False),
        ({"phase": "Running"}, False, False),
        ({"phase": "Succeeded"}, True, True),
        ({"phase": "Failed"}, True, False),
        ({"conditions": [condition("Complete")]}, True, True),
        ({"conditions": [condition("Failed")]}, True, False),
        ({"conditions": [condition("Complete", status="False")]}, False, False),
        ({"conditions": [condition("FailureTarget"), condition("Suspended")]}, False, False),
        ({"conditions": [condition("SuccessCriteriaMet")]}, False, False),
    ],
)
def test_only_final_conditions_and_phases_are_ends(
    status: dict[str, Any], *, has_ended: bool, has_succeeded: bool
) -> None:
    """A Job whose end is certain still has Pods that run."""
    found = view(**status)
    assert (found.has_ended, found.has_succeeded) == (has_ended, has_succeeded)


def test_what_holds_one_up_is_told_until_it_has_ended() -> None:
    """Kueue suspends Jobs and gates Pods."""
    assert view(spec={"suspend": True}).held_up_by.startswith("suspended: ")
    gated = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}
    assert view(spec=gated).held_up_by == "held back by scheduling gates: kueue.x-k8s.io/admission"
    assert view(spec={"suspend": False}).held_up_by == ""
    assert view(spec={"suspend": True}, conditions=[condition("Failed")]).held_up_by == ""


def test_a_job_tells_what_the_last_of_its_pods_tells() -> None:
    """Of those that have ended like the Job, the newest."""
    job = view(conditions=[condition("Failed", reason="BackoffLimitExceeded", message="too often")])
    first = view(name="a", phase="Failed", containerStatuses=[ended("main", 1)])
    last = view(name="b", phase="Failed", containerStatuses=[ended("side", 0), ended("main", 3, reason="OOMKilled")])
    running = view(name="c", phase="Running")
    assert job_result(job, [running, last, first]) == JobResult(
        name="x",
        succeeded=False,
        message="too often; container main exited with 3 (OOMKilled)",
        reason="BackoffLimitExceeded",
        exit_code=3,
        containers=(ContainerResult("side", 0), ContainerResult("main", 3, "OOMKilled")),
        pod="b",
    )


def test_a_job_without_pods_tells_what_it_knows() -> None:
    """They may be gone before anybody asks."""
    job = view(conditions=[condition("Complete")])
    assert job_result(job, []) == JobResult(name="x", succeeded=True)


def test_a_pod_that_was_evicted_says_so() -> None:
    """There is no exit code then."""
    pod = view(phase="Failed", reason="Evicted", message="the node was low on memory")
    assert pod_result(pod) == PodResult(
        name="x", succeeded=False, message="the node was low on memory", reason="Evicted"
    )


def test_the_time_is_that_of_the_end() -> None:
    """Not that at which somebody has read it; unless nobody has said."""
    assert ended_at_ms(view(conditions=[condition("Complete", lastTransitionTime=LATER)]), 5) == LATER_MS
    assert ended_at_ms(view(phase="Succeeded", containerStatuses=[ended("m", 0, finishedAt=LATER)]), 5) == LATER_MS
    assert ended_at_ms(view(phase="Succeeded"), 5) == 5


def test_a_result_is_recorded_without_the_number_of_its_record() -> None:
    """It is read back as it was."""
    result = JobResult(name="x", succeeded=False, exit_code=1, containers=(ContainerResult("main", 1),))
    assert b"seq" not in encode_result(result)
    assert msgspec.json.decode(encode_result(result), type=JobResult) == result
