"""``Jobs``: how the Jobs and Pods of a test environment end. There is no Kubernetes that would run them.

``TestEnvironment.jobs`` is one. It follows the Jobs and Pods of the environment's API server and answers those that the
test has said something about, as Kubernetes would: by their statuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.kube import played_jobs
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.job_views import POD, JobView
from kontinue_engine.kube.jobs import RESOURCES

_FAILED_REASON: Final = "BackoffLimitExceeded"


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    exit_code: int
    message: str


class Jobs:
    """Answers ``ctx.run_job`` and ``ctx.run_pod``, by the name that the call gives (``name="migrate"``).

    An answer holds for all Jobs and Pods of that name, those that wait already and those to come, until another one is
    given. One without an answer does not end: whoever waits for it is ``Stuck``.
    """

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._on_answer: Callable[[], None] = lambda: None

    def succeed(self, name: str, *, message: str = "") -> None:
        """Have the Jobs and Pods of that name succeed.

        Args:
            name: that the call gives; without one, that of the object.
            message: what its containers write to their termination logs.
        """
        self._give(name, _Answer(exit_code=0, message=message))

    def fail(self, name: str, *, exit_code: int = 1, message: str = "") -> None:
        """Have the Jobs and Pods of that name fail.

        Args:
            name: that the call gives; without one, that of the object.
            exit_code: of all containers.
            message: what its containers write to their termination logs.
        """
        if not 0 < exit_code < 256:
            raise ValueError(f"exit_code={exit_code}: expected 1 to 255")
        self._give(name, _Answer(exit_code=exit_code, message=message))

    def _give(self, name: str, answer: _Answer) -> None:
        self._answers[name] = answer
        self._on_answer()


class JobPlayer:
    """Carries out what ``Jobs`` says, on the environment's own loop.

    Args:
        jobs: what the test has said.
        transport: to the environment's API server.
        namespace: of everything.
        now: virtual time.
    """

    def __init__(self, jobs: Jobs, transport: Transport, namespace: str, *, now: Callable[[], datetime]) -> None:
        self._jobs = jobs
        self._transport = transport
        self._namespace = namespace
        self._now = now
        self._waiting: dict[tuple[str, str], JobView] = {}
        self._changed = asyncio.Event()
        jobs._on_answer = self._changed.set  # pyright: ignore[reportPrivateUsage] - of this module

    @property
    def unanswered(self) -> list[str]:
        """What the Jobs and Pods are called that wait for an answer of the test."""
        return sorted({_title(view) for view in self._waiting.values()})

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind, resource in RESOURCES.items():
                informer = Informer(
                    self._transport,
                    resource,
                    self._namespace,
                    type_=JobView,
                    handler=_Handler(kind, self._waiting, self._changed.set),
                    label_selector=labels.PARENT_GROUP,
                )
                tasks.create_task(informer.run(), name=f"{kind}s")
            while True:
                await self._changed.wait()
                self._changed.clear()
                for (kind, name), view in list(self._waiting.items()):
                    answer = self._jobs._answers.get(_title(view))  # pyright: ignore[reportPrivateUsage]
                    if answer is not None and not view.held_up_by:
                        del self._waiting[kind, name]
                        await self._answer(kind, name, answer)

    async def _answer(self, kind: str, name: str, answer: _Answer) -> None:
        with suppress(errors.NotFound):  # it has been deleted meanwhile
            body = await self._transport.send(requests.get(RESOURCES[kind], self._namespace, name))
            found: dict[str, Any] = msgspec.json.decode(body)
            if kind == POD:
                await self._end_pod(name, played_jobs.containers_of(found["spec"]), answer)
                return
            pod = await played_jobs.start_pod(self._transport, namespace=self._namespace, job=found, number=1)
            await self._end_pod(pod, played_jobs.containers_of(found["spec"]["template"]["spec"]), answer)
            succeeded = answer.exit_code == 0
            await played_jobs.end_job(
                self._transport,
                namespace=self._namespace,
                name=name,
                succeeded=succeeded,
                reason="" if succeeded else _FAILED_REASON,
                message="" if succeeded else "Job has reached the specified backoff limit",
                now=self._now(),
            )

    async def _end_pod(self, name: str, containers: Sequence[str], answer: _Answer) -> None:
        ended = [
            played_jobs.Ended(name=container, exit_code=answer.exit_code, message=answer.message)
            for container in containers
        ]
        await played_jobs.end_pod(
            self._transport, namespace=self._namespace, name=name, containers=ended, now=self._now()
        )


class _Handler:
    """Informer handler: keeps what has not ended."""

    def __init__(self, kind: str, waiting: dict[tuple[str, str], JobView], on_change: Callable[[], None]) -> None:
        self._kind = kind
        self._waiting = waiting
        self._on_change = on_change

    def on_list(self, objects: Sequence[JobView], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        for key in [key for key in self._waiting if key[0] == self._kind]:
            del self._waiting[key]
        for obj in objects:
            self.on_event("ADDED", obj)

    def on_event(self, type: EventType, obj: JobView) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        key = (self._kind, obj.metadata.name)
        if type == "DELETED" or obj.has_ended:
            self._waiting.pop(key, None)
        else:
            self._waiting[key] = obj
            self._on_change()


def _title(view: JobView) -> str:
    return view.metadata.annotations.get(labels.DISPLAY_NAME) or view.metadata.name
