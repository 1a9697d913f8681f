"""Suspensions as objects: what may be changed of them, when they are over, and how they are found."""

from __future__ import annotations

from typing import Any

import pytest

from api import JSON_PATCH, MERGE_PATCH, Api, unique
from kontinue.api.v1alpha1 import OPEN_SUSPENSIONS_SELECTOR

SUSPENSIONS = "kontinue.cloud/v1alpha1/suspensions"
SPEC: dict[str, Any] = {
    "execution": "release-1",
    "kind": "Manual",
    "displayName": "Ship it?",
    "payloadSchema": {"type": "object", "properties": {"approved": {"type": "boolean"}}},
}
REFUSED = {"type": "PayloadInvalid", "status": "True", "message": "$.approved: expected bool"}


async def create(api: Api, **spec: Any) -> str:
    """Create a Suspension and return its path."""
    name = unique("suspension")
    body = {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Suspension",
        "metadata": {"name": name},
        "spec": {**SPEC, **spec},
    }
    status, answer = await api.send("POST", api.path(SUSPENSIONS), body)
    assert status == 201, answer
    return f"{api.path(SUSPENSIONS)}/{name}"


async def merge(api: Api, path: str, change: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send a merge patch, as ``kubectl patch --type=merge`` does."""
    return await api.send("PATCH", path, change, content_type=MERGE_PATCH)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execution", "another"),
        ("kind", "Sleep"),
        ("displayName", "Another?"),
        ("displayName", None),
        ("description", "added"),
        ("payloadSchema", {"type": "string"}),
    ],
)
async def test_what_a_suspension_stands_for_cannot_be_changed(api: Api, field: str, value: object) -> None:
    """Who resumes it answers the question that was asked."""
    status, answer = await merge(api, await create(api), {"spec": {field: value}})
    assert (status, answer["reason"]) == (422, "Invalid"), answer
    assert [(cause["field"], cause["message"]) for cause in answer["details"]["causes"]] == [
        (f"spec.{field}", f"Invalid value: {field} is immutable")
    ]


async def test_the_end_of_a_sleep_can_be_moved(api: Api) -> None:
    """``spec.resumeAt`` may be set, changed and removed."""
    path = await create(api, kind="Sleep")
    for value in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10.250000Z", None):
        status, answer = await merge(api, path, {"spec": {"resumeAt": value}})
        assert (status, answer["spec"].get("resumeAt")) == (200, value), answer


async def test_a_suspension_needs_an_execution_and_a_known_kind(api: Api) -> None:
    """Mistakes show when it is created."""
    for spec in ({"kind": "Manual"}, {"execution": "e"}, {"execution": "e", "kind": "Nap"}):
        body = {"apiVersion": "kontinue.cloud/v1alpha1", "kind": "Suspension", "metadata": {"name": "bad"}}
        status, answer = await api.send("POST", api.path(SUSPENSIONS), {**body, "spec": spec})
        assert (status, answer["reason"]) == (422, "Invalid"), answer


async def test_a_completed_suspension_stays_completed(api: Api) -> None:
    """Nobody can take an answer back; more can be said about it."""
    path = f"{await create(api)}/status"
    assert (await merge(api, path, {"status": {"phase": "Completed", "payload": {"approved": True}}}))[0] == 200
    for phase in ("Suspended", None):
        status, answer = await merge(api, path, {"status": {"phase": phase}})
        assert (status, answer["reason"]) == (422, "Invalid"), answer
    status, answer = await merge(api, path, {"status": {"phase": "Suspended"}})
    (cause,) = answer["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "status.phase")
    assert "Completed is final, unless condition PayloadInvalid says why not" in cause["message"]
    assert (await merge(api, path, {"status": {"resumedBy": "ada"}}))[0] == 200


async def test_a_refused_payload_opens_it_again(api: Api) -> None:
    """With the condition that says so, and not with it when it is not true."""
    path = f"{await create(api)}/status"
    assert (await merge(api, path, {"status": {"phase": "Completed", "payload": "yes"}}))[0] == 200
    for condition in ({**REFUSED, "status": "False"}, {**REFUSED, "type": "Other"}):
        assert (await merge(api, path, {"status": {"phase": "Suspended", "conditions": [condition]}}))[0] == 422
    reopened = {"phase": "Suspended", "payload": None, "conditions": [REFUSED]}
    status, answer = await merge(api, path, {"status": reopened})
    assert (status, answer["status"]) == (200, {"phase": "Suspended", "conditions": [REFUSED]})


@pytest.mark.parametrize("payload", [None, False, 0, "", [], {}, [1, {"a": None}], {"nested": {"deep": [1.5]}}])
async def test_a_payload_is_any_json_value(api: Api, payload: object) -> None:
    """It comes back as it was given."""
    path = f"{await create(api)}/status"
    patch = [
        {"op": "test", "path": "/status", "value": None},
        {"op": "add", "path": "/status", "value": {"phase": "Completed", "payload": payload}},
    ]
    status, answer = await api.send("PATCH", path, patch, content_type=JSON_PATCH)
    assert (status, answer["status"]) == (200, {"phase": "Completed", "payload": payload}), answer


async def test_open_suspensions_are_selected_also_without_a_status(api: Api) -> None:
    """What is created and what is opened again is open; kinds can be told apart."""
    fresh, over, sleep = await create(api), await create(api), await create(api, kind="Sleep")
    assert (await merge(api, f"{over}/status", {"status": {"phase": "Completed"}}))[0] == 200

    async def select(selector: str) -> set[str]:
        _, listed = await api.send("GET", f"{api.path(SUSPENSIONS)}?fieldSelector={selector}")
        return {f"{api.path(SUSPENSIONS)}/{one['metadata']['name']}" for one in listed["items"]}

    selected = await select(OPEN_SUSPENSIONS_SELECTOR)
    assert (selected & {fresh, over, sleep}) == {fresh, sleep}
    assert (await select("spec.kind=Sleep") & {fresh, over, sleep}) == {sleep}


async def test_suspensions_are_printed_with_what_they_wait_for(api: Api) -> None:
    """``kubectl get ksus`` shows who waits for what."""
    _, listed = await api.send("GET", "/apis/kontinue.cloud/v1alpha1")
    (found,) = [one for one in listed["resources"] if one["name"] == "suspensions"]
    assert (found["shortNames"], found["categories"]) == (["ksus"], ["kontinue"])
    path = await create(api, resumeAt="2026-01-01T00:00:00Z")
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    _, shown = await api.send("GET", path, accept=table)
    names = [column["name"] for column in shown["columnDefinitions"] if not column["priority"]]
    assert names == ["Name", "Execution", "Kind", "Display-Name", "Phase", "Resume-At", "Age"]
    assert shown["rows"][0]["cells"][1:6] == ["release-1", "Manual", "Ship it?", None, "2026-01-01T00:00:00Z"]
