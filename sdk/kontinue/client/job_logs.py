"""What the Pods of a Job print, as it comes: ``async with client.get_job_logs(...) as chunks``.

A log that is followed outlives what happens on the way: a Job without a Pod and a container that has not started are
waited for, and so on (``kontinue.client.pod_log``). It ends with the container. Made by ``Client.get_job_logs``.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from datetime import timedelta
from types import TracebackType
from typing import Self

from kontinue import errors
from kontinue.api.batch import JOB_NAME_LABEL, Pod
from kontinue.client import job_reading
from kontinue.client.pod_log import POLL_S, PodLog, has_begun
from kontinue.client.reading import Send
from kontinue.kube.transport import Transport


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
        if not self._options.follow and pod.has_container(self.container) and not has_begun(pod, self.container):
            why = pod.state_of(self.container).waiting
            reason = f" ({why.reason})" if why is not None and why.reason else ""
            raise errors.InvalidState(
                f"container {self.container} of Pod {self._namespace}/{self.pod} has not started yet{reason}: "
                "follow=True waits for it"
            )
        log = PodLog(self._transport, pod, self.container, tail_lines=self._options.tail_lines)
        self._chunks = log.follow() if self._options.follow else log.read(limit_s=self._limit_s)
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
