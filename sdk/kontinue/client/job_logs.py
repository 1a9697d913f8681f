"""What the Pods of a Job print, as it comes: ``async with client.get_job_logs(...) as chunks``.

A log that is followed outlives what happens on the way: a Job without a Pod and a container that has not started are
waited for, a connection that is cut is opened anew where it was (``kontinue.client.log_stamps``). It ends with the
container. Made by ``Client.get_job_logs``.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from kontinue import errors
from kontinue.api.batch import JOB_NAME_LABEL, Pod
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Arguments of ``Client.get_job_logs``."""

    follow: bool
    container: str | None
    tail_lines: int | None
    pod: str | None


class JobLogs:
    """The log of one container: ``async with`` it, which finds the Pod, then iterate over pieces of bytes.

    Pieces end anywhere, also within a line or a character. The connection is closed when the block is left.

    Attributes:
        pod: name of the Pod; empty before it is found.
        container: name of the container.
    """

    def __init__(
        self, transport: Transport, send: Send, namespace: str, job: str, options: LogOptions, limit: timedelta | None
    ) -> None:
        self.pod = ""
        self.container = ""
        self._transport = transport
        self._send = send
        self._namespace = namespace
        self._job = job
        self._options = options
        self._limit_s = None if limit is None else limit.total_seconds()
        self._chunks: AsyncGenerator[bytes, None] | None = None

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._limit_s):
                pod = await self._find_pod()
        except TimeoutError as error:
            raise errors.WaitTimeout(f"Job {self._where} has started no Pod within {self._limit_s:g} s") from error
        self.pod = pod.metadata.name
        self.container = pod.container(self._options.container)
        if not self._options.follow and not _has_begun(pod, self.container):
            why = pod.state_of(self.container).waiting
            reason = f" ({why.reason})" if why is not None and why.reason else ""
            raise errors.InvalidState(
                f"container {self.container} of Pod {self._namespace}/{self.pod} has not started yet{reason}: "
                "follow=True waits for it"
            )
        self._chunks = self._follow() if self._options.follow else self._read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if self._chunks is not None:
            await self._chunks.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks is None:
            raise errors.InvalidState("a log is read within its block: async with client.get_job_logs(...) as chunks")
        return await anext(self._chunks)

    @property
    def _where(self) -> str:
        return f"{self._namespace}/{self._job}"

    async def _find_pod(self) -> Pod:
        """Return the Pod that is meant: the first of the Job, unless one was named; wait for it if the log is followed.

        Raises:
            NotFound: there is no such Job, or no such Pod of it.
            InvalidState: it has no Pod (any more), or none yet and is not to be waited for.
        """
        while True:
            if (named := self._options.pod) is not None:
                pod = await job_reading.fetch_pod(self._send, self._namespace, named)
                if pod is None or pod.metadata.labels.get(JOB_NAME_LABEL) != self._job:
                    raise errors.NotFound(f"Job {self._where} has no Pod {named!r}", status=404)
                return pod
            if pods := await job_reading.fetch_pods(self._send, self._namespace, self._job):
                return pods[0]
            job = await job_reading.fetch(self._send, self._namespace, self._job)
            if job.end is not None:
                raise errors.InvalidState(
                    f"Job {self._where} is {job.phase} and its Pods are gone, with what they printed"
                )
            if not self._options.follow:
                raise errors.InvalidState(
                    f"Job {self._where} has no Pod yet, it is {job.phase}: follow=True waits for one"
                )
            await asyncio.sleep(POLL_S)

    def _open(self, *, since: str = "") -> AsyncGenerator[bytes, None]:
        options = self._options
        request = requests.pod_log(
            self._namespace,
            self.pod,
            container=self.container,
            follow=options.follow,
            timestamps=options.follow,
            tail_lines=None if since else options.tail_lines,
            since=since,
        )
        return self._transport.chunks(request, timeout_s=None if options.follow else self._limit_s)

    async def _read(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._open()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _follow(self) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        log, backoff = StampedLog(), Backoff()
        well_at_s = loop.time()
        while True:
            failure: errors.ApiError | None = None
            opened_s = loop.time()
            try:
                log.begin()
                async with aclosing(self._open(since=log.since)) as chunks:
                    async for chunk in chunks:
                        well_at_s = loop.time()
                        if text := log.feed(chunk):
                            yield text
            except (errors.Unavailable, errors.Invalid, errors.NotFound) as error:
                failure = error
            pod = await job_reading.fetch_pod(self._send, self._namespace, self.pod)
            if pod is None or (failure is None and _is_over(pod, self.container)):
                return
            if failure is None or not _has_begun(pod, self.container):
                well_at_s = loop.time()
                backoff.reset()
                await asyncio.sleep(POLL_S)
                continue
            if loop.time() - opened_s > GIVE_UP_S:
                well_at_s = loop.time()
            if not isinstance(failure, errors.Unavailable) or loop.time() - well_at_s > GIVE_UP_S:
                raise failure
            await asyncio.sleep(backoff.next_s(at_least_s=failure.retry_after_s))


def _has_begun(pod: Pod, container: str) -> bool:
    """Tell whether a container has printed, or might have; of one that nobody knows, the server says so."""
    state = pod.state_of(container)
    return pod.has_ended or state.running is not None or state.terminated is not None


def _is_over(pod: Pod, container: str) -> bool:
    """Tell whether a container prints no more."""
    return pod.has_ended or pod.state_of(container).terminated is not None
