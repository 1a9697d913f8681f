"""Gates on a cluster whose definition of them is not ours, and what is refused before anything is sent."""

from __future__ import annotations

import msgspec
import pytest

from kontinue import errors
from kontinue.api.konductor.gates import Gate as StoredGate
from kontinue.api.konductor.gates import GateSpec, parse_condition
from kontinue.api.meta import ObjectMeta
from kontinue.client import Client
from kontinue.sync import Gate
from scripted_transport import ScriptedTransport


async def test_an_override_that_the_server_has_dropped_is_an_error():
    """The original's definition has no such field: nothing was opened, and nobody is told so."""
    spec = GateSpec(conditions=[parse_condition("Job/migrate=Complete")])
    pruned = msgspec.json.encode(StoredGate(metadata=ObjectMeta(name="go", namespace="here"), spec=spec))
    transport = ScriptedTransport()
    transport.answer = lambda _: pruned
    go = Gate("go", Client.from_kube(transport, "here"))
    for change in (go.open, go.close):
        with pytest.raises(errors.InvalidState, match=r"Gate here/go .* has no spec\.override"):
            await change()
    assert (await go.reset()).spec.override is None


@pytest.mark.parametrize("text", ["Job//x=Complete", "Semaphore/db=Available:"])
async def test_a_condition_with_an_empty_part_creates_nothing(text: str):
    """A variable that was not set is not the own namespace, nor one permit."""
    transport = ScriptedTransport()
    with pytest.raises(ValueError, match=f"^{text!r}: its (NAMESPACE|VALUE) is empty"):
        await Gate("go", Client.from_kube(transport, "here")).create(["Job/a=Complete", text])
    assert transport.sent == []
