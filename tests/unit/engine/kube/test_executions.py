"""What the server has is either understood or refused by name; it never ends the worker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import ExecutionStatus, Phase
from kontinue.kube.patching import TRIES
from kontinue.kube.requests import Request
from kontinue_engine.errors import EngineError, first_known
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.child_notes import Stage
from scripted_transport import ScriptedTransport
from virtual_time import elapsed_s, virtual_time

STRANGE = b'{"metadata":{"name":"x","uid":"u"},"spec":{"function":"f"},"status":{"phase":"Levitating"}}'


async def test_an_execution_that_does_not_decode_is_an_error_with_its_name(transport: ScriptedTransport) -> None:
    """A newer version wrote it, or a hand: its caller leaves this one alone and goes on with the others."""
    transport.answer = lambda _: STRANGE
    with pytest.raises(executions.UnreadableError, match=r"Execution ns/x cannot be read: .*Levitating") as caught:
        await executions.read_execution(transport, namespace="ns", name="x")
    assert isinstance(caught.value, EngineError)
    assert first_known(caught.value) is caught.value


async def test_a_conflict_with_what_does_not_decode_is_the_same_error(transport: ScriptedTransport) -> None:
    """The status was not written, and what stands there cannot be judged."""

    def answer(request: object) -> bytes:
        if getattr(request, "method", "") == "PUT":
            raise errors.Conflict("changed", status=409)
        return STRANGE

    transport.answer = answer
    status = ExecutionStatus(phase=Phase.EXECUTING)
    with pytest.raises(executions.UnreadableError):
        await executions.write_status(transport, namespace="ns", name="x", uid="u", version="1", status=status)
    assert [request.method for request in transport.sent] == ["PUT", "GET"]


async def test_an_execution_that_is_not_there_is_none(transport: ScriptedTransport) -> None:
    """It was deleted."""

    def answer(_: object) -> bytes:
        raise errors.NotFound("gone", status=404)

    transport.answer = answer
    assert await executions.read_execution(transport, namespace="ns", name="x") is None
    status = ExecutionStatus(phase=Phase.EXECUTING)
    written = await executions.write_status(transport, namespace="ns", name="x", uid="u", version="1", status=status)
    assert written == executions.Gone()


async def test_a_conflict_with_our_own_write_is_success(transport: ScriptedTransport) -> None:
    """Its answer was lost; the server may order keys anew."""
    status = ExecutionStatus(phase=Phase.EXECUTING, message="m")

    def answer(request: object) -> bytes:
        if getattr(request, "method", "") == "PUT":
            raise errors.Conflict("changed", status=409)
        stored = {"message": "m", "phase": "Executing"}
        return msgspec.json.encode(
            {"metadata": {"name": "x", "uid": "u", "resourceVersion": "7"}, "spec": {"function": "f"}, "status": stored}
        )

    transport.answer = answer
    written = await executions.write_status(transport, namespace="ns", name="x", uid="u", version="1", status=status)
    assert written == executions.Written("7")


def stored(phase: str, version: int = 1) -> bytes:
    status = {"status": {"phase": phase}} if phase else {}
    metadata = {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": str(version)}
    return msgspec.json.encode({"metadata": metadata, "spec": {"function": "f"}, **status})


class Server:
    """One child: each read shows the next phase, and patches are refused while ``refusal`` is set."""

    def __init__(self, *phases: str, refusal: errors.ApiError | None = None, rests: bool = False) -> None:
        self.patches: list[Any] = []
        self._phases = list(phases)
        self._refusal = refusal
        self._rests = rests
        self._version = 1

    def __call__(self, request: Request) -> bytes:
        if request.method == "GET":
            self._version += not self._rests
            return stored(self._phases.pop(0) if len(self._phases) > 1 else self._phases[0], self._version)
        self.patches.append(msgspec.json.decode(request.body))
        if self._refusal is not None:
            raise self._refusal
        return b"{}"


async def cancel(server: Any, **options: Any) -> None:
    transport = ScriptedTransport()
    transport.answer = server
    await executions.cancel_from_outside(transport, namespace="ns", name="x", message="parent ended", **options)


@virtual_time
async def test_a_cancel_tests_the_phase_that_was_seen() -> None:
    """And says who did it."""
    server = Server("Executing")
    await cancel(server)
    test, *changes = server.patches[0]
    assert test == {"op": "test", "path": "/status/phase", "value": "Executing"}
    assert {"op": "add", "path": "/status/reason", "value": "CanceledByParent"} in changes


async def test_a_child_that_is_to_be_retried_is_left_as_it_ended() -> None:
    """Its parent has asked for that, and does not want it any more: the wish is withdrawn."""
    patches: list[Any] = []

    def answer(request: Request) -> bytes:
        if request.method == "GET":
            child = msgspec.json.decode(stored("Failed"))
            child["metadata"]["generation"] = 2
            child["spec"]["retry"] = {"retries": 1}
            return msgspec.json.encode(child)
        patches.append(msgspec.json.decode(request.body))
        return b"{}"

    await cancel(answer)
    ((_, seen),) = patches
    assert seen == {"op": "add", "path": "/status/observedRetries", "value": 1}


@pytest.mark.parametrize(("epoch", "attempt", "is_meant"), [(0, 1, True), (0, 2, True), (0, 3, False), (1, 1, False)])
async def test_a_cancel_that_comes_late_does_not_reach_what_was_retried(
    epoch: int, attempt: int, is_meant: bool
) -> None:
    """Meanwhile a later attempt, or run, of the parent has asked for the child again."""
    patches: list[Any] = []

    def answer(request: Request) -> bytes:
        if request.method == "GET":
            child = msgspec.json.decode(stored("Executing"))
            notes = {labels.PARENT_ATTEMPT: f"{attempt}.1", labels.RUN_EPOCH: str(epoch)}
            return msgspec.json.encode({**child, "metadata": {**child["metadata"], "annotations": notes}})
        patches.append(msgspec.json.decode(request.body))
        return b"{}"

    await cancel(answer, up_to=Stage(0, 2))
    assert bool(patches) == is_meant


@virtual_time
async def test_a_phase_that_changes_meanwhile_is_looked_at_again() -> None:
    """Until the child has ended by itself, for example."""
    server = Server("Pending", "Executing", "Completed", refusal=errors.Invalid("test failed", status=422))
    await cancel(server)
    assert [patch[0]["value"] for patch in server.patches] == ["Pending", "Executing"]


@virtual_time
@pytest.mark.parametrize(("rests", "tries"), [(True, 2), (False, TRIES)])
async def test_a_refusal_that_stays_is_logged(rests: bool, tries: int, caplog: pytest.LogCaptureFixture) -> None:
    """Not repeated without end: the child goes on, and somebody has to look at the rule that protects it."""
    server = Server("Executing", refusal=errors.Invalid("denied", status=422), rests=rests)
    await cancel(server)
    assert len(server.patches) == tries
    assert elapsed_s() > 0
    (record,) = caplog.records
    assert (record.msg, record.fields["execution"]) == ("not canceled", "x")  # type: ignore[attr-defined]
    assert "denied" in record.fields["error"]  # type: ignore[attr-defined]


@virtual_time
async def test_a_child_that_cannot_be_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its phase is not known, so it cannot be tested."""
    await cancel(lambda _: stored("Levitating"))
    assert "not canceled" in caplog.text


@virtual_time
async def test_credentials_that_do_not_do_concern_the_worker() -> None:
    """They are raised: no other Execution fares better."""
    with pytest.raises(errors.Forbidden):
        await cancel(Server("Executing", refusal=errors.Forbidden("no", status=403)))
