"""A tree that is kept up to date: watches of its Executions, Suspensions and Jobs, by the label of their root.

One watch of the Execution itself, which carries no such label, and one for each kind. All are level-based
(``kontinue.kube.reflector``): what is believed follows from the last list and the changes since. A tree is made when
somebody asks for it, so changes that come faster than they are looked at cost next to nothing.
Called through ``Client.watch_tree``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Self

from kontinue import errors
from kontinue.api.v1alpha1 import Execution
from kontinue.client.tree import ExecutionTree, Member
from kontinue.client.tree_reading import EXTRAS, KINDS, selector_of, warn_left_out
from kontinue.client.tree_state import TreeState
from kontinue.kube import requests
from kontinue.kube.reflector import REFUSALS, Listed, Reflector
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

TOP: Final = "the Execution"


class TreeWatcher:
    """A tree that follows the cluster: ``async with`` it, then iterate over its states.

    Each iteration gives the newest state; states that nobody waited for are skipped. Transient errors reconnect and
    show in ``last_error``, fatal ones are raised. It ends when ``stop`` is called or the Execution is deleted, also if
    another one was created under its name; what has been archived has one state. Suspensions and Jobs are left out if
    they may not be read.
    """

    def __init__(
        self, transport: Transport, fetch: Callable[[], Coroutine[Any, Any, Execution | ExecutionTree]]
    ) -> None:
        self._transport = transport
        self._fetch = fetch
        self._archived: ExecutionTree | None = None
        self._state = TreeState()
        self._changed = asyncio.Event()
        self._unlisted: set[object] = set()
        self._reflectors: list[Reflector[Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def last_error(self) -> errors.ApiError | None:
        """Why it is not up to date at the moment; None while all is well."""
        return next((reflector.last_error for reflector in self._reflectors if reflector.last_error), None)

    async def __aenter__(self) -> Self:
        top = await self._fetch()
        if isinstance(top, ExecutionTree):
            self._archived = top
            return self
        self._state.set_top(top)
        meta = top.metadata
        itself = self._reflector(requests.EXECUTIONS, meta.namespace, Execution, fields=f"metadata.name={meta.name}")
        self._start(TOP, self._follow_top(itself, meta.uid))
        for kind, resource in KINDS.items():
            reflector = self._reflector(resource, meta.namespace, kind, label_selector=selector_of(top))
            self._start(kind, self._follow_kind(kind, resource, reflector))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[ExecutionTree]:
        if self._archived is not None:
            yield self._archived
            return
        self._changed.set()  # every iteration starts with the state as it is
        while True:
            await self._changed.wait()
            self._changed.clear()
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()
            if self._stopped or self._state.top is None:
                return
            if not self._unlisted and (tree := self._state.build()) is not None:
                yield tree

    async def stop(self) -> None:
        """Close the watches; an iteration under way ends."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._changed.set()

    def _reflector(
        self, resource: Resource, namespace: str, type_: type[Any], *, label_selector: str = "", fields: str = ""
    ) -> Reflector[Any]:
        reflector: Reflector[Any] = Reflector(
            self._transport,
            resource,
            namespace,
            type_=type_,
            label_selector=label_selector,
            field_selector=fields,
            fatal=REFUSALS,
        )
        self._reflectors.append(reflector)
        return reflector

    def _start(self, part: object, following: Coroutine[Any, Any, None]) -> None:
        self._unlisted.add(part)
        task = asyncio.create_task(following, name=f"kontinue tree watch, {part}")
        task.add_done_callback(lambda _: self._changed.set())
        self._tasks.append(task)

    async def _follow_top(self, reflector: Reflector[Execution], uid: str) -> None:
        """Return when it is gone: another one that is created under its name has a tree of its own."""
        async with aclosing(reflector.follow()) as stream:
            async for news in stream:
                match news:
                    case Listed(objects=objects):
                        self._unlisted.discard(TOP)
                        found = objects[0] if objects else None
                    case Changed(type=type_, object=changed):
                        found = None if type_ == "DELETED" else changed
                    case _:
                        continue
                is_there = found is not None and found.metadata.uid == uid
                self._state.set_top(found if is_there else None)
                self._changed.set()
                if not is_there:
                    return

    async def _follow_kind(self, kind: type[Member], resource: Resource, reflector: Reflector[Member]) -> None:
        try:
            async with aclosing(reflector.follow()) as stream:
                async for news in stream:
                    match news:
                        case Listed(objects=objects):
                            self._unlisted.discard(kind)
                            self._state.replace(kind, objects)
                        case Changed(type="DELETED", object=found):
                            self._state.remove(found.metadata.uid)
                        case Changed(object=found):
                            self._state.put(found)
                        case _:
                            continue
                    self._changed.set()
        except (errors.Forbidden, errors.NotFound) as error:
            if kind not in EXTRAS:
                raise
            warn_left_out(resource, error)
            self._state.replace(kind, ())
            self._unlisted.discard(kind)
            self._reflectors.remove(reflector)
