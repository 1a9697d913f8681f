from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.custom import crd_status, crd_types, definitions
from kontinue_engine.apiserver.statuses import StatusError

NOW = "2026-01-02T03:04:05Z"
LATER = "2026-01-02T04:00:00Z"


def crd(plural: str = "points", **names: Any) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}
    return {
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": "Point", **names},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def conditions(found: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {
        one["type"]: (one["status"], one["reason"], one["lastTransitionTime"]) for one in found["status"]["conditions"]
    }


def test_a_definition_alone_is_established():
    """Its names are accepted and its storage version is recorded."""
    found = crd_status.with_status(crd(), [], now=NOW)
    assert conditions(found) == {
        "NamesAccepted": ("True", "NoConflicts", NOW),
        "Established": ("True", "InitialNamesAccepted", NOW),
    }
    assert found["status"]["storedVersions"] == ["v1"]
    assert crd_status.is_established(found)
    assert crd_status.with_status(found, [found], now=LATER) == found


def test_taken_names_are_not_accepted():
    """It waits; what it had before stays its own."""
    first = crd_status.with_status(crd(shortNames=["p"]), [], now=NOW)
    second = crd_status.with_status(crd("dots", shortNames=["p"]), [first], now=NOW)
    assert conditions(second) == {
        "NamesAccepted": ("False", "KindConflict", NOW),
        "Established": ("False", "NotAccepted", NOW),
    }
    assert not crd_status.is_established(second)
    renamed = crd_status.with_status(crd("dots", kind="Dot"), [first], now=NOW)
    asks = {**renamed, "spec": {**renamed["spec"], "names": {"plural": "dots", "kind": "Dot", "shortNames": ["p"]}}}
    still = crd_status.with_status(asks, [first], now=LATER)
    assert conditions(still)["NamesAccepted"] == ("False", "ShortNamesConflict", LATER)
    assert crd_status.is_established(still)
    assert still["status"]["acceptedNames"] == {"plural": "dots", "kind": "Dot"}


def test_other_groups_and_the_definition_itself_take_no_names():
    """Names are unique within a group."""
    other = crd()
    other["spec"]["group"] = "example.org"
    other["metadata"]["name"] = "points.example.org"
    assert crd_status.is_established(crd_status.with_status(crd(), [other, crd()], now=NOW))


def test_what_was_stored_stays_recorded():
    """Until somebody who has rewritten the objects takes it out of the status."""
    found = crd_status.with_status(crd(), [], now=NOW)
    version = found["spec"]["versions"][0]
    moved = {**found, "spec": {**found["spec"], "versions": [{**version, "name": "v2"}]}}
    assert crd_status.with_status(moved, [], now=NOW)["status"]["storedVersions"] == ["v1", "v2"]
    normal, _ = crd_types.normalized(moved)
    assert [cause.field for cause in definitions.problems(normal, found)] == ["status.storedVersions[0]"]


def test_a_spec_that_was_accepted_is_not_judged_again():
    """A write of a label or the status must not fail on a rule that came later."""
    bad = crd_status.with_status(crd(), [], now=NOW)
    bad["spec"]["conversion"] = {"strategy": "Webhook"}
    normal, _ = crd_types.normalized(bad)
    assert definitions.judged(normal, None, [], now=NOW)[2]
    labelled = {**normal, "metadata": {**normal["metadata"], "labels": {"a": "b"}}}
    assert definitions.judged(labelled, normal, [], now=NOW)[2] == []


def test_a_deleted_definition_is_held_until_its_objects_are_gone():
    """By a finalizer of the server."""
    found = crd_status.with_terminating(crd_status.with_status(crd(), [], now=NOW), now=LATER)
    assert found["metadata"]["finalizers"] == [crd_status.CLEANUP_FINALIZER]
    assert found["metadata"]["deletionTimestamp"] == LATER
    assert conditions(found)["Terminating"] == ("True", "InstanceDeletionInProgress", LATER)


def test_unknown_members_are_dropped_and_named():
    """Nulls mean that something is not there; what has another type is a bad request."""
    given = crd(singular=None, odd=[1])
    given["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["also"] = {"a": 1}
    normal, unknown = crd_types.normalized(given)
    assert unknown == [
        "spec.names.odd",
        "spec.versions[0].schema.openAPIV3Schema.properties.spec.also",
    ]
    names = {"plural": "points", "kind": "Point", "singular": "point", "listKind": "PointList"}
    assert normal["spec"]["names"] == names
    with pytest.raises(StatusError) as refused:
        crd_types.normalized(crd(shortNames="p"))
    assert refused.value.code == 400
