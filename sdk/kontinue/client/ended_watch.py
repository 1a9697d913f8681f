"""One watch per namespace that serves all waits of a client, be it one or thousands.

It selects only Executions that have ended or are blocked, so running ones cost nothing. Those seen lately are
remembered: an Execution that ended between its spawn and the wait is found without a read. Level-based: when the watch
is opened anew, everything waited for is read again, which also notices deleted ones.
Used by ``kontinue.client.waiting``; opened by the first wait, closed some time after the last one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Coroutine
from contextlib import aclosing
from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api.v1alpha1 import ENDED_PHASES, TERMINAL_PHASES, Execution, Phase
from kontinue.client.shared_task import SharedTask
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.reflector import REFUSALS, Listed, Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

ENDED_SELECTOR: Final = ",".join(
    f"status.phase!={phase}" for phase in ("", *(phase.value for phase in Phase if phase not in ENDED_PHASES))
)
"""All phases that are not an end, the empty one of a new object included."""
LINGER_S: Final = 30.0
"""A watch without waits is kept this long: a script that spawns one after another needs one watch."""
REMEMBERED: Final = 1024
MAX_REMEMBERED_BYTES: Final = 16 * 1024
"""Larger ones are read again rather than kept: at most 16 MiB stay in memory."""
CHECKS_AT_ONCE: Final = 16

_decode: Final = reader(Execution)


def has_come_to(execution: Execution, phases: Collection[Phase]) -> bool:
    """Tell whether it is in one of the phases; the end of an attempt does not count once another one is asked for."""
    return execution.phase in phases and not execution.is_retry_requested


class _Waiter(msgspec.Struct, eq=False):
    uid: str
    with_blocked: bool
    ended: asyncio.Future[Execution]


class EndedWatch:
    """Waits for the end of Executions of one namespace."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self._namespace = namespace
        self._waiters: dict[str, list[_Waiter]] = {}
        self._recent: OrderedDict[str, Execution] = OrderedDict()
        self._is_open = False
        self._known_from: int | None = None
        """Everything that ended after this resourceVersion was seen and is remembered; None: nothing is sure."""
        self._task = SharedTask(
            self._begin, name=f"kontinue waits in {namespace}", is_needed=lambda: bool(self._waiters)
        )
        self._idle: asyncio.TimerHandle | None = None
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._retried: OrderedDict[str, int] = OrderedDict()
        """Uid -> resourceVersion at which a retry was asked for: ends before that are none."""

    async def wait(self, name: str, *, uid: str = "", version: str = "", with_blocked: bool = True) -> Execution:
        """Return the Execution once it is terminal or, with ``with_blocked``, blocked.

        Args:
            name: of the Execution.
            uid: which one of that name; empty means whichever there is.
            version: a resourceVersion at which it had not ended, or of its end, if one is known: saves a read.
            with_blocked: whether phase Blocked ends the wait.

        Raises:
            NotFound: it does not exist (any more).
            ApiError: the server refuses to be watched.
        """
        waiter = _Waiter(uid, with_blocked, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(name, []).append(waiter)
        try:
            self._keep_open()
            if self._covers(version):
                recent = self._recent.get(name)
                if recent is not None:
                    self._tell(recent)
            elif self._is_open:
                await self._check(name)
            return await waiter.ended
        finally:
            if not waiter.ended.cancel() and not waiter.ended.cancelled():
                waiter.ended.exception()  # seen, whether or not somebody awaited it
            waiting = self._waiters[name]
            waiting.remove(waiter)
            if not waiting:
                del self._waiters[name]
            if not self._waiters:
                self._linger()

    def note_retry(self, asked: Execution) -> None:
        """A retry was asked for; what the watch still shows of the last end is not waited for any more."""
        version = asked.metadata.resource_version
        if version.isdecimal():
            self._retried[asked.metadata.uid] = int(version)
            if len(self._retried) > REMEMBERED:
                self._retried.popitem(last=False)

    def _has_ended(self, execution: Execution, *, with_blocked: bool) -> bool:
        meta = execution.metadata
        is_old = meta.resource_version.isdecimal() and int(meta.resource_version) < self._retried.get(meta.uid, 0)
        return has_come_to(execution, ENDED_PHASES if with_blocked else TERMINAL_PHASES) and not is_old

    async def close(self) -> None:
        """Stop watching; waits under way raise InvalidState."""
        if self._idle is not None:
            self._idle.cancel()
        task = self._task.stop()
        if task is not None:
            await asyncio.wait((task,))
        self._fail(errors.InvalidState("the client was closed during a wait"))

    def _covers(self, version: str) -> bool:
        """Tell whether an end at ``version`` or later was seen and is remembered, or will be seen.

        Whoever attaches knows no earlier version than that of the end; so one that is just known does not count.
        """
        return self._known_from is not None and version.isdecimal() and int(version) > self._known_from

    def _keep_open(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._task.is_running:
            self._task.start()

    def _linger(self) -> None:
        def stop() -> None:
            if not self._waiters:
                self._task.stop()

        self._idle = asyncio.get_running_loop().call_later(LINGER_S, stop)

    def _begin(self) -> Coroutine[Any, Any, None]:
        self._is_open = False
        self._known_from = None
        self._recent.clear()
        return self._run()

    async def _run(self) -> None:
        reflector = Reflector(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=Execution,
            field_selector=ENDED_SELECTOR,
            watch_only=True,
            fatal=REFUSALS,
        )
        try:
            async with asyncio.TaskGroup() as checks, aclosing(reflector.follow()) as stream:
                async for news in stream:
                    if isinstance(news, Changed):
                        self._take(news)
                        continue
                    if isinstance(news, Listed):
                        self._recent.clear()
                        self._known_from = int(version) if (version := news.resource_version).isdecimal() else None
                        self._is_open = True
                    for name in self._waiters:
                        checks.create_task(self._check(name), name=f"kontinue check of {name}")
        except* Exception as group:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._fail(group.exceptions[0])

    def _take(self, change: Changed[Execution]) -> None:
        execution = change.object
        name = execution.metadata.name
        self._recent.pop(name, None)
        if change.type == "DELETED":
            return  # it runs again, or is gone; the latter shows at the next check
        if _size(execution) <= MAX_REMEMBERED_BYTES:
            self._recent[name] = execution
            if len(self._recent) > REMEMBERED:
                self._forget(self._recent.popitem(last=False)[1])
        else:
            self._forget(execution)
        self._tell(execution)

    def _forget(self, execution: Execution) -> None:
        """Note that what ended up to this version is no longer remembered."""
        version = execution.metadata.resource_version
        if self._known_from is not None and version.isdecimal():
            self._known_from = max(self._known_from, int(version))

    async def _check(self, name: str) -> None:
        """Read what is waited for; its waiters hear of its end or of the failure."""
        try:
            async with self._checks:
                body = await self._transport.send(requests.get(requests.EXECUTIONS, self._namespace, name))
            self._tell(_decode(body), is_current=True)
        except errors.NotFound as error:
            gone = errors.NotFound(f"no Execution {name!r} in namespace {self._namespace!r} ({error})", status=404)
            self._fail_one(name, gone)
        except errors.ApiError as error:
            self._fail_one(name, error)

    def _tell(self, execution: Execution, *, is_current: bool = False) -> None:
        """Tell those who wait for it. Only what was just read shows that a namesake took its place."""
        name = execution.metadata.name
        for waiter in self._waiters.get(name, ()):
            if waiter.uid and waiter.uid != execution.metadata.uid:
                if is_current:
                    where = f"{self._namespace}/{name}"
                    _set_error(waiter, errors.NotFound(f"Execution {where} was deleted and created again", status=404))
                continue
            if self._has_ended(execution, with_blocked=waiter.with_blocked) and not waiter.ended.done():
                waiter.ended.set_result(execution)

    def _fail(self, error: Exception) -> None:
        for name in self._waiters:
            self._fail_one(name, error)

    def _fail_one(self, name: str, error: Exception) -> None:
        for waiter in self._waiters.get(name, ()):
            _set_error(waiter, error)


def _set_error(waiter: _Waiter, error: Exception) -> None:
    if not waiter.ended.done():
        waiter.ended.set_exception(error)


def _size(execution: Execution) -> int:
    parts = (execution.status.result, execution.status.state, execution.spec.arguments)
    return sum(memoryview(part).nbytes for part in parts if isinstance(part, msgspec.Raw))
