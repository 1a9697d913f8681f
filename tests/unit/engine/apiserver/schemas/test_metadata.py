from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.schemas import metadata


@pytest.mark.parametrize("name", ["a", "a-1", "a.b", "1", "a" * 253])
def test_subdomains_are_accepted(name: str):
    """Names of most objects."""
    assert metadata.subdomain_problem(name) == ""


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a\n", "ä", "a" * 254])
def test_other_names_are_refused(name: str):
    """Each with a text that says what a name may look like."""
    assert metadata.subdomain_problem(name)


@pytest.mark.parametrize(("name", "is_valid"), [("team-1", True), ("a.b", False), ("a" * 63, True), ("a" * 64, False)])
def test_namespaces_are_dns_labels(name: str, *, is_valid: bool):
    """They become part of host names, so they have no dots."""
    assert (metadata.dns_label_problem(name) == "") is is_valid
    assert (metadata.validate({"name": name}, find_problem=metadata.dns_label_problem) == []) is is_valid


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [("system:A b", True), ("...", True), (".", False), ("..", False), ("a/b", False), ("a%b", False), ("", False)],
)
def test_roles_are_named_as_paths_allow(name: str, *, is_valid: bool):
    """Anything that stays one segment of a path."""
    assert (metadata.path_segment_problem(name) == "") is is_valid


@pytest.mark.parametrize("key", ["a", "A.b_c-d", "example.com/a", f"{'a.' * 100}b/x", "a" * 63])
def test_qualified_names_are_accepted(key: str):
    """Keys of labels and annotations, names of finalizers."""
    assert metadata.qualified_name_problem(key) == ""


@pytest.mark.parametrize("key", ["", "/a", "a/", "a/b/c", "UPPER/a", "-a", "a b", "a" * 64])
def test_other_keys_are_refused(key: str):
    """With the part that is wrong."""
    assert metadata.qualified_name_problem(key)


@pytest.mark.parametrize(
    ("value", "is_valid"), [("", True), ("v1.2_a", True), ("a" * 64, False), ("-", False), ("a/b", False)]
)
def test_label_values(value: str, *, is_valid: bool):
    """Empty is a value; anything that would break a selector is none."""
    assert (metadata.label_value_problem(value) == "") is is_valid


def test_good_metadata_has_no_causes():
    """What kontinue itself writes."""
    owner = {"apiVersion": "kontinue.cloud/v1alpha1", "kind": "Execution", "name": "a", "uid": "u", "controller": True}
    assert (
        metadata.validate(
            {
                "name": "a",
                "generateName": "a-",
                "labels": {"kontinue.cloud/worker-group": "default"},
                "annotations": {"note": "any text ü\n", "UPPER.com/Note": ""},
                "ownerReferences": [owner, {**owner, "name": "b", "controller": False}],
                "finalizers": ["kontinue.cloud/cleanup"],
            }
        )
        == []
    )


OWNER = {"apiVersion": "v1", "kind": "K", "name": "a", "uid": "u"}


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"name": "A"}, ["metadata.name"]),
        ({"generateName": "-"}, ["metadata.generateName"]),
        ({"labels": {"a": "b c"}}, ["metadata.labels"]),
        ({"labels": {"a b": "c"}}, ["metadata.labels"]),
        ({"annotations": {"a": "x" * (256 * 1024)}}, ["metadata.annotations"]),
        ({"ownerReferences": [{**OWNER, "uid": ""}]}, ["metadata.ownerReferences.uid"]),
        ({"ownerReferences": [{**OWNER, "apiVersion": "a/b/c"}]}, ["metadata.ownerReferences.apiVersion"]),
        ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, ["metadata.ownerReferences"]),
        ({"ownerReferences": [{}]}, [f"metadata.ownerReferences.{key}" for key in OWNER]),
        ({"ownerReferences": [{**OWNER, "controller": True}] * 2}, ["metadata.ownerReferences"]),
        ({"finalizers": ["a", "b c"]}, ["metadata.finalizers"]),
        ({"finalizers": ["orphan", "foregroundDeletion"]}, ["metadata.finalizers"]),
    ],
)
def test_wrong_metadata_is_refused_by_field(fields: dict[str, Any], paths: list[str]):
    """Every cause names the place."""
    assert [cause.field for cause in metadata.validate({"name": "a", **fields})] == paths


def test_finalizers_of_built_in_kinds_are_qualified():
    """Those of custom kinds need not be."""
    finalizers = {"name": "a", "finalizers": ["orphan", "mine"]}
    assert metadata.validate(finalizers) == []
    assert [cause.field for cause in metadata.validate(finalizers, is_custom=False)] == ["metadata.finalizers[1]"]


def test_a_missing_name_is_refused():
    """The handlers fill in generated names before they ask."""
    assert [cause.field for cause in metadata.validate({})] == ["metadata.name"]
