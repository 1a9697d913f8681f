"""``kontinue tree`` in every format."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
import yaml

from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, Phase, Suspension, SuspensionKind, SuspensionSpec
from kontinue.client.tree import ExecutionTree
from kontinue.client.tree_state import build_tree
from kontinue_engine.cli.main import main
from kontinue_engine.cli.options import GlobalOptions, OutputFormat
from kontinue_engine.cli.tree import format_tree

Make = Callable[..., Execution]


@pytest.fixture
def tree(make_execution: Make) -> ExecutionTree:
    """A root in its second attempt, with a Suspension."""
    attempts = [ExecutionAttempt(number=1, phase=Phase.FAILED), ExecutionAttempt(number=2)]
    root = make_execution("root", phase=Phase.EXECUTING, attempts=attempts)
    owner = OwnerReference(api_version="kontinue.cloud/v1alpha1", kind="Execution", name="root", uid="uid-root")
    meta = ObjectMeta(name="s", uid="s", owner_references=[owner])
    return build_tree(
        root, [Suspension(metadata=meta, spec=SuspensionSpec(execution="root", kind=SuspensionKind.MANUAL))]
    )


def formatted(tree: ExecutionTree, output: OutputFormat) -> str:
    return "\n".join(format_tree(tree, GlobalOptions(output=output)))


def test_nodes_are_listed_with_their_depth(tree: ExecutionTree) -> None:
    """Not one in another: a tree of thousands of levels is one document, too."""
    nodes = json.loads(formatted(tree, OutputFormat.JSON))
    assert [(node["depth"], node["kind"], node["phase"]) for node in nodes] == [
        (0, "Execution", "Executing"),
        (1, "Attempt", "Failed"),
        (1, "Suspension", "Suspended"),
    ]
    assert nodes[0]["createdAt"] == "2026-01-02T03:04:05Z"
    assert yaml.safe_load(formatted(tree, OutputFormat.YAML))[2]["name"] == "s"


def test_names_are_those_of_objects(tree: ExecutionTree) -> None:
    """An attempt is none."""
    names = ["executions.kontinue.cloud/root", "suspensions.kontinue.cloud/s"]
    assert formatted(tree, OutputFormat.NAME).splitlines() == names


def test_a_deep_tree_is_a_document(make_execution: Make) -> None:
    """Without recursion."""
    chain = [make_execution("n0"), *(make_execution(f"n{n}", parent=f"n{n - 1}") for n in range(1, 2000))]
    assert len(msgspec.json.decode(formatted(build_tree(chain[0], chain), OutputFormat.JSON))) == 2000


@pytest.mark.parametrize("verb", [["tree", "-w"], ["watch"]])
def test_what_is_followed_is_for_people(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error, before anything is asked of a server."""
    assert main([*verb, "x", "-o", "json"]) == 2
    assert "a tree that is followed is no json" in capsys.readouterr().err
