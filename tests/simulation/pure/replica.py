"""One replica of a pure world: its Leases, and how it starts, drains, freezes and dies.

What may be done is asked of ``sharding.taking``, ``sharding.tenure`` and ``sharding.lease_book``; here is only what
``kube.lease``, ``coordinator.campaign`` and ``worker.replica`` do around them, as callbacks instead of tasks.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pure.cluster import EPOCH, EXECUTIONS, LEASES, Feed, RefusedError, replaced
from pure.leader import Leader
from pure.work import Work

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.kube.lease import POLL_S, HeldLease
from kontinue_engine.lifecycle.observed import ALONE_EPOCH, SHARDED_EPOCH, Worker
from kontinue_engine.sharding import leases, taking
from kontinue_engine.sharding.lease_book import LeaseBook, Sighting
from kontinue_engine.sharding.leases import ReplicaIdentity
from kontinue_engine.sharding.tenure import Tenure

GROUP = "g"
GRACE_S = 5.0
"""How long active work may go on in a replica that was told to stop."""
LOOK_S = 2.0
"""Between two looks at a leader that can be seen from here."""


class Machine:
    """Clocks, and which processes live."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.skew_s = rng.choice([0.0, rng.uniform(-2, 2), rng.uniform(-120, 120)])
        self.base_s = rng.uniform(0, 1e6)
        self.rate = 1 + rng.uniform(-2e-4, 2e-4)
        self.alive: dict[int, str] = {}


