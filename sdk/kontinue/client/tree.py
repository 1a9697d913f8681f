"""The tree of an Execution: what it started, and what that started, with phases and times. Pure.

What users get, and how a node is made of each kind of object. ``kontinue.client.tree_state`` puts nodes together;
``kontinue.client.tree_watcher`` keeps a tree up to date. Called through ``Client.get_tree`` and ``Client.watch_tree``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, assert_never

from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.v1alpha1 import (
    PAYLOAD_INVALID,
    Execution,
    ExecutionAttempt,
    Suspension,
    SuspensionKind,
    SuspensionPhase,
)

_DIGITS: Final = re.compile(r"(\d+)")

Member = Execution | Suspension | Job
"""What a tree is made of."""


class NodeKind(enum.StrEnum):
    """What a node of the tree stands for."""

    EXECUTION = "Execution"
    SUSPENSION = "Suspension"
    JOB = "Job"
    ATTEMPT = "Attempt"


@dataclass(frozen=True, kw_only=True)
class ExecutionTreeNode:
    """An Execution, one of its earlier attempts, or what it waits for: a Suspension or a Job.

    Attributes:
        name: name of the object; for an attempt, of its Execution.
        namespace: its namespace.
        kind: what it is.
        phase: its phase; of a Suspension Suspended or Completed, of a Job that of an Execution in its place.
        message: cause of the phase, for people.
        created_at: when the object was created; None for attempts.
        started_at: when it first ran.
        finished_at: when it ended.
        attempt_number: number of the attempt; of an Execution, how many it had.
        children: what it started, in the order of the calls, earlier attempts first.
        execution: the object, for kind Execution.
        suspension: the object, for kind Suspension.
        job: the object, for kind Job.
        attempt: the record, for kind Attempt.
    """

    name: str
    namespace: str
    kind: NodeKind
    phase: str
    message: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt_number: int = 0
    children: Sequence[ExecutionTreeNode] = ()
    execution: Execution | None = field(default=None, repr=False)
    suspension: Suspension | None = field(default=None, repr=False)
    job: Job | None = field(default=None, repr=False)
    attempt: ExecutionAttempt | None = field(default=None, repr=False)

    def walk(self) -> Iterator[tuple[int, ExecutionTreeNode]]:
        """Yield this node and all below it, parents first, with their depth (0 for this one)."""
        stack: list[tuple[int, ExecutionTreeNode]] = [(0, self)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            stack.extend((depth + 1, child) for child in reversed(node.children))


@dataclass(frozen=True, kw_only=True)
class ExecutionTree:
    """An Execution and everything below it, as seen at one moment.

    Attributes:
        root: the Execution asked for.
        is_archived: whether it was read from the archive, which keeps no Jobs.
    """

    root: ExecutionTreeNode
    is_archived: bool = False

    def walk(self) -> Iterator[tuple[int, ExecutionTreeNode]]:
        """Yield all nodes, parents first, with their depth."""
        return self.root.walk()


def root_of(execution: Execution) -> str:
    """Return the name of the root that an Execution belongs to; its own, if it is one."""
    return execution.metadata.labels.get(labels.ROOT) or execution.metadata.name


def call_order(member: Member) -> tuple[list[tuple[int, str]], str]:
    """Key to sort children by step id, numbers in it by value: ``2`` comes before ``10``."""
    step = member.metadata.annotations.get(labels.STEP, "")
    parts = [(labels.number_in(part), part) for part in _DIGITS.split(step)]
    return [(-1, part) if number is None else (number, "") for number, part in parts], member.metadata.name


def build_node(member: Member, below: Sequence[ExecutionTreeNode]) -> ExecutionTreeNode:
    """Return the node of an object; ``below`` are the nodes of what it has started."""
    match member:
        case Execution():
            return _execution_node(member, below)
        case Suspension():
            return _suspension_node(member)
        case Job():
            return _job_node(member)
        case _:
            assert_never(member)


def _execution_node(execution: Execution, below: Sequence[ExecutionTreeNode]) -> ExecutionTreeNode:
    metadata, status = execution.metadata, execution.status
    return ExecutionTreeNode(
        name=metadata.name,
        namespace=metadata.namespace,
        kind=NodeKind.EXECUTION,
        phase=execution.phase.value,
        message=status.message,
        created_at=metadata.creation_timestamp,
        started_at=status.started_at,
        finished_at=status.finished_at,
        attempt_number=status.attempt_count,
        children=[*(_attempt_node(execution, attempt) for attempt in _earlier(execution)), *below],
        execution=execution,
    )


def _earlier(execution: Execution) -> Sequence[ExecutionAttempt]:
    """Return the attempts before the one that runs, has ended the Execution, or is waited for."""
    attempts = execution.status.attempts
    waits = bool(attempts) and attempts[-1].finished_at is not None and not execution.phase.is_terminal
    return attempts if waits else attempts[:-1]


def _attempt_node(execution: Execution, attempt: ExecutionAttempt) -> ExecutionTreeNode:
    return ExecutionTreeNode(
        name=execution.metadata.name,
        namespace=execution.metadata.namespace,
        kind=NodeKind.ATTEMPT,
        phase=attempt.phase.value if attempt.phase else "",
        message=attempt.message,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        attempt_number=attempt.number,
        attempt=attempt,
    )


def _suspension_node(suspension: Suspension) -> ExecutionTreeNode:
    metadata, status = suspension.metadata, suspension.status
    return ExecutionTreeNode(
        name=metadata.name,
        namespace=metadata.namespace,
        kind=NodeKind.SUSPENSION,
        phase=(status.phase or SuspensionPhase.SUSPENDED).value,
        message=": ".join(part for part in (suspension.spec.display_name, _why(suspension)) if part),
        created_at=metadata.creation_timestamp,
        started_at=metadata.creation_timestamp,
        finished_at=None if suspension.is_open else status.resumed_at,
        suspension=suspension,
    )


def _why(suspension: Suspension) -> str:
    """Return why a Suspension is in its phase, as far as that is not plain."""
    status = suspension.status
    if suspension.is_open:
        refused = (one.message for one in status.conditions if one.type == PAYLOAD_INVALID and one.status == "True")
        return next(refused, "")
    if status.timed_out:
        return "timed out"
    by_itself = suspension.spec.kind is SuspensionKind.SLEEP and status.resumed_by == "Timer"
    return f"resumed by {status.resumed_by}" if status.resumed_by and not by_itself else ""


def _job_node(job: Job) -> ExecutionTreeNode:
    metadata, end = job.metadata, job.end
    why = end.message or end.reason if end is not None and end.type == "Failed" else ""
    return ExecutionTreeNode(
        name=metadata.name,
        namespace=metadata.namespace,
        kind=NodeKind.JOB,
        phase=job.phase.value,
        message=": ".join(part for part in (job.display_name, why) if part),
        created_at=metadata.creation_timestamp,
        started_at=job.status.start_time,
        finished_at=job.finished_at,
        job=job,
    )
