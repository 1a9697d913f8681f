"""Internal. Which Pods and Executions have ended, of those that hold something.

A watch of the living ones, without their contents, begins with the first holder of a kind: one that leaves it has ended
or is gone. What a watch has not shown proves nothing, it may be late; so before anybody is believed to be gone, the API
server is asked. Asked by the controllers of this package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from kontinue import errors
from kontinue.api.konductor.group import Holder, HolderKind, identity_of
from kontinue.api.meta import ApiStruct, ObjectMeta, PartialObjectMetadata
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, TERMINAL_PHASES
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.caretaker import key_of
from kontinue_engine.kube.informer import Informer

_ENDS_OF_PODS: Final = ("Succeeded", "Failed")


News: TypeAlias = Callable[[frozenset[str] | None], None]
"""Called with each ``identity_of`` by which one that has left the living may be known; with None if any may have."""


class _Kind(msgspec.Struct, frozen=True):
    resource: Resource
    ends: frozenset[str]
    living: str
    """Field selector of those that have not ended."""


_KINDS: Final = {
    HolderKind.POD: _Kind(
        requests.PODS, frozenset(_ENDS_OF_PODS), ",".join(f"status.phase!={phase}" for phase in _ENDS_OF_PODS)
    ),
    HolderKind.EXECUTION: _Kind(
        requests.EXECUTIONS, frozenset(phase.value for phase in TERMINAL_PHASES), LIVE_PHASES_SELECTOR
    ),
}


class _PhaseOnly(ApiStruct, frozen=True):
    phase: str = ""


class _Fate(ApiStruct, frozen=True):
    metadata: ObjectMeta
    status: _PhaseOnly = _PhaseOnly()


_decode: Final = msgspec.json.Decoder(_Fate).decode


class Holders:
    """Tells who is gone, and that somebody may be.

    Args:
        transport: to the API server.
        namespace: where; empty for everywhere.
        on_news: told of who has left the living.
    """

    def __init__(self, transport: Transport, namespace: str, on_news: News) -> None:
        self._transport = transport
        self._living = {kind: _Living(transport, namespace, kind, on_news) for kind in _KINDS}

    async def run(self) -> None:
        """Watch until cancelled, each kind from when it is first asked about."""
        async with asyncio.TaskGroup() as tasks:
            for kind, living in self._living.items():
                tasks.create_task(living.run(), name=f"holders/{kind.value}")

    async def is_gone(self, namespace: str, holder: Holder) -> bool:
        """Tell whether a holder has certainly ended. While that cannot be known it has not; there will be news.

        Raises:
            ApiError: the server refuses to say.
        """
        living = self._living[holder.kind]
        living.is_wanted.set()
        if not living.is_known or living.includes(namespace, holder):
            return False
        kind = _KINDS[holder.kind]
        try:
            request = requests.get(kind.resource, namespace, holder.name)
        except errors.Invalid:
            return True  # no object can have this name
        try:
            found = _decode(await self._transport.send(request))
        except errors.NotFound:
            return True
        return (bool(holder.uid) and found.metadata.uid != holder.uid) or found.status.phase in kind.ends


class _Living:
    """The living objects of one kind; handler of their watch."""

    def __init__(self, transport: Transport, namespace: str, kind: HolderKind, on_news: News) -> None:
        self._uids: set[str] = set()
        self._names: set[tuple[str, str]] = set()
        """With their namespaces: of whom somebody has written no uid, whoever has his name is meant."""
        self.is_known = False
        self.is_wanted = asyncio.Event()
        self._kind = kind
        self._on_news = on_news
        self._informer = Informer(
            transport,
            _KINDS[kind].resource,
            namespace,
            type_=PartialObjectMetadata,
            handler=self,
            field_selector=_KINDS[kind].living,
            only_metadata=True,
        )

    async def run(self) -> None:
        await self.is_wanted.wait()
        await self._informer.run()

    def includes(self, namespace: str, holder: Holder) -> bool:
        """Tell whether a holder lives, as far as the watch has shown. Once it shows his end there is news."""
        return holder.uid in self._uids if holder.uid else (namespace, holder.name) in self._names

    def on_list(self, objects: Sequence[PartialObjectMetadata], *, initial: bool) -> None:
        """Take all that live; who is not among them may have ended unseen."""
        del initial
        self._uids = {one.metadata.uid for one in objects}
        self._names = {key_of(one) for one in objects}
        self.is_known = True
        self._on_news(None)

    def on_event(self, type: EventType, obj: PartialObjectMetadata) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type != "DELETED":
            self._uids.add(obj.metadata.uid)
            self._names.add(key_of(obj))
            return
        self._uids.discard(obj.metadata.uid)
        self._names.discard(key_of(obj))
        ended = Holder(kind=self._kind, name=obj.metadata.name, uid=obj.metadata.uid)
        named = msgspec.structs.replace(ended, uid="")  # as somebody may have written it
        self._on_news(frozenset({identity_of(ended), identity_of(named)}))
