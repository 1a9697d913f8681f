"""Internal. Carries out ``kontinue_engine.sharding.limits`` in a sharded group, as long as we lead.

Stands between the watch of Executions without a shard and ``placement``: those of functions with a limit are handed on
only when it is their turn, because the label of a shard is the grant. What the others are told is the business of
``limit_notices``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Phase
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator import fates
from kontinue_engine.coordinator.errands import Errands
from kontinue_engine.coordinator.limit_notices import LimitNotices
from kontinue_engine.errors import EngineError
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer, InformerHandler
from kontinue_engine.lifecycle.admission import TELL_AFTER_MS
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.sharding import leases, views
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.limits import Admissions, Admit, Applicant, Seek
from kontinue_engine.telemetry.logs import get_logger

IN_FLIGHT: Final = 8
"""Requests at a time. Judgement: of thousands that wait each is told once, and nobody is in a hurry to know."""
TELLING: Final = IN_FLIGHT // 2
"""How many are told at a time: a slot that may be free is asked for at once, however many wait."""

_log = get_logger(__name__)


class Tell(msgspec.Struct, frozen=True):
    """Tell one that waits what it waits for."""

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
        self._incarnation = me.incarnation
        self._limits = limits
        self._book = book
        self._clock = clock
        self._place = place
        self._admissions = Admissions(limits, patience_s=times.patience_s)
        self._notices = LimitNotices(transport, namespace=namespace, me=me, limits=limits, events=events, clock=clock)
        self._waiting: dict[str, views.PlacedExecution] = {}
        self._untold: deque[tuple[float, str]] = deque()
        self._telling = 0
        self._errands: Errands[Seek | Tell] = Errands(
            "limits", in_flight=IN_FLIGHT, plan=self._plan, carry_out=self._carry_out
        )

    async def run(self) -> None:
        """Admit until cancelled."""
        if not self._limits:
            return
        placed = Informer(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=views.PlacedExecution,
            handler=_Placed(self._admissions, self._clock, self._errands.news),
            label_selector=self._selector,
            field_selector=LIVE_PHASES_SELECTOR,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(placed.run(), name="Executions of limited functions")
            await placed.synced.wait()  # in this order: see ``Admissions.hold_ended``
            self._admissions.hold_ended(await self._find_stopping(), self._clock.monotonic_s())
            await self._errands.run()

    @property
    def _selector(self) -> str:
        functions = ",".join(sorted(labels.label_value(function) for function in self._limits))
        return f"{labels.WORKER_GROUP}={self._group},{labels.SHARD},{labels.FUNCTION} in ({functions})"

    async def _find_stopping(self) -> list[Applicant]:
        """Return those that have ended under another leader, and have not stopped as far as anybody has said."""
        found: list[Applicant] = []
        for phase in fates.MAY_RUN_ON:
            ended = await self._list_ended(phase)
            found += [views.applicant_of(one) for one in ended if not is_stopped(one.status.conditions)]
        return found

    async def _list_ended(self, phase: Phase) -> Sequence[views.PlacedExecution]:
        ended = Reflector(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=views.PlacedExecution,
            label_selector=self._selector,
            field_selector=f"status.phase={phase}",
        )
        backoff = Backoff()
        while True:
            try:
                return (await ended.fetch()).objects
            except errors.ApiError as error:
                _log.warning("limits not known", error=str(error))
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))

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
        return execution.spec.function in self._limits and self._admissions.must_wait(views.applicant_of(execution))

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
        while self._may_tell and self._untold[0][0] <= now_s:
            commands.append(Tell(self._untold.popleft()[1]))
            self._telling += 1
        looks_s = [self._untold[0][0] - now_s] if self._may_tell else []
        due_s = self._admissions.next_look_s(now_s)
        looks_s += [] if due_s is None else [due_s]
        return commands, min(looks_s, default=None)

    @property
    def _may_tell(self) -> bool:
        return bool(self._untold) and self._telling < TELLING

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
        finally:
            self._telling -= isinstance(command, Tell)

    async def _seek(self, command: Seek) -> None:
        live = self._book.incarnations(self._clock.monotonic_s()) | {self._incarnation}
        fate = await fates.fetch_fate(
            self._transport,
            self._namespace,
            group=self._group,
            is_sharded=True,
            name=command.name,
            uid=command.uid,
            live=live,
        )
        self._admissions.sought(command, fate, self._clock.monotonic_s())

    async def _tell(self, uid: str) -> None:
        execution = self._waiting.get(uid)
        if execution is None:
            return
        holders = dict(self._admissions.slots.holders(execution.spec.function))
        if not await self._notices.tell(execution, holders):
            self._tell_later(uid)


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
