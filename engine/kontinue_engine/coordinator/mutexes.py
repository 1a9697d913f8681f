"""Internal. Carries out ``kontinue_engine.sharding.mutexes``: watch, grant, free and relabel, as long as we lead.

In a sharded group it watches the live Executions that carry the label of a mutex; in any other one it is told what the
replica's own watch shows. It has a watch of the mutexes' Leases of its own: whatever an earlier leader granted is in
its first list, while the Leases that every replica watches may be seen late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator import fates
from kontinue_engine.coordinator.errands import Errands
from kontinue_engine.kube.informer import Informer
from kontinue_engine.sharding import leases, mutexes, views
from kontinue_engine.sharding.assignment import Allowance, Orphan
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.mutexes import Ask, Bring, Free, Grant, Mutexes
from kontinue_engine.sharding.placement import Move
from kontinue_engine.telemetry.logs import get_logger

IN_FLIGHT: Final = 8
"""Writes at a time. Judgement: one mutex has one at a time."""

_log = get_logger(__name__)
_decode: Final = msgspec.json.Decoder(Lease).decode


class MutexDuty:
    """Gives every mutex of the group to one Execution at a time.

    Informer handler of live Executions: in a group that is not sharded, the replica hands on what it sees.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        me: the leader.
        is_sharded: whether its group is.
        book: of the group's Leases.
        clock: time.
        times: of the group's Leases.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        group: str,
        me: leases.ReplicaIdentity,
        is_sharded: bool,
        book: LeaseBook,
        clock: Clock,
        times: leases.LeaseTimes,
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._incarnation = me.incarnation
        self._shard = me.shard if is_sharded else ""
        self._book = book
        self._clock = clock
        # An allowance of its own: while placement moves what a dead shard had, for minutes perhaps, a mutex would stand
        # still whose next holder is in the shard of the leader before. After a new election only, so twice as many
        # relabels as placement alone makes are rare.
        self._mutexes = Mutexes(self._shard, patience_s=times.patience_s, allowance=Allowance())
        self._errands: Errands[mutexes.Command] = Errands(
            "mutexes", in_flight=IN_FLIGHT, plan=self._plan, carry_out=self._carry_out
        )

    async def run(self) -> None:
        """Grant mutexes until cancelled."""
        group = f"{labels.WORKER_GROUP}={self._group},{labels.MUTEX}"
        held = Informer(
            self._transport,
            requests.LEASES,
            self._namespace,
            type_=Lease,
            handler=_Leases(self._mutexes, self._group, self._errands.news),
            label_selector=group,
        )
        contenders = Informer(
            self._transport,
            requests.EXECUTIONS,
            self._namespace,
            type_=views.PlacedExecution,
            handler=self,
            label_selector=group,
            field_selector=LIVE_PHASES_SELECTOR,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(held.run(), name="Leases of mutexes")
            if self._shard:
                tasks.create_task(contenders.run(), name="Executions with a mutex")
            await self._errands.run()

    # Informer handler: live Executions of the group.

    def on_list(self, objects: Sequence[views.HasMutex], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        found = (views.contender_of(execution, is_sharded=bool(self._shard)) for execution in objects)
        self._mutexes.replace_contenders(contender for contender in found if contender is not None)
        self._errands.news.set()

    def on_event(self, type: EventType, obj: views.HasMutex) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it has ended, or is gone, or of no concern any more."""
        if obj.spec.mutex is None:
            return
        contender = views.contender_of(obj, is_sharded=bool(self._shard))
        if contender is None or type == "DELETED":
            self._mutexes.forget(obj.metadata.uid)
        else:
            self._mutexes.observe(contender)
        self._errands.news.set()

    # Decide.

    def _plan(self) -> tuple[list[mutexes.Command], float | None]:
        now_s = self._clock.monotonic_s()
        return self._mutexes.plan(now_s), self._mutexes.next_look_s(now_s)

    # Act.

    async def _carry_out(self, command: mutexes.Command) -> None:
        try:
            match command:
                case Grant():
                    await self._grant(command)
                case Free(lease=lease):
                    await self._free(command, lease)
                case Ask(lease=lease):
                    await self._ask(command, lease)
                case Bring():
                    await self._bring(command)
        except (errors.Conflict, errors.AlreadyExists, errors.NotFound):
            # Something newer is there: the watch shows it. If it is late, this is decided anew.
            self._mutexes.failed(command, self._key(command), self._clock.monotonic_s())
        except fates.UNKNOWN as error:
            _log.warning("mutex not dealt with", command=type(command).__name__, error=str(error))
            self._mutexes.failed(command, self._key(command), self._clock.monotonic_s())

    async def _grant(self, command: Grant) -> None:
        lease = views.granted(command, group=self._group, now=leases.micro_time(self._clock.now()))
        if command.lease is None:
            request = requests.create(requests.LEASES, self._namespace, lease)
        else:
            request = requests.replace(requests.LEASES, self._namespace, lease.metadata.name, lease)
        answer = _decode(await self._transport.send(request, repeatable=True))
        _log.info("mutex granted", mutex=command.to.mutex, execution=command.to.name, uid=command.to.uid)
        self._mutexes.granted(command, answer)

    async def _free(self, command: Free, lease: Lease) -> None:
        meta = lease.metadata
        request = requests.delete(
            requests.LEASES, self._namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        with suppress(errors.NotFound):
            await self._transport.send(request)
        self._mutexes.freed(command, self._key(command))

    async def _ask(self, command: Ask, lease: Lease) -> None:
        fate = await fates.fetch_fate(
            self._transport,
            self._namespace,
            group=self._group,
            is_sharded=bool(self._shard),
            name=lease.metadata.annotations.get(labels.EXECUTION, ""),
            uid=lease.spec.holder_identity,
            live=self._book.incarnations(self._clock.monotonic_s()) | {self._incarnation},
        )
        self._mutexes.asked(command, self._key(command), fate, self._clock.monotonic_s())

    async def _bring(self, command: Bring) -> None:
        one = command.contender
        # Another leader, which thinks that it still leads, may just have granted it: then it has been started there.
        orphan = Orphan(
            uid=one.uid,
            name=one.name,
            version=one.version,
            shard=one.shard,
            deaths=one.deaths,
            needs_parent_group=one.needs_parent_group,
        )
        move = Move(one.uid, one.name, one.version, shard=self._shard, mutex=one.mutex, orphan=orphan)
        patch = views.move_patch(move, group=self._group)
        await self._transport.send(requests.merge_patch(requests.EXECUTIONS, self._namespace, one.name, patch))
        self._mutexes.brought(command, self._clock.monotonic_s())

    def _key(self, command: mutexes.Command) -> str:
        match command:
            case Grant(to=contender) | Bring(contender=contender):
                return leases.mutex_key(contender.mutex)
            case Free(lease=lease) | Ask(lease=lease):
                return leases.mutex_of(lease, self._group) or ""


class _Leases:
    """Informer handler: Leases of mutexes."""

    def __init__(self, found: Mutexes, group: str, news: asyncio.Event) -> None:
        self._mutexes = found
        self._group = group
        self._news = news

    def on_list(self, objects: Sequence[Lease], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        keyed = ((leases.mutex_of(lease, self._group), lease) for lease in objects)
        self._mutexes.replace_leases((key, lease) for key, lease in keyed if key is not None)
        self._news.set()

    def on_event(self, type: EventType, obj: Lease) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        key = leases.mutex_of(obj, self._group)
        if key is None:
            return
        if type == "DELETED":
            self._mutexes.forget_lease(key, obj)
        else:
            self._mutexes.observe_lease(key, obj)
        self._news.set()
