"""Internal. Starts what the namespace's ScheduledExecutions ask of this group. A duty of the leader.

Decided in ``kontinue_engine.schedules``; here is what it takes: a watch of all schedules and one of their Executions
in the group, and the writes. A schedule belongs to whichever group has its function; of one that nobody has any leader
says so. Level-based: a write that met something newer, or failed, only means that the schedule is looked at again.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ApiStruct, ObjectMeta, ObjectReference
from kontinue.api.patches import REPLACED
from kontinue.api.scheduling import SCHEDULE_KIND, build_scheduled_run
from kontinue.api.v1alpha1 import (
    ExecutionDefaults,
    ExecutionTTL,
    Function,
    ScheduledExecution,
    ScheduledExecutionSpec,
    ScheduledExecutionStatus,
)
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.kube import executions
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.functions import find_owner
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.retention import is_archived, ttl_of
from kontinue_engine.schedules.deciding import Observed, Report, Run, decide, name_of
from kontinue_engine.sharding.views import PlacedStatus, created_s_of
from kontinue_engine.telemetry.logs import get_logger

T = TypeVar("T", bound=HasMetadata)

LOOK_AGAIN_S: Final = 60.0
"""Longest time between two looks at a schedule that waits for a time: clocks are set. Judgement."""
RETRY_CAP_S: Final = 60.0
"""Longest delay between two tries. Judgement: what fails is mostly a permission, or a quota."""
IN_FLIGHT: Final = 8
"""Schedules at a time. Judgement: a thousand are due on the hour, two requests each, and others want to write, too."""
_PERMANENT: Final = (errors.Invalid, errors.TooLarge)
"""The server will never take such an Execution."""

_log = get_logger(__name__)
_decode_schedule: Final = msgspec.json.Decoder(ScheduledExecution).decode


class RunSpec(ApiStruct, frozen=True, kw_only=True):
    """Of an Execution's spec."""

    function: str = ""
    ttl: ExecutionTTL | None = None


class RunStatus(PlacedStatus, frozen=True, kw_only=True):
    """Of an Execution's status."""

    attempt_count: int = 0
    defaults: ExecutionDefaults | None = None


class ScheduledRun(ApiStruct, frozen=True, kw_only=True):
    """An Execution without what schedules do not read."""

    metadata: ObjectMeta
    spec: RunSpec = RunSpec()
    status: RunStatus = RunStatus()


class _StatusBody(ApiStruct, frozen=True, kw_only=True, omit_defaults=False):
    metadata: ObjectMeta
    spec: ScheduledExecutionSpec
    status: ScheduledExecutionStatus
    api_version: str = labels.API_VERSION
    kind: str = SCHEDULE_KIND


_decode_run: Final = msgspec.json.Decoder(ScheduledRun).decode


