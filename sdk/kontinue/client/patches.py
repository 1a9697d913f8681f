"""The patch by which a client changes the phase of an Execution beside a busy owner. Pure.

A JSON patch that tests the phase succeeds at the first try, where GET and PUT would race with the owner's writes, and
cannot turn a Completed into a Canceled. Sent by ``Client.cancel``.
"""

from __future__ import annotations

from typing import Any

from kontinue.api.v1alpha1 import Execution, Phase

CANCELED_BY_CLIENT = "CanceledByClient"


def cancel_operations(execution: Execution, message: str) -> list[dict[str, Any]]:
    """Return the operations that cancel ``execution`` if its phase is still the one seen."""
    phase = execution.status.phase
    wanted = {"phase": Phase.CANCELED.value, "reason": CANCELED_BY_CLIENT, "message": message}
    if phase is None:
        # Nobody wrote a status yet, so there is no phase to be tested.
        return [{"op": "test", "path": "/status", "value": None}, {"op": "add", "path": "/status", "value": wanted}]
    return [
        {"op": "test", "path": "/status/phase", "value": phase.value},
        *({"op": "add", "path": f"/status/{key}", "value": value} for key, value in wanted.items()),
    ]
