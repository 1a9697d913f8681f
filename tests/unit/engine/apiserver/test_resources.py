from __future__ import annotations

from kontinue_engine.apiserver import resources
from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.resources import ResourceInfo


def test_names_of_grouped_and_core_resources(execution_resource: ResourceInfo):
    """An apiVersion and the name in messages leave an empty group out."""
    assert execution_resource.api_version == "kontinue.cloud/v1alpha1"
    assert execution_resource.group_resource == "executions.kontinue.cloud"
    assert (resources.EVENTS.api_version, resources.EVENTS.store_key) == ("v1", "events")


def test_built_in_kinds_are_distinct_and_listed_once():
    """Two resources of one path could not be told apart."""
    paths = [(info.group, info.version, info.plural) for info in kinds.BUILT_IN]
    assert len(paths) == len(set(paths))
    assert {info.kind for info in kinds.BUILT_IN} >= {"Namespace", "Event", "ConfigMap", "Secret", "Lease"}


def test_field_values_are_texts_of_what_the_object_has(execution_resource: ResourceInfo):
    """A field that is absent is left out, so that a selector takes it for an empty text; so are those of every kind."""
    obj = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"function": "f"}}
    assert resources.field_values(execution_resource, obj) == {"spec.function": "f"}
    assert set(execution_resource.field_selectors) == {
        "metadata.name",
        "metadata.namespace",
        "status.phase",
        "spec.function",
    }


def test_the_source_of_an_event_is_its_component():
    """Kubernetes selects events by source although that field is an object."""
    event = {"metadata": {}, "source": {"component": "kontinue"}, "involvedObject": "malformed", "reason": True}
    values = resources.field_values(resources.EVENTS, event)
    assert values["source"] == "kontinue"
    assert values["reason"] == "true"
    assert "involvedObject.name" not in values
