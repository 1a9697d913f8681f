"""Internal. Jobs and Pods that the Executions of a group have started: which there are, which have ended.

Informer handler, one for each kind, started by ``controllers.jobs`` when the first one is asked for. Keeps a few words
of each object; whoever waits for one is told that there is news of it, and reads it. Told of a deletion, too; not that
one has appeared as it was created: its creator was told so by the answer, and the watch may say it any time later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from kontinue.api import labels
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.job_views import JobView


class FollowedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one.

    Attributes:
        owner_uid: of its Execution.
        held_up_by: why it may not start yet.
    """

    name: str
    uid: str
    owner_uid: str
    has_ended: bool
    held_up_by: str


class FollowedJobs:
    """All of one kind, by name.

    Args:
        kind: ``Job`` or ``Pod``.
        on_news: told of each that changed in what is kept of it, has appeared and is held up or has ended, or is gone.
        on_listed: told when all are known anew: what came and went meanwhile was never seen.
    """

    def __init__(
        self, kind: str, *, on_news: Callable[[str, FollowedJob], None], on_listed: Callable[[str], None]
    ) -> None:
        self.kind = kind
        self._on_news = on_news
        self._on_listed = on_listed
        self._by_name: dict[str, FollowedJob] = {}
        self._unended: dict[str, dict[str, FollowedJob]] = {}  # by owner, by name: each Execution that ends asks

    def get(self, name: str) -> FollowedJob | None:
        """Return the one of that name, or None."""
        return self._by_name.get(name)

    def unended_of(self, owner_uid: str) -> list[FollowedJob]:
        """Return those of one Execution that have not ended."""
        return list(self._unended.get(owner_uid, {}).values())

    def on_list(self, objects: Sequence[JobView], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        self._by_name.clear()
        self._unended.clear()
        for obj in objects:
            self._put(_followed(obj))
        self._on_listed(self.kind)

    def on_event(self, type: EventType, obj: JobView) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it is gone, or has lost its label."""
        one = _followed(obj)
        known = self._by_name.get(one.name)
        if type == "DELETED":
            self._remove(one.name)
        elif known == one:
            return
        else:
            self._put(one)
            if known is None and not one.has_ended and not one.held_up_by:
                return
        self._on_news(self.kind, one)

    def _put(self, one: FollowedJob) -> None:
        self._remove(one.name)
        self._by_name[one.name] = one
        if not one.has_ended:
            self._unended.setdefault(one.owner_uid, {})[one.name] = one

    def _remove(self, name: str) -> None:
        known = self._by_name.pop(name, None)
        of_owner = self._unended.get(known.owner_uid) if known is not None else None
        if known is not None and of_owner is not None:
            of_owner.pop(name, None)
            if not of_owner:
                del self._unended[known.owner_uid]


def _followed(view: JobView) -> FollowedJob:
    return FollowedJob(
        name=view.metadata.name,
        uid=view.metadata.uid,
        owner_uid=view.owner_uid,
        has_ended=view.has_ended,
        held_up_by=view.held_up_by,
    )


def follow_jobs(
    transport: Transport, resource: Resource, *, namespace: str, group: str, store: FollowedJobs
) -> Informer[JobView]:
    """Return the watch of the Jobs, or Pods, whose Executions belong to ``group``."""
    return Informer(
        transport,
        resource,
        namespace,
        type_=JobView,
        handler=store,
        label_selector=f"{labels.PARENT_GROUP}={group}",
    )
