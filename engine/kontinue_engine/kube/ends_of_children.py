"""Internal. The ends of children that run in another shard or group than their parent: one small event each.

Watched by every replica (for the parents that it runs), and by the leader (for parents that wait in a dead shard).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, PartialObjectMetadata
from kontinue.api.v1alpha1 import TERMINAL_PHASES_SELECTOR
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.kube.informer import Informer


def follow_ends(
    transport: Transport, *, namespace: str, group: str, on_end: Callable[[ObjectMeta], None]
) -> Informer[PartialObjectMetadata]:
    """Return the watch.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group of the parents.
        on_end: told of each child that has ended, more than once perhaps.
    """
    return Informer(
        transport,
        requests.EXECUTIONS,
        namespace,
        type_=PartialObjectMetadata,
        handler=_Ends(on_end),
        label_selector=f"{labels.PARENT_GROUP}={group}",
        field_selector=TERMINAL_PHASES_SELECTOR,
        only_metadata=True,
    )


class _Ends:
    """Informer handler."""

    def __init__(self, on_end: Callable[[ObjectMeta], None]) -> None:
        self._on_end = on_end

    def on_list(self, objects: Sequence[PartialObjectMetadata], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        for obj in objects:
            self._on_end(obj.metadata)

    def on_event(self, type: EventType, obj: PartialObjectMetadata) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type != "DELETED":
            self._on_end(obj.metadata)