class Tenancy:
    """One Lease that a replica wants or holds: what ``HeldLease`` does, without its tasks.

    Args:
        replica: whose it is.
        name: of the Lease.
        on_fence: it may soon be somebody else's.
        on_resume: it is renewed after that.
        on_lost: somebody else has it, or may have.
    """

    def __init__(
        self,
        replica: Replica,
        name: str,
        *,
        on_fence: Callable[[], None],
        on_resume: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.name = name
        self.is_fenced = False
        self._replica = replica
        self._cluster = replica.world.cluster
        self._on_fence, self._on_resume, self._on_lost = on_fence, on_resume, on_lost
        self._times = replica.world.times
        self._term = 0
        self._failures = 0
        self._sent_s = 0.0
        self.lease = HeldLease(
            None,  # type: ignore[arg-type]
            "ns",
            name,
            replica.me,
            group=GROUP,
            clock=replica,
            times=self._times,
            process_start=replica.machine.alive.get,
        )

    @property
    def remaining_s(self) -> float:
        """Seconds until its holder must have stopped writing."""
        return self.lease.remaining_s

    def take(self, found: Lease | None, then: Callable[[bool], None]) -> None:
        """Write ourselves into the Lease as it was seen, and keep it."""
        replica, cluster, mine = self._replica, self._cluster, self.lease
        now, sent_s = replica.now(), replica.monotonic_s()
        self._term += 1
        term = self._term
        spec = LeaseSpec(
            holder_identity=replica.me.shard,
            lease_duration_seconds=self._times.duration_s,
            acquire_time=now,
            renew_time=now,
            lease_transitions=found.spec.lease_transitions + 1 if found is not None else 0,
        )
        if found is None:
            metadata = ObjectMeta(
                name=self.name, labels={labels.WORKER_GROUP: GROUP}, annotations=mine._annotations({})
            )
            body, write = Lease(metadata=metadata, spec=spec), cluster.create_lease
        else:
            body, write = mine._written(found, spec), cluster.replace_lease

        def answered(answer: Any, error: Exception | None) -> None:
            if term != self._term:
                return
            if error is None:
                mine._held, mine._tenure = answer, Tenure(self._times)
                mine._tenure.confirmed(sent_s)
                self._keep()
            then(error is None)

        replica.ask(lambda: write(body, replica), answered)

    def _keep(self) -> None:
        self._term += 1
        self.is_fenced = False
        self._replica.world.rules.check_writers(self.name)
        self._replica.after(self._times.renew_s, self._renew, self._term)
        self._look(self._term)

    def _look(self, term: int) -> None:
        if term != self._term:
            return
        left_s = self.lease.remaining_s
        if left_s <= 0 and not self.is_fenced:
            self.is_fenced = True
            self._on_fence()
        if left_s > 0:
            self._replica.after(left_s, self._look, term)

    def _renew(self, term: int) -> None:
        if term == self._term and self.lease._held is not None:
            self._sent_s = self._replica.monotonic_s()
            body = self.lease._renewed(self.lease._held)
            self._replica.ask(
                lambda: self._cluster.replace_lease(body, self._replica),
                lambda answer, error: self._renewed(term, answer, error),
            )

    def _renewed(self, term: int, answer: Any, error: Exception | None) -> None:
        if term != self._term:
            return
        if isinstance(error, RefusedError):
            self._replica.ask(
                lambda: self._cluster.leases.get(self.name), lambda found, failed: self._looked(term, found, failed)
            )
            return
        if error is not None:
            self._failures += 1
            bound_s = min(5.0, 0.05 * 2.0**self._failures)
            self._replica.after(self._replica.world.rng.random() * bound_s, self._renew, term)
            return
        self._failures = 0
        self.lease._held = answer
        self.lease._tenure.confirmed(self._sent_s)
        if self.is_fenced and self.remaining_s > 0:
            self.is_fenced = False
            self._on_resume()
            self._look(term)
        self._replica.world.rules.check_writers(self.name)
        self._replica.after(self._times.renew_s, self._renew, term)

    def _looked(self, term: int, found: Lease | None, error: Exception | None) -> None:
        """A renewal was refused: somebody annotated it, or our last answer got lost; or it is not ours any more."""
        if term != self._term:
            return
        if error is not None:
            self._replica.after(0.2, self._renew, term)
        elif found is None or not leases.is_held_by(found, self._replica.me):
            self.lease._tenure.refused()
            self._term += 1
            self._on_lost()
        else:
            self.lease._held = found
            self._renew(term)

    def annotate(self, note: str) -> None:
        """Write an annotation with a renewal at once."""
        self.lease._notes[note] = "true"
        self._term += 1
        self._renew(self._term)
        self._look(self._term)

    def release(self, then: Callable[[], None]) -> None:
        """Give the Lease back if it is ours; one try."""
        held, self.lease._held = self.lease._held, None
        self.lease._tenure.ended()
        self._term += 1
        if held is None:
            then()
            return
        self._replica.ask(lambda: self._cluster.leases.get(self.name), lambda found, _: self._give(found, then))

    def _give(self, found: Lease | None, then: Callable[[], None]) -> None:
        if found is None or not leases.is_held_by(found, self._replica.me):
            then()
            return
        free = replaced(found, spec=replaced(found.spec, holder_identity=""))
        self._replica.ask(lambda: self._cluster.replace_lease(free, self._replica), lambda *_: then())


class Replica:
    """One incarnation, from start to exit or death. It is the clock of what runs in it, too."""

    def __init__(self, world: Any, shard: str, machine: Machine, *, pod_uid: str, number: int) -> None:
        self.world = world
        self.shard = shard
        self.machine = machine
        self.pid = 100 + number
        machine.alive[self.pid] = str(number)
        self.me = ReplicaIdentity(
            shard=shard,
            incarnation=f"{shard}#{number}",
            host=machine.name,
            boot_id=f"{machine.name}/{number}" if pod_uid else machine.name,
            pid=self.pid,
            process_started=str(number),
            pod_uid=pod_uid,
            build="b1",
        )
        first_epoch = SHARDED_EPOCH if world.is_sharded else ALONE_EPOCH
        self.worker = Worker(shard=shard, incarnation=self.me.incarnation, build="b1", first_epoch=first_epoch)
        self.is_dead = False
        self.is_frozen = False
        self.has_slept = False
        self.thawed_at_s = -1.0
        self.is_stopping = False
        self.ended_by = ""
        self.dead_predecessor = ""
        self.book = LeaseBook(GROUP)
        self.leader: Leader | None = None
        self.work: Work | None = None
        self._feeds: list[Feed] = []
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._first: Sighting | None = None
        self._campaign_number = 0
        name = leases.shard_lease_name(GROUP, shard) if world.is_sharded else leases.leader_lease_name(GROUP)
        self.own = Tenancy(self, name, on_fence=self._fence, on_resume=self._resume, on_lost=lambda: self.end("lost"))
        self.leadership: Tenancy | None = None
        if world.is_sharded:
            name = leases.leader_lease_name(GROUP)
            self.leadership = Tenancy(
                self, name, on_fence=self._abdicate, on_resume=lambda: None, on_lost=self._abdicate
            )

    def __str__(self) -> str:
        return self.me.incarnation

    # Its machine and its operating system.

    def now(self) -> datetime:
        """Return what its wall clock shows."""
        return EPOCH + timedelta(seconds=self.world.timeline.now_s + self.machine.skew_s)

    def now_ms(self) -> int:
        """Return the same in milliseconds."""
        return int(self.now().timestamp() * 1000)

    def monotonic_s(self) -> float:
        """Return what its monotonic clock shows."""
        machine = self.machine
        seconds: float = machine.base_s + self.world.timeline.now_s * machine.rate
        return seconds

    def after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do it when its own clock has gone on by so much, and it is not frozen."""
        self.world.timeline.after(delay_s / self.machine.rate + 1e-6, self.enter, action, *arguments)

    def ask(self, act: Callable[[], Any], then: Callable[[Any, Exception | None], None]) -> None:
        """Send a request."""
        self.world.wire.ask(self, act, then)

    def enter(self, action: Callable[..., None], *arguments: Any) -> None:
        """Something happens in it: now, when it thaws, or never."""
        if self.is_frozen:
            self._inbox.append((action, arguments))
        elif not self.is_dead:
            action(*arguments)

    def freeze(self, *, machine_sleeps: bool) -> None:
        """SIGSTOP: its runners go on unless their machine sleeps."""
        self.is_frozen, self.has_slept = True, machine_sleeps

    def thaw(self) -> None:
        """SIGCONT: what has arrived meanwhile comes at once."""
        if self.is_dead or not self.is_frozen:
            return
        self.is_frozen = self.has_slept = False
        self.thawed_at_s = self.world.timeline.now_s
        inbox, self._inbox = self._inbox, []
        if self.work is not None:
            self.work.runners.go_on()
        for action, arguments in inbox:
            self.enter(action, *arguments)

    def end(self, how: str) -> None:
        """The process is over, and its runners with it."""
        if self.is_dead:
            return
        self.is_dead, self.is_frozen, self.ended_by = True, False, how
        self.machine.alive.pop(self.pid, None)
        for feed in self._feeds:
            feed.close()
        self._abdicate()
        if self.work is not None:
            self.work.runners.die()
        self.world.on_end(self)

    # Start: the own Lease first.

    def start(self) -> None:
        """Look at the own Lease until it may be taken."""
        self.ask(lambda: self.world.cluster.leases.get(self.own.name), self._look_at_own)

    def _look_at_own(self, lease: Lease | None, error: Exception | None) -> None:
        if self.is_stopping:
            self.end("stopped")
            return
        if error is not None:
            self.after(1.0, self.start)
            return
        now_s = self.monotonic_s()
        self.book.replace([lease] if lease is not None else [], now_s)
        seen = self.book.get(self.own.name)
        if self._first is None or seen is None or leases.holder_of(self._first.lease) != leases.holder_of(seen.lease):
            self._first = seen
        silent_for_s = now_s - seen.changed_at_s if seen is not None else 0.0
        changed = seen is not None and self._first is not None and seen.changed_at_s != self._first.changed_at_s
        match self.own.lease.judge(lease, silent_for_s=silent_for_s, changed=changed):
            case taking.Take(released=released):
                if lease is None or not leases.is_held_by(lease, self.me):
                    self.dead_predecessor = "" if released or lease is None else leases.holder_of(lease).incarnation
                self.own.take(lease, lambda is_taken: self._work() if is_taken else self.after(POLL_S, self.start))
            case taking.Wait(for_s=for_s):
                self.after(min(for_s, POLL_S), self.start)
            case taking.Refuse():
                if self.world.is_sharded or (lease is not None and lease.spec.holder_identity == self.shard):
                    self.end("held")
                else:
                    self.after(POLL_S, self.start)

    def _work(self) -> None:
        if self.is_stopping:
            self.own.release(lambda: self.end("stopped"))
            return
        self.work = Work(self)
        wire = self.world.wire
        self._feeds.append(Feed(wire, self, LEASES, lambda _lease: True, self, after=self.work.look_at_leases))
        if self.leadership is None:
            self._feeds.append(Feed(wire, self, EXECUTIONS, self.world.is_live, self.work))
            self._lead()
            return
        shard = self.shard
        self._feeds.append(
            Feed(
                wire,
                self,
                EXECUTIONS,
                lambda one: one.metadata.labels.get(labels.SHARD) == shard and not one.phase.is_terminal,
                self.work,
            )
        )

    def stop(self) -> None:
        """SIGTERM."""
        if self.is_stopping:
            return
        self.is_stopping = True
        if self.work is None:
            return
        self._abdicate()
        if self.leadership is not None:
            self.leadership.release(lambda: None)
            self.own.annotate(labels.DRAINING)
        self.work.drain()
        self.after(GRACE_S, self._exit)

    def _exit(self) -> None:
        assert self.work is not None
        self.work.runners.die()
        self.own.release(lambda: self.end("drained"))

    def _fence(self) -> None:
        """Its runners stand still: they ask ``own`` themselves."""

    def _resume(self) -> None:
        if self.work is not None:
            self.work.runners.go_on()
            self.work.look_at_all()

    # Informer handler of the group's Leases, and leadership.

    def on_list(self, found: list[Lease], *, initial: bool) -> None:
        """Take all Leases."""
        self.book.replace(found, self.monotonic_s())
        if initial and self.leadership is not None:
            self._campaign(self._campaign_number)
        elif self.leader is not None:
            self.leader.wake()

    def on_event(self, type_: str, lease: Lease) -> None:
        """Take one change."""
        known = self.book.get(lease.metadata.name)
        if type_ == "DELETED":
            self.book.forget(lease.metadata.name)
        else:
            self.book.observe(lease, self.monotonic_s())
        is_renewal = type_ == "MODIFIED" and known is not None and _says(known.lease) == _says(lease)
        if self.leader is not None:
            if not is_renewal:  # it looks every two seconds, too
                self.leader.wake()
        elif (
            self.leadership is not None
            and lease.metadata.name == self.leadership.name
            and not lease.spec.holder_identity
        ):
            self._campaign(self._campaign_number)

    def _campaign(self, number: int) -> None:
        """Try to become the leader; there is one such chain of tries at a time."""
        if number != self._campaign_number or self.leader is not None or self.is_stopping:
            return
        assert self.leadership is not None
        self._campaign_number += 1
        sighting = self.book.get(self.leadership.name)
        lease = sighting.lease if sighting is not None else None
        silent_for_s = self.monotonic_s() - sighting.changed_at_s if sighting is not None else 0.0
        match self.leadership.lease.judge(lease, silent_for_s=silent_for_s):
            case taking.Take():
                self.leadership.take(None if sighting is None or sighting.is_missing else lease, self._elected)
            case taking.Wait(for_s=for_s):
                self.after(for_s, self._campaign, self._campaign_number)
            case taking.Refuse():
                self.after(LOOK_S, self._campaign, self._campaign_number)

    def _elected(self, is_taken: bool) -> None:
        if is_taken and not self.is_stopping:
            self._lead()
        elif is_taken and self.leadership is not None:
            self.leadership.release(lambda: None)
        else:
            self.after(self.world.rng.random(), self._campaign, self._campaign_number)

    def _lead(self) -> None:
        self.world.counts["leaders"] += 1
        self.world.say(f"{self} leads")
        self.leader = Leader(self)

    def _abdicate(self) -> None:
        if self.leader is None:
            return
        self.leader.close()
        self.leader = None
        if not (self.is_dead or self.is_stopping) and self.leadership is not None:
            self.leadership._term += 1
            self._campaign_number += 1
            self.after(self.world.rng.random(), self._campaign, self._campaign_number)


def _says(lease: Lease) -> object:
    return lease.spec.holder_identity, lease.metadata.annotations
