"""managedFields carried along with writes."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.apply.client_side import LAST_APPLIED
from kontinue_engine.apiserver.apply.tracking import APPLIED, Tracker
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.registry import Registry, load_crds
from kontinue_engine.apiserver.statuses import StatusError


def execution(labels: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": "a", "uid": "u", **({"labels": labels} if labels else {}), **metadata},
        "spec": {"function": "hello"},
    }


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(load_crds())


@pytest.fixture
def clock() -> list[str]:
    return ["2026-01-01T00:00:00Z"]


@pytest.fixture
def tracker(registry: Registry, clock: list[str]) -> Tracker:
    return Tracker(registry, now=lambda: clock[0])


@pytest.fixture
def target(registry: Registry) -> Target:
    resource = registry.find("kontinue.cloud", "v1alpha1", "executions")
    assert resource
    return Target(resource, "default", "a", "")


def names(document: Any) -> list[str]:
    return [entry["manager"] for entry in document["metadata"].get("managedFields", [])]


def test_objects_that_nobody_applied_are_left_alone(tracker: Tracker, target: Target) -> None:
    """The very same object comes back: no copy, no entry."""
    created, changed = execution(), execution({"x": "1"})
    assert tracker.track(target, None, created, created, b"tool/1") is created
    assert tracker.track(target, created, changed, changed, "named") is changed


def test_what_kubectl_applied_on_its_side_is_tracked_from_then_on(tracker: Tracker, target: Target) -> None:
    """Also when the object was there before: that belongs to nobody in particular."""
    before = execution({"x": "1"})
    annotated = execution({"x": "1"}, annotations={LAST_APPLIED: "{}"})
    tracked = tracker.track(target, before, annotated, annotated, "kubectl-client-side-apply")
    assert names(tracked) == ["before-first-apply", "kubectl-client-side-apply"]


def test_applied_entries_are_stored_as_they_are(tracker: Tracker, target: Target) -> None:
    """What an apply found out is not found out again."""
    applied = tracker.apply(target, execution(), execution({"x": "1"}), "one", force=False)
    result = {**applied, "metadata": {k: v for k, v in applied["metadata"].items() if k != "managedFields"}}
    stored = tracker.track(target, execution(), applied, result, APPLIED)
    assert stored["metadata"]["managedFields"] == applied["metadata"]["managedFields"]


def test_time_alone_is_no_change(tracker: Tracker, target: Target, clock: list[str]) -> None:
    """A merge that comes to nothing once the object was judged keeps the times of before."""
    live = tracker.apply(target, None, {**execution(), "metadata": {"name": "a"}}, "one", force=False)
    live["metadata"]["uid"] = "u"
    clock[0] = "2026-01-02T00:00:00Z"
    config = {**execution(), "metadata": {"name": "a"}, "status": {"phase": "Executing"}}
    applied = tracker.apply(target, live, config, "one", force=False)
    assert applied["metadata"]["managedFields"] != live["metadata"]["managedFields"]
    judged = {**execution(), "metadata": {"name": "a", "uid": "u"}}  # the status is not the main resource's
    assert tracker.track(target, live, applied, judged, APPLIED) == live


@pytest.mark.parametrize("entries", ["x", [3], {}])
def test_managed_fields_of_a_wrong_type_are_a_bad_request(tracker: Tracker, target: Target, entries: Any) -> None:
    """The client's fault, and told so."""
    live = tracker.apply(target, None, {**execution(), "metadata": {"name": "a"}}, "one", force=False)
    given = execution({"x": "1"}, managedFields=entries)
    with pytest.raises(StatusError, match="managedFields must be an array") as caught:
        tracker.track(target, live, given, execution({"x": "1"}), "two")
    assert caught.value.code == 400
