"""The patch that changes the phase of an Execution beside a busy owner. Pure.

A JSON patch that tests the phase succeeds at the first try, where GET and PUT would race with the owner's writes, and
cannot turn a Completed into a Canceled. Sent by ``Client.cancel``, and by workers for children of other groups.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue.api.v1alpha1 import Execution, Phase

CANCELED_BY_CLIENT: Final = "CanceledByClient"
CANCELED_BY_PARENT: Final = "CanceledByParent"
REPLACED: Final = "Replaced"
"""By the next occurrence of its schedule."""
CANCEL_TRIES: Final = 10
"""A patch whose test fails is built anew from the phase as it is then; so often it does not change in between."""


def cancel_operations(execution: Execution, *, reason: str, message: str) -> list[dict[str, Any]]:
    """Return the operations that cancel ``execution`` if its phase is still the one seen."""
    phase = execution.status.phase
    # What was asked for before is not to start it again afterwards.
    seen = execution.spec.retry.retries if execution.spec.retry else 0
    wanted = {"phase": Phase.CANCELED.value, "reason": reason, "message": message, "observedRetries": seen}
    if phase is None:
        # Nobody wrote a status yet, so there is no phase to be tested.
        return [{"op": "test", "path": "/status", "value": None}, {"op": "add", "path": "/status", "value": wanted}]
    return [
        {"op": "test", "path": "/status/phase", "value": phase.value},
        *({"op": "add", "path": f"/status/{key}", "value": value} for key, value in wanted.items()),
    ]
