"""What ``kontinue doctor`` asks: bounded requests, and no refusal ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from kontinue.api.rights import INSTALLED
from kontinue.errors import Forbidden, NotFound, Unavailable
from kontinue.kube.config import KubeConfig
from kontinue.kube.requests import Request
from kontinue_engine.cli.doctor.checks import judge
from kontinue_engine.cli.doctor.findings import Severity
from kontinue_engine.cli.doctor.observed import Observed
from kontinue_engine.cli.doctor.observing import Observer
from scripted_transport import ScriptedTransport


def answer(request: Request) -> bytes:
    """Answer as a server with endless lists, whose user may do everything."""
    body: Any = {
        "metadata": {"continue": "more"},
        "items": [thing(request, number) for number in range(limit(request))],
    }
    if request.path == "/version":
        body = {"gitVersion": "v1.36.0"}
    elif request.path.endswith("selfsubjectreviews"):
        body = {"metadata": {"creationTimestamp": "2026-03-01T12:00:00Z"}, "status": {"userInfo": {"username": "ada"}}}
    elif request.path.endswith("selfsubjectaccessreviews"):
        body = {"status": {"allowed": True}}
    elif "customresourcedefinitions" in request.path:
        raise NotFound("no such kind", status=404, reason="NotFound")
    return msgspec.json.encode(body)


def limit(request: Request) -> int:
    return int(parse_qs(request.query).get("limit", ["0"])[0])


def thing(request: Request, number: int) -> Any:
    specs = {
        "executions": {"function": "f"},
        "functions": {"name": "f", "workerGroup": "g"},
        "scheduledexecutions": {"schedule": "@daily", "function": "f"},
        "suspensions": {"execution": "x", "kind": "Sleep"},
        "semaphores": {"permits": 1},
        "barriers": {"expected": 1},
        "gates": {"conditions": [{"type": "Job", "name": "x", "state": "Complete"}]},
    }
    spec = specs.get(request.path.rpartition("/")[2], {})
    return {"metadata": {"name": f"x-{number}", "namespace": "shop"}, "spec": spec}


async def observe(answers: Callable[[Request], bytes], limit_: int) -> tuple[Observed, list[Request]]:
    transport = ScriptedTransport()
    transport.answer = answers
    config = KubeConfig(server="https://x:6443", namespace="shop", source="test")
    observer = Observer(transport, config, namespace="shop", roles=INSTALLED, limit=limit_)
    return await observer.observe(), transport.sent


@pytest.mark.parametrize("most", [7, 120])
async def test_lists_come_in_pages_and_end_at_the_limit(most: int) -> None:
    """However much there is; Executions in small pages, archives without their contents."""
    seen, sent = await observe(answer, most)
    lists = [request for request in sent if limit(request)]
    assert {request.path.rpartition("/")[2] for request in lists} == set(seen.cut)
    assert set(seen.cut.values()) == {most}
    sizes = [limit(request) for request in lists if request.path.endswith("/executions")]
    assert (sum(sizes), max(sizes)) == (most, min(most, 50))
    (archives,) = {request.accept for request in lists if request.path.endswith("/archivedexecutions")}
    assert "PartialObjectMetadataList" in archives
    assert seen.executions is not None
    assert len(seen.executions) == most


async def test_nothing_is_changed() -> None:
    """Questions are posted, and nothing else."""
    _, sent = await observe(answer, 5)
    assert {request.path.rpartition("/")[2] for request in sent if request.method != "GET"} == {
        "selfsubjectreviews",
        "selfsubjectaccessreviews",
    }


@pytest.mark.parametrize("part", ["customresourcedefinitions", "leases", "executions", "archivedexecutions", "reviews"])
async def test_a_refusal_is_noted_and_the_rest_is_looked_at(part: str) -> None:
    """A role may not see everything."""

    def refuse(request: Request) -> bytes:
        if part in request.path:
            raise Forbidden(f"cannot list {part}", status=403, reason="Forbidden")
        return answer(request)

    seen, _ = await observe(refuse, 5)
    assert any(f"cannot list {part}" in finding.what for finding in judge(seen))
    assert seen.functions is not None
    assert {finding.severity for finding in judge(seen) if f"cannot list {part}" in finding.what} == {Severity.WARNING}


@pytest.mark.parametrize("may_see_all", [True, False])
async def test_coordinators_are_looked_for_in_all_namespaces_as_far_as_that_is_allowed(may_see_all: bool) -> None:
    """One that works for all of them has its Lease in any; that others cannot be seen is no refusal to report."""

    def refuse(request: Request) -> bytes:
        if request.path == "/apis/coordination.k8s.io/v1/leases" and not may_see_all:
            raise Forbidden("cannot list leases", status=403, reason="Forbidden")
        return answer(request)

    seen, _ = await observe(refuse, 5)
    assert seen.sees_all_coordinators is may_see_all
    assert seen.coordinators is not None
    assert "leases" not in seen.refusals


async def test_of_locks_is_kept_who_holds_them_without_an_end() -> None:
    """And for whom, if that is bound; the other primitives wait for a coordinator until one has looked at them."""
    pod = {"kind": "Pod", "name": "w-0", "uid": "u"}
    since = "2026-03-01T12:00:00Z"
    statuses = {
        "mutexes": {"holder": "me", "lockedAt": since},
        "rwmutexes": {"writeHolder": "pod/w-0", "locks": [{"id": "1", "holder": "pod/w-0", "boundTo": pod}]},
        "onces": {"executor": "me", "ttl": "30s"},
        "barriers": {"phase": "Open"},
        "semaphores": {"phase": "Ready"},
    }

    def with_status(request: Request) -> bytes:
        body = msgspec.json.decode(answer(request))
        plural = request.path.rpartition("/")[2]
        if plural in statuses:
            body["items"][0]["status"] = statuses[plural]
        return msgspec.json.encode(body)

    seen, _ = await observe(with_status, 1)
    found = {one.plural: one for one in seen.primitives}
    assert {name: one.holder for name, one in found.items() if one.holder} == {"mutexes": "me"}
    assert found["mutexes"].held_since is not None
    assert "Pod w-0" in found["rwmutexes"].needs
    assert {name for name, one in found.items() if one.needs} == {"rwmutexes", "semaphores", "leases", "gates"}
    assert {name for name, one in found.items() if not one.is_seen} == {"leases", "gates"}


async def test_of_wait_groups_only_what_holders_have_is_kept() -> None:
    """Who has done everything holds nothing."""

    def with_holders(request: Request) -> bytes:
        body = msgspec.json.decode(answer(request))
        if request.path.endswith("/waitgroups"):
            holders = [{"kind": "Pod", "name": f"w-{count}", "uid": "u", "count": count} for count in (2, 0, 3)]
            body["items"][0]["status"] = {"counter": 9, "holders": holders}
        return msgspec.json.encode(body)

    seen, _ = await observe(with_holders, 1)
    assert seen.wait_groups is not None
    assert [(one.name, one.holders, one.held) for one in seen.wait_groups] == [("x-0", 2, 5)]


@pytest.mark.parametrize(
    ("refusal", "noted"),
    [
        (Unavailable("HTTP 500: [-]storage failed: disk full", status=500), "HTTP 500: [-]storage failed: disk full"),
        (Forbidden("who are you", status=403), None),
        (NotFound("no such path", status=404), None),
    ],
)
async def test_a_server_is_asked_whether_it_is_ready(refusal: Exception, noted: str | None) -> None:
    """Who may not ask, or asks something that does not know, has learned nothing."""

    def refuse(request: Request) -> bytes:
        if request.path == "/readyz":
            raise refusal
        return answer(request)

    seen, _ = await observe(refuse, 7)
    assert seen.refusals.get("readiness") == noted
