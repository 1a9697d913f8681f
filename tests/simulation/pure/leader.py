"""The leader of a pure world: ``sharding.placement``, ``sharding.mutexes`` and ``sharding.limits`` decide.

What ``coordinator`` does around them, as callbacks instead of tasks: plan, send each command, tell how it went. In a
group that is not sharded there are only mutexes, and the replica hands on the Executions that it sees.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from pure.cluster import EXECUTIONS, LEASES, Feed, RefusedError, replaced

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, ExecutionOwner
from kontinue_engine.coordinator.fates import MAY_RUN_ON
from kontinue_engine.lifecycle.conditions import is_stopped, with_stopped
from kontinue_engine.sharding import fates, leases, limits, mutexes, placement, views
from kontinue_engine.sharding.assignment import Allowance, Orphan
from kontinue_engine.sharding.fates import STOPPING_S, Fate

GROUP = "g"


class Leader:
    """The duties of one reign."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica
        self._world = replica.world
        self._cluster = replica.world.cluster
        self._is_over = False
        self._is_awake = False
        self._looks_at_s = float("inf")
        is_sharded = self._world.is_sharded
        self._shard = replica.shard if is_sharded else ""
        duration_s = self._world.times.duration_s
        patience_s = duration_s + STOPPING_S
        self._placement = placement.Placement(
            replica.shard, parked_delay_s=duration_s, allowance=Allowance(), at_a_time=4
        )
        self._admissions = limits.Admissions(self._world.limits if is_sharded else {}, patience_s=patience_s)
        self._mutexes = mutexes.Mutexes(self._shard, patience_s=patience_s, allowance=Allowance())
        self._held_back: dict[str, Execution] = {}
        self._feeds: list[Feed] = []
        self._follow(LEASES, lambda lease: labels.MUTEX in lease.metadata.labels, _Leases(self._mutexes))
        if is_sharded:
            is_live = self._world.is_live
            self._follow(EXECUTIONS, lambda one: is_live(one) and labels.SHARD not in one.metadata.labels, self)
            self._follow(
                EXECUTIONS, lambda one: is_live(one) and labels.MUTEX in one.metadata.labels, _Contenders(self)
            )
            placed = _Placed(self._admissions, self._replica, on_synced=self._find_stopping)
            self._follow(EXECUTIONS, lambda one: is_live(one) and self._is_placed(one), placed)

    def close(self) -> None:
        """Nothing that is under way matters any more."""
        self._is_over = True
        for feed in self._feeds:
            feed.close()

    def _follow(self, kind: str, selects: Callable[[Any], bool], handler: Any) -> None:
        self._feeds.append(Feed(self._world.wire, self._replica, kind, selects, handler, after=self.wake))

    def _find_stopping(self) -> None:
        """What has ended under another leader may still be stopping; asked once those that live are watched."""

        def is_sought(one: Execution) -> bool:
            return self._is_placed(one) and one.phase in MAY_RUN_ON and not is_stopped(one.status.conditions)

        def answered(found: list[Execution] | None, error: Exception | None) -> None:
            if error is not None or found is None:
                self._replica.after(1.0, self._find_stopping)
            else:
                self._admissions.hold_ended(map(views.applicant_of, found), self._replica.monotonic_s())

        if not self._is_over:
            self._ask(lambda: [one for one in self._cluster.executions.values() if is_sought(one)], answered)

    def _is_placed(self, one: Execution) -> bool:
        return one.spec.function in self._world.limits and labels.SHARD in one.metadata.labels

    # Seen: live Executions without a shard, those aside that a limit holds back; and, if not sharded, all of them.

    def on_list(self, found: list[Execution], *, initial: bool) -> None:
        """Take all of them."""
        waiting = {one.metadata.uid: one for one in found if self._must_wait(one)}
        self._admissions.replace_waiting([views.applicant_of(one) for one in waiting.values()])
        self._held_back = waiting
        self._placement.replace_newcomers(
            views.newcomer_of(one)  # type: ignore[arg-type]
            for one in found
            if one.metadata.uid not in waiting
        )

    def on_event(self, type_: str, one: Execution) -> None:
        """Take one change."""
        uid = one.metadata.uid
        if type_ == "DELETED":
            self._held_back.pop(uid, None)
            self._admissions.forget_waiting(uid)
            self._placement.forget(uid)
        elif self._must_wait(one):
            self._held_back[uid] = one
            self._admissions.wait(views.applicant_of(one))
        else:
            self._placement.observe(views.newcomer_of(one))  # type: ignore[arg-type]

    def _must_wait(self, one: Execution) -> bool:
        return one.spec.function in self._world.limits and self._admissions.must_wait(views.applicant_of(one))

    def on_contenders(self, found: Iterable[Execution]) -> None:
        """Take all live ones with a mutex."""
        contenders = [views.contender_of(one, is_sharded=bool(self._shard)) for one in found]
        self._mutexes.replace_contenders(one for one in contenders if one is not None)
        self.wake()

    def on_contender(self, type_: str, one: Execution) -> None:
        """Take one change of one with a mutex."""
        contender = views.contender_of(one, is_sharded=bool(self._shard))
        if contender is None or type_ == "DELETED":
            self._mutexes.forget(one.metadata.uid)
        else:
            self._mutexes.observe(contender)
        self.wake()

    # Decide.

    def wake(self) -> None:
        """Plan soon: what comes at once is looked at once."""
        if not self._is_awake and not self._is_over:
            self._is_awake = True
            self._world.timeline.after(0.001, self._replica.enter, self._plan)

    def _wake_at(self, at_s: float) -> None:
        if self._looks_at_s == at_s:
            self._looks_at_s = float("inf")
            self.wake()

    def _plan(self) -> None:
        self._is_awake = False
        if self._is_over:
            return
        now_s = self._replica.monotonic_s()
        looks_s: list[float | None] = []
        if self._shard:
            for admission in self._admissions.plan(now_s):
                self._admit(admission)
            for command in self._placement.plan(self._replica.book.shards(now_s), now_s):
                self._place(command)
            looks_s += [self._placement.next_look_s(now_s), self._admissions.next_look_s(now_s)]
        for order in self._mutexes.plan(now_s):
            self._give(order)
        looks_s.append(self._mutexes.next_look_s(now_s))
        wait_s = min((look_s for look_s in looks_s if look_s is not None), default=None)
        if wait_s is not None:
            at_s = self._world.timeline.now_s + max(wait_s, 0.002)
            if at_s < self._looks_at_s:
                self._looks_at_s = at_s
                self._replica.after(max(wait_s, 0.002), self._wake_at, at_s)

    # Act.

    def _ask(self, act: Callable[[], Any], then: Callable[[Any, Exception | None], None]) -> None:
        def answered(answer: Any, error: Exception | None) -> None:
            if not self._is_over:
                then(answer, error)
                self.wake()

        self._replica.ask(act, answered)

    def _place(self, command: placement.Command) -> None:
        cluster, replica, now_s = self._cluster, self._replica, self._replica.monotonic_s

        def answered(_: Any, error: Exception | None) -> None:
            if error is None or isinstance(error, RefusedError):
                self._placement.done(command)  # type: ignore[arg-type]
            else:
                self._placement.failed(command, now_s())

        match command:
            case placement.Move(name=name):
                patch = views.move_patch(command, group=GROUP)
                self._ask(lambda: cluster.patch_labels(name, patch, replica), answered)
            case placement.Expire(lease=lease):
                verdict = views.expired(lease, by=replica.me)
                self._ask(lambda: cluster.replace_lease(verdict, replica), answered)
            case placement.RemoveLease(lease=lease):
                self._ask(lambda: cluster.delete_lease(lease, replica), answered)
            case placement.Sweep():
                self._sweep(command)

    def _sweep(self, command: placement.Sweep) -> None:
        """List, then look whether somebody has those shards after all."""
        strays = command.shard == placement.STRAYS

        def is_sought(one: Execution) -> bool:
            shard = one.metadata.labels.get(labels.SHARD)
            return self._world.is_live(one) and (
                shard is not None and shard not in command.known if strays else shard == command.shard
            )

        def listed(found: list[Execution] | None, error: Exception | None) -> None:
            if error is not None or found is None:
                self._placement.failed(command, self._replica.monotonic_s())
                return
            shards = {one.metadata.labels[labels.SHARD] for one in found} | ({command.shard} - {placement.STRAYS})
            self._ask(lambda: {shard: self._shard_lease(shard) for shard in shards}, functools.partial(looked, found))

        def looked(found: list[Execution], known: dict[str, Lease | None] | None, error: Exception | None) -> None:
            if error is not None or known is None:
                self._placement.failed(command, self._replica.monotonic_s())
                return
            held = [shard for shard, lease in known.items() if lease is not None and lease.spec.holder_identity]
            lost_by = ""
            if not strays and command.shard not in held:
                lease = known[command.shard]
                if lease is not None and leases.was_expired(lease):
                    lost_by = leases.holder_of(lease).incarnation
                self._close(command.shard)
            orphans = [
                views.found_of(one, shard=command.shard, lost_by=lost_by, now_ms=self._replica.now_ms())  # type: ignore[arg-type]
                for one in found
                if one.metadata.labels[labels.SHARD] not in held
            ]
            self._placement.swept(command, orphans, self._replica.monotonic_s())

        self._ask(lambda: [one for one in self._cluster.executions.values() if is_sought(one)], listed)

    def _shard_lease(self, shard: str) -> Lease | None:
        name = leases.shard_lease_name(GROUP, shard) if self._shard else leases.leader_lease_name(GROUP)
        lease: Lease | None = self._cluster.leases.get(name)
        return lease

    def _close(self, shard: str) -> None:
        """Say of what was canceled in a shard that nobody has that it has stopped."""

        def is_sought(one: Execution) -> bool:
            is_here = one.metadata.labels.get(labels.SHARD) == shard
            return is_here and one.phase in MAY_RUN_ON and not is_stopped(one.status.conditions)

        def found(ended: list[Execution] | None, _: Exception | None) -> None:
            for one in ended or ():
                if one.status.owner is not None:
                    self._ask_of_owner(one.status.owner, functools.partial(judged, one))

        def judged(one: Execution, is_gone: bool | None) -> None:
            if is_gone:
                conditions = with_stopped(one.status.conditions, one.phase, self._replica.now_ms())
                status = replaced(one.status, conditions=conditions)
                version = one.metadata.resource_version
                self._ask(lambda: self._cluster.put_status(one.metadata.name, version, status, None), lambda *_: None)

        self._ask(lambda: [one for one in self._cluster.executions.values() if is_sought(one)], found)

    def _ask_of_owner(self, owner: ExecutionOwner, then: Callable[[bool | None], None]) -> None:
        """Find out whether an owner that was read before has lost its Lease; None if the server does not say."""

        def answered(lease: Lease | None, error: Exception | None) -> None:
            if error is not None:
                then(None)
            else:
                then(
                    lease is not None
                    and (not lease.spec.holder_identity or leases.holder_of(lease).incarnation != owner.incarnation)
                )

        self._ask(lambda: self._shard_lease(owner.shard), answered)

    def _admit(self, command: limits.Admit | limits.Seek) -> None:
        match command:
            case limits.Admit(uid=uid):
                one = self._held_back.pop(uid, None)
                if one is not None:
                    self._placement.observe(views.newcomer_of(one))  # type: ignore[arg-type]
            case limits.Seek(uid=uid, name=name):
                self._judge(
                    name,
                    uid,
                    lambda fate: self._admissions.sought(command, fate, self._replica.monotonic_s()),
                    lambda: self._admissions.failed(command, self._replica.monotonic_s()),
                )

    def _judge(self, name: str, uid: str, then: Callable[[Fate], None], failed: Callable[[], None]) -> None:
        def answered(one: Execution | None, error: Exception | None) -> None:
            if error is not None:
                failed()
            elif one is None or one.metadata.uid != uid:
                then(Fate.UNSURE)
            else:
                owner = one.status.owner
                has_stopped = is_stopped(one.status.conditions)
                if owner is None or has_stopped or not one.phase.is_terminal:
                    decided(one, is_owner_gone=False)
                else:
                    self._ask_of_owner(
                        owner, lambda gone: failed() if gone is None else decided(one, is_owner_gone=gone)
                    )

        def decided(one: Execution, *, is_owner_gone: bool) -> None:
            has_stopped = is_stopped(one.status.conditions)
            then(fates.judge(is_terminal=one.phase.is_terminal, is_stopped=has_stopped, is_owner_gone=is_owner_gone))

        self._ask(lambda: self._cluster.executions.get(name), answered)

    def _give(self, command: mutexes.Command) -> None:
        cluster, replica, machine = self._cluster, self._replica, self._mutexes

        def failed() -> None:
            machine.failed(command, self._key(command), replica.monotonic_s())

        def answered(answer: Any, error: Exception | None) -> None:
            if error is not None:
                failed()
                return
            match command:
                case mutexes.Grant():
                    machine.granted(command, answer)
                case mutexes.Free():
                    machine.freed(command, self._key(command))
                case mutexes.Bring():
                    machine.brought(command, replica.monotonic_s())

        match command:
            case mutexes.Grant(lease=last):
                lease = views.granted(command, group=GROUP, now=replica.now())
                write = cluster.create_lease if last is None else cluster.replace_lease
                self._ask(lambda: write(lease, replica), answered)
            case mutexes.Free(lease=held):
                self._ask(lambda: cluster.delete_lease(held, replica), answered)
            case mutexes.Ask(lease=held):
                self._judge(
                    held.metadata.annotations.get(labels.EXECUTION, ""),
                    held.spec.holder_identity,
                    lambda fate: machine.asked(command, self._key(command), fate, replica.monotonic_s()),
                    failed,
                )
            case mutexes.Bring(contender=one):
                orphan = Orphan(uid=one.uid, name=one.name, version=one.version, shard=one.shard, deaths=one.deaths)
                move = placement.Move(one.uid, one.name, one.version, self._shard, mutex=one.mutex, orphan=orphan)
                patch = views.move_patch(move, group=GROUP)
                self._ask(lambda: cluster.patch_labels(one.name, patch, replica), answered)

    def _key(self, command: mutexes.Command) -> str:
        match command:
            case mutexes.Grant(to=contender) | mutexes.Bring(contender=contender):
                return leases.mutex_key(contender.mutex)
            case mutexes.Free(lease=lease) | mutexes.Ask(lease=lease):
                return leases.mutex_of(lease, GROUP) or ""


