"""Children of other worker groups are canceled as a client does it, and what cannot be read is told, not raised."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.patches import CANCEL_TRIES
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.kube.requests import Request
from kontinue_engine.controllers import children
from scripted_transport import ScriptedTransport
from virtual_time import elapsed_s, virtual_time


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


async def cancel(server: Any) -> None:
    transport = ScriptedTransport()
    transport.answer = server
    await children.cancel_from_outside(transport, namespace="ns", name="x", message="parent ended")


@virtual_time
async def test_a_cancel_tests_the_phase_that_was_seen() -> None:
    """And says who did it."""
    server = Server("Executing")
    await cancel(server)
    test, *changes = server.patches[0]
    assert test == {"op": "test", "path": "/status/phase", "value": "Executing"}
    assert {"op": "add", "path": "/status/reason", "value": "CanceledByParent"} in changes


@virtual_time
async def test_a_phase_that_changes_meanwhile_is_looked_at_again() -> None:
    """Until the child has ended by itself, for example."""
    server = Server("Pending", "Executing", "Completed", refusal=errors.Invalid("test failed", status=422))
    await cancel(server)
    assert [patch[0]["value"] for patch in server.patches] == ["Pending", "Executing"]


@virtual_time
@pytest.mark.parametrize(("rests", "tries"), [(True, 2), (False, CANCEL_TRIES)])
async def test_a_refusal_that_stays_is_logged(rests: bool, tries: int, caplog: pytest.LogCaptureFixture) -> None:
    """Not repeated without end: the child goes on, and somebody has to look at the rule that protects it."""
    server = Server("Executing", refusal=errors.Invalid("denied", status=422), rests=rests)
    await cancel(server)
    assert len(server.patches) == tries
    assert elapsed_s() > 0
    (record,) = caplog.records
    assert (record.msg, record.fields["execution"]) == ("child not canceled", "x")  # type: ignore[attr-defined]
    assert "denied" in record.fields["error"]  # type: ignore[attr-defined]


@virtual_time
async def test_a_child_that_cannot_be_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its phase is not known, so it cannot be tested."""
    await cancel(lambda _: stored("Levitating"))
    assert "child not canceled" in caplog.text


@virtual_time
async def test_credentials_that_do_not_do_concern_the_worker() -> None:
    """They are raised: no other Execution fares better."""
    with pytest.raises(errors.Forbidden):
        await cancel(Server("Executing", refusal=errors.Forbidden("no", status=403)))


async def test_a_name_taken_by_what_cannot_be_read_rejects_the_child(transport: ScriptedTransport) -> None:
    """The call in user code raises, with the remedy; the worker goes on."""
    owner = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name="p", uid="p1", controller=True)
    metadata = ObjectMeta(name="x", annotations={labels.ARGUMENTS_DIGEST: "d"}, owner_references=[owner])
    child = Execution(metadata=metadata, spec=ExecutionSpec(function="f"))
    transport.answer = lambda _: stored("Levitating")
    with pytest.raises(children.ChildRejectedError, match=r"cannot be read: .*delete it") as caught:
        await children.create_child(transport, namespace="ns", child=child, look_first=True)
    assert caught.value.info.type == "kontinue.errors.AlreadyExists"


async def test_a_function_that_cannot_be_read_rejects_the_child(transport: ScriptedTransport) -> None:
    """Nobody knows which group owns it."""
    transport.answer = lambda _: b'{"metadata":{"name":"f"},"spec":{"name":3}}'
    with pytest.raises(children.ChildRejectedError, match="Function f cannot be read"):
        await children.find_group(transport, namespace="ns", function="f")
