"""What a child meets that cannot be read is told to the call in user code, not raised in the worker."""

from __future__ import annotations

import pytest

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue_engine.controllers import children
from scripted_transport import ScriptedTransport

STRANGE = b'{"metadata":{"name":"x","uid":"u"},"spec":{"function":"f"},"status":{"phase":"Levitating"}}'


async def test_a_name_taken_by_what_cannot_be_read_rejects_the_child(transport: ScriptedTransport) -> None:
    """The call in user code raises, with the remedy; the worker goes on."""
    owner = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name="p", uid="p1", controller=True)
    metadata = ObjectMeta(name="x", annotations={labels.ARGUMENTS_DIGEST: "d"}, owner_references=[owner])
    child = Execution(metadata=metadata, spec=ExecutionSpec(function="f"))
    transport.answer = lambda _: STRANGE
    with pytest.raises(children.ChildRejectedError, match=r"cannot be read: .*delete it") as caught:
        await children.create_child(transport, namespace="ns", child=child, look_first=True)
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
