"""What is an object of a path's kind, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.objects import shape
from kontinue_engine.apiserver.resources import CONFIG_MAPS, ResourceInfo
from kontinue_engine.apiserver.statuses import StatusError

API_VERSION = "kontinue.cloud/v1alpha1"
NAMED = {"apiVersion": API_VERSION, "kind": "Execution"}


def test_built_in_kinds_come_without_kind_and_version() -> None:
    """Typed clients leave both out, and metadata too."""
    expected = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {}}
    assert shape.check_shape(CONFIG_MAPS, {"data": {}}) == expected
    assert shape.check_shape(CONFIG_MAPS, {"metadata": None, "data": {}}) == expected


@pytest.mark.parametrize("metadata", [[], "x", {"labels": {"a": 1}}, {"name": 1}, {"creationTimestamp": "yesterday"}])
@pytest.mark.parametrize(("is_patched", "code"), [(False, 400), (True, 422)])
def test_metadata_of_other_types_is_refused(metadata: Any, code: int, *, is_patched: bool) -> None:
    """A body is a bad request; a patch that would store such is invalid."""
    with pytest.raises(StatusError) as caught:
        shape.check_shape(CONFIG_MAPS, {"metadata": metadata}, is_patched=is_patched)
    assert caught.value.code == code


def test_null_labels_and_annotations_are_empty() -> None:
    """A JSON patch that adds a label without a value makes such, and Go reads them so."""
    metadata = {"labels": {"a": None, "b": "1"}, "annotations": {"c": None}}
    shaped = shape.check_shape(CONFIG_MAPS, {"metadata": metadata})
    assert shaped["metadata"] == {"labels": {"a": "", "b": "1"}, "annotations": {"c": ""}}


def test_times_come_in_any_form_of_rfc_3339() -> None:
    """The Python client writes offsets and fractions."""
    metadata = {"name": "a", "creationTimestamp": "2026-11-20T04:11:19.445316+02:00", "labels": None}
    assert shape.check_shape(CONFIG_MAPS, {"metadata": metadata})["metadata"] == metadata


@pytest.mark.parametrize("document", [[], "x", None, {"kind": "Secret"}, {"apiVersion": "v2"}, {"kind": 5}])
def test_documents_of_another_built_in_kind_are_refused(document: Any) -> None:
    """400 before anything else is looked at."""
    with pytest.raises(StatusError) as caught:
        shape.check_shape(CONFIG_MAPS, document)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        ({"kind": ""}, (400, 422)),
        ({"kind": "Function"}, (422, 422)),
        ({"apiVersion": None}, (400, 422)),
        ({"apiVersion": "kontinue.cloud/v1"}, (400, 422)),
    ],
)
def test_custom_objects_say_what_they_are(
    execution_resource: ResourceInfo, changed: dict[str, Any], codes: tuple[int, int]
) -> None:
    """Both kind and version are needed and must be the path's; the codes are those of a body and of a patch."""
    found = []
    for is_patched in (False, True):
        with pytest.raises(StatusError) as caught:
            shape.check_shape(execution_resource, {**NAMED, **changed}, is_patched=is_patched)
        found.append(caught.value.code)
    assert tuple(found) == codes
