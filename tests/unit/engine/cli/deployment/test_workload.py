"""What ``kontinue manifest`` makes of its options; that it equals the chart, tests/integration/helm proves."""

import pytest

from kontinue_engine.cli.deployment.stamps import as_yaml
from kontinue_engine.cli.deployment.workload import MAX_NAME_LENGTH, Workload, name_for, objects


@pytest.mark.parametrize(
    ("app", "group", "name"),
    [
        ("app:app", "", "app"),
        ("shop.jobs:app", "", "shop"),
        ("shop.jobs:app", "orders", "orders"),
        ("My_App:x", "", "my-app"),
        ("_:x", "", "worker"),
        ("a" * 60 + ":x", "", "a" * MAX_NAME_LENGTH),
    ],
)
def test_objects_are_named_after_the_group_or_the_module(app: str, group: str, name: str) -> None:
    """As far as Kubernetes takes it."""
    assert name_for(app, group) == name


def test_one_replica_has_no_disruption_budget() -> None:
    """It could never be evicted otherwise."""
    alone = Workload(app="app:app", image="x", name="x", replicas=1)
    assert [one["kind"] for one in objects(alone)] == ["Service", "StatefulSet"]


def test_without_a_namespace_whoever_applies_it_says_where() -> None:
    """Kubectl refuses -n beside another namespace in the object."""
    assert not any("namespace" in one["metadata"] for one in objects(Workload(app="app:app", image="x", name="x")))
    placed = objects(Workload(app="app:app", image="x", name="x", namespace="shop"))
    assert {one["metadata"]["namespace"] for one in placed} == {"shop"}


def test_yaml_has_no_anchors() -> None:
    """People read and edit it."""
    text = as_yaml(objects(Workload(app="app:app", image="x", name="x")))
    assert "&id" not in text
    assert "*id" not in text
