"""Internal. MemoPages as API objects: create, read a chain, delete.

Called by ``controllers`` before a status write that drops records (``create``), before a replay (``fetch``), and when
a chain is given up (``delete_older``). Names come from the content, so that a page written twice is recognised; pages
that no status ever named are harmless, and go with their Execution.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, MemoPage, MemoPageSpec, MemoPagesStatus
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue.naming import memo_page_name
from kontinue_engine.errors import EngineError
from kontinue_engine.lifecycle.memo import MemoBytes, Page, parse_memo


class PageMissingError(EngineError):
    """A page that a status names does not exist, or is not what was written: the memo is not whole."""


class Owner(msgspec.Struct, frozen=True):
    """The Execution that pages belong to, in one of its runs."""

    namespace: str
    name: str
    uid: str
    run_epoch: int


async def create(transport: Transport, owner: Owner, page: Page) -> None:
    """Create a page; one that is there already is left as it is.

    Something else by that name was left behind by an Execution of the same name, and is deleted.

    Raises:
        ApiError: the server refuses it.
    """
    name = memo_page_name(owner.name, owner.run_epoch, page.digest)
    reference = OwnerReference(
        api_version=labels.API_VERSION, kind="Execution", name=owner.name, uid=owner.uid, controller=True
    )
    wanted = MemoPage(
        metadata=ObjectMeta(
            name=name, labels={labels.EXECUTION: labels.label_value(owner.name)}, owner_references=[reference]
        ),
        spec=MemoPageSpec(
            execution=owner.name,
            run_epoch=owner.run_epoch,
            number=page.number,
            memo=msgspec.Raw(page.memo),
            previous=page.previous,
        ),
    )
    backoff = Backoff()
    while True:
        try:
            await transport.send(requests.create(requests.MEMO_PAGES, owner.namespace, wanted), repeatable=True)
        except errors.AlreadyExists:
            if not await _is_there(transport, owner, wanted):
                await asyncio.sleep(backoff.next_s())
                continue
        return


async def _is_there(transport: Transport, owner: Owner, wanted: MemoPage) -> bool:
    """Tell whether the page exists; what has its name and is something else is deleted."""
    # Not a GET: a list needs no right that nothing else needs.
    selector = f"metadata.name={wanted.metadata.name}"
    named = Reflector(transport, requests.MEMO_PAGES, owner.namespace, type_=MemoPage, field_selector=selector)
    for found in (await named.fetch()).objects:
        if _is_own(found, owner) and _content(found) == _content(wanted):
            return True
        await _delete(transport, owner.namespace, found)
    return False


def _is_own(page: MemoPage, owner: Owner) -> bool:
    is_going = page.metadata.deletion_timestamp is not None
    return not is_going and any(one.uid == owner.uid for one in page.metadata.owner_references)


def _content(page: MemoPage) -> object:
    """Return what a page says, comparable: the server may order keys anew."""
    return msgspec.json.decode(msgspec.json.encode(page.spec))


async def _delete(transport: Transport, namespace: str, page: MemoPage) -> None:
    meta = page.metadata
    request = requests.delete(
        requests.MEMO_PAGES, namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
    )
    with contextlib.suppress(errors.NotFound, errors.Conflict):
        await transport.send(request)


async def _list(transport: Transport, owner: Owner) -> list[MemoPage]:
    selector = f"{labels.EXECUTION}={labels.label_value(owner.name)}"
    pages = Reflector(transport, requests.MEMO_PAGES, owner.namespace, type_=MemoPage, label_selector=selector)
    return [page for page in (await pages.fetch()).objects if _is_own(page, owner)]


async def fetch(transport: Transport, owner: Owner, chain: MemoPagesStatus) -> list[MemoBytes]:
    """Return the pages of a chain, in order. One list, whatever their number.

    Raises:
        PageMissingError: one is missing, or is not what was written.
        MemoUnreadableError: one does not hold a memo.
        ApiError: the server refuses.
    """
    by_name = {page.metadata.name: page.spec for page in await _list(transport, owner)}
    return join(owner.name, owner.run_epoch, chain, by_name)


def join(
    execution: str, run_epoch: int, chain: MemoPagesStatus, by_name: Mapping[str, MemoPageSpec]
) -> list[MemoBytes]:
    """Return the pages of a chain among those at hand, in order.

    Raises:
        PageMissingError: one is missing, or is not what was written.
        MemoUnreadableError: one does not hold a memo.
    """
    found: list[MemoBytes] = []
    digest = chain.last
    for number in range(chain.count, 0, -1):
        name = memo_page_name(execution, run_epoch, digest)
        spec = by_name.get(name)
        if spec is None or spec.number != number:
            raise PageMissingError(f"MemoPage {name}, number {number} of {chain.count}, is missing")
        found.append(parse_memo(spec.memo))
        digest = spec.previous
    found.reverse()
    held = len(MemoBytes().with_pages(found).records)
    if held != chain.records:  # bytes and digests do not tell: servers write JSON anew
        raise PageMissingError(f"the MemoPages of {execution} hold {held} records, and not the {chain.records} written")
    return found


async def with_whole_memo(transport: Transport, execution: Execution) -> Execution:
    """Return an Execution as if its ``status.state`` had everything that stands in pages: for readers.

    Raises:
        PageMissingError: one is missing, or is not what was written.
        MemoUnreadableError: a page or the status does not hold a memo.
        ApiError: the server refuses.
    """
    meta, status = execution.metadata, execution.status
    if status.memo_pages is None:
        return execution
    owner = Owner(meta.namespace, meta.name, meta.uid, status.run_epoch)
    return _joined(execution, await fetch(transport, owner, status.memo_pages))


def with_pages_at_hand(execution: Execution, by_name: Mapping[str, MemoPageSpec]) -> Execution:
    """Do the same with pages that were read elsewhere, from a file for example.

    Raises:
        PageMissingError: one is missing, or is not what was written.
        MemoUnreadableError: a page or the status does not hold a memo.
    """
    status = execution.status
    if status.memo_pages is None:
        return execution
    return _joined(execution, join(execution.metadata.name, status.run_epoch, status.memo_pages, by_name))


def _joined(execution: Execution, pages: Sequence[MemoBytes]) -> Execution:
    status = execution.status
    whole = parse_memo(status.state, status.memo_pages).with_pages(pages)
    return msgspec.structs.replace(execution, status=msgspec.structs.replace(status, state=whole.encode()))


async def delete_older(transport: Transport, owner: Owner) -> None:
    """Delete the pages of earlier runs.

    Raises:
        ApiError: the server refuses.
    """
    for page in await _list(transport, owner):
        if page.spec.run_epoch < owner.run_epoch:
            await _delete(transport, owner.namespace, page)
