"""Gates on a cluster whose definition of them is not ours."""

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
