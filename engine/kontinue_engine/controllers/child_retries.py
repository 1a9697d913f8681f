"""Internal. What a new attempt or run of a parent does with children that earlier ones have left.

By the child policy RetryFailed the parent's replica asks for a retry of each that ended badly and is asked for again:
one patch of its spec, like anybody's, with a note that it is the parent's own wish. The leader of the child's group
carries it out (``coordinator.retries``). The note says for which run and attempt, so that a replay does not ask again;
one that still runs gets it, too, so that no late cancel of an earlier attempt ends it.
In a later run only children that were given a name are met again. Called by ``offspring``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.child_notes import ParentNote, Stage, needs_retry, run_epoch_of, stage_of, stages_before
from kontinue_engine.lifecycle.continuing import OLD_RUN_MESSAGE
from kontinue_engine.lifecycle.statuses import asked_for

_decode: Final = msgspec.json.Decoder(Execution).decode


async def take_over(
    transport: Transport,
    namespace: str,
    child: Execution,
    stage: Stage,
    *,
    retries_failed: bool,
    parent_group: str,
) -> Execution | None:
    """Have a child that was found belong to this attempt; return it, or None: look again.

    Args:
        transport: to the API server.
        namespace: of the child.
        child: as it was found.
        stage: of its parent.
        retries_failed: whether those that ended badly in an earlier attempt are retried; of an earlier run they are.
        parent_group: where its end has to be noticed, if the parent does not run where the child does; or empty.
    """
    is_of_old_run = run_epoch_of(child.metadata.annotations) < stage.run_epoch
    if needs_retry(child, stage) and (retries_failed or is_of_old_run):
        return await _ask(transport, namespace, child, stage, parent_group)
    if child.phase.is_terminal:
        return child
    if is_of_old_run:  # it is being canceled, or whoever should have done that has died
        up_to = stages_before(stage.run_epoch)
        name = child.metadata.name
        await executions.cancel_from_outside(
            transport, namespace=namespace, name=name, message=OLD_RUN_MESSAGE, up_to=up_to
        )
        return None
    is_alone = labels.RETRIED_ALONE in child.metadata.annotations
    if is_alone or stage_of(child.metadata.annotations) < stage:
        # A cancel that an earlier attempt meant may still be under way, and is not for what this one goes on with.
        notes = {
            labels.PARENT_ATTEMPT: str(ParentNote(stage.attempt)),
            **({labels.RETRIED_ALONE: None} if is_alone else {}),
        }
        return await _patch(transport, namespace, child, {"metadata": {"annotations": notes}})
    return child


async def _ask(
    transport: Transport, namespace: str, child: Execution, stage: Stage, parent_group: str
) -> Execution | None:
    retries = max(asked_for(child.spec), child.status.observed_retries) + 1
    notes = {labels.PARENT_ATTEMPT: str(ParentNote(stage.attempt, retries))}
    if stage.run_epoch:
        notes[labels.RUN_EPOCH] = str(stage.run_epoch)
    patch: dict[str, Any] = {"metadata": {"annotations": notes}, "spec": {"retry": {"retries": retries}}}
    if parent_group:
        patch["metadata"]["labels"] = {labels.PARENT_GROUP: parent_group}
    return await _patch(transport, namespace, child, patch)


async def _patch(transport: Transport, namespace: str, child: Execution, patch: dict[str, Any]) -> Execution | None:
    """Change the child as it was found; None if it has changed meanwhile."""
    meta = child.metadata
    patch["metadata"]["resourceVersion"] = meta.resource_version
    try:
        return _decode(await transport.send(requests.merge_patch(requests.EXECUTIONS, namespace, meta.name, patch)))
    except (errors.Conflict, errors.NotFound):
        return None
