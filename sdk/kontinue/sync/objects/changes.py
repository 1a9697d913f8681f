"""Conditional writes to the status of one object, until one of them succeeds. For ``holding.locker``.

What changes it is applied again after a conflict or a lost answer, to what is stored then: it must be a function that
does nothing if it has been carried out already. (Counting is not; ``wait_groups.counter`` has other means.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport

T = TypeVar("T", bound=HasMetadata)
AnswerT = TypeVar("AnswerT")

FIRST_PAUSE_S: Final = 0.004
LONGEST_PAUSE_S: Final = 0.128
"""After conflicts, drawn between 0 and a bound that doubles between these. Judgement: about one write to many."""
ONE_WRITE_S: Final = 10.0
"""A write that is not answered for so long is sent again."""
ONE_READ_S: Final = 30.0
"""So is a read; as elsewhere."""
LEAST_TRY_S: Final = 1.0
"""A request gets so much time, however little is left."""
SETTLE_S: Final = 5.0
"""So long a write that is under way is waited for by whoever is cancelled meanwhile. Judgement."""


class Changes(Generic[T]):
    """Writes of one process to one object.

    Args:
        transport: to the API server.
        resource: its kind.
        object_type: what it is decoded as.
        namespace: where it is.
        name: what it is called.
        retry_for_s: how long one change is tried.
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        object_type: type[T],
        namespace: str,
        name: str,
        *,
        retry_for_s: float,
    ) -> None:
        self._transport = transport
        self._resource = resource
        self._decode = reader(object_type)
        self._namespace = namespace
        self._name = name
        self._retry_for_s = retry_for_s

    async def read(self) -> T:
        """Read it now.

        Raises:
            NotFound: there is none.
            ApiError: the server refuses, or was away for too long.
        """
        return await self._read(self._retry_for_s, None)

    async def apply(
        self, change: Callable[[T], T], *, seen: T | None = None, settles: bool = True, try_s: float | None = None
    ) -> T:
        """Write what ``change`` makes of it, and return it as it is then. One that stays the same is not written.

        Args:
            change: may raise, and nothing is written.
            seen: as it probably is; None: it is read first.
            settles: whoever is cancelled during a write waits a moment for its answer, so as to know what to undo.
            try_s: how long one request may take, and none is repeated but for conflicts; None: as ``retry_for_s`` says.

        Raises:
            ApiError: the server refuses, or was away for too long; after ``Unavailable`` it may have been written.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._retry_for_s
        backoff = Backoff(first_s=FIRST_PAUSE_S, cap_s=LONGEST_PAUSE_S)
        while True:
            found = seen or await self._read(max(0.0, ends_s - loop.time()), try_s)
            seen = None
            wanted = change(found)
            if wanted == found:
                return found
            request = requests.replace_status(self._resource, self._namespace, self._name, wanted)
            timeout_s = try_s or min(max(LEAST_TRY_S, ends_s - loop.time()), ONE_WRITE_S)
            try:
                # Sent once: after a lost answer it has to be looked at what is stored.
                sending = self._transport.send(request, retries=False, repeatable=False, timeout_s=timeout_s)
                return self._decode(await (settled(sending) if settles else sending))
            except (errors.Conflict, errors.Unavailable) as error:
                if loop.time() >= ends_s or (try_s is not None and isinstance(error, errors.Unavailable)):
                    raise
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))

    async def _read(self, retry_for_s: float, try_s: float | None) -> T:
        request = requests.get(self._resource, self._namespace, self._name)
        timeout_s = try_s or min(max(LEAST_TRY_S, retry_for_s), ONE_READ_S)
        sending = self._transport.send(request, retries=try_s is None, retry_for_s=retry_for_s, timeout_s=timeout_s)
        return self._decode(await sending)


async def settled(sending: Coroutine[Any, Any, AnswerT]) -> AnswerT:
    """Return the answer to a write; whoever is cancelled waits for it, as he may be about to undo what it does.

    Raises:
        Unavailable: a program has cancelled all tasks of its loop, but not the caller's.
    """
    task = asyncio.ensure_future(sending)
    task.add_done_callback(_seen)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task], timeout=SETTLE_S)
        finally:
            task.cancel()
        raise
    if task.cancelled():
        raise errors.Unavailable("the write was cancelled by this program, and may have been carried out")
    return task.result()


def _seen(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # else asyncio would tell of it once nobody waits any more
