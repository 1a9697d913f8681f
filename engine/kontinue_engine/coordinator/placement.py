"""Internal. Carries out ``kontinue_engine.sharding.placement``: watch, list, expire and relabel, as long as we lead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR
from kontinue.kube import requests
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator import group_events
from kontinue_engine.coordinator.closing import Closer
from kontinue_engine.coordinator.errands import Errands
from kontinue_engine.coordinator.holders import Holders
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.coordinator.limits import LimitDuty
from kontinue_engine.coordinator.waking import Waking
from kontinue_engine.kube.events import EventRecorder, execution_reference
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.open_suspensions import OpenSuspension, OpenSuspensions
from kontinue_engine.sharding import leases, views
from kontinue_engine.sharding import placement as placements
from kontinue_engine.sharding.assignment import Allowance
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from kontinue_engine.sharding.placement import Expire, Move, Placement, RemoveLease, Sweep
from kontinue_engine.telemetry.logs import get_logger

IN_FLIGHT: Final = 32
"""Writes at a time: more do not make kube-apiserver faster (measured: facts-performance), and others want to write."""

_log = get_logger(__name__)


class PlacementDuty:
    """Keeps every live Execution of the group in a live shard.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        me: the leader.
        watch: of the group's Leases.
        events: where verdicts and moves are told.
        clock: time.
        times: of the group's Leases.
        limits: function -> limit, of those that have one.
        suspensions: open ones of the group; who waits in a dead shard for one that ends is moved at once.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        group: str,
        me: ReplicaIdentity,
        watch: LeaseWatch,
        events: EventRecorder,
        clock: Clock,
        times: LeaseTimes,
        limits: Mapping[str, int],
        suspensions: OpenSuspensions,
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._me = me
        self._watch = watch
        self._events = events
        self._moves = group_events.Moves()
        self._suspensions = suspensions
        self._clock = clock
        self._placement = Placement(
            me.shard, parked_delay_s=times.duration_s, allowance=Allowance(), at_a_time=2 * IN_FLIGHT
        )
        self._limits = LimitDuty(
            transport,
            namespace=namespace,
            group=group,
            me=me,
            limits=limits,
            book=watch.book,
            events=events,
            clock=clock,
            times=times,
            place=self,
        )
        self._closer = Closer(transport, namespace=namespace, group=group, is_sharded=True, clock=clock, times=times)
        self._waking = Waking(transport, namespace=namespace, group=group, on_woken=self._on_woken)
        self._errands: Errands[placements.Command] = Errands(
            "placement", in_flight=IN_FLIGHT, plan=self._plan, carry_out=self._carry_out
        )

    async def run(self) -> None:
        """Place Executions until cancelled."""
        informer = Informer(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=views.PlacedExecution,
            handler=self._limits,
            label_selector=f"{labels.WORKER_GROUP}={self._group},!{labels.SHARD}",
            field_selector=LIVE_PHASES_SELECTOR,
        )
        self._watch.subscribe(self._errands.news)
        try:
            with self._suspensions.following_ends(self._on_suspension_gone):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(informer.run(), name="unassigned")
                    tasks.create_task(self._limits.run(), name="limits")
                    tasks.create_task(self._waking.run(), name="waking")
                    tasks.create_task(self._closer.run(), name="closing")
                    await self._errands.run()
        finally:
            self._watch.unsubscribe(self._errands.news)
            self._tell_moves(all_of_them=True)

    # Informer handler: live Executions of the group without a shard, those aside that a limit holds back.

    def on_list(self, objects: Sequence[views.PlacedExecution], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        self._placement.replace_newcomers(views.newcomer_of(execution) for execution in objects)
        self._errands.news.set()

    def on_event(self, type: EventType, obj: views.PlacedExecution) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it is not without a shard any more, or has ended."""
        if type == "DELETED":
            self._placement.forget(obj.metadata.uid)
        else:
            self._placement.observe(views.newcomer_of(obj))
            self._errands.news.set()

    # Decide.

    def _plan(self) -> tuple[list[placements.Command], float]:
        now_s = self._clock.monotonic_s()
        commands = self._placement.plan(self._watch.book.shards(now_s), now_s)
        self._tell_moves()
        if not self._placement.waiting:
            self._waking.end()
        return commands, self._placement.next_look_s(now_s)

    def _on_woken(self, uid: str) -> None:
        self._placement.wake(uid)
        self._errands.news.set()

    def _on_suspension_gone(self, gone: OpenSuspension) -> None:
        if self._placement.waiting:
            self._on_woken(gone.owner_uid)

    # Act.

    async def _carry_out(self, command: placements.Command) -> None:
        try:
            match command:
                case Sweep():
                    found = await self._sweep(command)
                    self._placement.swept(command, found, self._clock.monotonic_s())
                    if any(one.wakes_in_s != 0.0 for one in found):
                        self._waking.begin()
                case Move() | Expire() | RemoveLease():
                    await self._write(command)
                    self._placement.done(command)
        except errors.ApiError as error:
            _log.warning("placement failed", command=type(command).__name__, error=str(error))
            self._placement.failed(command, self._clock.monotonic_s())

    async def _write(self, command: Move | Expire | RemoveLease) -> None:
        """Make the change if its object is still what was seen; otherwise the watch or the next sweep shows it."""
        match command:
            case Move():
                patch = views.move_patch(command, group=self._group)
                request = requests.merge_patch(requests.EXECUTIONS, self._namespace, command.name, patch)
            case Expire():
                lease = views.expired(command.lease, by=self._me)
                request = requests.replace(requests.LEASES, self._namespace, lease.metadata.name, lease)
            case RemoveLease():
                meta = command.lease.metadata
                request = requests.delete(
                    requests.LEASES, self._namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
                )
        try:
            await self._transport.send(request)
        except (errors.Conflict, errors.NotFound):
            return
        match command:
            case Expire():
                _log.warning("shard is dead", dead_shard=command.shard, lease=command.lease.metadata.name)
                group_events.shard_dead(self._events, command.lease, shard=command.shard, by=self._me)
            case Move(orphan=orphan) if orphan is not None:
                _log.info("reassigned", execution=command.name, uid=command.uid, to_shard=command.shard)
                self._tell_move(command)
            case _:
                pass

    def _tell_move(self, move: Move) -> None:
        message = self._moves.add(move, self._clock.monotonic_s())
        if message is not None:
            about = execution_reference(self._namespace, move.name, move.uid)
            self._events.record(about, "Normal", group_events.REASSIGNED, message)

    def _tell_moves(self, *, all_of_them: bool = False) -> None:
        for summary in self._moves.take(self._clock.monotonic_s(), all_of_them=all_of_them):
            name = leases.leader_lease_name(self._group)
            if summary.shard != placements.STRAYS:
                name = leases.shard_lease_name(self._group, summary.shard)
            sighting = self._watch.book.get(name)
            if sighting is not None:
                about = group_events.reference_to(sighting.lease)
                self._events.record(about, "Normal", group_events.REASSIGNED, summary.message)

    async def _sweep(self, command: Sweep) -> list[placements.Found]:
        shards = labels.SHARD
        where = f"{shards}={command.shard}"
        if command.shard == placements.STRAYS:
            where = f"{shards},{shards} notin ({','.join(command.known)})" if command.known else shards
        reflector = Reflector(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=views.PlacedExecution,
            label_selector=f"{labels.WORKER_GROUP}={self._group},{where}",
            field_selector=LIVE_PHASES_SELECTOR,
        )
        now_ms = self._clock.now_ms()
        listed = await reflector.fetch()
        # Asked after the list, whatever our watch has shown: whoever takes a shard now finds everything in it, and
        # claims it before it runs.
        holders = Holders(self._transport, self._namespace, self._group, is_sharded=True)
        shards_found = {execution.metadata.labels[shards] for execution in listed.objects}
        held = {shard for shard in sorted({command.shard, *shards_found}) if shard and await holders.is_held(shard)}
        lost_by = ""
        if command.shard != placements.STRAYS and command.shard not in held:
            lost_by = await holders.find_dead(command.shard)
            self._closer.look_into(command.shard)
        return [
            self._found(execution, shard=command.shard, lost_by=lost_by, now_ms=now_ms)
            for execution in listed.objects
            if execution.metadata.labels[shards] not in held
        ]

    def _found(self, execution: views.PlacedExecution, *, shard: str, lost_by: str, now_ms: int) -> placements.Found:
        found = views.found_of(execution, shard=shard, lost_by=lost_by, now_ms=now_ms)
        awaited = (item.name for item in execution.status.waiting_for if item.kind == requests.SUSPENSIONS.kind)
        if any(self._suspensions.has_ended(name) for name in awaited):
            return msgspec.structs.replace(found, wakes_in_s=0.0)
        return found
