"""Internal. The open Suspensions of a group: what its Executions wait for, and until when.

Informer handler of ``worker``, one per replica. The selection leaves out what is completed, so that a completion and a
deletion look alike here: the Suspension is gone, and whoever waits for it reads why. Told are ``controllers`` (to wake
who waits) and, on the leader, ``coordinator.wake_times`` and ``coordinator.placement``. Keeps a few words of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import OPEN_SUSPENSIONS_SELECTOR, SuspensionKind
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.kube.informer import Informer


class _Spec(ApiStruct, frozen=True, kw_only=True):
    kind: SuspensionKind
    resume_at: datetime | None = None


class SuspensionView(ApiStruct, frozen=True, kw_only=True):
    """A Suspension without what nobody reads here."""

    metadata: ObjectMeta
    spec: _Spec


class OpenSuspension(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of one.

    Attributes:
        owner_uid: of its Execution.
        version: resourceVersion.
        is_sleep: it ends by itself; else somebody has to resume it, until ``resume_at_ms`` if that is set.
    """

    name: str
    owner_uid: str
    version: str
    is_sleep: bool
    resume_at_ms: int | None


class OpenSuspensions:
    """All of them, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, OpenSuspension] = {}
        self._one_of: dict[str, str] = {}
        """Uid of an owner -> name of one of its Suspensions; few have another."""
        self._others_of: dict[str, set[str]] = {}
        self.on_gone: Callable[[OpenSuspension], None] = lambda _gone: None
        """Told of each that was completed or deleted."""
        self.on_listed: Callable[[], None] = lambda: None
        """Told when all are known anew: what came and went meanwhile was never seen."""
        self._on_changed: Callable[[OpenSuspension], None] | None = None
        self._followers_of_ends: list[Callable[[OpenSuspension], None]] = []
        self._is_listed = False

    def __iter__(self) -> Iterator[OpenSuspension]:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> OpenSuspension | None:
        """Return the open Suspension of that name, or None."""
        return self._by_name.get(name)

    def of_owner(self, uid: str) -> list[OpenSuspension]:
        """Return those of one Execution."""
        one = self._one_of.get(uid)
        return [] if one is None else [self._by_name[name] for name in (one, *self._others_of.get(uid, ()))]

    @contextmanager
    def following(self, on_changed: Callable[[OpenSuspension], None]) -> Iterator[None]:
        """Tell ``on_changed`` of each that is there, appears or changes, within the block."""
        self._on_changed = on_changed
        for one in self:
            on_changed(one)
        try:
            yield
        finally:
            self._on_changed = None

    @contextmanager
    def following_ends(self, on_gone: Callable[[OpenSuspension], None]) -> Iterator[None]:
        """Tell ``on_gone``, too, of each that was completed or deleted, within the block."""
        self._followers_of_ends.append(on_gone)
        try:
            yield
        finally:
            self._followers_of_ends.remove(on_gone)

    def has_ended(self, name: str) -> bool:
        """Tell whether one that was created some time ago is not open any more; False as long as nothing is known."""
        return self._is_listed and name not in self._by_name

    def on_list(self, objects: Sequence[SuspensionView], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        listed = set()
        for obj in objects:
            self._put(obj)
            listed.add(obj.metadata.name)
        for name in [name for name in self._by_name if name not in listed]:
            self._remove(name)
        self._is_listed = True
        self.on_listed()

    def on_event(self, type: EventType, obj: SuspensionView) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it is not open any more."""
        if type != "DELETED":
            self._put(obj)
        else:
            self._remove(obj.metadata.name)

    def _put(self, obj: SuspensionView) -> None:
        meta, resume_at = obj.metadata, obj.spec.resume_at
        owner_uid = meta.owner_references[0].uid if meta.owner_references else ""
        known = self._by_name.get(meta.name)
        if known is not None and known.owner_uid != owner_uid:
            self._remove(meta.name)
        one = OpenSuspension(
            name=meta.name,
            owner_uid=owner_uid,
            version=meta.resource_version,
            is_sleep=obj.spec.kind is SuspensionKind.SLEEP,
            resume_at_ms=None if resume_at is None else round(resume_at.timestamp() * 1000),
        )
        self._by_name[meta.name] = one
        if self._one_of.setdefault(owner_uid, meta.name) != meta.name:
            self._others_of.setdefault(owner_uid, set()).add(meta.name)
        if self._on_changed is not None:
            self._on_changed(one)

    def _remove(self, name: str) -> None:
        gone = self._by_name.pop(name, None)
        if gone is None:
            return
        self._leave_owner(name, gone.owner_uid)
        self.on_gone(gone)
        for tell in self._followers_of_ends:
            tell(gone)

    def _leave_owner(self, name: str, uid: str) -> None:
        others = self._others_of.get(uid, set())
        if self._one_of[uid] != name:
            others.discard(name)
        elif others:
            self._one_of[uid] = others.pop()
        else:
            del self._one_of[uid]
        if not others:
            self._others_of.pop(uid, None)


def follow_open_suspensions(
    transport: Transport, *, namespace: str, group: str, store: OpenSuspensions
) -> Informer[SuspensionView]:
    """Return the watch of the Suspensions whose Executions belong to ``group``."""
    return Informer(
        transport,
        requests.SUSPENSIONS,
        namespace,
        type_=SuspensionView,
        handler=store,
        label_selector=f"{labels.PARENT_GROUP}={group}",
        field_selector=OPEN_SUSPENSIONS_SELECTOR,
    )
