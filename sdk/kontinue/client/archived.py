"""Finds what has been archived: one Execution by name, or those that fit a filter. Called by ``Client`` and the CLI.

What lives comes first; this is asked for what is not found there. An archive counts once it is whole. A child stands in
the archive of its root; its name tells which that may be, if kontinue has chosen it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec

from kontinue import archives, errors
from kontinue.api import labels
from kontinue.api.meta import ListMeta, ObjectList, PartialObjectMetadata, parent_of
from kontinue.api.v1alpha1 import RETRYABLE_PHASES, ArchivedExecution, Execution, Phase
from kontinue.archives import Archive, ArchiveError, MissingPartsError, PartKey
from kontinue.client.reading import Send, fetch_pages
from kontinue.client.selectors import Filter
from kontinue.kube import requests
from kontinue.kube.answers import reader

PAGE_SIZE: Final = 20
"""Archives of half a mebibyte each."""
_METADATA_PAGE_SIZE: Final = 500
_MADE_BY_US: Final = re.compile(r"-[0-9a-v]{10}$")
"""How ``kontinue.naming.child_name`` ends."""
_SURELY_KEPT: Final = 31
"""Characters of its root's name that the name of a child at any depth begins with."""
_NOT_FINAL: Final = f"status.phase!={Phase.COMPLETED.value},status.phase!={Phase.SKIPPED.value}"
"""Who was archived as failed or canceled and was retried; once one has ended well, its archive is long gone."""

_log = logging.getLogger(__name__)


