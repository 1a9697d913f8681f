"""DELETE of a collection: what is selected, what is answered, and which options apply to each object."""

from __future__ import annotations

from typing import Any

import pytest

from api import Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture
async def three(api: Api) -> Api:
    """Executions a, b and c, each labelled with its name."""
    for name in "abc":
        body = execution(name, metadata={"labels": {"name": name}})
        assert (await api.send("POST", api.path(EXECUTIONS), body))[0] == 201
    return api


async def _names(api: Api) -> list[str]:
    return _of((await api.send("GET", api.path(EXECUTIONS)))[1])


def _of(listed: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def test_the_answer_is_the_list_of_what_was_deleted(three: Api) -> None:
    """As it was before, in the form of a list; a second time it is empty."""
    before = (await three.send("GET", three.path(EXECUTIONS)))[1]
    status, body = await three.send("DELETE", three.path(EXECUTIONS))
    assert (status, body["kind"], body["items"]) == (200, "ExecutionList", before["items"])
    assert await _names(three) == []
    status, body = await three.send("DELETE", three.path(EXECUTIONS))
    assert (status, body["items"]) == (200, [])


@pytest.mark.parametrize("query", ["labelSelector=name%3Da", "fieldSelector=metadata.name%3Da"])
async def test_only_what_is_selected_goes(three: Api, query: str) -> None:
    """By labels or by fields."""
    _, body = await three.send("DELETE", f"{three.path(EXECUTIONS)}?{query}")
    assert _of(body) == ["a"]
    assert await _names(three) == ["b", "c"]


async def test_other_namespaces_are_untouched(three: Api) -> None:
    """The collection is that of one namespace."""
    config_map = {"metadata": {"name": "mine"}}
    await three.send("POST", three.path("configmaps"), config_map)
    assert (await three.send("DELETE", three.path("configmaps", namespace="never-was")))[1]["items"] == []
    assert _of((await three.send("GET", three.path("configmaps")))[1]) == ["mine"]


async def test_a_limit_deletes_one_page(three: Api) -> None:
    """The answer carries the token to go on."""
    _, body = await three.send("DELETE", f"{three.path(EXECUTIONS)}?limit=2")
    assert _of(body) == ["a", "b"]
    assert body["metadata"]["continue"]
    assert await _names(three) == ["c"]


async def test_a_dry_run_deletes_nothing(three: Api) -> None:
    """In the query or in the body."""
    for path, options in (
        (f"{three.path(EXECUTIONS)}?dryRun=All", None),
        (three.path(EXECUTIONS), {"dryRun": ["All"]}),
    ):
        status, body = await three.send("DELETE", path, options)
        assert (status, _of(body)) == (200, ["a", "b", "c"])
    assert await _names(three) == ["a", "b", "c"]


async def test_held_objects_are_marked(api: Api) -> None:
    """The list shows them as they were before."""
    held = execution("a", metadata={"finalizers": ["example.com/hold"]})
    await api.send("POST", api.path(EXECUTIONS), held)
    _, body = await api.send("DELETE", api.path(EXECUTIONS))
    assert "deletionTimestamp" not in body["items"][0]["metadata"]
    assert "deletionTimestamp" in (await api.send("GET", api.path(EXECUTIONS, "a")))[1]["metadata"]


async def test_the_propagation_policy_applies_to_each(three: Api) -> None:
    """Orphan leaves dependents without their reference."""
    _, owner = await three.send("GET", three.path(EXECUTIONS, "a"))
    reference = {"apiVersion": owner["apiVersion"], "kind": "Execution", "name": "a", "uid": owner["metadata"]["uid"]}
    body = {"metadata": {"name": "dependent", "ownerReferences": [reference]}}
    await three.send("POST", three.path("configmaps"), body)
    await three.send("DELETE", f"{three.path(EXECUTIONS)}?propagationPolicy=Orphan")
    for name in "abc":
        await three.eventually(three.path(EXECUTIONS, name), 404)
    _, orphan = await three.send("GET", three.path("configmaps", "dependent"))
    assert "ownerReferences" not in orphan["metadata"]


async def test_preconditions_apply_to_each(three: Api) -> None:
    """409 at the first that does not fulfil them."""
    options = {"preconditions": {"uid": "other"}}
    status, body = await three.send("DELETE", f"{three.path(EXECUTIONS)}?labelSelector=name%3Da", options)
    assert (status, body["reason"]) == (409, "Conflict")
    assert await _names(three) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("query", "options", "code"),
    [
        ("", {"propagationPolicy": "Never"}, 422),
        ("fieldSelector=spec.nothing%3Dx", None, 400),
        ("labelSelector=%3D%3D%3D", None, 400),
        ("continue=nonsense", None, 400),
        ("limit=many", None, 400),
        ("resourceVersionMatch=Exact", None, 422),
    ],
)
async def test_options_that_make_no_sense_delete_nothing(three: Api, query: str, options: Any, code: int) -> None:
    """Neither those of the list nor those of the delete."""
    assert (await three.send("DELETE", f"{three.path(EXECUTIONS)}?{query}", options))[0] == code
    assert await _names(three) == ["a", "b", "c"]


async def test_the_answer_can_be_a_table(three: Api) -> None:
    """In whatever form lists can be asked for."""
    _, body = await three.send("DELETE", three.path(EXECUTIONS), Accept=TABLE)
    assert (body["kind"], [row["cells"][0] for row in body["rows"]]) == ("Table", ["a", "b", "c"])
    assert await _names(three) == []


async def test_namespaces_have_no_deletecollection(api: Api) -> None:
    """405: one by one."""
    assert (await api.send("DELETE", "/api/v1/namespaces?labelSelector=a%3Db"))[0] == 405
