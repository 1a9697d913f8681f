"""Gates of ``konductor.io``: what is refused, what may change, how they are found and printed."""

from __future__ import annotations

from typing import Any

import pytest

from api import MERGE_PATCH, Api, unique

GATES = "konductor.io/v1/gates"
POSSIBLE = {
    "Job": {"Complete", "Failed", "Active", "Pending"},
    "Semaphore": {"Available", "Acquired"},
    "Barrier": {"Open", "Closed", "Failed", "Pending"},
    "Lease": {"Available", "Acquired"},
    "Gate": {"Open", "Closed", "Failed", "Pending"},
    "Mutex": {"Locked", "Unlocked", "Acquired", "Available"},
    "Once": {"Complete", "Done", "Failed", "Active", "Pending"},
    "WaitGroup": {"Done", "Zero", "NonZero"},
}
STATES = {state for states in POSSIBLE.values() for state in states}


def on(type_: str = "Job", state: str = "Complete", **more: Any) -> dict[str, Any]:
    """Return a condition."""
    return {"type": type_, "name": "it", "state": state, **more}


async def send(api: Api, spec: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Create one; returns its path, and the answer."""
    name = unique("go")
    body = {"apiVersion": "konductor.io/v1", "kind": "Gate", "metadata": {"name": name}, "spec": spec}
    return f"{api.path(GATES)}/{name}", *await api.send("POST", api.path(GATES), body)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.conditions"),
        ({"conditions": []}, "spec.conditions"),
        ({"conditions": [on()] * 65}, "spec.conditions"),
        ({"conditions": [on("Pod")]}, "spec.conditions[0].type"),
        ({"conditions": [on(state="Executed")]}, "spec.conditions[0].state"),
        ({"conditions": [on(name="")]}, "spec.conditions[0].name"),
        ({"conditions": [on(name="It")]}, "spec.conditions[0].name"),
        ({"conditions": [on(name="a,b")]}, "spec.conditions[0].name"),
        ({"conditions": [on(namespace="a.b")]}, "spec.conditions[0].namespace"),
        ({"conditions": [on(namespace="n" * 64)]}, "spec.conditions[0].namespace"),
        ({"conditions": [on("Semaphore", "Available", value=-1)]}, "spec.conditions[0].value"),
        ({"conditions": [{"type": "Job", "name": "it"}]}, "spec.conditions[0].state"),
        ({"conditions": [on()], "timeout": "soon"}, "spec.timeout"),
        ({"conditions": [on()], "override": "Ajar"}, "spec.override"),
    ],
)
async def test_a_gate_that_says_nothing_sensible_is_refused(api: Api, spec: dict[str, Any], field: str) -> None:
    """One without conditions, for example."""
    _, status, answer = await send(api, spec)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


@pytest.mark.parametrize("type_", POSSIBLE)
async def test_a_condition_that_can_never_be_met_is_refused(api: Api, type_: str) -> None:
    """Of all states only those that there are of its kind; the message names them, whichever condition it is."""
    for state in STATES - POSSIBLE[type_]:
        _, status, answer = await send(api, {"conditions": [on(), on(type_, state)]})
        assert (status, answer["reason"]) == (422, "Invalid"), state
        (cause,) = answer["details"]["causes"]
        assert cause["field"] == "spec.conditions"
        for each, states in POSSIBLE.items():
            assert f"{each} has " in cause["message"]
            assert all(one in cause["message"] for one in states)
    path, status, _ = await send(api, {"conditions": [on(type_, state) for state in sorted(POSSIBLE[type_])]})
    assert status == 201
    patch = {"spec": {"conditions": [on(type_, min(STATES - POSSIBLE[type_]))]}}
    assert (await api.send("PATCH", path, patch, content_type=MERGE_PATCH))[0] == 422


async def test_only_permits_are_counted(api: Api) -> None:
    """A number of something else means nothing."""
    assert (await send(api, {"conditions": [on("Semaphore", "Available", value=3)]}))[1] == 201
    _, status, answer = await send(api, {"conditions": [on("Barrier", "Open", value=3)]})
    assert (status, answer["reason"]) == (422, "Invalid")
    assert "value is a number of permits" in answer["message"]


async def test_they_are_found_and_printed(api: Api) -> None:
    """``kubectl get gates`` shows what is documented; they are selected by their phase."""
    _, listed = await api.send("GET", "/apis/konductor.io/v1")
    assert [one["shortNames"] for one in listed["resources"] if one["name"] == "gates"] == [["kgate"]]
    path, _, _ = await send(api, {"conditions": [on(name="a"), on("Mutex", "Locked", name="b")]})
    met = {"type": "Job", "name": "a", "state": "Complete", "met": True}
    patch = {"status": {"phase": "Waiting", "conditionStatuses": [met], "met": "1/2"}}
    assert (await api.send("PATCH", f"{path}/status", patch, content_type=MERGE_PATCH))[0] == 200
    _, table = await api.send("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    columns = zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    shown = {column["name"]: cell for column, cell in columns if not column["priority"]}
    assert (shown["Phase"], shown["Conditions"], shown["Met"]) == ("Waiting", "a", "1/2")
    _, found = await api.send("GET", f"{api.path(GATES)}?fieldSelector=status.phase%3DWaiting")
    assert path.rpartition("/")[2] in {one["metadata"]["name"] for one in found["items"]}
