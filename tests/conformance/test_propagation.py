"""Deletes of owners: in the background, in the foreground, and leaving orphans."""

from __future__ import annotations

from typing import Any

import pytest

from api import MERGE_PATCH, Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
HOLD = "example.com/hold"


def _reference(owner: Any, **fields: Any) -> dict[str, Any]:
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": uid, **fields}


async def _create(api: Api, name: str, *owners: Any, block: bool = False, **metadata: Any) -> Any:
    references = [_reference(owner, blockOwnerDeletion=block) for owner in owners]
    body = execution(name, metadata={**metadata, "ownerReferences": references})
    status, created = await api.send("POST", api.path(EXECUTIONS), body)
    assert status == 201, created
    return created


async def _delete(api: Api, name: str, policy: str) -> Any:
    status, body = await api.send("DELETE", api.path(EXECUTIONS, name), {"propagationPolicy": policy})
    assert status == 200, body
    return body


async def _gone(api: Api, *names: str) -> None:
    for name in names:
        await api.eventually(api.path(EXECUTIONS, name), 404)


def _is_marked(body: Any) -> bool:
    return "deletionTimestamp" in body["metadata"]


async def _release(api: Api, name: str) -> None:
    body = {"metadata": {"finalizers": None}}
    assert (await api.send("PATCH", api.path(EXECUTIONS, name), body, content_type=MERGE_PATCH))[0] == 200


async def test_in_the_background_the_owner_goes_first(api: Api) -> None:
    """At once, though a dependent holds on; those below follow."""
    owner = await _create(api, "owner")
    held = await _create(api, "held", owner, block=True, finalizers=[HOLD])
    await _create(api, "below", held)
    assert (await _delete(api, "owner", "Background"))["status"] == "Success"
    assert (await api.send("GET", api.path(EXECUTIONS, "owner")))[0] == 404
    await api.eventually(api.path(EXECUTIONS, "held"), _is_marked)
    assert (await api.send("GET", api.path(EXECUTIONS, "below")))[0] == 200
    await _release(api, "held")
    await _gone(api, "held", "below")


async def test_background_is_the_default_of_custom_resources(api: Api) -> None:
    """Nobody has to say it."""
    owner = await _create(api, "owner")
    await _create(api, "dependent", owner)
    assert (await api.send("DELETE", api.path(EXECUTIONS, "owner")))[1]["status"] == "Success"
    await _gone(api, "dependent")


async def test_in_the_foreground_the_owner_waits_for_those_that_block_it(api: Api) -> None:
    """It is marked, with a finalizer; a dependent that does not block is not waited for."""
    owner = await _create(api, "owner")
    await _create(api, "blocks", owner, block=True, finalizers=[HOLD])
    await _create(api, "does-not", owner, finalizers=[HOLD])
    marked = await _delete(api, "owner", "Foreground")
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
    for name in ("blocks", "does-not"):
        await api.eventually(api.path(EXECUTIONS, name), _is_marked)
    assert (await api.send("GET", api.path(EXECUTIONS, "owner")))[0] == 200
    await _release(api, "blocks")
    await _gone(api, "blocks", "owner")
    assert (await api.send("GET", api.path(EXECUTIONS, "does-not")))[0] == 200
    await _release(api, "does-not")


async def test_the_foreground_reaches_dependents_of_dependents(api: Api) -> None:
    """Those in between wait for those below them, with the finalizer too."""
    root = await _create(api, "root")
    middle = await _create(api, "middle", root, block=True)
    await _create(api, "leaf", middle, block=True, finalizers=[HOLD])
    await _delete(api, "root", "Foreground")
    await api.eventually(api.path(EXECUTIONS, "leaf"), _is_marked)
    _, body = await api.send("GET", api.path(EXECUTIONS, "middle"))
    assert body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await _release(api, "leaf")
    await _gone(api, "leaf", "middle", "root")


async def test_a_dependent_that_another_owner_needs_is_let_go(api: Api) -> None:
    """It loses the reference, and the owner that waited for it goes."""
    first, second = await _create(api, "first"), await _create(api, "second")
    await _create(api, "both", first, second, block=True)
    await _delete(api, "first", "Foreground")
    await _gone(api, "first")
    _, body = await api.send("GET", api.path(EXECUTIONS, "both"))
    assert [owner["name"] for owner in body["metadata"]["ownerReferences"]] == ["second"]


