"""What one container of a Pod prints: read as far as it is there, or followed to its end.

A log that is followed outlives what happens on the way: a container that has not started is waited for, also if it is
started again in the same Pod, and a connection that is cut is opened anew where it was
(``kontinue.client.log_stamps``). Called by ``kontinue.client.job_logs`` and by ``kontinue logs``.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from typing import Final

from kontinue import errors
from kontinue.api.batch import Pod
from kontinue.client import job_reading
from kontinue.client.log_stamps import StampedLog
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport

POLL_S: Final = 0.5
"""How often somebody who waits for a Pod or its container looks. Judgement."""
GIVE_UP_S: Final = 30.0
"""How long a log that is followed may fail again and again: as long as any request of a client is retried."""
_LOOK_S: Final = 10.0
"""Limit of one look at the Pod. Judgement."""


class PodLog:
    """The log of one container.

    Args:
        transport: reads it, and the Pod. No limit of time of a client holds for what is followed.
        pod: which, as it was when its log had not been asked for.
        container: name of one of its containers.
        tail_lines: begin with the last so many lines; None: with the first one.
        since: lines from then on, RFC 3339; empty: all.
        timestamps: each line begins with its time.
    """

    def __init__(
        self,
        transport: Transport,
        pod: Pod,
        container: str,
        *,
        tail_lines: int | None = None,
        since: str = "",
        timestamps: bool = False,
    ) -> None:
        self._transport = transport
        self._pod = pod
        self._container = container
        self._tail_lines = tail_lines
        self._since = since
        self._timestamps = timestamps
        self._log = StampedLog(keeps_times=timestamps)

    async def read(self, *, limit_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what was printed so far."""
        async with aclosing(self._open(follow=False, timestamps=self._timestamps, limit_s=limit_s)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """Yield what was printed so far and ``follow``, which was left, has not told."""
        async with aclosing(self._new(follow=False)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Yield what is printed, until the container has ended for good or the Pod is gone.

        Raises:
            ApiError: the server refuses, or fails for longer than ``GIVE_UP_S``.
        """
        patience = _Patience()
        is_last = self._pod.is_over(self._container)
        while True:
            failure: errors.ApiError | None = None
            try:
                with patience.of_stream():
                    async with aclosing(self._new(follow=True)) as chunks:
                        async for chunk in chunks:
                            patience.renew()
                            yield chunk
            except (errors.Unavailable, errors.Invalid, errors.NotFound) as error:
                failure = error
            try:
                pod = await self._look()
            except errors.Unavailable as error:
                await patience.wait(error)
                continue
            if pod is None or (failure is None and is_last):
                return
            if failure is None or self._is_to_start(pod):
                # An answer may end before the container does, as when a kubelet is restarted. What is there after the
                # container has ended is all there will be.
                is_last = pod.is_over(self._container)
                patience.renew()
                await asyncio.sleep(0 if is_last else POLL_S)
            elif isinstance(failure, errors.Unavailable):
                await patience.wait(failure)
            else:
                raise failure

    async def _look(self) -> Pod | None:
        """Return the Pod as it is now; None if it is gone, also if there is another one of its name."""
        meta = self._pod.metadata
        send = functools.partial(self._transport.send, retries=False, timeout_s=_LOOK_S)
        found = await job_reading.fetch_pod(send, meta.namespace, meta.name)
        return found if found is not None and found.metadata.uid == meta.uid else None

    def _is_to_start(self, pod: Pod) -> bool:
        return pod.has_container(self._container) and not has_begun(pod, self._container)

    async def _new(self, *, follow: bool) -> AsyncGenerator[bytes, None]:
        """Yield what was not told yet."""
        self._log.begin()
        stream = self._open(follow=follow, timestamps=True, resumed_from=self._log.since)
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if text := self._log.feed(chunk):
                    yield text

    def _open(
        self, *, follow: bool, timestamps: bool, resumed_from: str = "", limit_s: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        request = requests.pod_log(
            self._pod.metadata.namespace,
            self._pod.metadata.name,
            container=self._container,
            follow=follow,
            timestamps=timestamps,
            tail_lines=None if resumed_from else self._tail_lines,
            since=resumed_from or self._since,
        )
        return self._transport.chunks(request, timeout_s=limit_s)


class _Patience:
    """How long failures were in a row, and how long to wait after one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff()
        self._well_at_s = self._loop.time()

    def renew(self) -> None:
        """All is well."""
        self._well_at_s = self._loop.time()
        self._backoff.reset()

    @contextmanager
    def of_stream(self) -> Generator[None]:
        """Take a stream that was open for long for a good sign, also if nothing came."""
        opened_s = self._loop.time()
        try:
            yield
        finally:
            if self._loop.time() - opened_s > GIVE_UP_S:
                self.renew()

    async def wait(self, failure: errors.Unavailable) -> None:
        """Wait before the next try; raise the failure if there were too many."""
        if self._loop.time() - self._well_at_s > GIVE_UP_S:
            raise failure
        await asyncio.sleep(self._backoff.next_s(at_least_s=failure.retry_after_s))


def has_begun(pod: Pod, container: str) -> bool:
    """Tell whether a container has printed, or might have; of one that nobody knows, the server says so."""
    state = pod.state_of(container)
    return pod.has_ended or state.running is not None or state.terminated is not None
