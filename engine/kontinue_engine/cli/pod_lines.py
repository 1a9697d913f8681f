"""Internal. Lines of Pods for ``kontinue logs``: what Jobs print, and in a cluster what the workers' Pods do.

A worker's Pod is named as its shard is, which attempts name; what it prints are the JSON lines that ``kontinue dev``
keeps in files. Lines of Jobs get the fields of such a line. What cannot be read is said once, on stderr.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from kontinue.api.batch import Pod
from kontinue.client import job_reading
from kontinue.client.pod_log import PodLog, has_begun
from kontinue.client.tree import ExecutionTree
from kontinue.errors import ApiError, NotFound
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.log_lines import parse_log_line

Fields = Mapping[str, Any]
Emit = Callable[[Fields], None]

POLL_S: Final = 1.0
"""How often somebody looks for further Pods of a Job. Judgement: a retry of a Job takes ten times as long."""
LAST_LINES_S: Final = 10.0
"""How long the lines of Jobs are waited for when the Execution has ended. Judgement."""


def jobs_of(tree: ExecutionTree) -> list[str]:
    """Return the names of the Jobs of a tree."""
    return [node.name for _, node in tree.walk() if node.job is not None]


def workers_of(tree: ExecutionTree) -> list[str]:
    """Return the names of the workers that have run something of a tree."""
    found: dict[str, None] = {}
    for _, node in tree.walk():
        if node.execution is not None:
            status = node.execution.status
            found.update(dict.fromkeys(attempt.worker for attempt in status.attempts if attempt.worker))
            if status.owner is not None:
                found[status.owner.shard] = None
    return list(found)


def begin_of(tree: ExecutionTree) -> str:
    """Return since when something of a tree may have been printed, RFC 3339."""
    created = tree.root.created_at
    return "" if created is None else created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodLines:
    """Reads the lines of Pods of one namespace.

    Args:
        connection: to the server.
        say: tells people why something is missing.
    """

    def __init__(self, connection: Connection, say: Callable[[str], None]) -> None:
        self._connection = connection
        self._say = say

    async def of_jobs(self, tree: ExecutionTree) -> list[Fields]:
        """Return what all Pods of a tree's Jobs have printed so far, in the order of time."""
        found: list[Fields] = []
        for job in jobs_of(tree):
            try:
                for pod in await self._pods(job):
                    found += [_job_line(job, line) async for line in self._stamped(pod)]
            except ApiError as error:
                self._say(f"Job {job}: {error}")
        return sorted(found, key=lambda fields: str(fields["time"]))

    async def of_workers(self, tree: ExecutionTree) -> AsyncIterator[Fields]:
        """Yield the lines that the workers of a tree have printed since it began, whatever they are about.

        Raises:
            NotFound: none of them is a Pod.
        """
        pods = await self._worker_pods(tree)
        if not pods:
            raise NotFound("none of the workers is a Pod", status=404)
        for pod in pods:
            log = self._log(pod, since=begin_of(tree))
            async with aclosing(_lines(log.read())) as lines:
                async for line in lines:
                    if (fields := parse_log_line(line)) is not None:
                        yield fields

    async def follow_job(self, job: str, emit: Emit) -> None:
        """Emit what the Pods of a Job print, until it has ended."""
        known: set[str] = set()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    found = await job_reading.fetch(self._connection.transport.send, self._connection.namespace, job)
                    for pod in await self._pods(job):
                        if pod.metadata.name not in known:
                            known.add(pod.metadata.name)
                            tasks.create_task(self._follow(pod, job, emit), name=f"log of {pod.metadata.name}")
                    if found.end is not None:
                        return
                    await asyncio.sleep(POLL_S)
        except* ApiError as group:
            self._say(f"Job {job}: {group.exceptions[0]}")

    async def follow_worker(self, worker: str, since: str, emit: Emit) -> None:
        """Emit what a worker prints, until its Pod has ended."""
        try:
            pod = await self._pod(worker)
            if pod is None:
                self._say(f"worker {worker} is no Pod: its lines are where its output goes")
                return
            async with aclosing(_lines(self._log(pod, since=since).follow())) as lines:
                async for line in lines:
                    if (fields := parse_log_line(line)) is not None:
                        emit(fields)
        except ApiError as error:
            self._say(f"worker {worker}: {error}")

    async def _follow(self, pod: Pod, job: str, emit: Emit) -> None:
        async with aclosing(_lines(self._log(pod).follow())) as lines:
            async for line in lines:
                emit(_job_line(job, datetime.now(UTC).isoformat().encode() + b" " + line))

    async def _stamped(self, pod: Pod) -> AsyncIterator[bytes]:
        if not has_begun(pod, pod.container(None)):
            return
        async with aclosing(_lines(self._log(pod).read(timestamps=True))) as lines:
            async for line in lines:
                yield line

    async def _worker_pods(self, tree: ExecutionTree) -> list[Pod]:
        found = [await self._pod(worker) for worker in workers_of(tree)]
        return [pod for pod in found if pod is not None]

    async def _pod(self, name: str) -> Pod | None:
        return await job_reading.fetch_pod(self._connection.transport.send, self._connection.namespace, name)

    async def _pods(self, job: str) -> Iterable[Pod]:
        return await job_reading.fetch_pods(self._connection.transport.send, self._connection.namespace, job)

    def _log(self, pod: Pod, *, since: str = "") -> PodLog:
        transport = self._connection.transport
        return PodLog(transport, transport.send, pod, pod.container(None), since=since)


async def _lines(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield whole lines; the last one may have no end."""
    rest = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line
    if rest:
        yield rest


def _job_line(job: str, line: bytes) -> Fields:
    """Return a line of a Job, which begins with its time, as a line of an Execution's output."""
    time, _, text = line.partition(b" ")
    told = {"time": time.decode(errors="replace"), "event": "output", "execution": job, "stream": "stdout"}
    return {**told, "text": text.decode(errors="replace")}