async def test_an_owner_waits_no_longer_for_a_dependent_that_stopped_blocking(api: Api) -> None:
    """The dependent may take its block or its reference back."""
    owner = await _create(api, "owner")
    await _create(api, "dependent", owner, block=True, finalizers=[HOLD])
    await _delete(api, "owner", "Foreground")
    await api.eventually(api.path(EXECUTIONS, "dependent"), _is_marked)
    body = {"metadata": {"ownerReferences": [_reference(owner, blockOwnerDeletion=False)]}}
    status, _ = await api.send("PATCH", api.path(EXECUTIONS, "dependent"), body, content_type=MERGE_PATCH)
    assert status == 200
    await _gone(api, "owner")
    await _release(api, "dependent")


async def test_owners_in_a_circle_do_not_wait_for_each_other(api: Api) -> None:
    """Each blocks the other, and both go."""
    first = await _create(api, "first")
    second = await _create(api, "second", first, block=True)
    body = {"metadata": {"ownerReferences": [_reference(second, blockOwnerDeletion=True)]}}
    assert (await api.send("PATCH", api.path(EXECUTIONS, "first"), body, content_type=MERGE_PATCH))[0] == 200
    await _delete(api, "first", "Foreground")
    await _gone(api, "first", "second")


async def test_orphans_stay_without_the_reference(api: Api) -> None:
    """Theirs alone; the references to others stay."""
    owner, other = await _create(api, "owner"), await _create(api, "other")
    await _create(api, "dependent", owner, other, block=True)
    marked = await _delete(api, "owner", "Orphan")
    assert marked["metadata"]["finalizers"] == ["orphan"]
    await _gone(api, "owner")
    _, body = await api.send("GET", api.path(EXECUTIONS, "dependent"))
    assert [owner["name"] for owner in body["metadata"]["ownerReferences"]] == ["other"]


@pytest.mark.parametrize("query", ["propagationPolicy=Orphan", "orphanDependents=true"])
async def test_orphans_can_be_asked_for_in_the_query(api: Api, query: str) -> None:
    """In the words of today or of before."""
    owner = await _create(api, "owner")
    await _create(api, "dependent", owner)
    await api.send("DELETE", f"{api.path(EXECUTIONS, 'owner')}?{query}")
    await _gone(api, "owner")
    _, body = await api.send("GET", api.path(EXECUTIONS, "dependent"))
    assert "ownerReferences" not in body["metadata"]


async def test_a_later_delete_may_change_the_policy(api: Api) -> None:
    """Each replaces the finalizer of the one before; one without a policy leaves it."""
    owner = await _create(api, "owner", finalizers=[HOLD])
    await _create(api, "dependent", owner, block=True, finalizers=[HOLD])
    await _delete(api, "owner", "Foreground")
    _, body = await api.send("DELETE", api.path(EXECUTIONS, "owner"))
    assert body["metadata"]["finalizers"] == [HOLD, "foregroundDeletion"]
    body = await _delete(api, "owner", "Background")
    assert body["metadata"]["finalizers"] == [HOLD]
    for name in ("owner", "dependent"):
        await _release(api, name)
    await _gone(api, "owner", "dependent")


async def test_the_finalizer_of_a_policy_can_be_there_before_the_delete(api: Api) -> None:
    """Then it decides, when the delete says nothing."""
    owner = await _create(api, "owner", finalizers=["orphan"])
    await _create(api, "dependent", owner)
    _, body = await api.send("DELETE", api.path(EXECUTIONS, "owner"))
    assert body["metadata"]["finalizers"] == ["orphan"]
    await _gone(api, "owner")
    assert (await api.send("GET", api.path(EXECUTIONS, "dependent")))[0] == 200


async def test_a_foreground_delete_without_dependents_is_over_at_once(api: Api) -> None:
    """There is nothing to wait for."""
    await _create(api, "alone")
    await _delete(api, "alone", "Foreground")
    await _gone(api, "alone")
