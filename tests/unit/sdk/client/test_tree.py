"""Executions that own each other become one tree."""

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, ExecutionSpec, ExecutionStatus, Phase
from kontinue.client.tree import NodeKind, build_tree, root_of


def execution(name, *, parent="", step="", attempts=()):
    owners = [OwnerReference(api_version=labels.API_VERSION, kind="Execution", name=parent, uid=parent)]
    return Execution(
        metadata=ObjectMeta(
            name=name, uid=name, owner_references=owners if parent else [], annotations={labels.STEP: step}
        ),
        spec=ExecutionSpec(function="f"),
        status=ExecutionStatus(phase=Phase.EXECUTING, attempts=list(attempts), attempt_count=len(attempts)),
    )


def outline(tree):
    return [(depth, node.name) for depth, node in tree.walk()]


def test_children_stand_under_their_parents_in_call_order():
    """Step ids are compared number by number: 2 comes before 10."""
    others = [
        execution("tenth", parent="top", step="10"),
        execution("second", parent="top", step="2"),
        execution("grandchild", parent="tenth", step="1"),
    ]
    tree = build_tree(execution("top"), others)
    assert outline(tree) == [(0, "top"), (1, "second"), (1, "tenth"), (2, "grandchild")]


def test_thousands_of_levels_are_no_recursion():
    """A tree as deep as users nest."""
    chain = [execution("n-0"), *(execution(f"n-{n}", parent=f"n-{n - 1}") for n in range(1, 3000))]
    assert outline(build_tree(chain[0], chain))[-1] == (2999, "n-2999")


def test_what_does_not_descend_from_the_top_is_left_out():
    """The tree of a child shows neither its parent nor its siblings."""
    everything = [execution("a", parent="root"), execution("b", parent="root"), execution("c", parent="a")]
    assert outline(build_tree(everything[0], everything)) == [(0, "a"), (1, "c")]


def test_earlier_attempts_are_nodes_of_their_own():
    """The last attempt is the Execution itself."""
    attempts = [ExecutionAttempt(number=1, phase=Phase.FAILED, message="boom"), ExecutionAttempt(number=2)]
    (attempt,) = build_tree(execution("top", attempts=attempts), []).root.children
    assert (attempt.kind, attempt.attempt_number, attempt.phase) == (NodeKind.ATTEMPT, 1, "Failed")


def test_root_of_a_root_is_itself():
    """Roots carry no root label."""
    assert root_of(execution("top")) == "top"
