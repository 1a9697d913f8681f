"""Options of a delete, and what a delete makes of an object."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kontinue_engine.apiserver.objects import deletion
from kontinue_engine.apiserver.objects.deletion import DeleteOptions, parse_delete_options
from kontinue_engine.apiserver.resources import CONFIG_MAPS, NAMESPACES, ResourceInfo
from kontinue_engine.apiserver.statuses import StatusError

PODS = ResourceInfo(group="", version="v1", plural="pods", kind="Pod", singular="pod", list_kind="PodList")
NOW = "2026-01-01T00:00:00Z"


def test_options_come_from_the_body_or_without_one_from_the_query() -> None:
    """With kubectl it is a body, with the Python client a query; a body hides the query."""
    body = b'{"preconditions":{"uid":"u","resourceVersion":"7"},"propagationPolicy":"Foreground","dryRun":["All"]}'
    assert parse_delete_options({"propagationPolicy": "Orphan"}, body, "") == DeleteOptions(
        "u", "7", "Foreground", True
    )
    from_query = parse_delete_options({"propagationPolicy": "Orphan", "dryRun": "All"}, b"", "")
    assert from_query == DeleteOptions(propagation="Orphan", is_dry_run=True)
    assert parse_delete_options({"orphanDependents": "true"}, b"", "").propagation == "Orphan"
    assert parse_delete_options({}, b'{"orphanDependents": false}', "").propagation == "Background"
    assert parse_delete_options({"gracePeriodSeconds": "-1", "pretty": "true"}, b"null", "") == DeleteOptions()
    assert parse_delete_options({"gracePeriodSeconds": "-1", "pretty": "true"}, b"", "").grace_s == 1


@pytest.mark.parametrize(
    "options",
    [
        {"propagationPolicy": "Never"},
        {"propagationPolicy": ""},
        {"dryRun": ["Some"]},
        {"orphanDependents": True, "propagationPolicy": "Orphan"},
    ],
)
def test_values_that_do_not_exist_are_refused(options: dict[str, Any]) -> None:
    """Unprocessable, not a delete of another kind."""
    with pytest.raises(StatusError) as caught:
        parse_delete_options({}, orjson.dumps(options), "")
    assert caught.value.code == 422


@pytest.mark.parametrize(
    "body",
    [
        b'{"preconditions": "x"}',
        b'{"preconditions": {"uid": {}}}',
        b'{"propagationPolicy": ["Background"]}',
        b'{"orphanDependents": []}',
        b'{"dryRun": 5}',
        b'{"gracePeriodSeconds": "soon"}',
        b'{"kind": "Execution"}',
        b"[]",
    ],
)
def test_options_of_a_wrong_shape_are_refused(body: bytes) -> None:
    """400 and not a crash."""
    with pytest.raises(StatusError) as caught:
        parse_delete_options({}, body, "")
    assert caught.value.code == 400


def test_a_body_in_the_form_of_a_patch_is_refused() -> None:
    """415: it is no object."""
    with pytest.raises(StatusError) as caught:
        parse_delete_options({}, b"{}", "application/merge-patch+json")
    assert caught.value.code == 415


@pytest.mark.parametrize(
    ("before", "propagation", "after"),
    [
        ([], "", []),
        ([], "Background", []),
        ([], "Foreground", ["foregroundDeletion"]),
        ([], "Orphan", ["orphan"]),
        (["a/b"], "Orphan", ["a/b", "orphan"]),
        (["foregroundDeletion", "a/b"], "", ["foregroundDeletion", "a/b"]),
        (["foregroundDeletion", "a/b"], "Foreground", ["foregroundDeletion", "a/b"]),
        (["foregroundDeletion", "a/b"], "Orphan", ["a/b", "orphan"]),
        (["orphan"], "Background", []),
    ],
)
def test_each_propagation_policy_leaves_its_finalizer(before: list[str], propagation: str, after: list[str]) -> None:
    """Another policy takes the place of an earlier one; none leaves it."""
    assert deletion.finalizers_of_delete(CONFIG_MAPS, before, propagation) == after


def test_a_second_delete_keeps_the_time_of_the_first() -> None:
    """Only the first one marks the object and counts as a change of it."""
    current = {"metadata": {"name": "a", "generation": 1, "finalizers": ["a/b"]}}
    first = deletion.mark_deleted(CONFIG_MAPS, current, now=NOW, propagation="Foreground")
    second = deletion.mark_deleted(CONFIG_MAPS, first, now="later", propagation="Background")
    wanted = {"deletionTimestamp": NOW, "deletionGracePeriodSeconds": 0, "generation": 2, "finalizers": ["a/b"]}
    assert second["metadata"] == {"name": "a", **wanted}


@pytest.mark.parametrize(
    ("pod", "asked_s", "period_s"),
    [
        ({"spec": {}}, None, 0),
        ({"spec": {"nodeName": "n"}}, None, 0),
        ({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}, None, 30),
        ({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}, 5, 5),
        ({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Failed"}}, 5, 0),
        ({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": -1}}, None, 1),
        ({"spec": {"terminationGracePeriodSeconds": 30}}, 5, 0),
    ],
)
def test_a_pod_gets_time_where_somebody_runs_it(pod: dict[str, Any], asked_s: int | None, period_s: int) -> None:
    """The time counts from the delete, and holds the Pod."""
    document = {"metadata": {"name": "a"}, **pod}
    marked = deletion.mark_deleted(PODS, document, now=NOW, propagation="", grace_s=asked_s)
    assert marked["metadata"]["deletionGracePeriodSeconds"] == period_s
    assert marked["metadata"]["deletionTimestamp"] == f"2026-01-01T00:00:{period_s:02}Z"
    assert deletion.is_held(PODS, marked) == (period_s > 0)


def test_the_time_of_a_pod_can_only_be_cut_short() -> None:
    """From the first delete on; a longer one changes nothing."""
    spec = {"nodeName": "n", "terminationGracePeriodSeconds": 30}
    first = deletion.mark_deleted(PODS, {"metadata": {}, "spec": spec}, now=NOW, propagation="")
    assert deletion.mark_deleted(PODS, first, now="later", propagation="", grace_s=60) == first
    second = deletion.mark_deleted(PODS, first, now="later", propagation="", grace_s=5)
    assert second["metadata"] == {"deletionTimestamp": "2026-01-01T00:00:05Z", "deletionGracePeriodSeconds": 5}
    assert not deletion.is_held(PODS, deletion.mark_deleted(PODS, second, now="later", propagation="", grace_s=0))


def test_a_terminating_namespace_is_not_changed_by_another_delete() -> None:
    """Until its content is gone, it keeps the policy of the first one."""
    current = {"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    first = deletion.mark_deleted(NAMESPACES, current, now=NOW, propagation="Background")
    assert first["status"] == {"phase": "Terminating"}
    assert deletion.is_held(NAMESPACES, first)
    assert deletion.mark_deleted(NAMESPACES, first, now="later", propagation="Orphan") is first
