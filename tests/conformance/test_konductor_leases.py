"""Leases and LeaseRequests of ``konductor.io``: what is refused, what may change, how they are found and printed."""

from __future__ import annotations

from typing import Any

import pytest

from api import MERGE_PATCH, Api, cells, unique

LEASES = "konductor.io/v1/leases"
REQUESTS = "konductor.io/v1/leaserequests"


def body(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a new object."""
    return {"apiVersion": "konductor.io/v1", "kind": kind, "metadata": {"name": unique("one")}, "spec": spec}


async def created(api: Api, kind: str, plural: str, spec: dict[str, Any]) -> str:
    """Create one; returns its path."""
    status, stored = await api.send("POST", api.path(plural), body(kind, spec))
    assert status == 201, stored
    return f"{api.path(plural)}/{stored['metadata']['name']}"


@pytest.mark.parametrize(
    ("kind", "plural", "spec", "field"),
    [
        ("Lease", LEASES, {"ttl": "soon"}, "spec.ttl"),
        ("Lease", LEASES, {"priority": -1}, "spec.priority"),
        ("Lease", LEASES, {"priority": 2**31}, "spec.priority"),
        ("LeaseRequest", REQUESTS, {"holder": "me"}, "spec.lease"),
        ("LeaseRequest", REQUESTS, {"lease": "db"}, "spec.holder"),
        ("LeaseRequest", REQUESTS, {"lease": "db", "holder": ""}, "spec.holder"),
        ("LeaseRequest", REQUESTS, {"lease": "db", "holder": "x" * 254}, "spec.holder"),
        ("LeaseRequest", REQUESTS, {"lease": "db", "holder": "me", "priority": -1}, "spec.priority"),
        ("LeaseRequest", REQUESTS, {"lease": "db", "holder": "me", "ttl": "-1h"}, "spec.ttl"),
    ],
)
async def test_what_cannot_be_is_refused(api: Api, kind: str, plural: str, spec: dict[str, Any], field: str) -> None:
    """Durations are as Go writes them, priorities not negative, and a request says who asks for what."""
    status, answer = await api.send("POST", api.path(plural), body(kind, spec))
    assert (status, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


async def test_who_asks_for_what_cannot_change(api: Api) -> None:
    """A request cannot raise its priority later; how long a Lease is held may change."""
    request = await created(api, "LeaseRequest", REQUESTS, {"lease": "db", "holder": "me"})
    for spec in ({"holder": "you"}, {"priority": 9}):
        status, answer = await api.send("PATCH", request, {"spec": spec}, content_type=MERGE_PATCH)
        assert (status, answer["reason"]) == (422, "Invalid")
        assert "who asks for what is immutable" in answer["message"]
    lease = await created(api, "Lease", LEASES, {"ttl": "10m"})
    assert (await api.send("PATCH", lease, {"spec": {"ttl": "1h"}}, content_type=MERGE_PATCH))[0] == 200


@pytest.mark.parametrize("plural", [LEASES, REQUESTS])
async def test_only_the_documented_phases_are_taken(api: Api, plural: str) -> None:
    """Of both kinds."""
    spec = {"lease": "db", "holder": "me"} if plural == REQUESTS else {}
    one = await created(api, "LeaseRequest" if plural == REQUESTS else "Lease", plural, spec)
    status, answer = await api.send("PATCH", f"{one}/status", {"status": {"phase": "Lost"}}, content_type=MERGE_PATCH)
    assert (status, answer["reason"]) == (422, "Invalid")


async def test_they_are_found_and_printed(api: Api) -> None:
    """``kubectl get leases.konductor.io,leaserequests`` shows what is documented; requests are selected by Lease."""
    _, listed = await api.send("GET", "/apis/konductor.io/v1")
    short = {one["name"]: one["shortNames"] for one in listed["resources"] if "shortNames" in one}
    assert (short["leases"], short["leaserequests"]) == (["kls"], ["klsr"])
    lease = await created(api, "Lease", LEASES, {})
    patch = {"status": {"holder": "me", "phase": "Held", "acquiredAt": "2020-01-01T00:00:00Z"}}
    assert (await api.send("PATCH", f"{lease}/status", patch, content_type=MERGE_PATCH))[0] == 200
    shown = await cells(api, lease)
    assert {"Holder": "me", "Phase": "Held"}.items() <= shown.items()
    assert "y" in shown["Acquired"], "an age, in years"
    name = unique("db")
    request = await created(api, "LeaseRequest", REQUESTS, {"lease": name, "holder": "me", "priority": 3})
    patch = {"status": {"phase": "Granted", "token": 4}}
    assert (await api.send("PATCH", f"{request}/status", patch, content_type=MERGE_PATCH))[0] == 200
    assert await cells(api, request) == {"Lease": name, "Holder": "me", "Phase": "Granted"}
    selector = f"spec.lease%3D{name},status.phase%3DGranted"
    _, found = await api.send("GET", f"{api.path(REQUESTS)}?fieldSelector={selector}")
    assert [one["metadata"]["name"] for one in found["items"]] == [request.rpartition("/")[2]]


async def test_the_leases_of_kubernetes_are_others(api: Api) -> None:
    """Both have the same plural: an object of one group is not found in the other."""
    lease = await created(api, "Lease", LEASES, {})
    name = lease.rpartition("/")[2]
    assert (await api.send("GET", api.path("coordination.k8s.io/v1/leases") + f"/{name}"))[0] == 404
    assert (await api.send("GET", lease))[0] == 200
