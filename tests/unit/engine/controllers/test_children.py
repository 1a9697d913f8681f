"""What a child meets that cannot be read is told to the call in user code, not raised in the worker."""

from __future__ import annotations

import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue.kube.requests import Request
from kontinue_engine.controllers import children
from kontinue_engine.wire import frames
from scripted_transport import ScriptedTransport

STRANGE = b'{"metadata":{"name":"x","uid":"u"},"spec":{"function":"f"},"status":{"phase":"Levitating"}}'


def _child() -> Execution:
    owner = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name="p", uid="p1", controller=True)
    metadata = ObjectMeta(name="x", annotations={labels.ARGUMENTS_DIGEST: "d"}, owner_references=[owner])
    return Execution(metadata=metadata, spec=ExecutionSpec(function="f"))


async def test_a_name_taken_by_what_cannot_be_read_rejects_the_child(transport: ScriptedTransport) -> None:
    """The call in user code raises, with the remedy; the worker goes on."""
    transport.answer = lambda _: STRANGE
    with pytest.raises(children.ChildRejectedError, match=r"cannot be read: .*delete it") as caught:
        await children.create_child(transport, namespace="ns", child=_child(), look_first=True)
    assert caught.value.info.type == "kontinue.errors.AlreadyExists"


async def test_a_function_that_cannot_be_read_rejects_the_child(transport: ScriptedTransport) -> None:
    """Nobody knows which group owns it."""
    transport.answer = lambda _: b'{"metadata":{"name":"f"},"spec":{"workerGroup":3}}'
    with pytest.raises(children.ChildRejectedError, match="Function f does not say which worker group owns it"):
        await children.find_group(transport, namespace="ns", function="f")


async def test_a_function_that_no_object_can_be_named_after_rejects_the_child(transport: ScriptedTransport) -> None:
    """It is asked for by user code, and nobody can have registered it."""
    with pytest.raises(children.ChildRejectedError, match=r"no worker group owns a function '\?\?\?'"):
        await children.find_group(transport, namespace="ns", function="???")


def _raised(info: frames.ErrorInfo) -> errors.ChildFailed:
    return errors.ChildFailed(info.message, type=info.type, types=info.types)


async def test_user_code_can_ask_what_kept_a_child_from_being_started(transport: ScriptedTransport) -> None:
    """``is_a`` knows the class that the error names, and its bases, also of what the engine itself has found."""
    with pytest.raises(children.ChildRejectedError) as unknown:
        await children.find_group(transport, namespace="ns", function="???")
    assert _raised(unknown.value.info).is_a(errors.UnknownFunction)
    transport.answer = lambda _: b'{"metadata":{"name":"x","uid":"u"},"spec":{"function":"other"}}'
    with pytest.raises(children.ChildRejectedError) as taken:
        await children.create_child(transport, namespace="ns", child=_child(), look_first=True)
    assert _raised(taken.value.info).is_a(errors.AlreadyExists)
    transport.answer = _refuse
    with pytest.raises(children.ChildRejectedError) as refused:
        await children.create_child(transport, namespace="ns", child=_child(), look_first=False)
    assert _raised(refused.value.info).is_a(errors.ApiError)


def _refuse(request: Request) -> bytes:
    raise errors.Invalid(f"{request.path}: spec.mutex: too long", status=422)


def test_user_code_can_ask_whether_a_child_was_canceled() -> None:
    """As docs/errors.md says of everything that is recorded."""
    status = ExecutionStatus(phase=Phase.CANCELED, message="not needed")
    error = children.outcome_of(name="c", uid="u", status=status, now_ms=1).error
    assert error is not None
    assert _raised(error).is_a(errors.ExecutionCanceled)
