"""Internal. Carries out ``kontinue_engine.sharding.limits`` in a sharded group, as long as we lead.

Stands between the watch of Executions without a shard and ``placement``: those of functions with a limit are handed on
only when it is their turn, because the label of a shard is the grant. Until then they are told what they wait for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectReference
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Phase, WaitingFor
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator import fates
from kontinue_engine.coordinator.errands import Errands
from kontinue_engine.errors import EngineError
from kontinue_engine.kube import executions
from kontinue_engine.kube.ancestry import Ancestry, parent_of
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer, InformerHandler
from kontinue_engine.lifecycle.decide import decide, is_stopped
from kontinue_engine.lifecycle.gates import FUNCTION, TELL_AFTER_MS, full_message, refusal
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.sharding import leases, views
from kontinue_engine.sharding.fates import STOPPING_S
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.limits import Admissions, Admit, Seek
from kontinue_engine.telemetry.logs import get_logger

IN_FLIGHT: Final = 8
"""Requests at a time. Judgement: of thousands that wait each is told once, and nobody is in a hurry to know."""
ENDED_FROM_OUTSIDE: Final = (Phase.CANCELED, Phase.SKIPPED, Phase.FAILED)
"""Phases of what may have ended without having stopped."""

_log = get_logger(__name__)


class Tell(msgspec.Struct, frozen=True):
    """Say in the status of one that waits what it waits for; or that it would wait for ever."""

    uid: str


class LimitDuty:
    """Keeps the limits of functions.

    Informer handler of live Executions without a shard.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        me: the leader.
        limits: function -> limit.
        book: of the group's Leases.
        events: where it is told that one fails because of its ancestors.
        clock: time.
        times: of the group's Leases.
        place: gets what may have a shard.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        group: str,
        me: leases.ReplicaIdentity,
        limits: Mapping[str, int],
        book: LeaseBook,
        events: EventRecorder,
        clock: Clock,
        times: leases.LeaseTimes,
        place: InformerHandler[views.PlacedExecution],
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._worker = Worker(shard=me.shard, incarnation=me.incarnation, build=me.build)
        self._limits = limits
        self._book = book
        self._events = events
        self._clock = clock
        self._place = place
        self._admissions = Admissions(limits, patience_s=times.duration_s + STOPPING_S)
        self._ancestry = Ancestry(transport, namespace)
        self._waiting: dict[str, views.PlacedExecution] = {}
        self._untold: deque[tuple[float, str]] = deque()
        self._errands: Errands[Seek | Tell] = Errands(
            "limits", in_flight=IN_FLIGHT, plan=self._plan, carry_out=self._carry_out
        )

    async def run(self) -> None:
        """Admit until cancelled."""
        if not self._limits:
            return
        await self._find_ended()
        functions = ",".join(sorted(labels.label_value(function) for function in self._limits))
        placed = Informer(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=views.PlacedExecution,
            handler=_Placed(self._admissions, self._clock, self._errands.news),
            label_selector=self._selector(functions),
            field_selector=LIVE_PHASES_SELECTOR,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(placed.run(), name="Executions of limited functions")
            await self._errands.run()

    def _selector(self, functions: str) -> str:
        return f"{labels.WORKER_GROUP}={self._group},{labels.SHARD},{labels.FUNCTION} in ({functions})"

    async def _find_ended(self) -> None:
        """What has ended under another leader may still be stopping."""
        backoff = Backoff()
        functions = ",".join(sorted(labels.label_value(function) for function in self._limits))
        for phase in ENDED_FROM_OUTSIDE:
            ended = Reflector(
                self._transport,
                requests.EXECUTIONS,
                self._namespace,
                type_=views.PlacedExecution,
                label_selector=self._selector(functions),
                field_selector=f"status.phase={phase}",
            )
            while True:
                try:
                    found = (await ended.fetch()).objects
                    break
                except errors.ApiError as error:
                    _log.warning("limits not known", error=str(error))
                    await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
            for execution in found:
                if not is_stopped(execution.status.conditions):
                    self._admissions.hold_ended(views.applicant_of(execution), self._clock.monotonic_s())

    # Informer handler: live Executions of the group without a shard.

    def on_list(self, objects: Sequence[views.PlacedExecution], *, initial: bool) -> None:
        """Take all of them."""
        waiting = {one.metadata.uid: one for one in objects if self._must_wait(one)}
        self._admissions.replace_waiting([views.applicant_of(one) for one in waiting.values()])
        known, self._waiting = self._waiting, waiting
        for uid in waiting.keys() - known.keys():
            self._tell_later(uid)
        self._place.on_list([one for one in objects if one.metadata.uid not in waiting], initial=initial)
        self._errands.news.set()

    def on_event(self, type: EventType, obj: views.PlacedExecution) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it is not without a shard any more, or has ended."""
        uid = obj.metadata.uid
        if type == "DELETED":
            self._waiting.pop(uid, None)
            self._admissions.forget_waiting(uid)
            self._place.on_event(type, obj)
        elif self._must_wait(obj):
            if uid not in self._waiting:
                self._tell_later(uid)
            self._waiting[uid] = obj
            self._admissions.wait(views.applicant_of(obj))
        else:
            self._place.on_event(type, obj)
        self._errands.news.set()

    def _must_wait(self, execution: views.PlacedExecution) -> bool:
        return execution.spec.function in self._limits and not self._admissions.slots.has_slot(execution.metadata.uid)

    def _tell_later(self, uid: str) -> None:
        self._untold.append((self._clock.monotonic_s() + TELL_AFTER_MS / 1000, uid))

    # Decide.

    def _plan(self) -> tuple[list[Seek | Tell], float | None]:
        now_s = self._clock.monotonic_s()
        commands: list[Seek | Tell] = []
        for command in self._admissions.plan(now_s):
            match command:
                case Admit(uid=uid):
                    admitted = self._waiting.pop(uid, None)
                    if admitted is not None:
                        self._place.on_event("MODIFIED", admitted)
                case Seek():
                    commands.append(command)
        while self._untold and self._untold[0][0] <= now_s:
            commands.append(Tell(self._untold.popleft()[1]))
        looks_s = [self._untold[0][0] - now_s] if self._untold else []
        due_s = self._admissions.next_look_s(now_s)
        looks_s += [] if due_s is None else [due_s]
        return commands, min(looks_s, default=None)

    # Act.

    async def _carry_out(self, command: Seek | Tell) -> None:
        try:
            match command:
                case Seek():
                    await self._seek(command)
                case Tell(uid=uid):
                    await self._tell(uid)
        except (*fates.UNKNOWN, EngineError) as error:
            _log.warning("limit not dealt with", command=type(command).__name__, error=str(error))
            match command:
                case Seek():
                    self._admissions.failed(command, self._clock.monotonic_s())
                case Tell(uid=uid):
                    self._tell_later(uid)

    async def _seek(self, command: Seek) -> None:
        live = self._book.incarnations(self._clock.monotonic_s()) | {self._worker.incarnation}
        fate = await fates.fetch_fate(self._transport, self._namespace, name=command.name, uid=command.uid, live=live)
        self._admissions.sought(command, fate, self._clock.monotonic_s())

    async def _tell(self, uid: str) -> None:
        execution = self._waiting.get(uid)
        if execution is None:
            return
        function = execution.spec.function
        holders = dict(self._admissions.slots.holders(function))
        parent = parent_of(execution.metadata.owner_references)
        if parent is not None and holders:
            ancestors = await self._ancestry.find(parent.name, parent.uid)
            if ancestors.issuperset(holders):
                await self._refuse(execution, holders)
                return
        if any(item.kind == FUNCTION and item.name == function for item in execution.status.waiting_for):
            return
        message = full_message(holders, self._limits[function])
        waiting = WaitingFor(kind=FUNCTION, name=function, message=message)
        patch = {
            "metadata": {"resourceVersion": execution.metadata.resource_version},
            "status": {"phase": execution.status.phase or Phase.PENDING, "waitingFor": [waiting]},
        }
        try:
            await self._transport.send(
                requests.merge_patch(
                    requests.EXECUTIONS, self._namespace, execution.metadata.name, patch, subresource="status"
                )
            )
        except (errors.Conflict, errors.NotFound):
            self._tell_later(uid)  # it has changed: by then the watch has shown how

    async def _refuse(self, execution: views.PlacedExecution, holders: Mapping[str, str]) -> None:
        """Let one fail that would wait for its own ancestors for ever."""
        meta, function = execution.metadata, execution.spec.function
        found = await executions.read_execution(self._transport, namespace=self._namespace, name=meta.name)
        if found is None or found.metadata.uid != meta.uid or found.phase.is_terminal:
            return
        observed = Observed(
            spec=found.spec,
            status=found.status,
            memo=parse_memo(found.status.state),
            created_at_ms=int(views.created_s_of(found.metadata) * 1000),
            gate=refusal(FUNCTION, function, holders),
        )
        plan = decide(observed, self._worker, self._clock.now_ms())
        if plan.status is not None:
            result = await executions.write_status(
                self._transport,
                namespace=self._namespace,
                name=meta.name,
                uid=meta.uid,
                version=found.metadata.resource_version,
                status=plan.status,
            )
            if not isinstance(result, executions.Written):
                self._tell_later(meta.uid)
                return
            about = ObjectReference(
                api_version=labels.API_VERSION,
                kind="Execution",
                namespace=self._namespace,
                name=meta.name,
                uid=meta.uid,
            )
            self._events.record(about, "Warning", plan.status.reason, plan.status.message)
            _log.warning("refused", execution=meta.name, uid=meta.uid, message=plan.status.message)


class _Placed:
    """Informer handler: live Executions of limited functions that have a shard."""

    def __init__(self, admissions: Admissions, clock: Clock, news: asyncio.Event) -> None:
        self._admissions = admissions
        self._clock = clock
        self._news = news

    def on_list(self, objects: Sequence[views.PlacedExecution], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        self._admissions.replace_holders(map(views.applicant_of, objects), self._clock.monotonic_s())
        self._news.set()

    def on_event(self, type: EventType, obj: views.PlacedExecution) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it has ended, or is gone."""
        if type == "DELETED":
            self._admissions.lost(obj.metadata.uid, self._clock.monotonic_s())
        else:
            self._admissions.hold(views.applicant_of(obj))
        self._news.set()
