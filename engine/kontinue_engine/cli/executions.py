"""Internal. Reads objects for the verbs, one or a list, as the server sent them or decoded.

Over the client's transport, not through the client, because ``-o json`` shows fields that our structs leave out.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from kontinue.api.meta import PartialObjectMetadata
from kontinue.api.v1alpha1 import Execution
from kontinue.client import archived
from kontinue.errors import ApiError, Forbidden, NotFound
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.listing import PAGE_LIMIT, RETRY_FOR_S, ListOf, list_objects
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import GlobalOptions
from kontinue_engine.kube import memo_pages

_SUGGESTED: Final = 3
_LISTED_BY: Final = {
    requests.EXECUTIONS.plural: "get",
    requests.FUNCTIONS.plural: "functions",
    requests.SUSPENSIONS.plural: "suspensions",
    requests.SCHEDULED_EXECUTIONS.plural: "schedules",
}
"""The verb that shows what there is."""


async def fetch_execution(transport: Transport, namespace: str, name: str) -> Execution:
    """Return one Execution; from its archive if it does not live any more.

    Raises:
        NotFound: there is none of that name; says where it was looked for and how to see the others.
    """
    return msgspec.json.decode(await fetch_raw(transport, requests.EXECUTIONS, namespace, name), type=Execution)


async def fetch_raw(transport: Transport, resource: requests.Resource, namespace: str, name: str) -> bytes:
    """Return one object as the server sent it; of an Execution that has been archived, what its archive says.

    Raises:
        NotFound: there is none of that name.
    """
    try:
        return await transport.send(requests.get(resource, namespace, name), retry_for_s=RETRY_FOR_S)
    except NotFound as error:
        if resource is requests.EXECUTIONS and (found := await _from_archive(transport, namespace, name)) is not None:
            return msgspec.json.encode(found)
        raise await _not_found(transport, resource, namespace, name, error) from error


@asynccontextmanager
async def suggesting(connection: Connection, resource: requests.Resource, name: str) -> AsyncIterator[None]:
    """Have the error of a name that does not exist say which one may be meant.

    Raises:
        NotFound: there is none of that name.
    """
    try:
        yield
    except NotFound as error:
        raise await _not_found(connection.transport, resource, connection.namespace, name, error) from error


async def _not_found(
    transport: Transport, resource: requests.Resource, namespace: str, name: str, error: NotFound
) -> NotFound:
    try:
        request = requests.list_objects(resource, namespace, limit=PAGE_LIMIT, only_metadata=True)
        listed = msgspec.json.decode(await transport.send(request, retries=False), type=ListOf[PartialObjectMetadata])
        known = [one.metadata.name for one in listed.items or ()]
    except (ApiError, msgspec.MsgspecError):
        known = []  # a role may read what it may not list
    close = _close_to(name, known)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return NotFound(
        f"{resource.kind} {name!r} not found in namespace {namespace}.{hint} "
        f"`kontinue {_LISTED_BY[resource.plural]} -n {namespace}` lists what is there.",
        status=error.status,
        reason=error.reason,
    )


def _close_to(name: str, known: Sequence[str]) -> list[str]:
    """Return the names that may be meant; nobody remembers what the names of Executions end in."""
    if close := difflib.get_close_matches(name, known, n=_SUGGESTED):
        return close
    by_stem: dict[str, list[str]] = {}
    for one in known:
        by_stem.setdefault(one.rpartition("-")[0] or one, []).append(one)
    for meant in (name, name.rpartition("-")[0]):
        for stem in difflib.get_close_matches(meant, by_stem, n=1):
            return by_stem[stem][-_SUGGESTED:]
    return []


async def with_whole_memo(connection: Connection, execution: Execution) -> Execution:
    """Return an Execution as if its ``status.state`` had everything that stands in MemoPages, archived ones included.

    Raises:
        PageMissingError: one is missing, or is not what was written.
        MemoUnreadableError: a page or the status does not hold a memo.
        ApiError: the server refuses.
    """
    if not execution.is_archived:
        return await memo_pages.with_whole_memo(connection.transport, execution)
    archive = await connection.client.get_archive(execution, namespace=connection.namespace)
    return memo_pages.with_pages_at_hand(execution, {page.metadata.name: page.spec for page in archive.pages})


async def _from_archive(transport: Transport, namespace: str, name: str) -> Execution | None:
    async def send(request: requests.Request) -> bytes:
        return await transport.send(request, retry_for_s=RETRY_FOR_S)

    try:
        archive = await archived.find(send, namespace, name)
    except Forbidden:
        return None
    return archived.pick(archive, name) if archive is not None else None


async def choose_names(connection: Connection, options: GlobalOptions, names: Sequence[str] | None) -> Sequence[str]:
    """Return the names that a verb is given, or those of the Executions that its selector means.

    Raises:
        NotFound: the selector means none.
    """
    if names:
        return names
    where = connection.namespace
    page = await list_objects(
        connection.transport,
        requests.EXECUTIONS,
        where,
        PartialObjectMetadata,
        label_selector=options.selector,
        only_metadata=True,
    )
    if not page.items:
        raise NotFound(f"no Executions in namespace {where} match {options.selector}", status=404)
    return [one.metadata.name for one in page.items]


async def print_executions(
    connection: Connection, options: GlobalOptions, names: Sequence[str], *, as_list: bool
) -> None:
    """Print Executions as the server has them now, in a format for programs; ``as_list`` wraps even one in a List.

    Raises:
        NotFound: one of them does not exist.
    """
    where = connection.namespace
    raws = [await fetch_raw(connection.transport, requests.EXECUTIONS, where, name) for name in names]
    print_objects([msgspec.Raw(raw) for raw in raws], output=options.output, as_list=as_list)
