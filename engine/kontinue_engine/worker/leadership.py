"""Internal. The leader's duties, put together: adoption, placement, pruning, mutexes, schedules, retries, retention.

Built by ``worker.replica``. In a group that is not sharded whoever runs it leads; in a sharded one the replicas
campaign, and each reign begins with duties that know nothing of the one before: what that had under way ended with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from kontinue_engine.controllers.adoption import Adopter
from kontinue_engine.controllers.function import FunctionController
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.coordinator import group_events
from kontinue_engine.coordinator.campaign import Campaign
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.coordinator.mutexes import MutexDuty
from kontinue_engine.coordinator.placement import PlacementDuty
from kontinue_engine.coordinator.pruning import PruningDuty
from kontinue_engine.coordinator.retention import RetentionDuty
from kontinue_engine.coordinator.retries import RetryDuty
from kontinue_engine.coordinator.schedules import ScheduleDuty
from kontinue_engine.coordinator.state_counts import StateCounts
from kontinue_engine.coordinator.wake_times import WakeTimeDuty
from kontinue_engine.kube.lease import HeldLease
from kontinue_engine.sharding.lease_book import ShardState
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from kontinue_engine.worker import informers


class Leadership:
    """Builds the duties and carries them out.

    Args:
        runtime: tools of the replica, and its scope.
        functions: the app's functions, as registered.
        watch: of the group's Leases, which has listed them.
        me: the replica.
        times: of the group's Leases.
        is_pruning: whether Functions that the app no longer has are deleted.
    """

    def __init__(
        self,
        runtime: Runtime,
        functions: FunctionController,
        watch: LeaseWatch,
        *,
        me: ReplicaIdentity,
        times: LeaseTimes,
        is_pruning: bool,
    ) -> None:
        self._runtime = runtime
        self._functions = functions
        self._watch = watch
        self._me = me
        self._times = times
        self._is_pruning = is_pruning

    async def lead_alone(self, own: HeldLease, mutexes: MutexDuty) -> None:
        """Carry out the duties of a group that is not sharded, until cancelled.

        Args:
            own: the Lease of leadership, which is held.
            mutexes: told of the Executions that this replica sees.
        """
        group_events.elected(self._runtime.events, own)
        async with asyncio.TaskGroup() as tasks:
            for name, work in self.duties(mutexes).items():
                tasks.create_task(work, name=name)

    async def campaign(self, lease: HeldLease) -> None:
        """Carry out the duties of a sharded group whenever this replica leads it, until cancelled.

        Args:
            lease: of leadership.
        """
        await Campaign(lease, self._watch, self._runtime.clock, self._runtime.events, self._reign).run()

    async def _reign(self) -> None:
        runtime = self._runtime
        placement = PlacementDuty(
            runtime.transport,
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            me=self._me,
            watch=self._watch,
            events=runtime.events,
            clock=runtime.clock,
            times=self._times,
            limits=runtime.scope.limits,
            suspensions=runtime.suspensions,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(placement.run(), name="placement")
            for name, work in self.duties(self.build_mutexes()).items():
                tasks.create_task(work, name=name)

    def duties(self, mutexes: MutexDuty) -> dict[str, Coroutine[None, None, None]]:
        """Return what every leader does, sharded or not, by name; each runs until cancelled."""
        return {
            "adoption": self._adopt(),
            "pruning": self._prune(),
            "mutexes": mutexes.run(),
            "schedules": self._build_schedules().run(),
            "retries": self._build_retries().run(),
            "wake times": self._build_wake_times().run(),
            "retention": self._build_retention().run(),
            "state counts": self._build_state_counts().run(),
        }

    def build_mutexes(self) -> MutexDuty:
        """Return the duty that gives mutexes to Executions."""
        runtime = self._runtime
        return MutexDuty(
            runtime.transport,
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            me=self._me,
            is_sharded=bool(runtime.scope.shard),
            book=self._watch.book,
            clock=runtime.clock,
            times=self._times,
        )

    def _build_schedules(self) -> ScheduleDuty:
        runtime = self._runtime
        return ScheduleDuty(
            runtime.transport,
            runtime.events,
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            owns=runtime.owns,
            functions={function.spec.name: function for function in self._functions.wanted.values()},
            defaults=runtime.scope.defaults,
            ttl=runtime.scope.ttl,
            clock=runtime.clock,
        )

    def _build_retries(self) -> RetryDuty:
        runtime, book = self._runtime, self._watch.book
        return RetryDuty(
            runtime.transport,
            runtime.events,
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            is_sharded=bool(runtime.scope.shard),
            defaults=runtime.scope.defaults,
            limits=runtime.scope.limits,
            owns=runtime.owns,
            live_shards=lambda: [
                shard.name for shard in book.shards(runtime.clock.monotonic_s()) if shard.state is ShardState.LIVE
            ],
            clock=runtime.clock,
            times=self._times,
        )

    def _build_wake_times(self) -> WakeTimeDuty:
        runtime = self._runtime
        return WakeTimeDuty(
            runtime.transport, namespace=runtime.scope.namespace, store=runtime.suspensions, clock=runtime.clock
        )

    def _build_state_counts(self) -> StateCounts:
        runtime = self._runtime
        return StateCounts(
            runtime.transport,
            runtime.metrics,
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            clock=runtime.clock,
        )

    def _build_retention(self) -> RetentionDuty:
        runtime = self._runtime
        return RetentionDuty(
            runtime.transport,
            runtime.events,
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            ttl=runtime.scope.ttl,
            defaults=runtime.scope.defaults,
            owns=runtime.owns,
            clock=runtime.clock,
        )

    async def _adopt(self) -> None:
        runtime = self._runtime
        adopter = Adopter(
            runtime.transport, namespace=runtime.scope.namespace, group=runtime.scope.group, owns=runtime.owns
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(adopter.run(), name="adopter")
            tasks.create_task(informers.unadopted_executions(runtime, adopter).run(), name="unadopted")

    async def _prune(self) -> None:
        if self._is_pruning:
            runtime = self._runtime
            duty = PruningDuty(
                runtime.transport,
                runtime.events,
                namespace=runtime.scope.namespace,
                group=runtime.scope.group,
                build=runtime.worker.build,
                functions=self._functions,
                watch=self._watch,
                clock=runtime.clock,
            )
            await duty.run()
