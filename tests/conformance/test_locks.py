"""Locks of ``konductor.io``: what is refused, how they are found and printed, and how two who want one meet."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api import MERGE_PATCH, Api, unique

MUTEXES = "konductor.io/v1/mutexes"
ONCES = "konductor.io/v1/onces"
RW_MUTEXES = "konductor.io/v1/rwmutexes"


async def created(api: Api, path: str, kind: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Create an object; returns where it is, and what it is."""
    body = {"apiVersion": "konductor.io/v1", "kind": kind, "metadata": {"name": unique("lock")}, **fields}
    status, stored = await api.send("POST", api.path(path), body)
    assert status == 201, stored
    return f"{api.path(path)}/{body['metadata']['name']}", stored


async def test_a_mutex_is_made_of_a_name_alone(api: Api) -> None:
    """Nobody holds it, whatever its manifest says."""
    _, stored = await created(api, MUTEXES, "Mutex", status={"holder": "me"})
    assert "status" not in stored


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"phase": "Held"}, "status.phase"),
        ({"token": -1}, "status.token"),
        ({"holder": "x" * 254}, "status.holder"),
        ({"lockId": "x" * 65}, "status.lockId"),
        ({"ttl": "soon"}, "status.ttl"),
        ({"boundTo": {"kind": "Node", "name": "a"}}, "status.boundTo.kind"),
        ({"waiters": [{"id": "x" * 65}]}, "status.waiters[0].id"),
        ({"waiters": [{"id": str(number)} for number in range(257)]}, "status.waiters"),
    ],
)
async def test_a_status_that_cannot_be_is_refused(api: Api, status: dict[str, Any], field: str) -> None:
    """By the schema, whoever writes it."""
    path, _ = await created(api, MUTEXES, "Mutex")
    code, answer = await api.send("PATCH", f"{path}/status", {"status": status}, content_type=MERGE_PATCH)
    assert (code, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


@pytest.mark.parametrize(("ttl", "code"), [("30s", 201), ("1h30m", 201), ("0", 201), ("soon", 422), ("-1s", 422)])
async def test_a_ttl_is_a_duration(api: Api, ttl: str, code: int) -> None:
    """As Go writes it."""
    body = {"apiVersion": "konductor.io/v1", "kind": "Mutex", "metadata": {"name": unique("lock")}}
    status, _ = await api.send("POST", api.path(MUTEXES), {**body, "spec": {"ttl": ttl}})
    assert status == code


async def test_of_many_who_lock_what_they_have_seen_free_one_succeeds(api: Api) -> None:
    """That is all that mutual exclusion rests on."""
    path, stored = await created(api, MUTEXES, "Mutex")
    answers = await asyncio.gather(
        *(
            api.send("PUT", f"{path}/status", {**stored, "status": {"holder": f"h{number}", "phase": "Locked"}})
            for number in range(8)
        )
    )
    assert sorted(status for status, _ in answers) == [200, *[409] * 7]


async def test_a_mutex_is_found_by_short_name_and_printed_with_its_holder(api: Api) -> None:
    """``kubectl get mutexes`` shows who holds it."""
    _, listed = await api.send("GET", "/apis/konductor.io/v1")
    (kind,) = (one for one in listed["resources"] if one["name"] == "mutexes")
    assert (kind["shortNames"], kind["categories"]) == (["kmx"], ["kontinue"])
    path, _ = await created(api, MUTEXES, "Mutex")
    patch = {"status": {"holder": "me", "phase": "Locked", "waiters": [{"id": "1", "holder": "you"}]}}
    assert (await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH))[0] == 200
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    cells = dict(zip([one["name"] for one in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (cells["Holder"], cells["Phase"], cells["Waiters"]) == ("me", "Locked", "you")
    _, found = await api.send("GET", f"{api.path(MUTEXES)}?fieldSelector=status.phase%3DLocked")
    assert [one["metadata"]["name"] for one in found["items"]] == [path.rpartition("/")[2]]


async def test_a_once_is_printed_with_its_executor(api: Api) -> None:
    """``kubectl get onces`` shows whether it was done, and by whom."""
    path, _ = await created(api, ONCES, "Once")
    for status, code in (({"phase": "Done"}, 422), ({"executed": "yes"}, 422), ({"failure": "x" * 1025}, 422)):
        answer = await api.send("PATCH", f"{path}/status", {"status": status}, content_type=MERGE_PATCH)
        assert answer[0] == code
    patch = {"status": {"executed": True, "executor": "me", "phase": "Executed"}}
    assert (await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH))[0] == 200
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    cells = dict(zip([one["name"] for one in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (cells["Executed"], cells["Executor"], cells["Phase"]) == (True, "me", "Executed")


async def test_an_rwmutex_is_printed_with_its_holders(api: Api) -> None:
    """``kubectl get rwmutexes -o wide`` shows who reads, as text."""
    path, _ = await created(api, RW_MUTEXES, "RWMutex")
    for status in ({"phase": "Locked"}, {"readHolders": ["x" * 254]}, {"locks": [{"token": -1}]}):
        answer = await api.send("PATCH", f"{path}/status", {"status": status}, content_type=MERGE_PATCH)
        assert answer[0] == 422
    patch = {"status": {"readHolders": ["a", "b"], "phase": "ReadLocked"}}
    assert (await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH))[0] == 200
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    cells = dict(zip([one["name"] for one in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (cells["Phase"], cells["Readers"]) == ("ReadLocked", '["a","b"]')
