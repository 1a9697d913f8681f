"""Barriers and Arrivals of ``konductor.io``: what is refused, what may change, how they are found and printed."""

from __future__ import annotations

from typing import Any

import pytest

from api import MERGE_PATCH, Api, cells, unique

BARRIERS = "konductor.io/v1/barriers"
ARRIVALS = "konductor.io/v1/arrivals"


async def send(api: Api, kind: str, plural: str, spec: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Create one; returns its path, and the answer."""
    name = unique("one")
    body = {"apiVersion": "konductor.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return f"{api.path(plural)}/{name}", *await api.send("POST", api.path(plural), body)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.expected"),
        ({"expected": 0}, "spec.expected"),
        ({"expected": 5_001}, "spec.expected"),
        ({"expected": 2, "quorum": 0}, "spec.quorum"),
        ({"expected": 2, "quorum": 3}, "spec.quorum"),
        ({"expected": 2, "timeout": "soon"}, "spec.timeout"),
    ],
)
async def test_a_barrier_that_cannot_open_is_refused(api: Api, spec: dict[str, Any], field: str) -> None:
    """A quorum above those that are expected, for one."""
    _, status, answer = await send(api, "Barrier", BARRIERS, spec)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


async def test_the_quorum_stays_within_those_expected(api: Api) -> None:
    """Also when the spec is changed; all of them is enough."""
    path, status, _ = await send(api, "Barrier", BARRIERS, {"expected": 3, "quorum": 3})
    assert status == 201
    status, answer = await api.send("PATCH", path, {"spec": {"expected": 2}}, content_type=MERGE_PATCH)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert "quorum is at most expected" in answer["message"]
    patch = {"spec": {"expected": 2, "quorum": None}}
    assert (await api.send("PATCH", path, patch, content_type=MERGE_PATCH))[0] == 200


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"holder": "me"}, "spec.barrier"),
        ({"barrier": "b"}, "spec.holder"),
        ({"barrier": "b", "holder": ""}, "spec.holder"),
    ],
)
async def test_an_arrival_that_says_too_little_is_refused(api: Api, spec: dict[str, Any], field: str) -> None:
    """It says where, and who."""
    _, status, answer = await send(api, "Arrival", ARRIVALS, spec)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


async def test_who_has_arrived_cannot_change(api: Api) -> None:
    """An Arrival is one for good."""
    path, _, _ = await send(api, "Arrival", ARRIVALS, {"barrier": "b", "holder": "me"})
    status, answer = await api.send("PATCH", path, {"spec": {"holder": "you"}}, content_type=MERGE_PATCH)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert "who has arrived where is immutable" in answer["message"]


async def test_they_are_found_and_printed(api: Api) -> None:
    """``kubectl get barriers,arrivals`` shows what is documented; Arrivals are selected by their Barrier."""
    _, listed = await api.send("GET", "/apis/konductor.io/v1")
    short = {one["name"]: one["shortNames"] for one in listed["resources"] if "shortNames" in one}
    assert (short["barriers"], short["arrivals"]) == (["kbar"], ["karr"])
    barrier, _, _ = await send(api, "Barrier", BARRIERS, {"expected": 3})
    patch = {"status": {"arrived": 1, "phase": "Waiting", "arrivals": ["me"]}}
    assert (await api.send("PATCH", f"{barrier}/status", patch, content_type=MERGE_PATCH))[0] == 200
    assert await cells(api, barrier) == {"Expected": 3, "Arrived": 1, "Phase": "Waiting"}
    name = unique("start")
    arrival, _, _ = await send(api, "Arrival", ARRIVALS, {"barrier": name, "holder": "me"})
    patch = {"status": {"phase": "Recorded"}}
    assert (await api.send("PATCH", f"{arrival}/status", patch, content_type=MERGE_PATCH))[0] == 200
    assert await cells(api, arrival) == {"Barrier": name, "Holder": "me", "Phase": "Recorded"}
    _, found = await api.send("GET", f"{api.path(ARRIVALS)}?fieldSelector=spec.barrier%3D{name}")
    assert [one["metadata"]["name"] for one in found["items"]] == [arrival.rpartition("/")[2]]
