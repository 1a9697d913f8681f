"""Our CustomResourceDefinitions against those of a cluster: older, newer, or the same."""

import copy
from typing import Any

import pytest

from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.cli.deployment.definitions import State, compare, in_groups, is_established


@pytest.fixture
def ours() -> dict[str, Any]:
    return next(crd for crd in load_crds() if crd["spec"]["names"]["kind"] == "Execution")


@pytest.fixture
def installed(ours: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(ours)


def fields(crd: dict[str, Any], *path: str) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path:
        found = found["properties"][name]
    return found


def test_what_a_server_made_of_ours_is_current(ours: dict[str, Any], installed: dict[str, Any]) -> None:
    """Defaults, a status and other descriptions are no difference."""
    installed["spec"]["conversion"] = {"strategy": "None"}
    installed["spec"]["names"]["more"] = "x"
    installed["status"] = {"storedVersions": ["v1alpha1"]}
    fields(installed, "spec")["description"] = "said otherwise"
    assert compare(ours, installed).state is State.CURRENT


def test_nothing_is_absent(ours: dict[str, Any]) -> None:
    """Not an error: it is to be created."""
    assert compare(ours, None).state is State.ABSENT


def test_one_without_a_field_of_ours_is_older(ours: dict[str, Any], installed: dict[str, Any]) -> None:
    """The server would drop it from what we write."""
    del fields(installed, "status")["properties"]["memoPages"]
    found = compare(ours, installed)
    assert found.state is State.OLDER
    assert "status.memoPages" in found.missing
    assert str(found).startswith("lacks status.memoPages")


def test_one_with_a_field_that_we_do_not_know_is_newer(ours: dict[str, Any], installed: dict[str, Any]) -> None:
    """Also if it lacks others: whose it is is not ours to say."""
    del fields(installed, "status")["properties"]["memoPages"]
    fields(installed, "spec")["properties"]["priority"] = {"type": "integer"}
    found = compare(ours, installed)
    assert (found.state, found.surplus) == (State.NEWER, ("spec.priority",))


def test_other_rules_for_the_same_fields_are_different(ours: dict[str, Any], installed: dict[str, Any]) -> None:
    """A limit or a CEL rule decides what is accepted."""
    fields(installed, "spec", "function")["maxLength"] = 5
    found = compare(ours, installed)
    assert (found.state, found.changed) == (State.DIFFERENT, ("spec.function",))
    assert str(found) == "has otherwise spec.function"


def test_a_rule_that_we_do_not_have_is_different(ours: dict[str, Any], installed: dict[str, Any]) -> None:
    """An older version may have refused what we write."""
    fields(installed, "spec", "function")["pattern"] = "a*"
    assert compare(ours, installed).changed == ("spec.function",)
    del installed["spec"]["versions"][0]["additionalPrinterColumns"][0]
    assert compare(ours, installed).changed == ("v1alpha1", "spec.function")


def test_fields_of_items_are_compared(ours: dict[str, Any], installed: dict[str, Any]) -> None:
    """Those of lists of objects, too."""
    del fields(installed, "status", "attempts")["items"]["properties"]["worker"]
    assert compare(ours, installed).missing == ("status.attempts[].worker",)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, False),
        ([], False),
        ([{"type": "Established", "status": "False"}], False),
        ([{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}], True),
    ],
)
def test_established_is_what_the_condition_says(conditions: Any, expected: bool) -> None:
    """No condition, not yet."""
    assert is_established({"status": {"conditions": conditions}}) is expected


def test_primitives_are_defined_in_each_group_that_is_asked_for() -> None:
    """They are the same in all of them; other kinds stay where they are."""
    crds = load_crds()
    ours = [crd for crd in crds if crd["spec"]["group"] == "konductor.io"]
    there = in_groups(crds, ["sync.konductor.io"])
    assert len(there) == len(crds)
    assert [crd for crd in there if crd["spec"]["group"] == "kontinue.cloud"] == [
        crd for crd in crds if crd not in ours
    ]
    assert "waitgroups.sync.konductor.io" in {crd["metadata"]["name"] for crd in there}
    assert len(in_groups(crds, ["konductor.io", "sync.konductor.io"])) == len(crds) + len(ours)
    for crd in there:
        assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
