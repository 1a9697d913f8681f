"""Executions that own each other become one tree."""

from datetime import UTC, datetime

import msgspec
import pytest

from kontinue.api import labels
from kontinue.api.batch import Job, JobSpec, JobStatus
from kontinue.api.meta import Condition, ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import (
    PAYLOAD_INVALID,
    Execution,
    ExecutionAttempt,
    ExecutionSpec,
    ExecutionStatus,
    Phase,
    Suspension,
    SuspensionKind,
    SuspensionPhase,
    SuspensionSpec,
    SuspensionStatus,
)
from kontinue.client.tree import NodeKind, root_of
from kontinue.client.tree_state import build_tree

EARLY = datetime(2026, 1, 1, tzinfo=UTC)
LATE = datetime(2026, 1, 2, tzinfo=UTC)


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


def owned(name, **annotations):
    owner = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name="top", uid="top")
    return ObjectMeta(name=name, uid=name, owner_references=[owner], annotations=annotations, creation_timestamp=EARLY)


def suspension(**status):
    spec = SuspensionSpec(execution="top", kind=SuspensionKind.MANUAL, display_name="Ship it?")
    return Suspension(metadata=owned("s"), spec=spec, status=SuspensionStatus(**status))


def job(*conditions, **status):
    found = [Condition(type=kind, status="True", message="too often", last_transition_time=LATE) for kind in conditions]
    meta = owned("j", **{labels.DISPLAY_NAME: "migrate"})
    return Job(metadata=meta, status=JobStatus(conditions=found, **status))


def node_of(member):
    (node,) = build_tree(execution("top"), [member]).root.children
    return node


def test_a_suspension_is_a_node_of_its_own():
    """What it is called, since when, and who has resumed it."""
    node = node_of(suspension())
    assert (node.kind, node.phase, node.message) == (NodeKind.SUSPENSION, "Suspended", "Ship it?")
    assert (node.started_at, node.finished_at) == (EARLY, None)
    assert node.suspension is not None
    assert node.execution is node.job is node.attempt is None
    node = node_of(suspension(phase=SuspensionPhase.COMPLETED, resumed_at=LATE, resumed_by="ada"))
    assert (node.phase, node.message, node.finished_at) == ("Completed", "Ship it?: resumed by ada", LATE)
    assert node_of(suspension(phase=SuspensionPhase.COMPLETED, timed_out=True)).message == "Ship it?: timed out"


def test_a_refused_payload_is_told():
    """It goes on waiting for another one."""
    refused = Condition(type=PAYLOAD_INVALID, status="True", message="$.approved: expected bool")
    assert node_of(suspension(conditions=[refused])).message == "Ship it?: $.approved: expected bool"


@pytest.mark.parametrize(
    ("member", "phase", "message"),
    [
        (job(), "Pending", "migrate"),
        (job(active=1), "Executing", "migrate"),
        (job("Complete", succeeded=1), "Completed", "migrate"),
        (job("FailureTarget", active=1), "Executing", "migrate"),
        (job("FailureTarget", "Failed"), "Failed", "migrate: too often"),
        (msgspec.structs.replace(job(), spec=JobSpec(suspend=True)), "Suspended", "migrate"),
    ],
)
def test_a_job_is_a_node_of_its_own(member, phase, message):
    """Its phase in the words for Executions."""
    node = node_of(member)
    assert (node.kind, node.phase, node.message) == (NodeKind.JOB, phase, message)
    assert node.job is member
    assert node.execution is node.suspension is node.attempt is None
    assert node.finished_at == (LATE if member.end else None)