class _MetadataList(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[PartialObjectMetadata] | None = None
    """None where there are none: kube-apiserver writes null for an empty list of metadata."""


_decode_page: Final = reader(ObjectList[ArchivedExecution], what="list of ArchivedExecutions")
_decode_metadata: Final = reader(_MetadataList, what="list of metadata")


async def find(send: Send, namespace: str, name: str, *, uid: str = "", root: str = "") -> Archive | None:
    """Return the newest archive that an Execution stands in; None if there is none.

    Args:
        send: sends a request.
        namespace: where.
        name: of the Execution.
        uid: which one of that name; empty means whichever there is.
        root: name of its root, if that is known and another one.

    Raises:
        MissingPartsError: parts of it are missing, or of one that it may stand in.
        ArchiveError: it cannot be read, or it is not found and may stand in one that cannot.
        ApiError: the server refuses.
    """
    damaged: ArchiveError | None = None
    unfinished: ArchiveError | None = None
    for candidate in [root] if root else [name, *await _roots_of_child(send, namespace, name)]:
        try:
            for parts in await _read_all(send, namespace, candidate):
                archive = archives.unpack(parts)
                if pick(archive, name, uid) is not None:
                    return archive
        except ArchiveError as error:  # an older one would be a wrong answer; that of another root may be the right one
            if isinstance(error, MissingPartsError) and error.is_unfinished:
                unfinished = unfinished or error
            else:
                damaged = damaged or error
    problem = damaged or unfinished
    if problem is not None:
        raise problem
    return None


def pick(archive: Archive, name: str, uid: str = "") -> Execution | None:
    """Return an Execution of an archive by its name; ``uid`` says which one of that name, if it is known."""
    return next(
        (one for one in archive.executions if one.metadata.name == name and uid in ("", one.metadata.uid)), None
    )


def children_of(archive: Archive, parent: Execution) -> list[Execution]:
    """Return what an Execution of an archive has started itself."""
    found = ((one, parent_of(one.metadata.owner_references)) for one in archive.executions)
    return [one for one, owner in found if owner is not None and owner.uid == parent.metadata.uid]


async def iterate(send: Send, namespace: str, wanted: Filter) -> AsyncIterator[Execution]:
    """Yield the archived Executions that fit. An archive that cannot be read is left out, with a warning.

    Args:
        send: sends a request.
        namespace: where; an empty one means all.
        wanted: which of them. With phases, what was archived and runs again since is left out.

    Raises:
        ApiError: the server refuses.
    """
    seen: set[str] = set()
    living: set[str] | None = None
    async for part in _pages(send, namespace, *_selectors(wanted)):
        spec = part.spec
        if spec.part != 1 or spec.uid in seen or not _may_fit(part, wanted):
            continue
        archive = await _read(send, part)
        if archive is None:
            continue
        seen.add(spec.uid)
        found = [execution for execution in archive.executions if wanted.fits(execution)]
        if found and wanted.phases and spec.phase in RETRYABLE_PHASES:
            if living is None:
                living = await _living_roots(send, namespace)
            if spec.uid in living:
                continue
        for execution in found:
            yield execution


async def _read(send: Send, first: ArchivedExecution) -> Archive | None:
    """Return what is in an archive; None, and a warning, if it cannot be read: the others can."""
    try:
        return archives.unpack([first] if first.spec.parts == 1 else await _others(send, first))
    except ArchiveError as error:
        if not (isinstance(error, MissingPartsError) and error.is_unfinished):
            _log.warning("left out of a list of Executions: %s", error)
        return None


async def _living_roots(send: Send, namespace: str) -> set[str]:
    """Return the uids of roots that live, or may have been retried since they were archived."""
    found: set[str] = set()
    async for page in fetch_pages(
        send,
        requests.EXECUTIONS,
        _decode_metadata,
        namespace=namespace,
        size=_METADATA_PAGE_SIZE,
        label_selector=f"!{labels.ROOT}",
        field_selector=_NOT_FINAL,
        only_metadata=True,
    ):
        found.update(one.metadata.uid for one in page.items or ())
    return found


def _selectors(wanted: Filter) -> tuple[str, str]:
    """Return what the server can leave out: labels and plain text are those of roots."""
    if wanted.root is not None:
        return "", f"spec.execution={wanted.root}"
    if not wanted.only_root:
        return "", ""
    fields = [f"spec.function={wanted.function}"] if wanted.function is not None else []
    fields += [f"spec.phase!={phase}" for phase in Phase if wanted.phases and phase not in wanted.phases]
    return ",".join(f"{key}={value}" for key, value in wanted.labels.items()), ",".join(fields)


def _may_fit(part: ArchivedExecution, wanted: Filter) -> bool:
    """Tell whether it is worth unpacking: of a root alone the plain text says everything."""
    spec = part.spec
    return spec.executions > 1 or (
        wanted.root is None
        and wanted.function in (None, spec.function)
        and (not wanted.phases or spec.phase in wanted.phases)
    )


async def _read_all(send: Send, namespace: str, root: str) -> list[list[ArchivedExecution]]:
    """Return the parts of each archive of roots of a name: whole ones first, of these the newest."""
    by_archive: dict[tuple[str, str], tuple[PartKey, list[ArchivedExecution]]] = {}
    async for part in _pages(send, namespace, "", f"spec.execution={root}"):
        key = archives.part_key(part.metadata)
        if key is not None:
            by_archive.setdefault((key.uid, key.digest), (key, []))[1].append(part)
    found = list(by_archive.values())
    found.sort(
        key=lambda one: (len(one[1]) == one[0].parts, one[0].version, one[0].newest, one[0].digest), reverse=True
    )
    return [parts for _, parts in found]


async def _others(send: Send, first: ArchivedExecution) -> list[ArchivedExecution]:
    """Return all parts of an archive, that one among them."""
    wanted = archives.part_key(first.metadata)
    found = _pages(send, first.metadata.namespace, "", f"spec.execution={first.spec.execution}")
    keyed = [(archives.part_key(part.metadata), part) async for part in found]
    return [part for key, part in keyed if key and wanted and (key.uid, key.digest) == (wanted.uid, wanted.digest)]


async def _roots_of_child(send: Send, namespace: str, name: str) -> Iterable[str]:
    """Return the names of archived roots that a child of this name may belong to, by metadata alone."""
    if _MADE_BY_US.search(name) is None:
        return ()
    found: set[str] = set()
    pages = fetch_pages(
        send,
        requests.ARCHIVED_EXECUTIONS,
        _decode_metadata,
        namespace=namespace,
        size=_METADATA_PAGE_SIZE,
        only_metadata=True,
    )
    try:
        async for page in pages:
            for one in page.items or ():
                key = archives.part_key(one.metadata)
                if key is not None and key.part == 1 and name.startswith(key.execution[:_SURELY_KEPT].rstrip("-.")):
                    found.add(key.execution)
    except errors.NotFound:
        return ()
    return sorted(found - {name})


async def _pages(
    send: Send, namespace: str, label_selector: str, field_selector: str
) -> AsyncIterator[ArchivedExecution]:
    """Yield parts; none where the kind is not installed."""
    pages = fetch_pages(
        send,
        requests.ARCHIVED_EXECUTIONS,
        _decode_page,
        namespace=namespace,
        size=PAGE_SIZE,
        label_selector=label_selector,
        field_selector=field_selector,
    )
    with contextlib.suppress(errors.NotFound):
        async for page in pages:
            for part in page.items:
                yield part


def not_found(error: errors.NotFound, reason: errors.Forbidden | MissingPartsError) -> errors.NotFound:
    """Return an error that says why nothing was found in an archive, either."""
    text = f"archives may not be read: {reason}" if isinstance(reason, errors.Forbidden) else str(reason)
    return errors.NotFound(f"{error}; {text}", status=error.status, reason=error.reason)
