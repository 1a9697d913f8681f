"""Semaphores and Permits of ``konductor.io``: what is refused, what may change, how they are found and printed."""

from __future__ import annotations

from typing import Any

import pytest

from api import MERGE_PATCH, Api, cells, unique

SEMAPHORES = "konductor.io/v1/semaphores"
PERMITS = "konductor.io/v1/permits"


async def created(api: Api, kind: str, plural: str, spec: dict[str, Any]) -> str:
    """Create one; returns its path."""
    name = unique("one")
    body = {"apiVersion": "konductor.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    status, stored = await api.send("POST", api.path(plural), body)
    assert status == 201, stored
    return f"{api.path(plural)}/{name}"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.permits"),
        ({"permits": 0}, "spec.permits"),
        ({"permits": 5_001}, "spec.permits"),
        ({"permits": "many"}, "spec.permits"),
        ({"permits": 1, "ttl": "soon"}, "spec.ttl"),
    ],
)
async def test_a_semaphore_that_cannot_be_is_refused(api: Api, spec: dict[str, Any], field: str) -> None:
    """At least one permit, and durations as Go writes them."""
    body = {"apiVersion": "konductor.io/v1", "kind": "Semaphore", "metadata": {"name": unique("one")}, "spec": spec}
    status, answer = await api.send("POST", api.path(SEMAPHORES), body)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"holder": "me"}, "spec.semaphore"),
        ({"semaphore": "db"}, "spec.holder"),
        ({"semaphore": "db", "holder": ""}, "spec.holder"),
        ({"semaphore": "db", "holder": "me", "ttl": "-1h"}, "spec.ttl"),
        ({"semaphore": "db", "holder": "me", "boundTo": {"kind": "Node", "name": "a"}}, "spec.boundTo.kind"),
    ],
)
async def test_a_permit_that_cannot_be_is_refused(api: Api, spec: dict[str, Any], field: str) -> None:
    """It says of which Semaphore, and for whom."""
    body = {"apiVersion": "konductor.io/v1", "kind": "Permit", "metadata": {"name": unique("one")}, "spec": spec}
    status, answer = await api.send("POST", api.path(PERMITS), body)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


async def test_who_asks_for_what_cannot_change(api: Api) -> None:
    """A permit cannot be handed on, but renewed; how many a Semaphore has may change."""
    permit = await created(api, "Permit", PERMITS, {"semaphore": "db", "holder": "me"})
    pod = {"kind": "Pod", "name": "a", "uid": "1"}
    for change in ({"semaphore": "dc"}, {"holder": "you"}, {"ttl": "1h"}, {"boundTo": pod}, {"noWait": True}):
        status, answer = await api.send("PATCH", permit, {"spec": change}, content_type=MERGE_PATCH)
        assert (status, answer["reason"]) == (422, "Invalid")
        assert f"{next(iter(change))} is immutable" in answer["message"]
    assert (await api.send("PATCH", permit, {"spec": {"renewals": 1}}, content_type=MERGE_PATCH))[0] == 200
    semaphore = await created(api, "Semaphore", SEMAPHORES, {"permits": 1})
    assert (await api.send("PATCH", semaphore, {"spec": {"permits": 3}}, content_type=MERGE_PATCH))[0] == 200


async def test_they_are_found_and_printed(api: Api) -> None:
    """``kubectl get semaphores,permits`` shows what is documented; Permits are selected by Semaphore and phase."""
    _, listed = await api.send("GET", "/apis/konductor.io/v1")
    short = {one["name"]: one["shortNames"] for one in listed["resources"] if "shortNames" in one}
    assert (short["semaphores"], short["permits"]) == (["ksem"], ["kper"])
    semaphore = await created(api, "Semaphore", SEMAPHORES, {"permits": 3})
    patch = {"status": {"inUse": 1, "available": 2, "phase": "Ready", "granted": [{"name": "a", "uid": "u"}]}}
    assert (await api.send("PATCH", f"{semaphore}/status", patch, content_type=MERGE_PATCH))[0] == 200
    assert await cells(api, semaphore) == {"Permits": 3, "InUse": 1, "Available": 2, "Phase": "Ready"}
    name = unique("db")
    permit = await created(api, "Permit", PERMITS, {"semaphore": name, "holder": "me"})
    patch = {"status": {"phase": "Granted"}}
    assert (await api.send("PATCH", f"{permit}/status", patch, content_type=MERGE_PATCH))[0] == 200
    assert await cells(api, permit) == {"Semaphore": name, "Holder": "me", "Phase": "Granted"}
    selector = f"spec.semaphore%3D{name},status.phase%3DGranted"
    _, found = await api.send("GET", f"{api.path(PERMITS)}?fieldSelector={selector}")
    assert [one["metadata"]["name"] for one in found["items"]] == [permit.rpartition("/")[2]]
