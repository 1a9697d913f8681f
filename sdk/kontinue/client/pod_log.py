"""What one container of a Pod prints: read as far as it is there, or followed to its end.

A log that is followed outlives what happens on the way: a container that has not started is waited for, a connection
that is cut is opened anew where it was (``kontinue.client.log_stamps``). Called by ``kontinue.client.job_logs`` and by
``kontinue logs``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from kontinue import errors
from kontinue.api.batch import Pod
from kontinue.client import job_reading
from kontinue.client.job_reading import Send
from kontinue.client.log_stamps import StampedLog
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport

POLL_S: Final = 0.5
"""How often somebody who waits for a Pod or its container looks. Judgement."""
GIVE_UP_S: Final = 30.0
"""How long a log that is followed may fail again and again: as long as any request of a client is retried."""


class PodLog:
    """The log of one container.

    Args:
        transport: reads it.
        send: reads the Pod.
        pod: which.
        container: name of one of its containers.
        tail_lines: begin with the last so many lines; None: with the first one.
        since: lines from then on, RFC 3339; empty: all.
    """

    def __init__(
        self,
        transport: Transport,
        send: Send,
        pod: Pod,
        container: str,
        *,
        tail_lines: int | None = None,
        since: str = "",
    ) -> None:
        self._transport = transport
        self._send = send
        self._namespace = pod.metadata.namespace
        self._pod = pod.metadata.name
        self._container = container
        self._tail_lines = tail_lines
        self._since = since

    async def read(self, *, timestamps: bool = False, limit_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what was printed so far; with ``timestamps`` each line begins with its time."""
        async with aclosing(self._open(follow=False, timestamps=timestamps, limit_s=limit_s)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Yield what is printed, until the container has ended or the Pod is gone.

        Raises:
            ApiError: the server refuses, or fails for longer than ``GIVE_UP_S``.
        """
        loop = asyncio.get_running_loop()
        log, backoff = StampedLog(), Backoff()
        well_at_s = loop.time()
        while True:
            failure: errors.ApiError | None = None
            opened_s = loop.time()
            try:
                log.begin()
                async with aclosing(self._open(follow=True, timestamps=True, resumed_from=log.since)) as chunks:
                    async for chunk in chunks:
                        well_at_s = loop.time()
                        if text := log.feed(chunk):
                            yield text
            except (errors.Unavailable, errors.Invalid, errors.NotFound) as error:
                failure = error
            pod = await job_reading.fetch_pod(self._send, self._namespace, self._pod)
            if pod is None or (failure is None and _is_over(pod, self._container)):
                return
            if failure is None or not has_begun(pod, self._container):
                well_at_s = loop.time()
                backoff.reset()
                await asyncio.sleep(POLL_S)
                continue
            if loop.time() - opened_s > GIVE_UP_S:
                well_at_s = loop.time()
            if not isinstance(failure, errors.Unavailable) or loop.time() - well_at_s > GIVE_UP_S:
                raise failure
            await asyncio.sleep(backoff.next_s(at_least_s=failure.retry_after_s))

    def _open(
        self, *, follow: bool, timestamps: bool, resumed_from: str = "", limit_s: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        request = requests.pod_log(
            self._namespace,
            self._pod,
            container=self._container,
            follow=follow,
            timestamps=timestamps,
            tail_lines=None if resumed_from else self._tail_lines,
            since=resumed_from or self._since,
        )
        return self._transport.chunks(request, timeout_s=limit_s)


def has_begun(pod: Pod, container: str) -> bool:
    """Tell whether a container has printed, or might have; of one that nobody knows, the server says so."""
    state = pod.state_of(container)
    return pod.has_ended or state.running is not None or state.terminated is not None


def _is_over(pod: Pod, container: str) -> bool:
    """Tell whether a container prints no more."""
    return pod.has_ended or pod.state_of(container).terminated is not None
