"""Internal. Reads Executions for the verbs: one, a list, or a tree that is kept up to date by a watch.

Over the client's transport; knows selectors and paging, prints nothing. ``TreeFeed`` follows two selections, the
Execution itself and what carries its root label, so a server that restarts is only a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ObjectList
from kontinue.api.v1alpha1 import Execution
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.reflector import Listed, Reconnected, Reflector
from kontinue.kube.watch import Changed
from kontinue_engine.cli.execution_tree import TreeNode, build_tree, root_name

_PAGE_LIMIT: Final = 500
_RETRY_FOR_S: Final = 15.0

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Everything that a list returned, decoded as ``T``, and the version it was read at."""

    items: list[T]
    resource_version: str


async def fetch_execution(transport: KubeTransport, namespace: str, name: str) -> Execution:
    """Return one Execution.

    Raises:
        NotFound: there is none of that name; says where it was looked for and how to see the others.
    """
    return msgspec.json.decode(await fetch_raw(transport, requests.EXECUTIONS, namespace, name), type=Execution)


async def fetch_raw(transport: KubeTransport, resource: requests.Resource, namespace: str, name: str) -> bytes:
    """Return one object as the server sent it.

    Raises:
        NotFound: there is none of that name.
    """
    try:
        return await transport.send(requests.get(resource, namespace, name), retry_for_s=_RETRY_FOR_S)
    except NotFound as error:
        verb = "get" if resource is requests.EXECUTIONS else "functions"
        raise NotFound(
            f"{resource.kind} {name!r} not found in namespace {namespace}. "
            f"`kontinue {verb} -n {namespace}` lists what is there.",
            status=error.status,
            reason=error.reason,
        ) from error


async def list_objects(
    transport: KubeTransport, resource: requests.Resource, namespace: str, type_: type[T], **selectors: str
) -> Page[T]:
    """Return all objects of a selection, page by page."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ObjectList[type_])  # type: ignore[valid-type]
    items: list[T] = []
    token = ""
    while True:
        request = requests.list_objects(resource, namespace, limit=_PAGE_LIMIT, continue_token=token, **selectors)
        page = decoder.decode(await transport.send(request, retry_for_s=_RETRY_FOR_S))
        items += page.items
        token = page.metadata.continue_
        if not token:
            return Page(items, page.metadata.resource_version)


async def fetch_tree(transport: KubeTransport, namespace: str, name: str) -> TreeNode:
    """Return the tree below an Execution as it is now.

    Raises:
        NotFound: there is none of that name.
    """
    top = await fetch_execution(transport, namespace, name)
    below = await list_objects(
        transport, requests.EXECUTIONS, namespace, Execution, label_selector=f"{labels.ROOT}={root_name(top)}"
    )
    tree = build_tree([top, *(other for other in below.items if other.metadata.name != name)], name)
    return tree or TreeNode(top)


class TreeFeed:
    """Keeps the tree of one Execution up to date. Use ``changes``; ``tree`` is the latest state."""

    def __init__(self, transport: KubeTransport, namespace: str, name: str) -> None:
        self._transport = transport
        self._namespace = namespace
        self._name = name
        self._by_name: dict[str, Execution] = {}
        self._changed = asyncio.Event()

    @property
    def tree(self) -> TreeNode:
        """The tree as last seen."""
        return build_tree(self._by_name.values(), self._name) or TreeNode(self._by_name[self._name])

    async def changes(self, *, every_s: float, idle_s: float | None = None) -> AsyncGenerator[TreeNode, None]:
        """Yield the tree at once, then after changes, at most once in ``every_s``. Close it when done.

        Args:
            every_s: pause after each yield, in which changes are collected.
            idle_s: yield the same tree again after so long without a change; None: never.

        Raises:
            NotFound: the Execution does not exist, or was deleted meanwhile.
        """
        top = await fetch_execution(self._transport, self._namespace, self._name)
        self._by_name[self._name] = top
        selections = (
            {"field_selector": f"metadata.name={self._name}"},
            {"label_selector": f"{labels.ROOT}={root_name(top)}"},
        )
        followers = [asyncio.create_task(self._follow(**selection), name="follow tree") for selection in selections]
        try:
            while True:
                yield self.tree
                waiter = asyncio.create_task(self._changed.wait(), name="await change")
                await asyncio.wait([waiter, *followers], timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
                waiter.cancel()
                for follower in followers:
                    if follower.done():
                        follower.result()  # followers only end by an error
                self._changed.clear()
                await asyncio.sleep(every_s)
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    async def _follow(self, *, label_selector: str = "", field_selector: str = "") -> None:
        reflector = Reflector(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=Execution,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        async with aclosing(reflector.follow()) as news:
            async for item in news:
                match item:
                    case Listed(objects=objects):
                        for execution in objects:
                            self._note(execution)
                        if label_selector:
                            self._forget_all_but({self._name, *(execution.metadata.name for execution in objects)})
                        elif not objects:
                            raise self._deleted()
                    case Changed(type="DELETED", object=execution) if execution.metadata.name == self._name:
                        raise self._deleted()
                    case Changed(type="DELETED", object=execution):
                        self._by_name.pop(execution.metadata.name, None)
                        self._changed.set()
                    case Changed(object=execution):
                        self._note(execution)
                    case Reconnected():
                        pass

    def _deleted(self) -> NotFound:
        return NotFound(f"Execution {self._name!r} was deleted from namespace {self._namespace}", status=404)

    def _note(self, execution: Execution) -> None:
        known = self._by_name.get(execution.metadata.name)
        if known is None or _version(known) < _version(execution):
            self._by_name[execution.metadata.name] = execution
            self._changed.set()

    def _forget_all_but(self, names: set[str]) -> None:
        for name in self._by_name.keys() - names:
            del self._by_name[name]
            self._changed.set()


def _version(execution: Execution) -> int:
    # Two watches may show one object: versions are compared as numbers, as Kubernetes allows since 1.35 (KEP-5504).
    return int(execution.metadata.resource_version or 0)
