"""Internal. ``kontinue dev --jobs=process``: Jobs and Pods of Executions, run as processes of this machine.

A convenience for a laptop, and no Kubernetes: the command of the one container runs in the app's folder, with this
machine's programs, files and rights; images, volumes, resources and deadlines count for nothing. Follows the objects,
as a controller does, so that who deletes one ends its process; a restart of ``dev`` runs what has not ended again.
Part of ``kontinue_engine.cli.dev.session``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.apiserver.pod_logs import file_name, stamped
from kontinue_engine.cli.dev.local_commands import LocalCommand, NoLocalCommandError, local_command
from kontinue_engine.cli.dev.log_files import LogFile
from kontinue_engine.cli.dev.processes import start_process
from kontinue_engine.kube import played_jobs
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.job_views import JOB, JobView
from kontinue_engine.kube.jobs import RESOURCES
from kontinue_engine.kube.played_jobs import Ended
from kontinue_engine.processes import guard

MAX_GRACE_S: Final = 5.0
"""Between SIGTERM and SIGKILL. Judgement: whoever leaves ``dev`` waits for it."""
NOT_STARTED: Final = 127
"""Exit code of what is not found, as shells have it."""
_SHOWN_LINES: Final = 5

_Key = tuple[str, str]


class JobRunner:
    """Runs what there is to run in one namespace.

    Args:
        transport: to the local API server.
        namespace: of the workers.
        directory: that commands run in.
        logs: folder for what they print, from which the API server answers ``pods/log``.
        say: tells the user what happens.
    """

    def __init__(
        self, transport: Transport, *, namespace: str, directory: Path, logs: Path, say: Callable[[str], None]
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._directory = directory
        self._logs = logs
        self._say = say
        self._wanted: dict[_Key, str] = {}
        self._running: dict[_Key, tuple[str, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Run Jobs and Pods until cancelled; then their processes have ended."""
        async with asyncio.TaskGroup() as tasks:
            for kind, resource in RESOURCES.items():
                informer = Informer(
                    self._transport,
                    resource,
                    self._namespace,
                    type_=JobView,
                    handler=_Handler(kind, self._wanted, self._changed.set),
                    label_selector=labels.PARENT_GROUP,
                )
                tasks.create_task(informer.run(), name=f"{kind}s")
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._compare(tasks)

    def kill(self) -> None:
        """While ``run`` is being cancelled: wait for no process any longer, kill their groups."""
        for _, task in self._running.values():
            task.cancel()  # again: what waits for the end of a process group kills it

    def _compare(self, tasks: asyncio.TaskGroup) -> None:
        """Start what is wanted and does not run; end what runs and is not wanted any more."""
        for key, (uid, task) in self._running.items():
            if self._wanted.get(key) != uid and not task.cancelling():
                task.cancel()
        for (kind, name), uid in self._wanted.items():
            if (kind, name) not in self._running:
                task = tasks.create_task(self._play(kind, name, uid), name=f"{kind} {name}")
                self._running[kind, name] = uid, task
                task.add_done_callback(functools.partial(self._ended, (kind, name)))

    def _ended(self, key: _Key, task: asyncio.Task[None]) -> None:
        del task, self._running[key]
        self._changed.set()  # somebody may have made another one of its name

    async def _play(self, kind: str, name: str, uid: str) -> None:
        """Run one to its end, and say how that was; again if that cannot be said."""
        backoff = Backoff()
        while True:
            try:
                body = await self._transport.send(requests.get(RESOURCES[kind], self._namespace, name))
                found: dict[str, Any] = msgspec.json.decode(body)
                if msgspec.json.decode(body, type=JobView).has_ended:
                    pass  # news of its beginning came after it was played
                elif kind == JOB:
                    await self._play_job(name, found)
                else:
                    await self._play_pod(name, found["spec"])
            except errors.NotFound:
                pass
            except errors.ApiError as error:
                self._say(f"{kind} {name}: {error}")
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
                continue
            if self._wanted.get((kind, name)) == uid:  # else somebody has made another one of its name
                del self._wanted[kind, name]
            return

    async def _play_job(self, name: str, job: dict[str, Any]) -> None:
        limit = job["spec"].get("backoffLimit", 6)
        backoff = Backoff()
        started_at = datetime.now(UTC)
        for number in range(1, limit + 2):
            pod = await played_jobs.start_pod(self._transport, namespace=self._namespace, job=job, number=number)
            ended = await self._play_pod(pod, job["spec"]["template"]["spec"])
            if ended.exit_code == 0 or ended.reason or number > limit:
                break
            await asyncio.sleep(backoff.next_s())
        succeeded = ended.exit_code == 0
        await played_jobs.end_job(
            self._transport,
            namespace=self._namespace,
            name=name,
            succeeded=succeeded,
            reason="" if succeeded else "BackoffLimitExceeded",
            message="" if succeeded else "Job has reached the specified backoff limit",
            started_at=started_at,
            now=datetime.now(UTC),
        )

    async def _play_pod(self, name: str, spec: dict[str, Any]) -> Ended:
        try:
            command = local_command(spec, os.environ, max_grace_s=MAX_GRACE_S)
        except NoLocalCommandError as error:
            container = spec["containers"][0]["name"]
            ended = Ended(name=container, exit_code=NOT_STARTED, reason="NotRun", message=str(error))
        else:
            ended = await self._run_command(name, command)
        self._say(f"{name} ended with {ended.exit_code}{f': {ended.message}' if ended.message else ''}")
        now = datetime.now(UTC)
        await played_jobs.end_pod(self._transport, namespace=self._namespace, name=name, containers=[ended], now=now)
        return ended

    async def _run_command(self, pod: str, command: LocalCommand) -> Ended:
        """Run the command of a Pod; cancelled, its whole process group has ended on return."""
        last: deque[bytes] = deque(maxlen=_SHOWN_LINES)
        log = LogFile(self._logs / file_name(self._namespace, pod))

        def keep(line: bytes) -> None:
            log.write(stamped(line, datetime.now(UTC)))
            last.append(line)

        with contextlib.ExitStack() as used:
            used.callback(log.close)
            try:
                process = await start_process(
                    command.arguments,
                    directory=self._directory,
                    on_stdout=keep,
                    on_stderr=keep,
                    environment=command.environment,
                    guard_fd=used.enter_context(guard()),
                )
            except OSError as error:
                message = f"{command.arguments[0]} cannot be started: {error.strerror}"
                return Ended(name=command.container, exit_code=NOT_STARTED, reason="StartError", message=message)
            self._say(f"{pod} runs {' '.join(command.arguments)} (pid {process.pid})")
            waiting = asyncio.create_task(process.wait(), name=f"wait {pod}")
            started_at = datetime.now(UTC)
            try:
                await self._say_running(pod, command.container, started_at)
                code = await asyncio.shield(waiting)
            finally:
                await _end_group(process.pid, waiting, command.grace_s)
        message = b"\n".join(last).decode(errors="replace") if code else ""
        exit_code = 128 - code if code < 0 else code
        return Ended(name=command.container, exit_code=exit_code, message=message, started_at=started_at)

    async def _say_running(self, pod: str, container: str, now: datetime) -> None:
        with contextlib.suppress(errors.ApiError):  # it stays Pending for people, which is no reason to run it again
            await played_jobs.say_running(
                self._transport, namespace=self._namespace, name=pod, container=container, now=now
            )


async def _end_group(pid: int, waiting: asyncio.Task[int], grace_s: float) -> None:
    """End what is left of the process group that ``pid`` leads: first asked, then killed."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        if not waiting.done():
            await asyncio.wait([waiting], timeout=grace_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        await asyncio.wait([waiting])


class _Handler:
    """Informer handler: keeps which are to be run."""

    def __init__(self, kind: str, wanted: dict[_Key, str], on_change: Callable[[], None]) -> None:
        self._kind = kind
        self._wanted = wanted
        self._on_change = on_change

    def on_list(self, objects: Sequence[JobView], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        for key in [key for key in self._wanted if key[0] == self._kind]:
            del self._wanted[key]
        for obj in objects:
            self.on_event("ADDED", obj)
        self._on_change()

    def on_event(self, type: EventType, obj: JobView) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        key = (self._kind, obj.metadata.name)
        is_over = obj.has_ended or obj.metadata.deletion_timestamp is not None
        if type == "DELETED" or is_over or obj.held_up_by:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = obj.metadata.uid
        self._on_change()
