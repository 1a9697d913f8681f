"""WaitGroups of ``konductor.io``: what is refused, how they are found and printed, and how two writers meet."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api import MERGE_PATCH, Api, unique

WAIT_GROUPS = "konductor.io/v1/waitgroups"


def wait_group(name: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a WaitGroup."""
    return {"apiVersion": "konductor.io/v1", "kind": "WaitGroup", "metadata": {"name": name}, **fields}


async def created(api: Api, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Create one; returns where it is, and what it is."""
    body = wait_group(unique("group"), **fields)
    status, stored = await api.send("POST", api.path(WAIT_GROUPS), body)
    assert status == 201, stored
    return f"{api.path(WAIT_GROUPS)}/{body['metadata']['name']}", stored


async def test_one_is_made_of_a_name_alone(api: Api) -> None:
    """As the documentation's manifests do; what somebody writes as its status then is dropped."""
    _, stored = await created(api, status={"counter": 3})
    assert "status" not in stored
    assert "spec" not in stored


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"counter": -1}, "status.counter"),
        ({"counter": 2**31}, "status.counter"),
        ({"counter": "many"}, "status.counter"),
        ({"phase": "Ready"}, "status.phase"),
        ({"holders": [{"kind": "Node", "name": "a", "uid": "u", "count": 1}]}, "status.holders[0].kind"),
        ({"operations": ["x" * 77]}, "status.operations[0]"),
        ({"writers": ["x" * 65]}, "status.writers[0]"),
    ],
)
async def test_a_status_that_cannot_be_is_refused(api: Api, status: dict[str, Any], field: str) -> None:
    """A counter below 0 cannot be written by anybody, whatever a client believes."""
    path, _ = await created(api)
    code, answer = await api.send("PATCH", f"{path}/status", {"status": status}, content_type=MERGE_PATCH)
    assert (code, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


@pytest.mark.parametrize(("ttl", "code"), [("1h30m", 201), ("500ms", 201), ("0", 201), ("soon", 422), ("-1h", 422)])
async def test_a_ttl_is_a_duration(api: Api, ttl: str, code: int) -> None:
    """As Go writes it."""
    body = wait_group(unique("group"), spec={"ttl": ttl})
    status, _ = await api.send("POST", api.path(WAIT_GROUPS), body)
    assert status == code


async def test_of_two_writers_who_have_seen_the_same_one_is_refused(api: Api) -> None:
    """Nothing gets lost between reading the counter and writing it."""
    path, stored = await created(api)
    written = {"counter": 1, "phase": "Waiting", "operations": ["a"]}
    answers = await asyncio.gather(
        *(api.send("PUT", f"{path}/status", {**stored, "status": written}) for _ in range(8))
    )
    assert sorted(status for status, _ in answers) == [200, *[409] * 7]
    assert {body["reason"] for status, body in answers if status == 409} == {"Conflict"}


async def test_they_are_found_by_short_name_and_printed_with_counter_and_phase(api: Api) -> None:
    """``kubectl get waitgroups`` and ``kubectl get kontinue`` show what is waited for."""
    _, listed = await api.send("GET", "/apis/konductor.io/v1")
    (kind,) = (one for one in listed["resources"] if one["name"] == "waitgroups")
    assert (kind["shortNames"], kind["categories"]) == (["kwg"], ["kontinue"])
    path, _ = await created(api)
    patch = {"status": {"counter": 3, "phase": "Waiting"}}
    assert (await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH))[0] == 200
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    cells = dict(zip([one["name"] for one in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (cells["Counter"], cells["Phase"]) == (3, "Waiting")
    _, found = await api.send("GET", f"{api.path(WAIT_GROUPS)}?fieldSelector=status.phase%3DWaiting")
    assert [one["metadata"]["name"] for one in found["items"]] == [path.rpartition("/")[2]]