class ScheduleDuty:
    """Looks after the schedules whose function the group has.

    Args:
        transport: to the API server.
        events: where starts and missed occurrences are told.
        namespace: of the group.
        group: worker group.
        owns: tells whether the group has a function.
        functions: those of the group's code, by name: what their arguments are.
        defaults: function -> its defaults.
        ttl: of Executions for which nobody has said anything else.
        clock: wall time.
    """

    def __init__(
        self,
        transport: Transport,
        events: EventRecorder,
        *,
        namespace: str,
        group: str,
        owns: Callable[[str], bool],
        clock: Clock,
        functions: Mapping[str, Function] | None = None,
        defaults: Mapping[str, ExecutionDefaults] | None = None,
        ttl: ExecutionTTL | None = None,
    ) -> None:
        self._transport = transport
        self._events = events
        self._namespace = namespace
        self._group = group
        self._owns = owns
        self._clock = clock
        self._functions = functions or {}
        self._queue: WorkQueue[str] = WorkQueue()
        self._failures: dict[str, Backoff] = {}
        self._schedules = _Schedules(self._queue)
        self._runs = _Runs(self._queue, lambda run: run_of(run, defaults or {}, ttl))

    async def run(self) -> None:
        """Start what is due until cancelled."""
        schedules = Informer(
            self._transport,
            requests.SCHEDULED_EXECUTIONS,
            self._namespace,
            type_=ScheduledExecution,
            handler=self._schedules,
        )
        runs = Informer(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=ScheduledRun,
            handler=self._runs,
            label_selector=f"{labels.WORKER_GROUP}={self._group},{labels.SCHEDULE}",
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(schedules.run(), name="schedules/objects")
            tasks.create_task(runs.run(), name="schedules/runs")
            await schedules.synced.wait()
            await runs.synced.wait()
            for number in range(IN_FLIGHT):
                tasks.create_task(self._work(), name=f"schedules/{number}")

    async def _work(self) -> None:
        while True:
            await self._next()

    async def _next(self) -> None:
        uid = await self._queue.get()
        try:
            schedule = self._schedules.get(uid)
            if schedule is not None:
                await self._look_at(schedule)
            self._failures.pop(uid, None)
        except Exception as error:  # noqa: BLE001 - one schedule must not end who leads, nor who leads next
            delay_s = self._failures.setdefault(uid, Backoff(cap_s=RETRY_CAP_S)).next_s()
            problem = f"{type(error).__name__}: {error}"
            _log.warning("schedule not dealt with", uid=uid, error=problem, retry_in_s=round(delay_s, 3))
            self._queue.add_after(uid, delay_s)
        finally:
            self._queue.done(uid)

    async def _look_at(self, schedule: ScheduledExecution) -> None:
        uid, problem = schedule.metadata.uid, ""
        if schedule.metadata.deletion_timestamp is not None:
            return
        if not self._owns(schedule.spec.function):
            function = schedule.spec.function
            if await find_owner(self._transport, namespace=self._namespace, function=function) is not None:
                return
            problem = f"no worker group owns function {function}"
        misfit = misfit_of(self._functions.get(schedule.spec.function), schedule.spec.arguments)
        observed = Observed(schedule=schedule, runs=self._runs.of(uid), problem=problem, misfit=misfit)
        plan = decide(observed, self._clock.now())
        for run in plan.delete:
            await self._delete(run)
        for run in plan.cancel:
            await executions.cancel_from_outside(
                self._transport, namespace=self._namespace, name=run.name, message=plan.cancel_message, reason=REPLACED
            )
        reports = list(plan.reports)
        if plan.start is not None:
            reports.append(await self._start(schedule, plan.start))
        if plan.status is not None and await self._write(schedule, plan.status):
            for report in reports:
                self._events.record(_reference_to(schedule), report.type, report.reason, report.message)
        if plan.look_again is not None:
            left_s = (plan.look_again - self._clock.now()).total_seconds()
            self._queue.add_after(uid, min(left_s, LOOK_AGAIN_S))

    async def _delete(self, run: Run) -> None:
        """Delete what the history has no place for; what has changed is looked at again."""
        request = requests.delete(
            requests.EXECUTIONS, self._namespace, run.name, uid=run.uid, resource_version=run.version
        )
        try:
            await self._transport.send(request, repeatable=True)
        except (errors.NotFound, errors.Conflict):
            return
        _log.info("deleted", execution=run.name, uid=run.uid)

    async def _start(self, schedule: ScheduledExecution, occurrence: datetime) -> Report:
        name = name_of(schedule, occurrence)
        due = {labels.OCCURRENCE: occurrence.strftime("%Y-%m-%dT%H:%M:%SZ")}
        execution = build_scheduled_run(schedule, name=name, group=self._group, annotations=due)
        try:
            request = requests.create(requests.EXECUTIONS, self._namespace, execution)
            run = _decode_run(await self._transport.send(request, repeatable=True))
        except errors.AlreadyExists:
            run = _decode_run(await self._transport.send(requests.get(requests.EXECUTIONS, self._namespace, name)))
            if schedule.metadata.uid not in _owners(run):
                return Report("Warning", "NotStarted", f"something else is called {name}: this occurrence is missed")
        except _PERMANENT as error:
            return Report("Warning", "NotStarted", f"Execution {name} is refused: {error}")
        if run.metadata.labels.get(labels.WORKER_GROUP) == self._group:  # else it is none that the watch shows
            self._runs.on_answer(run)
        _log.info(
            "started",
            execution=name,
            uid=run.metadata.uid,
            schedule=schedule.metadata.name,
            occurrence=occurrence.isoformat(),
        )
        return Report("Normal", "Started", f"Execution {name}")

    async def _write(self, schedule: ScheduledExecution, status: ScheduledExecutionStatus) -> bool:
        """Tell whether it was written: what changed meanwhile, or is gone, the watch shows."""
        meta = schedule.metadata
        identity = ObjectMeta(
            name=meta.name, namespace=self._namespace, uid=meta.uid, resource_version=meta.resource_version
        )
        body = _StatusBody(metadata=identity, spec=schedule.spec, status=status)
        request = requests.replace_status(requests.SCHEDULED_EXECUTIONS, self._namespace, meta.name, body)
        try:
            written = _decode_schedule(await self._transport.send(request))
        except (errors.Conflict, errors.NotFound):
            return False
        self._schedules.on_answer(written)
        return True


class _Followed(abc.ABC, Generic[T]):
    """What a watch shows, and what this leader's writes are answered: also late, when it has shown what came after."""

    def __init__(self) -> None:
        self._shown = 0

    def on_event(self, type: EventType, obj: T) -> None:  # noqa: A002 - the wire's word
        self._shown = max(self._shown, int(obj.metadata.resource_version))
        self._take(type, obj)

    def on_answer(self, obj: T) -> None:
        """Take an object of the watch's selection, unless it has come as far."""
        if int(obj.metadata.resource_version) > self._shown:
            self._take("MODIFIED", obj)

    @abc.abstractmethod
    def _take(self, type: EventType, obj: T) -> None:  # noqa: A002 - the wire's word
        ...


class _Schedules(_Followed[ScheduledExecution]):
    """What the watch has shown, and what this leader has written since."""

    def __init__(self, queue: WorkQueue[str]) -> None:
        super().__init__()
        self._queue = queue
        self._by_uid: dict[str, ScheduledExecution] = {}

    def get(self, uid: str) -> ScheduledExecution | None:
        return self._by_uid.get(uid)

    def on_list(self, objects: Sequence[ScheduledExecution], *, initial: bool) -> None:
        del initial
        self._by_uid = {}
        for schedule in objects:
            self.on_event("ADDED", schedule)

    def _take(self, type: EventType, obj: ScheduledExecution) -> None:  # noqa: A002 - the wire's word
        uid = obj.metadata.uid
        known = self._by_uid.get(uid)
        if known is not None and int(obj.metadata.resource_version) < int(known.metadata.resource_version):
            return  # from before our last write
        if type == "DELETED":
            self._by_uid.pop(uid, None)
            self._queue.forget(uid)
        else:
            self._by_uid[uid] = obj
            self._queue.add(uid)


class _Runs(_Followed[ScheduledRun]):
    """The Executions of schedules, by the uid of their schedule."""

    def __init__(self, queue: WorkQueue[str], run_of: Callable[[ScheduledRun], Run]) -> None:
        super().__init__()
        self._queue = queue
        self._run_of = run_of
        self._by_schedule: dict[str, dict[str, ScheduledRun]] = {}

    def of(self, schedule: str) -> list[Run]:
        return [self._run_of(run) for run in self._by_schedule.get(schedule, {}).values()]

    def on_list(self, objects: Sequence[ScheduledRun], *, initial: bool) -> None:
        del initial
        had = self._by_schedule.keys()
        self._by_schedule = {}
        for run in objects:
            self.on_event("ADDED", run)
        for uid in had:
            self._queue.add(uid)

    def _take(self, type: EventType, obj: ScheduledRun) -> None:  # noqa: A002 - the wire's word
        for uid in _owners(obj):
            runs = self._by_schedule.setdefault(uid, {})
            if type == "DELETED":
                runs.pop(obj.metadata.uid, None)
            else:
                runs[obj.metadata.uid] = obj
            self._queue.add(uid)


def misfit_of(function: Function | None, arguments: msgspec.Raw) -> str:
    """Return why a function does not take the arguments of a schedule; empty if it does, or nobody here knows it."""
    if function is None:
        return ""
    from kontinue.client.arguments import check_stored  # here: 5 MB, for leaders of groups that have schedules

    try:
        check_stored(function, arguments)
    except errors.InvalidArguments as error:
        return str(error)
    return ""


def run_of(run: ScheduledRun, defaults: Mapping[str, ExecutionDefaults], ttl: ExecutionTTL | None) -> Run:
    """Return a run as decisions need it.

    Args:
        run: as the server has it.
        defaults: function -> its defaults.
        ttl: of Executions for which nobody has said anything else.
    """
    meta, status, spec = run.metadata, run.status, run.spec
    function, has_run = defaults.get(spec.function), status.attempt_count > 0
    has_ended = status.phase is not None and status.phase.is_terminal
    return Run(
        name=meta.name,
        uid=meta.uid,
        version=meta.resource_version,
        created_s=created_s_of(meta),
        has_ended=has_ended,
        has_stopped=has_ended and is_stopped(status.conditions),
        is_archived_first=is_archived(ttl_of(spec.ttl, status.defaults, function, ttl, has_run=has_run)),
    )


def _owners(run: ScheduledRun) -> list[str]:
    return [owner.uid for owner in run.metadata.owner_references if owner.kind == SCHEDULE_KIND]


def _reference_to(schedule: ScheduledExecution) -> ObjectReference:
    meta = schedule.metadata
    return ObjectReference(
        api_version=labels.API_VERSION, kind=SCHEDULE_KIND, name=meta.name, namespace=meta.namespace, uid=meta.uid
    )
