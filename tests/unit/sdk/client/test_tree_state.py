"""A tree that is changed piece by piece is the tree that would be made of the pieces at once."""

import random

import pytest

from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionSpec,
    ExecutionStatus,
    Phase,
    Suspension,
    SuspensionKind,
    SuspensionSpec,
)
from kontinue.client.tree import NodeKind
from kontinue.client.tree_state import TreeState, build_tree


def meta(name, *, parent="", version=1):
    owner = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name=parent, uid=parent)
    return ObjectMeta(
        name=name,
        uid=name,
        resource_version=str(version),
        owner_references=[owner] if parent else [],
        annotations={labels.STEP: name},
    )


def execution(name, *, parent="", version=1, phase=Phase.EXECUTING):
    return Execution(
        metadata=meta(name, parent=parent, version=version),
        spec=ExecutionSpec(function="f"),
        status=ExecutionStatus(phase=phase),
    )


def suspension(name, *, parent, version=1):
    spec = SuspensionSpec(execution=parent, kind=SuspensionKind.MANUAL)
    return Suspension(metadata=meta(name, parent=parent, version=version), spec=spec)


def job(name, *, parent, version=1):
    return Job(metadata=meta(name, parent=parent, version=version))


def state_of(top, *members):
    state = TreeState()
    state.set_top(top)
    for member in members:
        state.put(member)
    return state


def outline(tree):
    return [(depth, node.kind, node.name, node.phase) for depth, node in tree.walk()]


def test_a_change_leaves_the_nodes_beside_it_as_they_are():
    """Of a thousand nodes, those between the change and the top are made anew."""
    state = state_of(
        execution("top"),
        execution("a", parent="top"),
        execution("b", parent="top"),
        execution("a1", parent="a"),
        execution("b1", parent="b"),
    )
    before = state.build().root
    state.put(execution("a1", parent="a", version=2, phase=Phase.COMPLETED))
    after = state.build().root
    assert after.children[1] is before.children[1]
    assert after.children[0] is not before.children[0]
    assert after.children[0].children[0].phase == "Completed"
    assert state.build().root is after


def test_what_is_told_again_changes_nothing():
    """A list after a reconnection has the same versions."""
    members = [execution("a", parent="top"), suspension("s", parent="a"), job("j", parent="a")]
    state = state_of(execution("top"), *members)
    before = state.build().root
    state.replace(Execution, [execution("a", parent="top")])
    state.replace(Suspension, [suspension("s", parent="a")])
    state.replace(Job, [job("j", parent="a")])
    assert state.build().root is before


def test_a_list_removes_what_is_not_in_it_of_its_own_kind_alone():
    """Each kind is listed by itself."""
    state = state_of(execution("top"), execution("a", parent="top"), suspension("s", parent="top"))
    state.replace(Execution, [])
    assert [node.kind for node in state.build().root.children] == [NodeKind.SUSPENSION]


def test_without_a_top_there_is_no_tree():
    """It was deleted; another one of its name is another tree."""
    state = state_of(execution("top"), execution("a", parent="top"))
    state.set_top(None)
    assert state.build() is None
    state.set_top(execution("other"))
    assert outline(state.build()) == [(0, NodeKind.EXECUTION, "other", "Executing")]


def test_two_that_own_each_other_are_shown_once():
    """Nobody but a person with an editor makes that; it must not hang a client."""
    tree = build_tree(execution("a", parent="b"), [execution("a", parent="b"), execution("b", parent="a")])
    assert [name for _, _, name, _ in outline(tree)] == ["a", "b"]


@pytest.mark.parametrize("seed", range(30))
def test_any_changes_lead_to_the_tree_that_is_made_at_once(seed):
    """Objects come, change, move, go and come again, in any order; children may come before their parents."""
    rng = random.Random(seed)
    names = [f"n{number}" for number in range(12)]
    known = {}
    state = state_of(execution("top"))
    for version in range(2, 200):
        name = rng.choice(names)
        if rng.random() < 0.25:
            known.pop(name, None)
            state.remove(name)
        else:
            number = names.index(name)
            parent = rng.choice(["top", *names[:number]]) if name not in known else known[name][1]
            kind = (execution, execution, suspension, job)[number % 4]
            known[name] = kind(name, parent=parent, version=version), parent
            state.put(known[name][0])
        if rng.random() < 0.3:
            members = [member for member, _ in known.values()]
            assert outline(state.build()) == outline(build_tree(execution("top"), members))
