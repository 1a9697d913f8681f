"""Conditions of namespaces that terminate, and writes of their subresources."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.objects import namespace_rules

NOW, EARLIER = "2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z"


def test_conditions_name_what_remains_and_what_holds_it() -> None:
    """Those that did not change keep their time, and others' conditions stay."""
    empty = namespace_rules.conditions({}, {}, [{"type": "Mine", "status": "True"}], now=EARLIER)
    assert {condition["status"] for condition in empty[1:]} == {"False"}
    now = {c["type"]: c for c in namespace_rules.conditions({"configmaps.": 2}, {"a/b": 1}, empty, now=NOW)}
    assert now["NamespaceContentRemaining"]["message"].endswith("configmaps. has 2 resource instances")
    assert now["NamespaceFinalizersRemaining"]["message"].endswith("a/b in 1 resource instances")
    assert now["NamespaceFinalizersRemaining"]["lastTransitionTime"] == NOW
    assert now["NamespaceDeletionContentFailure"]["lastTransitionTime"] == EARLIER
    assert "Mine" in now


@pytest.mark.parametrize(
    ("finalizers", "is_allowed"),
    [(None, True), ([], True), (["kubernetes", "a.example/b"], True), (["plain"], False), ([5], False), (["/"], False)],
)
def test_finalizers_of_a_namespace_are_standard_or_qualified(finalizers: Any, is_allowed: bool) -> None:
    """Anything else is refused."""
    document = {"metadata": {}, "spec": {"finalizers": finalizers}}
    assert (not namespace_rules.problems(document, subresource="finalize")) == is_allowed


def test_the_phase_says_whether_the_namespace_is_being_deleted() -> None:
    """It cannot be written to say otherwise."""
    active = {"metadata": {}, "status": {"phase": "Active"}}
    assert not namespace_rules.problems(active, subresource="status")
    going = {**active, "metadata": {"deletionTimestamp": NOW}}
    assert [found.field for found in namespace_rules.problems(going, subresource="status")] == ["status.Phase"]
