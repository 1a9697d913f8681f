"""What the server has is either understood or refused by name; it never ends the worker."""

from __future__ import annotations

import msgspec
import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import ExecutionStatus, Phase
from kontinue_engine.controllers import status_writer
from kontinue_engine.errors import EngineError, first_known
from scripted_transport import ScriptedTransport

STRANGE = b'{"metadata":{"name":"x","uid":"u"},"spec":{"function":"f"},"status":{"phase":"Levitating"}}'


async def test_an_execution_that_does_not_decode_is_an_error_with_its_name(transport: ScriptedTransport) -> None:
    """A newer version wrote it, or a hand: its caller leaves this one alone and goes on with the others."""
    transport.answer = lambda _: STRANGE
    with pytest.raises(status_writer.UnreadableError, match=r"Execution ns/x cannot be read: .*Levitating") as caught:
        await status_writer.read_execution(transport, namespace="ns", name="x")
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
    with pytest.raises(status_writer.UnreadableError):
        await status_writer.write_status(transport, namespace="ns", name="x", uid="u", version="1", status=status)
    assert [request.method for request in transport.sent] == ["PUT", "GET"]


async def test_an_execution_that_is_not_there_is_none(transport: ScriptedTransport) -> None:
    """It was deleted."""

    def answer(_: object) -> bytes:
        raise errors.NotFound("gone", status=404)

    transport.answer = answer
    assert await status_writer.read_execution(transport, namespace="ns", name="x") is None
    status = ExecutionStatus(phase=Phase.EXECUTING)
    written = await status_writer.write_status(transport, namespace="ns", name="x", uid="u", version="1", status=status)
    assert written == status_writer.Gone()


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
    written = await status_writer.write_status(transport, namespace="ns", name="x", uid="u", version="1", status=status)
    assert written == status_writer.Written("7")
