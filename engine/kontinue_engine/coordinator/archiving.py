"""Internal. Reads the tree of a root Execution, writes archives of it, and deletes. Decides nothing.

Used by the leader's duty (``retention``). A tree is read page by page and compressed as it comes, so that the leader
holds what is small. Writes may be repeated after any crash: names come from the content (``kontinue.archives``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ListMeta, ObjectMeta, OwnerReference, PartialObjectMetadata
from kontinue.api.v1alpha1 import ArchivedExecution, Execution
from kontinue.archives import Packed, Packer, part_key
from kontinue.kube import requests
from kontinue.kube.reflector import Reflector
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue_engine.kube.executions import UnreadableError
from kontinue_engine.lifecycle.retention import StoredPart, below

PAGE: Final = 50
"""Objects read at a time: at most some 50 MiB, if each were as large as it may be. Judgement."""

_decode: Final = msgspec.json.Decoder(Execution).decode
_decode_archive: Final = msgspec.json.Decoder(ArchivedExecution).decode


class Root(msgspec.Struct, frozen=True):
    """A root Execution as the server has it now.

    Attributes:
        execution: decoded.
        raw: as it was sent.
    """

    execution: Execution
    raw: bytes


class Tree(msgspec.Struct, frozen=True):
    """A root and what is below it.

    Attributes:
        versions: uid -> resourceVersion of each Execution below the root, from before the others were read.
        problem: why it must not go yet; empty if it may.
        packed: all objects.
    """

    versions: Mapping[str, str]
    problem: str
    packed: Packed


class _List(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class _Owned(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


_decode_list: Final = msgspec.json.Decoder(_List).decode
_decode_owned: Final = msgspec.json.Decoder(_Owned).decode


class TreeStore:
    """Trees and archives of one namespace.

    Args:
        transport: to the API server.
        namespace: of all of them.
    """

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self._namespace = namespace

    async def read_root(self, name: str, uid: str) -> Root | None:
        """Return the Execution; None if it is gone, or another one of its name has come.

        Raises:
            UnreadableError: it does not decode.
            ApiError: the server refuses.
        """
        try:
            raw = await self._transport.send(requests.get(requests.EXECUTIONS, self._namespace, name))
        except errors.NotFound:
            return None
        execution = self._decoded(raw, name)
        return Root(execution, raw) if execution.metadata.uid == uid else None

    async def versions_below(self, root: Execution) -> dict[str, str]:
        """Return uid -> resourceVersion of everything below a root.

        Raises:
            ApiError: the server refuses.
        """
        labelled = Reflector(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=PartialObjectMetadata,
            label_selector=_of_root(root),
            only_metadata=True,
        )
        found = {one.metadata.uid: one.metadata for one in (await labelled.fetch()).objects}
        wanted = below(root.metadata.uid, {uid: meta.owner_references for uid, meta in found.items()})
        return {uid: found[uid].resource_version for uid in wanted}

    async def read_tree(self, root: Root, why_not: Callable[[Execution], str]) -> Tree:
        """Read everything below a root, and the MemoPages and Suspensions of all of it.

        Args:
            root: read before.
            why_not: returns why an Execution must not go yet.

        Raises:
            UnreadableError: an Execution does not decode.
            ApiError: the server refuses.
        """
        packer = Packer()
        versions = await self.versions_below(root.execution)
        packer.add(root.raw)
        paged = [root.execution.metadata.name] if root.execution.status.memo_pages is not None else []
        problems = [why_not(root.execution)]
        if versions:
            async for raw in self._pages(requests.EXECUTIONS, _of_root(root.execution)):
                execution = self._decoded(raw, "")
                if execution.metadata.uid in versions:
                    problems.append(why_not(execution))
                    packer.add(raw)
                    if execution.status.memo_pages is not None:
                        paged.append(execution.metadata.name)
        whose = versions.keys() | {root.execution.metadata.uid}
        for name in paged:
            selector = f"{labels.EXECUTION}={labels.label_value(name)}"
            await self._pack(requests.MEMO_PAGES, selector, whose, packer)
        await self._pack(requests.SUSPENSIONS, _of_root(root.execution), whose, packer)
        return Tree(versions, next(filter(None, problems), ""), packer.finish())

    async def write(self, parts: Sequence[ArchivedExecution]) -> None:
        """Make an archive durable: what is there already is left as it is.

        Raises:
            Conflict: something else has the name of a part, or is going: try again later.
            ApiError: the server refuses.
        """
        owners: list[OwnerReference] = []
        for part in parts:
            meta = msgspec.structs.replace(part.metadata, owner_references=owners)
            stored = await self._create(msgspec.structs.replace(part, metadata=meta))
            if not owners:
                owners = [
                    OwnerReference(
                        api_version=labels.API_VERSION,
                        kind=part.kind,
                        name=stored.metadata.name,
                        uid=stored.metadata.uid,
                    )
                ]

    async def archives_of(self, name: str, uid: str) -> list[StoredPart]:
        """Return the parts of all archives of an Execution, as they are now.

        Raises:
            ApiError: the server refuses.
        """
        named = Reflector(
            self._transport,
            requests.ARCHIVED_EXECUTIONS,
            self._namespace,
            type_=PartialObjectMetadata,
            field_selector=f"spec.execution={name}",
            only_metadata=True,
        )
        found = [(part_key(one.metadata), one.metadata) for one in (await named.fetch()).objects]
        return [StoredPart(key, meta) for key, meta in found if key is not None and key.uid == uid]

    async def delete(self, resource: Resource, meta: ObjectMeta) -> bool:
        """Delete an object as it was seen; tell whether it has changed since.

        Raises:
            ApiError: the server refuses.
        """
        request = requests.delete(
            resource, self._namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        try:
            await self._transport.send(request)
        except errors.NotFound:
            return True
        except errors.Conflict:
            return False
        return True

    async def _create(self, part: ArchivedExecution) -> ArchivedExecution:
        create = requests.create(requests.ARCHIVED_EXECUTIONS, self._namespace, part)
        name = part.metadata.name
        try:
            return _decode_archive(await self._transport.send(create, repeatable=True))
        except errors.AlreadyExists:
            pass
        named = Reflector(  # not a GET: a list needs no right that nothing else needs
            self._transport,
            requests.ARCHIVED_EXECUTIONS,
            self._namespace,
            type_=ArchivedExecution,
            field_selector=f"metadata.name={name}",
        )
        for found in (await named.fetch()).objects:
            if found.metadata.deletion_timestamp is None and _content(found) == _content(part):
                return found
        raise errors.Conflict(f"ArchivedExecution {name} is something else, or is going", status=409)

    async def _pack(self, resource: Resource, selector: str, owners: frozenset[str] | set[str], packer: Packer) -> None:
        async for raw in self._pages(resource, selector):
            references = _decode_owned(raw).metadata.owner_references
            if any(owner.uid in owners for owner in references):
                packer.add(raw)

    async def _pages(self, resource: Resource, selector: str) -> AsyncIterator[bytes]:
        token = ""
        while True:
            request = requests.list_objects(
                resource, self._namespace, label_selector=selector, limit=PAGE, continue_token=token
            )
            page = _decode_list(await self._transport.send(request))
            for raw in page.items or ():
                yield bytes(raw)
                await asyncio.sleep(0)  # a large one takes tens of milliseconds to compress: others go on in between
            token = page.metadata.continue_
            if not token:
                return

    def _decoded(self, raw: bytes, name: str) -> Execution:
        try:
            return _decode(raw)
        except msgspec.MsgspecError as error:
            name = name or _decode_owned(raw).metadata.name
            raise UnreadableError(namespace=self._namespace, name=name, problem=str(error)) from error


def _content(part: ArchivedExecution) -> object:
    return part.spec, [owner.uid for owner in part.metadata.owner_references]


def _of_root(root: Execution) -> str:
    return f"{labels.ROOT}={labels.label_value(root.metadata.name)}"
