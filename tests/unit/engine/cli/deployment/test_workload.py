"""What ``kontinue manifest`` makes of its options; that it equals the chart, tests/integration/helm proves."""

import pytest

from kontinue_engine.cli.deployment.stamps import as_yaml
from kontinue_engine.cli.deployment.workload import MAX_NAME_LENGTH, Workload, name_for, objects, quantity
from kontinue_engine.cli.main import main


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("512", 512), ("1k", 1000), ("2Ki", 2048), ("1.5Gi", 1.5 * 2**30), ("3T", 3e12), ("500m", 0.5)),
        *(("lots", None), ("1Kib", None), ("-1", None), ("1mi", None)),
    ],
)
def test_quantities_are_read_as_kubernetes_does(text: str, expected: float | None) -> None:
    """Thousandths, powers of 1000 and of 1024."""
    assert quantity(text) == expected


@pytest.mark.parametrize(("limit", "request_"), [("256Mi", "256Mi"), ("0.5Gi", "512Mi"), ("4Gi", "512Mi")])
def test_no_more_memory_is_requested_than_may_be_used(limit: str, request_: str) -> None:
    """A server refuses a request above the limit."""
    *_, stateful_set = objects(Workload(app="app:app", image="x", name="x", memory=limit))
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == request_
    assert container["resources"]["limits"] == {"memory": limit}


@pytest.mark.parametrize(
    "options",
    [
        ["app", "--image", "x"],
        ["app:app"],
        ["../w/app:app", "--image", "x"],
        [".app:app", "--image", "x"],
        ["app:app", "--image", "shop 1"],
        ["app:app", "--image", ""],
        ["app:app", "--image", "x", "--name", "A_b"],
        ["app:app", "--image", "x", "--memory", "128Mi"],
        ["app:app", "--image", "x", "--memory", "lots"],
        ["app:app", "--image", "x", "--cpu", "half"],
        ["app:app", "--image", "x", "--cpu", "-1"],
        ["app:app", "--image", "x", "--env", "=b"],
        ["app:app", "--image", "x", "-l", "a=b"],
        ["app:app", "--image", "x", "--", "--no-such-option"],
    ],
)
def test_what_cannot_work_is_a_usage_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is printed that somebody could apply."""
    assert main(["manifest", *options]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "is_told"), [([], True), (["--name", "shop"], False), (["--group", "shop"], False), (["-q"], False)]
)
def test_whoever_names_nothing_is_told_after_what_it_is_named(
    options: list[str], is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next app of the namespace whose module is called app, too, would take its place."""
    assert main(["manifest", "app:app", "--image", "x", *options]) == 0
    told = "everything is named 'app', after the module, and takes the place of what is named so: --name NAME"
    assert (told in capsys.readouterr().err) is is_told
