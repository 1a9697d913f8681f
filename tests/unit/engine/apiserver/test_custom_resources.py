from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from kontinue_engine.apiserver import custom_resources
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
    """What the server ships it must be able to serve."""
    for file in CRDS.glob("*.yaml"):
        assert custom_resources.problems(yaml.safe_load(file.read_text())) == []


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
    """Singular, list kind and the Age column; versions that are not served are left out."""
    (info,) = custom_resources.resource_infos(crd())
    assert (info.version, info.singular, info.list_kind) == ("v1", "point", "PointList")
    assert (info.namespaced, info.subresources, info.columns) == (False, (), (AGE,))
    assert custom_resources.problems(crd()) == []


def change(path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(crd())
    node: Any = changed
    *parents, last = path.split("/")
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    node[last] = value
    return changed


SCHEMA = "spec/versions/0/schema/openAPIV3Schema"
AT = "spec.versions[0].schema.openAPIV3Schema"


@pytest.mark.parametrize(
    ("path", "value", "fields"),
    [
        ("spec", None, ["spec"]),
        ("spec/group", "", ["spec.group"]),
        ("spec/group", "Example", ["spec.group"]),
        ("spec/names", None, ["spec.names"]),
        ("spec/names/plural", "", ["spec.names.plural"]),
        ("spec/names/plural", "Po ints", ["spec.names.plural"]),
        ("spec/names/kind", 1, ["spec.names.kind"]),
        ("spec/names/plural", "lines", ["metadata.name"]),
        ("spec/scope", "Global", ["spec.scope"]),
        ("spec/conversion", {"strategy": "Webhook"}, ["spec.conversion.strategy"]),
        ("spec/conversion", {"strategy": "None"}, []),
        ("spec/versions", None, ["spec.versions"]),
        ("spec/versions", ["v1"], ["spec.versions"]),
        ("spec/versions/1/storage", True, ["spec.versions"]),
        ("spec/versions/0/name", "V 1", ["spec.versions[0].name"]),
        ("spec/versions/0/schema", None, [AT]),
        (f"{SCHEMA}/type", "array", [f"{AT}.type"]),
        (f"{SCHEMA}/properties", {"metadata": {}, "spec": {}}, [f"{AT}.properties[spec].type"]),
        (f"{SCHEMA}/properties", {"a": {"x-kubernetes-preserve-unknown-fields": True}}, []),
        (f"{SCHEMA}/properties", {"a": {"x-kubernetes-int-or-string": True}}, []),
        (f"{SCHEMA}/properties", {"a": 1}, [f"{AT}.properties[a]"]),
        (f"{SCHEMA}/properties", {"a": {"type": "array"}}, [f"{AT}.properties[a].items"]),
        (f"{SCHEMA}/properties", {"a": {"type": "array", "items": {}}}, [f"{AT}.properties[a].items.type"]),
        (f"{SCHEMA}/properties", {"a": {"type": "object", "$ref": "#/x"}}, [f"{AT}.properties[a].$ref"]),
        (
            f"{SCHEMA}/properties",
            {"a": {"type": "string", "x-kubernetes-embedded-resource": True}},
            [f"{AT}.properties[a].type"],
        ),
        (
            f"{SCHEMA}/properties",
            {"a": {"type": "object", "additionalProperties": {}}},
            [f"{AT}.properties[a].additionalProperties.type"],
        ),
        (
            f"{SCHEMA}/properties",
            {"a": {"type": "object", "properties": {"b": {}}}},
            [f"{AT}.properties[a].properties[b].type"],
        ),
        (f"{SCHEMA}/x-kubernetes-validations", [{"rule": "self.x > 1"}], [AT]),
    ],
)
def test_a_crd_that_cannot_be_served_is_refused_by_field(path: str, value: Any, fields: list[str]):
    """Before anything of it is stored."""
    assert [cause.field for cause in custom_resources.problems(change(path, value))] == fields


def test_an_unknown_rule_is_quoted():
    """So that its author knows which one this server cannot evaluate."""
    (cause,) = custom_resources.problems(change(f"{SCHEMA}/x-kubernetes-validations", [{"rule": "self.x > 1"}]))
    assert "self.x > 1" in cause.message
