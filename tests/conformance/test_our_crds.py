"""Kontinue's own CRDs: what they refuse, how they are found and printed, and what an absent status means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from api import JSON_PATCH, MERGE_PATCH, Api, execution, unique
from kontinue.api.v1alpha1 import RETRYABLE_PHASES_SELECTOR

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "judged_executions.json").read_text())
"""Specs and statuses of an Execution, alone or after an ``old`` one, and (reason, field, message) of what is wrong."""
EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


async def test_executions_are_judged_alike(api: Api) -> None:
    """Schema, immutable spec and final phases: the same causes, word for word, on both servers."""
    found = [{**case, "causes": await causes_of(api, case)} for case in CASES]
    assert [one for one in found if one not in CASES] == []


async def causes_of(api: Api, case: dict[str, Any]) -> list[list[str]]:
    """Return what a server finds wrong with the new spec or status of a case, in order."""
    path = api.path(EXECUTIONS)
    body = execution(unique("case"))
    if case["part"] == "spec" and case["old"] is None:
        body.pop("spec")
        given = {} if case["new"] is None else {"spec": case["new"]}
        return _causes(*await api.send("POST", f"{path}?dryRun=All", {**body, **given}))
    if case["part"] == "spec":
        body["spec"] = case["old"]
    status, stored = await api.send("POST", path, body)
    assert status == 201, stored
    one = f"{path}/{body['metadata']['name']}"
    if case["part"] == "status":
        one = f"{one}/status"
        if case["old"] is not None:
            status, stored = await api.send("PUT", one, {**stored, "status": case["old"]})
            assert status == 200, stored
    stored.pop(case["part"], None)
    given = {} if case["new"] is None else {case["part"]: case["new"]}
    return _causes(*await api.send("PUT", f"{one}?dryRun=All", {**stored, **given}))


def _causes(status: int, body: dict[str, Any]) -> list[list[str]]:
    if status < 300:
        return []
    assert (status, body["reason"]) == (422, "Invalid"), body
    return sorted(
        # kube-apiserver judges a status by itself, and so names its fields within messages.
        [cause["reason"], cause["field"], cause["message"].replace(": status.", ": ")]
        for cause in body["details"]["causes"]
    )


async def test_a_default_within_an_absent_status_is_not_filled_in(api: Api) -> None:
    """Why the CRD sets no default phase: an Execution without a status has none, and says so to a test for null."""
    path = api.path(EXECUTIONS)
    status, created = await api.send("POST", path, execution("fresh", status={"phase": "Completed"}))
    assert status == 201
    assert "status" not in created
    cancel = [{"op": "test", "path": "/status", "value": None}, {"op": "add", "path": "/status", "value": {}}]
    answers = [
        await api.send("PATCH", f"{path}/fresh/status?dryRun=All", cancel[start:], content_type=JSON_PATCH)
        for start in (0, 1)
    ]
    assert [status for status, _ in answers] == [200, 200]


async def test_executions_are_found_by_category_short_name_and_printed_columns(api: Api) -> None:
    """``kubectl get kontinue`` and ``kubectl get kex`` find them; a Table shows what they do."""
    _, listed = await api.send("GET", "/apis/kontinue.cloud/v1alpha1")
    found = {one["name"]: one for one in listed["resources"]}
    assert found["executions"]["shortNames"] == ["kex"]
    assert found["functions"]["shortNames"] == ["kfn"]
    for name in ("executions", "functions"):
        assert found[name]["categories"] == ["kontinue"]
    path = api.path(EXECUTIONS)
    await api.send("POST", path, execution("shown"))
    patch = {"status": {"phase": "Suspended", "startedAt": "2026-01-02T03:04:05Z"}}
    status, _ = await api.send("PATCH", f"{path}/shown/status", patch, content_type=MERGE_PATCH)
    assert status == 200
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    (row,) = table["rows"]
    cells = dict(zip([column["name"] for column in table["columnDefinitions"]], row["cells"], strict=True))
    assert (cells["Name"], cells["Function"], cells["Phase"]) == ("shown", "hello", "Suspended")


async def test_executions_are_selected_by_phase_and_function(api: Api) -> None:
    """Also when they have no status: an absent field is like an empty one."""
    path = api.path(EXECUTIONS)
    for name, function in (("new", "hello"), ("done", "hello"), ("other", "bye")):
        status, _ = await api.send("POST", path, execution(name, spec={"function": function}))
        assert status == 201
    patch = {"status": {"phase": "Completed"}}
    await api.send("PATCH", f"{path}/done/status", patch, content_type=MERGE_PATCH)
    for selector, names in (
        ("status.phase=Completed", ["done"]),
        ("status.phase!=Completed", ["new", "other"]),
        ("status.phase=", ["new", "other"]),
        ("spec.function=hello,status.phase!=Completed", ["new"]),
    ):
        _, listed = await api.send("GET", f"{path}?fieldSelector={selector}")
        assert sorted(item["metadata"]["name"] for item in listed["items"]) == names, selector


async def test_a_retry_is_asked_for_by_a_patch_that_tests_status_and_generation(api: Api) -> None:
    """Only an edit of the spec raises the generation: who asks a second time for what was seen is refused."""
    path = api.path(EXECUTIONS)
    await api.send("POST", path, execution("failed"))
    await api.send("PATCH", f"{path}/failed/status", {"status": {"phase": "Failed"}}, content_type=MERGE_PATCH)
    labeled = {"metadata": {"labels": {"a": "b"}}}
    _, found = await api.send("PATCH", f"{path}/failed", labeled, content_type=MERGE_PATCH)
    assert found["metadata"]["generation"] == 1
    wanted = {"retries": 1, "childPolicy": "RetryFailed"}
    patch = [
        {"op": "test", "path": "/status/phase", "value": "Failed"},
        {"op": "test", "path": "/metadata/generation", "value": 1},
        {"op": "add", "path": "/spec/retry", "value": wanted},
        {"op": "add", "path": "/status/phase", "value": "Pending"},
    ]
    status, asked = await api.send("PATCH", f"{path}/failed", patch, content_type=JSON_PATCH)
    assert (status, asked["metadata"]["generation"], asked["spec"]["retry"]) == (200, 2, wanted)
    assert asked["status"] == {"phase": "Failed"}, "that of the object itself is not for clients"
    status, refused = await api.send("PATCH", f"{path}/failed", patch, content_type=JSON_PATCH)
    assert (status, refused["reason"]) == (422, "Invalid")


async def test_what_has_ended_badly_can_be_followed_without_its_content(api: Api) -> None:
    """Metadata alone, with the generation, of what is Failed or Canceled: how a leader finds wishes."""
    path = api.path(EXECUTIONS)
    for phase in ("Executing", "Failed", "Canceled", "Completed"):
        await api.send("POST", path, execution(phase.lower()))
        patch = {"status": {"phase": phase}}
        await api.send("PATCH", f"{path}/{phase.lower()}/status", patch, content_type=MERGE_PATCH)
    await api.send("POST", path, execution("new"))
    selector = RETRYABLE_PHASES_SELECTOR.replace("=", "%3D").replace("!", "%21")
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    status, listed = await api.send("GET", f"{path}?fieldSelector={selector}", Accept=accept)
    assert status == 200
    found = {item["metadata"]["name"]: item["metadata"]["generation"] for item in listed["items"]}
    assert found == {"failed": 1, "canceled": 1}
    assert all("spec" not in item for item in listed["items"])


async def test_a_memo_page_cannot_be_changed(api: Api) -> None:
    """Neither what it names, nor a value deep within its records; labels are free."""
    path = api.path("kontinue.cloud/v1alpha1/memopages")
    memo = {"records": [{"id": "1", "seq": 1, "value": {"a": [1, {"b": 2}]}}]}
    body = {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "MemoPage",
        "metadata": {"name": "page"},
        "spec": {"execution": "e", "runEpoch": 0, "number": 1, "memo": memo},
    }
    status, created = await api.send("POST", path, body)
    assert (status, created["spec"]) == (201, body["spec"])
    deep = {"records": [{"id": "1", "seq": 1, "value": {"a": [1, {"b": 3}]}}]}
    for change in ({"number": 2}, {"previous": "x"}, {"memo": deep}, {"memo": {"records": []}}):
        patch = {"spec": change}
        status, refused = await api.send("PATCH", f"{path}/page", patch, content_type=MERGE_PATCH)
        assert _causes(status, refused) == [["FieldValueInvalid", "spec", "Invalid value: a MemoPage is immutable"]]
    labeled = {"metadata": {"labels": {"a": "b"}}}
    assert (await api.send("PATCH", f"{path}/page", labeled, content_type=MERGE_PATCH))[0] == 200
    for spec in ({"execution": "e"}, {**body["spec"], "memo": 3}, {**body["spec"], "number": 0}):
        status, refused = await api.send("POST", path, {**body, "metadata": {"name": "other"}, "spec": spec})
        assert (status, refused["reason"]) == (422, "Invalid")
