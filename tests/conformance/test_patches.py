"""JSON patches and merge patches; strategic ones are refused for custom objects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


@pytest.fixture
async def path(api: Api) -> str:
    """An Execution with a label ``u`` and arguments; created."""
    body = execution("a", metadata={"labels": {"u": "1"}}, spec={"arguments": {"list": [1, 2]}})
    status, _ = await api.send("POST", api.path(EXECUTIONS), body)
    assert status == 201
    return api.path(EXECUTIONS, "a")


async def test_a_merge_patch_merges(api: Api, path: str) -> None:
    """Objects merge, null removes, anything else replaces."""
    patch = {"metadata": {"labels": {"u": None, "v": "2"}}, "spec": {"retry": {"retries": 1}}}
    status, patched = await api.send("PATCH", path, patch, content_type=MERGE_PATCH)
    assert (status, patched["metadata"]["labels"]) == (200, {"v": "2"})
    assert patched["spec"] == {"function": "hello", "arguments": {"list": [1, 2]}, "retry": {"retries": 1}}
    assert await api.send("GET", path) == (200, patched)
    status, patched = await api.send("PATCH", path, {"metadata": {"labels": None}}, content_type=MERGE_PATCH)
    assert "labels" not in patched["metadata"]


@pytest.mark.parametrize("body", [b"[]", b'[{"op":"test"}]', b'"x"', b"null", b"{", b""])
async def test_a_merge_patch_is_an_object(api: Api, path: str, body: bytes) -> None:
    """400."""
    status, answer = await api.send("PATCH", path, body, content_type=MERGE_PATCH)
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_a_json_patch_is_done_as_a_whole(api: Api, path: str) -> None:
    """Each operation sees what those before it did."""
    patch = [
        {"op": "test", "path": "/spec/function", "value": "hello"},
        {"op": "add", "path": "/metadata/labels/x~1y", "value": "1"},
        {"op": "copy", "from": "/metadata/labels/u", "path": "/metadata/labels/c"},
        {"op": "move", "from": "/metadata/labels/u", "path": "/metadata/labels/m"},
        {"op": "replace", "path": "/metadata/labels/c", "value": "2"},
        {"op": "test", "path": "/spec/arguments/list/-1", "value": 2},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/a", "value": "1"},
        {"op": "remove", "path": "/metadata/labels/x~1y"},
    ]
    status, patched = await api.send("PATCH", path, patch, content_type=JSON_PATCH)
    assert (status, patched["metadata"]["labels"]) == (200, {"c": "2", "m": "1"})
    assert patched["metadata"]["annotations"] == {"a": "1"}


async def test_what_is_absent_is_null(api: Api, path: str) -> None:
    """In tests, and for values left out; a replaced member need not have been there."""
    patch = [
        {"op": "test", "path": "/status", "value": None},
        {"op": "test", "path": "/status"},
        {"op": "test", "path": "/metadata/finalizers", "value": None},
        {"op": "replace", "path": "/metadata/labels/v", "value": "2"},
        {"op": "add", "path": "/metadata/labels/w"},
        {"op": "copy", "from": "/metadata/labels/nothing", "path": "/metadata/labels/x"},
    ]
    status, patched = await api.send("PATCH", path, patch, content_type=JSON_PATCH)
    assert (status, patched["metadata"]["labels"]) == (200, {"u": "1", "v": "2", "w": "", "x": ""})


UNDOABLE: list[Any] = [
    {"op": "test", "path": "/spec/function", "value": "other"},
    {"op": "test", "path": "/spec/function"},
    {"op": "test", "path": "/nothing", "value": 1},
    {"op": "test", "path": "/nothing/below", "value": None},
    {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
    {"op": "remove", "path": "/nothing"},
    {"op": "remove", "path": ""},
    {"op": "add", "path": "/nothing/below", "value": 1},
    {"op": "add", "path": "/metadata/annotations/a", "value": "1"},
    {"op": "add", "path": "/spec/arguments/list/9", "value": 1},
    {"op": "add", "path": "no-slash", "value": 1},
    {"op": "add", "path": "", "value": {}},
    {"op": "add", "value": 1},
    {"op": "move", "from": "/nothing", "path": "/metadata/labels/m"},
    {"op": "move", "path": "/metadata/labels/m"},
    {"op": "nothing", "path": "/spec"},
    {"path": "/spec"},
    None,
]


async def test_an_operation_that_cannot_be_done_is_invalid(api: Api, path: str) -> None:
    """422, and nothing of the patch was done."""
    _, before = await api.send("GET", path)
    for operation in UNDOABLE:
        patch = [{"op": "add", "path": "/metadata/labels/done", "value": "1"}, operation]
        status, answer = await api.send("PATCH", path, patch, content_type=JSON_PATCH)
        assert (status, answer["reason"]) == (422, "Invalid"), operation
    assert await api.send("GET", path) == (200, before)


@pytest.mark.parametrize("body", [b"{}", b"[", b"", b'["x"]', b"[5]", b'[{"op":"add","path":5,"value":1}]'])
async def test_a_json_patch_is_an_array_of_operations(api: Api, path: str, body: bytes) -> None:
    """400."""
    status, answer = await api.send("PATCH", path, body, content_type=JSON_PATCH)
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_a_json_patch_has_10000_operations_at_most(api: Api, path: str) -> None:
    """413 beyond."""
    patch = [{"op": "test", "path": "/spec/function", "value": "hello"}] * 10_000
    assert (await api.send("PATCH", path, patch, content_type=JSON_PATCH))[0] == 200
    status, answer = await api.send("PATCH", path, [*patch, patch[0]], content_type=JSON_PATCH)
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_status_that_is_not_there_is_tested_and_added_once(api: Api, path: str) -> None:
    """How clients cancel: of many at once, one succeeds, and the others see that they came too late."""
    patch = [
        {"op": "test", "path": "/status", "value": None},
        {"op": "add", "path": "/status", "value": {"phase": "Canceled"}},
    ]
    patches = [api.send("PATCH", f"{path}/status", patch, content_type=JSON_PATCH) for _ in range(8)]
    answers = await asyncio.gather(*patches)
    assert sorted(status for status, _ in answers) == [200] + [422] * 7
    _, read = await api.send("GET", path)
    assert read["status"] == {"phase": "Canceled"}


async def test_concurrent_patches_all_come_through(api: Api, path: str) -> None:
    """Without a resourceVersion each is done again on what the others left."""
    patches = [{"metadata": {"labels": {f"l{number}": "x"}}} for number in range(20)]
    answers = await asyncio.gather(*(api.send("PATCH", path, patch, content_type=MERGE_PATCH) for patch in patches))
    # kube-apiserver gives up after five rounds; what it refused was not done.
    done = {f"l{number}" for number, (status, _) in enumerate(answers) if status == 200}
    assert {status for status, _ in answers} <= {200, 409}
    _, read = await api.send("GET", path)
    assert set(read["metadata"]["labels"]) == done | {"u"}


async def test_a_resource_version_in_a_patch_is_a_precondition(api: Api, path: str) -> None:
    """The current one passes; a stale one is 409; none at all is 422 for custom objects."""
    _, read = await api.send("GET", path)
    version = read["metadata"]["resourceVersion"]
    for place in (path, f"{path}/status"):
        stale = {"metadata": {"resourceVersion": "1", "labels": {"a": "1"}}, "status": {"message": "a"}}
        status, answer = await api.send("PATCH", place, stale, content_type=MERGE_PATCH)
        assert (status, answer["reason"]) == (409, "Conflict")
    for none in (None, "", "0"):
        status, answer = await api.send(
            "PATCH", path, {"metadata": {"resourceVersion": none}}, content_type=MERGE_PATCH
        )
        assert (status, answer["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")
    fresh = {"metadata": {"resourceVersion": version, "labels": {"a": "1"}}}
    assert (await api.send("PATCH", path, fresh, content_type=MERGE_PATCH))[0] == 200
    test = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
    assert (await api.send("PATCH", path, test, content_type=JSON_PATCH))[0] == 422


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"name": "b"}, 400),
        ({"name": None}, 400),
        ({"namespace": "other"}, 400),
        ({"uid": "other"}, 422),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, 422),
        ({"creationTimestamp": "yesterday"}, 422),
        ({"labels": {"a": 5}}, 422),
        ({"labels": {"a": "-"}}, 422),
    ],
)
async def test_metadata_that_cannot_be_is_not_patched_in(
    api: Api, path: str, metadata: dict[str, Any], code: int
) -> None:
    """Identity, system fields, types and syntax; of built-in kinds too."""
    _, before = await api.send("GET", path)
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    for place in (path, api.path("configmaps", "a")):
        assert (await api.send("PATCH", place, {"metadata": metadata}, content_type=MERGE_PATCH))[0] == code
    assert await api.send("GET", path) == (200, before)


@pytest.mark.parametrize(
    "metadata", [{"uid": None}, {"creationTimestamp": None}, {"generation": 9}, {"namespace": None}, {"selfLink": "x"}]
)
async def test_system_metadata_is_kept_whatever_a_patch_says(api: Api, path: str, metadata: dict[str, Any]) -> None:
    """And nothing is written."""
    _, before = await api.send("GET", path)
    assert await api.send("PATCH", path, {"metadata": metadata}, content_type=MERGE_PATCH) == (200, before)


async def test_kind_and_version_cannot_be_patched(api: Api, path: str) -> None:
    """422, as the patch would make it something else."""
    await api.send("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    for place in (path, api.path("configmaps", "a")):
        for patch in ({"kind": "Secret"}, {"apiVersion": "v9"}):
            status, answer = await api.send("PATCH", place, patch, content_type=MERGE_PATCH)
            assert (status, answer["reason"]) == (422, "Invalid")
    assert (await api.send("PATCH", path, {"kind": None}, content_type=MERGE_PATCH))[0] == 422


async def test_a_patch_of_the_status_changes_the_status_alone(api: Api, path: str) -> None:
    """Metadata and spec in it are ignored, even what would be refused elsewhere; the main path ignores status."""
    _, before = await api.send("GET", path)
    patch = {
        "metadata": {"labels": {"v": "-"}, "annotations": {"a": "1"}, "uid": "other"},
        "spec": {"function": "other"},
        "status": {"phase": "Executing"},
    }
    status, patched = await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH)
    assert (status, patched["status"], patched["spec"]) == (200, {"phase": "Executing"}, before["spec"])
    assert patched["metadata"]["labels"] == {"u": "1"}
    assert "annotations" not in patched["metadata"]
    _, after = await api.send("PATCH", path, {"status": {"phase": "Completed"}}, content_type=MERGE_PATCH)
    assert after == patched


async def test_what_a_patch_makes_is_judged(api: Api, path: str) -> None:
    """422 with the field, as for an update."""
    for patch, field in (({"spec": None}, "spec"), ({"spec": {"retry": {"retries": -1}}}, "spec.retry.retries")):
        status, answer = await api.send("PATCH", path, patch, content_type=MERGE_PATCH)
        assert (status, answer["details"]["causes"][0]["field"]) == (422, field)


async def test_what_does_not_exist_is_not_patched(api: Api, path: str) -> None:
    """404; neither kind of patch creates."""
    missing = path.removesuffix("/a") + "/missing"
    assert (await api.send("PATCH", missing, {}, content_type=MERGE_PATCH))[0] == 404
    assert (await api.send("PATCH", missing, [], content_type=JSON_PATCH))[0] == 404


@pytest.mark.parametrize("content_type", [STRATEGIC_PATCH, "application/json", "text/xml", "application/yaml"])
async def test_other_patch_types_are_refused_naming_those_accepted(api: Api, path: str, content_type: str) -> None:
    """415; by its text kubectl falls back."""
    status, answer = await api.send("PATCH", path, {}, content_type=content_type)
    assert (status, answer["reason"]) == (415, "UnsupportedMediaType")
    accepted = "accepted media types include: application/json-patch+json, application/merge-patch+json"
    assert accepted in answer["message"]
