"""What a new attempt does with a child that still runs for the one before: a late cancel of that must miss it."""

from __future__ import annotations

import msgspec

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue.kube.requests import Request
from kontinue_engine.controllers import child_retries
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.child_notes import Stage
from scripted_transport import ScriptedTransport


class Child:
    """A child that runs, as an API server answers for it.

    Attributes:
        notes: annotations.
        phase: of it.
        writes: how many were made.
    """

    def __init__(self, *, phase: Phase = Phase.EXECUTING) -> None:
        self.notes: dict[str, str] = {}
        self.phase = phase
        self.writes = 0
        self.refusal: errors.ApiError | None = None

    @property
    def object(self) -> Execution:
        metadata = ObjectMeta(name="x", uid="u", resource_version=str(self.writes + 1), annotations=dict(self.notes))
        status = ExecutionStatus(phase=self.phase)
        return Execution(metadata=metadata, spec=ExecutionSpec(function="f"), status=status)

    def answer(self, request: Request) -> bytes:
        if request.method == "PATCH":
            if self.refusal is not None:
                raise self.refusal
            self.writes += 1
            body = msgspec.json.decode(request.body or b"{}")
            if isinstance(body, dict):
                assert body["metadata"]["resourceVersion"] == str(self.writes)
                self.notes |= body["metadata"]["annotations"]
            else:
                self.phase = Phase.CANCELED
        return msgspec.json.encode(self.object)


async def take_over(transport: ScriptedTransport, child: Child, attempt: int) -> Execution | None:
    transport.answer = child.answer
    return await child_retries.take_over(
        transport, "ns", child.object, Stage(0, attempt), retries_failed=True, parent_group=""
    )


async def cancel_late(transport: ScriptedTransport, attempt: int) -> None:
    """Send a cancel that an attempt of the parent meant, and the server has not taken before."""
    await executions.cancel_from_outside(transport, namespace="ns", name="x", message="no", up_to=Stage(0, attempt))


async def test_a_child_that_runs_is_marked_as_that_of_the_new_attempt(transport: ScriptedTransport) -> None:
    """So that a cancel of the attempt before, repeated until the server takes it, does not end it."""
    child = Child()
    assert await take_over(transport, child, 2) is not None
    await cancel_late(transport, 1)
    assert child.phase is Phase.EXECUTING
    await cancel_late(transport, 2)
    assert child.phase is Phase.CANCELED


async def test_a_replay_of_the_same_attempt_costs_no_write(transport: ScriptedTransport) -> None:
    """Nor does the first attempt, nor a child that has ended as it was wanted."""
    child = Child()
    assert await take_over(transport, child, 1) is not None
    assert child.writes == 0
    await take_over(transport, child, 2)
    assert await take_over(transport, child, 2) is not None
    assert child.writes == 1
    done = Child(phase=Phase.COMPLETED)
    assert await take_over(transport, done, 2) is not None
    assert done.writes == 0


async def test_a_child_that_was_canceled_meanwhile_is_looked_at_again(transport: ScriptedTransport) -> None:
    """It may have ended just before it was marked."""
    child = Child()
    child.refusal = errors.Conflict("changed", status=409)
    assert await take_over(transport, child, 2) is None
