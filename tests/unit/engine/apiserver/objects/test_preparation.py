"""System metadata, the split of status, generation and finalizers."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.objects import deletion, preparation
from kontinue_engine.apiserver.resources import CONFIG_MAPS, NAMESPACES, ResourceInfo
from kontinue_engine.apiserver.statuses import StatusError

NOW = "2026-01-01T00:00:00Z"


def _created(resource: ResourceInfo, document: dict[str, Any], name: str = "a") -> dict[str, Any]:
    shaped = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}, **document}
    namespace = "default" if resource.namespaced else ""
    return preparation.prepare_create(resource, shaped, namespace=namespace, name=name, uid="u1", now=NOW)


def test_clients_cannot_set_system_metadata(execution_resource: ResourceInfo) -> None:
    """What belongs to the server is overwritten or dropped, and status does not come with a create."""
    forged = {"uid": "x", "generation": 9, "deletionTimestamp": NOW, "managedFields": [], "resourceVersion": "5"}
    created = _created(execution_resource, {"metadata": forged, "spec": {"function": "f"}, "status": {"phase": "X"}})
    assert created == {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": "a", "namespace": "default", "uid": "u1", "creationTimestamp": NOW, "generation": 1},
        "spec": {"function": "f"},
    }


def test_a_status_write_takes_only_the_status(execution_resource: ResourceInfo) -> None:
    """Metadata and spec of the body are ignored; without a status in the body it is removed."""
    current = {**_created(execution_resource, {"spec": {"function": "f"}}), "status": {"phase": "Executing"}}
    body = {**current, "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}, "status": {"phase": "Completed"}}
    updated = preparation.prepare_update(execution_resource, current, body, subresource="status")
    assert updated == {**current, "status": {"phase": "Completed"}}
    del body["status"]
    updated = preparation.prepare_update(execution_resource, current, body, subresource="status")
    assert "status" not in updated


def test_generation_counts_changes_of_the_spec_alone(execution_resource: ResourceInfo) -> None:
    """Neither labels nor status raise it; built-in kinds have none."""
    current = _created(execution_resource, {"spec": {"function": "f"}})
    labelled = {**current, "metadata": {**current["metadata"], "labels": {"x": "y"}}, "status": {"phase": "Failed"}}
    assert preparation.with_generation(execution_resource, current, labelled) == labelled
    changed = {**current, "spec": {"function": "g"}}
    assert preparation.with_generation(execution_resource, current, changed)["metadata"]["generation"] == 2
    assert "generation" not in _created(CONFIG_MAPS, {})["metadata"]


@pytest.mark.parametrize(
    ("changed", "code", "patched_code"),
    [
        ({"name": None}, 400, 400),
        ({"name": "other"}, 400, 400),
        ({"namespace": "other"}, 400, 400),
        ({"uid": "other"}, 409, 422),
        ({"deletionTimestamp": NOW}, 422, 422),
    ],
)
def test_identity_cannot_change(changed: dict[str, Any], code: int, patched_code: int) -> None:
    """Another name or namespace is a bad request; another uid a conflict, or invalid when a patch sets it."""
    current = _created(CONFIG_MAPS, {})
    body = {**current, "metadata": {"name": "a", **changed}}
    for is_patched, expected in ((False, code), (True, patched_code)):
        with pytest.raises(StatusError) as caught:
            preparation.prepare_update(CONFIG_MAPS, current, body, subresource="", is_patched=is_patched)
        assert caught.value.code == expected


def test_a_time_in_another_form_is_no_change() -> None:
    """The Python client puts back what it has read with an offset instead of Z."""
    current = _created(CONFIG_MAPS, {"metadata": {"finalizers": ["a/b"]}})
    current = deletion.mark_deleted(CONFIG_MAPS, current, now=NOW, propagation="Background")
    body = {**current, "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00+00:00"}}
    updated = preparation.prepare_update(CONFIG_MAPS, current, body, subresource="")
    assert updated["metadata"]["deletionTimestamp"] == NOW


def test_an_object_being_deleted_gets_no_new_finalizers_and_cannot_be_saved() -> None:
    """Its deletionTimestamp stays whatever a client sends; finalizers only go."""
    current = _created(CONFIG_MAPS, {"metadata": {"finalizers": ["a/b", "c/d"]}})
    current = deletion.mark_deleted(CONFIG_MAPS, current, now=NOW, propagation="Background")
    fewer = {**current, "metadata": {"name": "a", "finalizers": ["a/b"]}}
    updated = preparation.prepare_update(CONFIG_MAPS, current, fewer, subresource="")
    assert updated["metadata"]["deletionTimestamp"] == NOW
    assert deletion.is_held(CONFIG_MAPS, updated)
    more = {**current, "metadata": {"name": "a", "finalizers": ["a/b", "e/f"]}}
    with pytest.raises(StatusError) as caught:
        preparation.prepare_update(CONFIG_MAPS, current, more, subresource="")
    assert caught.value.code == 422


def test_a_namespace_is_active_then_terminating_and_held_by_its_own_finalizer() -> None:
    """Its spec belongs to the server: an update does not change it, /finalize does."""
    created = _created(NAMESPACES, {"spec": {"finalizers": []}})
    assert created["status"] == {"phase": "Active"}
    assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    emptied = {**created, "spec": {"finalizers": []}}
    assert preparation.prepare_update(NAMESPACES, created, emptied, subresource="")["spec"] == created["spec"]
    marked = deletion.mark_deleted(NAMESPACES, created, now=NOW, propagation="Background")
    assert marked["status"] == {"phase": "Terminating"}
    assert deletion.is_held(NAMESPACES, marked)
    final = preparation.prepare_update(NAMESPACES, marked, emptied, subresource="finalize")
    assert not deletion.is_held(NAMESPACES, final)
