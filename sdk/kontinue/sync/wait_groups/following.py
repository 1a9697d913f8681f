"""Waits for a WaitGroup to be done: any number of waits of one process share a watch, which lives as long as they do.

A wait ends by what it sees, and by ``status.rounds``, which tells of an end that was over again before it was seen.
Called by ``kontinue.sync.wait_groups.wait_group``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.client.shared_task import SharedTask
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport
from kontinue.sync.objects.watching import Gone, gone, missing, states, version

_decode: Final = reader(WaitGroup)


class _Waiter(msgspec.Struct, eq=False):
    ended: asyncio.Future[WaitGroup]
    for_first_add: bool
    start: WaitGroup | None = None
    """As it was when the wait began; None until that is known."""
    on_progress: Callable[[WaitGroup], object] | None = None
    needs_list: bool = False
    """It began before the watch, whose list is new enough for it: a thousand that begin together need one list."""


def is_over(group: WaitGroup, *, start: WaitGroup, for_first_add: bool) -> bool:
    """Tell whether a wait that began when the group was as in ``start`` has ended."""
    if group.status.rounds > start.status.rounds:
        return True
    return group.counter == 0 and (not for_first_add or group.status.added > 0)


class Following:
    """Waits of one process for one WaitGroup.

    Args:
        transport: to the API server.
        namespace: of the WaitGroup.
        name: of the WaitGroup.
        retry_for_s: how long it is tried to be read.
    """

    def __init__(self, transport: Transport, namespace: str, name: str, *, retry_for_s: float) -> None:
        self.latest: WaitGroup | None = None
        """As last seen by a wait under way, or by the last one."""
        self._transport = transport
        self._namespace = namespace
        self._name = name
        self._retry_for_s = retry_for_s
        self._waiters: list[_Waiter] = []
        self._task = SharedTask(self._follow, name=f"kontinue waits for {name}", is_needed=lambda: bool(self._waiters))
        self._has_asked = False
        """Whether the list of the watch under way may be older than a wait that begins now."""

    async def read(self) -> WaitGroup:
        """Read it now.

        Raises:
            NotFound: there is none.
            ApiError: the server refuses, or was away for too long.
        """
        request = requests.get(requests.WAIT_GROUPS, self._namespace, self._name)
        return _decode(await self._transport.send(request, retry_for_s=self._retry_for_s))

    async def until_done(
        self, *, for_first_add: bool, on_progress: Callable[[WaitGroup], object] | None = None
    ) -> WaitGroup:
        """Return the WaitGroup once it is done, or has been meanwhile.

        Args:
            for_first_add: one that nothing was ever added to is not done yet.
            on_progress: called with each state in which it is not; what it raises ends this wait.

        Raises:
            NotFound: it does not exist, or not any more.
            ApiError: the server refuses to be watched.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future(), for_first_add, on_progress=on_progress)
        self._waiters.append(waiter)
        try:
            if not self._task.is_running:
                self.latest = None
                self._has_asked = False
                self._task.start()
            if not self._has_asked:
                waiter.needs_list = True
            else:
                # What the watch has shown so far may be older than this call: an add before it must count.
                self._begin(waiter, await self.read())
            return await waiter.ended
        finally:
            self._waiters.remove(waiter)
            if not waiter.ended.cancel() and not waiter.ended.cancelled():
                waiter.ended.exception()  # seen, whether or not somebody awaited it
            if not self._waiters:
                self._task.stop()

    async def _follow(self) -> None:
        self._has_asked = True
        following = states(self._transport, requests.WAIT_GROUPS, self._namespace, self._name, WaitGroup)
        try:
            async with aclosing(following) as found:
                async for state in found:
                    match state:
                        case Gone.DELETED:
                            raise self._gone("was deleted")
                        case Gone.MISSING:
                            raise missing(requests.WAIT_GROUPS, self._namespace, self._name)
                        case _:
                            self._show(state)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._fail(error)

    def _show(self, group: WaitGroup) -> None:
        self.latest = group
        for waiter in self._waiters:
            if waiter.start is not None:
                self._judge(waiter, group)
            elif waiter.needs_list:
                self._begin(waiter, group)

    def _begin(self, waiter: _Waiter, group: WaitGroup) -> None:
        waiter.start = group
        self._judge(waiter, group)
        if self.latest is not None and version(self.latest) > version(group):
            self._judge(waiter, self.latest)

    def _judge(self, waiter: _Waiter, group: WaitGroup) -> None:
        start = waiter.start
        if waiter.ended.done() or start is None or version(group) < version(start):
            return
        if group.metadata.uid != start.metadata.uid:
            self._fail_one(waiter, self._gone("was deleted and made again"))
        elif is_over(group, start=start, for_first_add=waiter.for_first_add):
            waiter.ended.set_result(group)
        elif waiter.on_progress is not None:
            try:
                waiter.on_progress(group)
            except Exception as error:  # noqa: BLE001 - it is the user's, and other waits go on
                self._fail_one(waiter, error)

    def _gone(self, how: str) -> errors.NotFound:
        return gone(requests.WAIT_GROUPS, self._namespace, self._name, how)

    def _fail(self, error: Exception) -> None:
        for waiter in self._waiters:
            self._fail_one(waiter, error)

    def _fail_one(self, waiter: _Waiter, error: Exception) -> None:
        if not waiter.ended.done():
            waiter.ended.set_exception(error)
