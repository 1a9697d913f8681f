from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kontinue_engine.apiserver.custom import crd_types, custom_resources, definitions
from kontinue_engine.apiserver.resources import AGE, ResourceInfo

CRDS = Path(__file__).resolve().parents[4] / "crds"


def crd() -> dict[str, Any]:
    return {
        "metadata": {"name": "points.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "points", "kind": "Point"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v0", "served": False, "storage": False, "schema": {"openAPIV3Schema": {"type": "object"}}},
            ],
        },
    }


def test_our_own_crds_have_no_problems():
    """What the server ships it must be able to serve; it is stored as it is written, defaults aside."""
    for file in CRDS.glob("*.yaml"):
        shipped = yaml.safe_load(file.read_text())
        normal, unknown = crd_types.normalized(shipped)
        assert unknown == []
        assert normal["spec"]["versions"] == shipped["spec"]["versions"]
        assert definitions.problems(normal, None) == []


def test_an_execution_resource_says_all_that_its_crd_says(execution_resource: ResourceInfo):
    """Names, status subresource, selectable fields and columns."""
    info = execution_resource
    assert (info.group_resource, info.singular, info.list_kind) == (
        "executions.kontinue.cloud",
        "execution",
        "ExecutionList",
    )
    assert (info.namespaced, info.custom, info.subresources) == (True, True, ("status",))
    assert info.selectable_fields == ("status.phase", "spec.function")
    assert info.columns[0].json_path == ".spec.function"


def test_what_a_crd_leaves_out_has_kubernetes_defaults():
    """Singular, list kind and the Age column."""
    (info, _) = custom_resources.resource_infos(crd())
    assert (info.version, info.singular, info.list_kind) == ("v1", "point", "PointList")
    assert (info.namespaced, info.subresources, info.columns) == (False, (), (AGE,))


def test_the_most_stable_and_newest_version_comes_first():
    """As discovery prefers them; names of other forms come last."""
    names = ["v1alpha1", "odd", "v2beta1", "v1", "v10", "v2", "v1beta2"]
    assert sorted(names, key=custom_resources.version_rank) == [
        "v10",
        "v2",
        "v1",
        "v2beta1",
        "v1beta2",
        "v1alpha1",
        "odd",
    ]


def test_names_are_the_accepted_ones():
    """A short name that another kind has is not ours, though the spec asks for it."""
    named = crd()
    named["spec"]["names"]["shortNames"] = ["p"]
    named["status"] = {"acceptedNames": {"plural": "points", "kind": "Point", "shortNames": ["q"]}}
    (info, _) = custom_resources.resource_infos(named)
    assert info.short_names == ("q",)
