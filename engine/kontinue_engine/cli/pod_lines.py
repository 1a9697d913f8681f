"""Internal. Lines of Pods for ``kontinue logs``: what Jobs and Pods of functions print, and in a cluster workers' Pods.

A worker's Pod is named as its shard is, which attempts name; what it prints are the JSON lines that ``kontinue dev``
keeps in files. Lines of Jobs, and of Pods that functions run (``ctx.run_pod``), get the fields of such a line. What
cannot be read is said once, on stderr, and costs nothing of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC
from typing import Any, Final

from kontinue.api.batch import Pod
from kontinue.api.meta import parent_of
from kontinue.client import job_reading, tree_reading
from kontinue.client.pod_log import PodLog, has_begun
from kontinue.client.tree import ExecutionTree
from kontinue.errors import ApiError, Invalid, NotFound
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.log_lines import parse_log_line

Fields = Mapping[str, Any]
Emit = Callable[[Fields], None]

POLL_S: Final = 1.0
"""How often somebody looks for further Pods. Judgement: a retry of a Job takes ten times as long."""
LAST_LINES_S: Final = 10.0
"""How long the lines of Jobs and Pods of functions are waited for when the Execution has ended. Judgement."""


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
        """Return what Pods of a tree's Jobs, and those of its functions, have printed so far, in the order of time."""
        found: list[Fields] = []
        for job in jobs_of(tree):
            try:
                pods = await self._pods(job)
            except ApiError as error:
                self._say(f"Job {job}: {error}")
                continue
            for pod in pods:
                found += await self._lines_of(job, pod)
        try:
            pods = await self._run_pods(tree)
        except ApiError as error:
            self._say(f"Pods that functions run: {error}")
            pods = []
        for pod in pods:
            found += await self._lines_of(pod.metadata.name, pod)
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
            try:
                async with aclosing(_lines(self._log(pod, since=begin_of(tree)).read())) as lines:
                    async for line in lines:
                        if (fields := parse_log_line(line)) is not None:
                            yield fields
            except ApiError as error:
                self._say(f"worker {pod.metadata.name}: {error}")

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

    async def follow_run_pods(
        self, latest: Callable[[], ExecutionTree | None], ended: asyncio.Event, emit: Emit
    ) -> None:
        """Emit what the Pods print that functions run, until those have ended, and the Execution.

        Args:
            latest: returns the tree as it is now.
            ended: no more Pods come.
            emit: called with each line.
        """
        known: set[str] = set()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    is_last = ended.is_set()
                    tree = latest()
                    for pod in [] if tree is None else await self._run_pods(tree):
                        name = pod.metadata.name
                        if pod.metadata.uid not in known:
                            known.add(pod.metadata.uid)
                            tasks.create_task(self._follow(pod, name, emit), name=f"log of {name}")
                    if is_last:
                        return
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await ended.wait()
        except* ApiError as group:
            self._say(f"Pods that functions run: {group.exceptions[0]}")

    async def follow_worker(self, worker: str, since: str, emit: Emit, over: asyncio.Event) -> None:
        """Emit what a worker prints, also if its container is started again or its Pod replaced.

        It ends when ``over`` is set and what was printed until then is told.
        """
        lines = _WorkerLines(emit)
        try:
            pod = await self._pod(worker)
            if pod is None:
                self._say(f"worker {worker} is no Pod: its lines are where its output goes")
            else:
                lines.log = self._log(pod, since=since)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow_pods(worker, pod, since, lines), name=f"Pods of {worker}")
                await over.wait()
                following.cancel()
            await lines.finish()
        except* ApiError as group:
            self._say(f"worker {worker}: {group.exceptions[0]}")

    async def _follow_pods(self, worker: str, pod: Pod | None, since: str, lines: _WorkerLines) -> None:
        """Follow one Pod of a worker after the other."""
        followed = ""
        while True:
            if pod is not None and pod.metadata.uid != followed:
                if followed or lines.log is None:
                    lines.log = self._log(pod, since=since)
                followed = pod.metadata.uid
                await lines.follow()
            else:
                await asyncio.sleep(POLL_S)
            pod = await self._pod(worker)

    async def _follow(self, pod: Pod, job: str, emit: Emit) -> None:
        async with aclosing(_lines(self._log(pod, timestamps=True).follow())) as lines:
            async for line in lines:
                emit(_job_line(job, line))

    async def _lines_of(self, job: str, pod: Pod) -> list[Fields]:
        """Return what a Pod has printed so far; if that cannot be read, say so."""
        found: list[Fields] = []
        if has_begun(pod, pod.container(None)):
            try:
                async with aclosing(_lines(self._log(pod, timestamps=True).read())) as lines:
                    found += [_job_line(job, line) async for line in lines]
            except ApiError as error:
                self._say(f"Pod {pod.metadata.name} of {job}: {error}")
        return found

    async def _worker_pods(self, tree: ExecutionTree) -> list[Pod]:
        found = [await self._pod(worker) for worker in workers_of(tree)]
        return [pod for pod in found if pod is not None]

    async def _pod(self, name: str) -> Pod | None:
        return await job_reading.fetch_pod(self._connection.transport.send, self._connection.namespace, name)

    async def _pods(self, job: str) -> Sequence[Pod]:
        return await job_reading.fetch_pods(self._connection.transport.send, self._connection.namespace, job)

    async def _run_pods(self, tree: ExecutionTree) -> Sequence[Pod]:
        """Return the Pods that functions of a tree run themselves."""
        members = [node.execution for _, node in tree.walk() if node.execution is not None]
        if tree.is_archived or not members:
            return []
        uids = {execution.metadata.uid for execution in members}
        found = await job_reading.fetch_selected_pods(
            self._connection.transport.send, self._connection.namespace, tree_reading.selector_of(members[0])
        )
        owners = ((pod, parent_of(pod.metadata.owner_references)) for pod in found)
        return [pod for pod, owner in owners if owner is not None and owner.uid in uids]

    def _log(self, pod: Pod, *, since: str = "", timestamps: bool = False) -> PodLog:
        return PodLog(self._connection.transport, pod, pod.container(None), since=since, timestamps=timestamps)


class _WorkerLines:
    """Emits the lines of a worker's Pods, one after the other.

    Attributes:
        log: of the Pod that is followed now.
    """

    def __init__(self, emit: Emit) -> None:
        self.log: PodLog | None = None
        self._emit = emit
        self._part = b""

    async def follow(self) -> None:
        """Emit what is printed, until the Pod has ended."""
        if self.log is not None:
            self._part = b""
            await self._emit_all(self.log.follow())

    async def finish(self) -> None:
        """Emit what was printed by now and not told; nothing of a Pod that is gone, or has not started."""
        if self.log is not None:
            with suppress(NotFound, Invalid):
                await self._emit_all(self.log.rest())

    async def _emit_all(self, chunks: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                *whole, self._part = (self._part + chunk).split(b"\n")
                for line in whole:
                    if (fields := parse_log_line(line)) is not None:
                        self._emit(fields)


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
    """Return a line of a Job or Pod, which begins with its time, as a line of an Execution's output."""
    time, _, text = line.partition(b" ")
    told = {"time": time.decode(errors="replace"), "event": "output", "execution": job, "stream": "stdout"}
    return {**told, "text": text.decode(errors="replace")}
