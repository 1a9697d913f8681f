"""Internal. Cancels children that live on in other shards or groups although their parents have ended.

A parent's replica cancels them after it has written the end (``controllers.cancels``). If it dies in between nobody
knows: the parent is terminal, and has stopped. So whoever looks for what a dead replica has left (``closing``) looks
for such children, too; those that ran with their parent are looked at by whoever has their shard next.

Costs one list of metadata; if any parent has children elsewhere another one, and a read for each that is not live.
"""

from __future__ import annotations

from kontinue.api import labels
from kontinue.api.meta import OwnerReference, parent_of
from kontinue.kube.transport import Transport
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.ending import PARENT_ENDED_MESSAGE
from kontinue_engine.telemetry.logs import get_logger

_log = get_logger(__name__)


async def cancel_forsaken(transport: Transport, *, namespace: str, group: str) -> None:
    """Cancel live children of Executions of a group that have ended, or are gone.

    Those aside that somebody has retried after that.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group of the parents.

    Raises:
        ApiError: the server refuses.
    """
    families: dict[str, tuple[OwnerReference, list[tuple[str, str]]]] = {}
    for child in await executions.list_live(transport, namespace, f"{labels.PARENT_GROUP}={group}"):
        parent = parent_of(child.owner_references)
        if parent is not None and labels.RETRIED_ALONE not in child.annotations:
            families.setdefault(parent.uid, (parent, []))[1].append((child.name, child.uid))
    if not families:
        return
    # After the children: a parent that is not in this list has ended since it started them.
    live = {one.uid for one in await executions.list_live(transport, namespace, f"{labels.WORKER_GROUP}={group}")}
    for uid in families.keys() - live:
        parent, children = families[uid]
        if await _has_ended(transport, namespace, parent):
            for name, child_uid in children:
                _log.info("child of an ended parent canceled", execution=name, uid=child_uid, parent=parent.name)
                await executions.cancel_from_outside(
                    transport, namespace=namespace, name=name, message=PARENT_ENDED_MESSAGE
                )


async def _has_ended(transport: Transport, namespace: str, parent: OwnerReference) -> bool:
    """Tell whether a parent has ended, or is gone; one that cannot be read lives, as far as anybody can tell."""
    try:
        found = await executions.read_execution(transport, namespace=namespace, name=parent.name)
    except executions.UnreadableError as error:
        _log.warning("parent not looked at", execution=parent.name, uid=parent.uid, error=str(error))
        return False
    return found is None or found.metadata.uid != parent.uid or found.phase.is_terminal