class _Contenders:
    """Handler: live Executions with the label of a mutex."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader

    def on_list(self, found: list[Execution], *, initial: bool) -> None:
        self._leader.on_contenders(found)

    def on_event(self, type_: str, one: Execution) -> None:
        self._leader.on_contender(type_, one)


class _Leases:
    """Handler: Leases of mutexes."""

    def __init__(self, found: mutexes.Mutexes) -> None:
        self._mutexes = found

    def on_list(self, found: list[Lease], *, initial: bool) -> None:
        self._mutexes.replace_leases((leases.mutex_of(lease, GROUP) or "", lease) for lease in found)

    def on_event(self, type_: str, lease: Lease) -> None:
        key = leases.mutex_of(lease, GROUP) or ""
        if type_ == "DELETED":
            self._mutexes.forget_lease(key, lease)
        else:
            self._mutexes.observe_lease(key, lease)


class _Placed:
    """Handler: live Executions of functions with a limit, in shards."""

    def __init__(self, admissions: limits.Admissions, replica: Any, *, on_synced: Callable[[], None]) -> None:
        self._admissions = admissions
        self._replica = replica
        self._on_synced = on_synced

    def on_list(self, found: list[Execution], *, initial: bool) -> None:
        self._admissions.replace_holders(map(views.applicant_of, found), self._replica.monotonic_s())
        if initial:
            self._on_synced()

    def on_event(self, type_: str, one: Execution) -> None:
        if type_ == "DELETED":
            self._admissions.lost(one.metadata.uid, self._replica.monotonic_s())
        else:
            self._admissions.hold(views.applicant_of(one))
