"""The patches that change an Execution beside a busy owner: cancel, skip, retry. Pure.

A JSON patch that tests the phase succeeds at the first try, where GET and PUT would race with the owner's writes, and
cannot turn a Completed into a Canceled. Sent by ``Client``, and by workers for children of other groups.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kontinue.api.v1alpha1 import ChildPolicy, Execution, Phase

CANCELED_BY_CLIENT: Final = "CanceledByClient"
SKIPPED_BY_CLIENT: Final = "SkippedByClient"
CANCELED_BY_PARENT: Final = "CanceledByParent"
REPLACED: Final = "Replaced"
"""By the next occurrence of its schedule."""
NOTING_REASONS: Final = frozenset({CANCELED_BY_CLIENT, CANCELED_BY_PARENT, REPLACED})
"""Of cancels that note the retries that were asked for before (``status.observedRetries``); people may forget that."""


def cancel_operations(execution: Execution, *, reason: str, message: str) -> list[dict[str, Any]]:
    """Return the operations that cancel ``execution`` if its phase is still the one seen."""
    return _end_operations(execution, {"phase": Phase.CANCELED.value, "reason": reason, "message": message})


def skip_operations(execution: Execution, result: bytes, *, message: str) -> list[dict[str, Any]]:
    """Return the operations that skip ``execution`` if its phase is still the one seen; ``result`` is JSON.

    Without a result, which is null, none is written: null is what an Execution without one has returned.
    """
    wanted: dict[str, Any] = {"phase": Phase.SKIPPED.value, "reason": SKIPPED_BY_CLIENT, "message": message}
    if result != b"null":
        wanted["result"] = msgspec.Raw(result)
    return _end_operations(execution, wanted)


def _end_operations(execution: Execution, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    phase = execution.status.phase
    # What was asked for before is not to start it again afterwards.
    wanted = {**wanted, "observedRetries": _retries_of(execution)}
    if phase is None:
        # Nobody wrote a status yet, so there is no phase to be tested.
        return [{"op": "test", "path": "/status", "value": None}, {"op": "add", "path": "/status", "value": wanted}]
    return [
        {"op": "test", "path": "/status/phase", "value": phase.value},
        *({"op": "add", "path": f"/status/{key}", "value": value} for key, value in wanted.items()),
    ]


def withdraw_operations(execution: Execution) -> list[dict[str, Any]]:
    """Return the operations that withdraw a retry that has been asked for, if it has not begun."""
    return [
        {"op": "test", "path": "/status/phase", "value": execution.phase.value},
        {"op": "add", "path": "/status/observedRetries", "value": _retries_of(execution)},
    ]


def retry_operations(execution: Execution, *, child_policy: ChildPolicy) -> list[dict[str, Any]]:
    """Return the operations that ask for another attempt of one that has failed or was canceled, if it still has.

    For the object itself, not for its status: the wish stands in the spec, and the group's leader carries it out.
    """
    retry = execution.spec.retry
    asked = max(_retries_of(execution), execution.status.observed_retries) + 1
    wanted = {"retries": asked, "childPolicy": child_policy.value}
    seen: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": execution.metadata.uid},
        {"op": "test", "path": "/status/phase", "value": execution.phase.value},
        {"op": "test", "path": "/metadata/generation", "value": execution.metadata.generation},
    ]
    if retry is None:
        return [*seen, {"op": "add", "path": "/spec/retry", "value": wanted}]
    return [*seen, *({"op": "add", "path": f"/spec/retry/{key}", "value": value} for key, value in wanted.items())]


def _retries_of(execution: Execution) -> int:
    return execution.spec.retry.retries if execution.spec.retry else 0
