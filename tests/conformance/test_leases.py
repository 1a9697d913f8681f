"""Leases: one writer wins each resourceVersion, and times keep their microseconds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api import MERGE_PATCH, Api
from watched import events_of

LEASES = "coordination.k8s.io/v1/leases"
WRITERS = 12


async def _create(api: Api, **spec: Any) -> Any:
    body = {"metadata": {"name": "a"}, "spec": spec}
    status, created = await api.send("POST", api.path(LEASES), body)
    assert status == 201, created
    return created


async def test_one_of_many_creates_wins(api: Api) -> None:
    """Everybody else is told that it exists."""
    body = {"metadata": {"name": "a"}}
    writers = [
        api.send("POST", api.path(LEASES), {**body, "spec": {"holderIdentity": f"writer-{number}"}})
        for number in range(WRITERS)
    ]
    answers = await asyncio.gather(*writers)
    assert sorted(status for status, _ in answers) == [201] + [409] * (WRITERS - 1)
    winner = next(answer for status, answer in answers if status == 201)
    assert (await api.send("GET", api.path(LEASES, "a")))[1] == winner
    assert {answer["reason"] for status, answer in answers if status == 409} == {"AlreadyExists"}


async def test_one_writer_wins_each_resource_version(api: Api) -> None:
    """Round after round: the one that was answered 200 is the holder, all others get 409 Conflict."""
    current = await _create(api, holderIdentity="nobody", leaseTransitions=0)
    for transition in range(1, 6):
        claims = []
        for number in range(WRITERS):
            spec = {"holderIdentity": f"writer-{number}", "leaseTransitions": transition, "leaseDurationSeconds": 15}
            claims.append(api.send("PUT", api.path(LEASES, "a"), {**current, "spec": spec}))
        answers = await asyncio.gather(*claims)
        assert sorted(status for status, _ in answers) == [200] + [409] * (WRITERS - 1)
        assert {answer["reason"] for status, answer in answers if status == 409} == {"Conflict"}
        current = next(answer for status, answer in answers if status == 200)
        assert (await api.send("GET", api.path(LEASES, "a")))[1] == current
    assert current["spec"]["leaseTransitions"] == 5


async def test_patches_that_name_a_version_race_like_updates(api: Api) -> None:
    """A resourceVersion in a patch is a precondition."""
    current = await _create(api, holderIdentity="nobody")
    version = {"metadata": {"resourceVersion": current["metadata"]["resourceVersion"]}}
    claims = [
        api.send(
            "PATCH",
            api.path(LEASES, "a"),
            {**version, "spec": {"holderIdentity": f"writer-{number}"}},
            content_type=MERGE_PATCH,
        )
        for number in range(WRITERS)
    ]
    answers = await asyncio.gather(*claims)
    assert sorted(status for status, _ in answers) == [200] + [409] * (WRITERS - 1)


async def test_patches_without_a_version_all_count(api: Api) -> None:
    """None is refused and none is lost."""
    await _create(api, holderIdentity="nobody")
    patches = [
        api.send("PATCH", api.path(LEASES, "a"), {"metadata": {"labels": {f"l{n}": "x"}}}, content_type=MERGE_PATCH)
        for n in range(WRITERS)
    ]
    assert {status for status, _ in await asyncio.gather(*patches)} == {200}
    assert len((await api.send("GET", api.path(LEASES, "a")))[1]["metadata"]["labels"]) == WRITERS


async def test_a_released_lease_can_be_deleted_by_one_alone(api: Api) -> None:
    """Of many deletes with the same precondition one finds it, the others nothing."""
    uid = (await _create(api))["metadata"]["uid"]
    deletes = [api.send("DELETE", api.path(LEASES, "a"), {"preconditions": {"uid": uid}}) for _ in range(WRITERS)]
    answers = await asyncio.gather(*deletes)
    assert sorted(status for status, _ in answers) == [200] + [404] * (WRITERS - 1)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-11-20T04:11:19.445316Z", "2026-11-20T04:11:19.445316Z"),
        ("2026-11-20T04:11:19.445316+00:00", "2026-11-20T04:11:19.445316Z"),
        ("2026-11-20T06:11:19.445316+02:00", "2026-11-20T04:11:19.445316Z"),
    ],
)
async def test_times_are_kept_to_the_microsecond_in_utc(api: Api, sent: str, kept: str) -> None:
    """Whatever form a client gives them."""
    created = await _create(api, acquireTime=sent, renewTime=sent)
    assert (created["spec"]["acquireTime"], created["spec"]["renewTime"]) == (kept, kept)
    assert (await api.send("GET", api.path(LEASES, "a")))[1]["spec"]["renewTime"] == kept


@pytest.mark.parametrize(
    "time",
    ["yesterday", 5, "2026-11-20", "2026-11-20T04:11:19Z", "2026-11-20T04:11:19.5Z", "2026-11-20T04:11:19.123456789Z"],
)
async def test_a_time_that_is_none_is_refused(api: Api, time: Any) -> None:
    """400, as the object cannot be read: six digits, no more and no less."""
    status, _ = await api.send("POST", api.path(LEASES), {"metadata": {"name": "a"}, "spec": {"renewTime": time}})
    assert status == 400


@pytest.mark.parametrize("spec", [{"leaseDurationSeconds": 0}, {"leaseTransitions": -1}])
async def test_a_term_that_cannot_be_is_refused(api: Api, spec: Any) -> None:
    """422 with the field."""
    status, body = await api.send("POST", api.path(LEASES), {"metadata": {"name": "a"}, "spec": spec})
    assert (status, body["details"]["causes"][0]["field"]) == (422, f"spec.{next(iter(spec))}")


async def test_a_watch_sees_every_holder_in_turn(api: Api) -> None:
    """Each transition once, in the order of the resourceVersions."""
    current = await _create(api, holderIdentity="0")
    since = current["metadata"]["resourceVersion"]
    for holder in range(1, 6):
        current["spec"]["holderIdentity"] = str(holder)
        _, current = await api.send("PUT", api.path(LEASES, "a"), current)
    await api.send("POST", api.path(LEASES), {"metadata": {"name": "end"}, "spec": {"holderIdentity": "end"}})
    events = await events_of(api, f"{api.path(LEASES)}?watch=true&resourceVersion={since}", 6)
    assert [event["object"]["spec"]["holderIdentity"] for event in events] == ["1", "2", "3", "4", "5", "end"]
