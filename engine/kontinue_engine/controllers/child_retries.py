"""Internal. What a new attempt of a parent does with children that failed or were canceled in an earlier one.

By the child policy RetryFailed the parent's replica asks for a retry of each that is asked for again: one patch of its
spec, like anybody's, with a note that it is the parent's own wish. The leader of the child's group carries it out
(``coordinator.retries``). The note says for which attempt, so that a replay does not ask a second time.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.lifecycle.child_notes import ParentNote
from kontinue_engine.lifecycle.statuses import asked_for

_decode: Final = msgspec.json.Decoder(Execution).decode


async def ask(
    transport: Transport, namespace: str, child: Execution, *, attempt: int, parent_group: str
) -> Execution | None:
    """Ask for a retry of a child; return it, or None if it has changed meanwhile.

    Args:
        transport: to the API server.
        namespace: of the child.
        child: which has failed or was canceled.
        attempt: of its parent, for which it is retried.
        parent_group: where its end has to be noticed, if the parent does not run where the child does; or empty.
    """
    retries = max(asked_for(child.spec), child.status.observed_retries) + 1
    meta = child.metadata
    patch: dict[str, Any] = {
        "metadata": {
            "resourceVersion": meta.resource_version,
            "annotations": {labels.PARENT_ATTEMPT: str(ParentNote(attempt, retries))},
        },
        "spec": {"retry": {"retries": retries}},
    }
    if parent_group:
        patch["metadata"]["labels"] = {labels.PARENT_GROUP: parent_group}
    try:
        return _decode(await transport.send(requests.merge_patch(requests.EXECUTIONS, namespace, meta.name, patch)))
    except (errors.Conflict, errors.NotFound):
        return None
