"""What must hold after each step of a pure world, and at its end. Whatever breaks raises ``Violation``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from invariants import Violation
from pure.cluster import EXECUTIONS, LEASES, Change
from pure.work import Run
from runners import Effect, Ledger

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.statuses import has_open_attempt
from kontinue_engine.sharding import leases

HELD_FOR_S = 60.0
"""A leader has seen within this time that a shard is held: watches are late, and writes are retried."""
CRASH_BUDGET = 3
"""How often one may die without a new record: the product's default."""
MOVES_EACH = 2
"""Relabels that one end of a replica, or one new leader, may cost an Execution."""


class Rules:
    """Judges every accepted write, every run and every effect."""

    def __init__(self, world: Any) -> None:
        self.ledger = Ledger()
        self.relabels = 0
        self.verdicts = 0
        self.claims = 0
        self._world = world
        self._epochs: dict[tuple[str, int], str] = {}
        self._held_since_s: dict[str, float] = {}
        self._deaths: Counter[str] = Counter()
        self._dead: set[str] = set()  # the leader has taken their Leases away
        self._runs: dict[str, dict[Run, Any]] = {}
        self.crowded: set[str] = set()

    # Leases.

    def check_writers(self, name: str) -> None:
        """At most one process believes that it may write under a Lease, the frozen included."""
        writers = [
            str(replica)
            for replica in self._world.replicas
            for one in (replica.own, replica.leadership)
            if one is not None and one.name == name and one.remaining_s > 0
        ]
        if len(writers) > 1:
            raise Violation(f"both {' and '.join(writers)} may write under Lease {name}")

    # Runs: at most one of an Execution and of a mutex, and no more than a limit, but for those that are fenced.

    def on_run(self, replica: Any, run: Run) -> None:
        """A run begins."""
        for key, most in self._world.guards_of(run.entry.execution):
            runs = self._runs.setdefault(key, {})
            runs[run] = replica
            if len(runs) > most:
                self.crowded.add(key)
        self.check_runs()

    def on_run_end(self, run: Run) -> None:
        """A run has ended."""
        for key, most in self._world.guards_of(run.entry.execution):
            runs = self._runs.get(key, {})
            runs.pop(run, None)
            if len(runs) <= most:
                self.crowded.discard(key)

    def check_runs(self) -> None:
        """Called after each step."""
        for key in self.crowded:
            runs = self._runs[key]
            free = [f"{run.entry.name} in {replica}" for run, replica in runs.items() if replica.own.remaining_s > 0]
            most = self._world.most(key)
            if len(free) > most:
                raise Violation(f"{key}: {', '.join(free)} run at the same time, {most} may")

    def on_effect(self, replica: Any, effect: Effect) -> None:
        """Its code does something outside."""
        if replica.is_frozen or replica.thawed_at_s >= self._world.timeline.now_s - 1.0:
            pass  # its supervisor cannot stop it: only its fencing token keeps it out
        elif (lease := self._world.cluster.leases.get(replica.own.name)) is None or not leases.is_held_by(
            lease, replica.me
        ):
            raise Violation(f"a runner of {replica} goes on, although its Lease is not its own any more: {lease}")
        elif effect.mutex:
            held = self._world.cluster.leases.get(leases.mutex_lease_name("g", effect.mutex))
            if held is None or held.spec.holder_identity != effect.uid:
                raise Violation(f"{effect} is done by a runner of {replica}, although the mutex is not its own: {held}")
        late_s = self._world.rng.choice([0.0, 0.0, 0.0, 8.0])
        self._world.timeline.after(late_s, self._take, effect)

    def _take(self, effect: Effect) -> None:
        problem = self.ledger.take(effect)
        if problem:
            raise Violation(problem)

    # Writes.

    def on_change(self, change: Change) -> None:
        """Judge one accepted write."""
        if change.kind == LEASES:
            self._judge_lease(change.old, change.new)
        elif change.kind == EXECUTIONS and change.old is not None:
            if change.old.status is not change.new.status:
                self._judge_status(change.old, change.new, change.who)
                self._judge_end(change.old, change.new)
            self._judge_labels(change.old, change.new)

    def _judge_lease(self, old: Lease | None, new: Lease | None) -> None:
        was = (old.spec.holder_identity, old.metadata.annotations.get(labels.INCARNATION)) if old is not None else None
        is_ = (new.spec.holder_identity, new.metadata.annotations.get(labels.INCARNATION)) if new is not None else None
        found = new or old
        assert found is not None
        name = found.metadata.name
        if was != is_:
            self._held_since_s.pop(name, None)
            if is_ is not None and is_[0]:
                self._held_since_s[name] = self._world.timeline.now_s
            if is_ is not None and not is_[0] and new is not None and leases.was_expired(new):
                self.verdicts += 1
                self._dead.add(leases.holder_of(new).incarnation)

    def _judge_status(self, old: Execution, new: Execution, who: Any) -> None:
        name, before, after = new.metadata.name, old.status, new.status
        is_retried = who is None and new.phase is Phase.PENDING
        if old.phase.is_terminal and not is_retried and (old.phase, before.reason) != (new.phase, after.reason):
            raise Violation(f"{name} had ended, and {who} changed that: {before} to {after}")
        was, owner = before.owner, after.owner
        if who is None or was == owner:
            return
        if owner is None or owner.incarnation != who.me.incarnation:
            raise Violation(f"{who} wrote the status of {name} in the name of {owner}")
        self.claims += was is not None
        if was is not None and owner.epoch <= was.epoch:
            raise Violation(f"the epoch of {name} did not grow with the claim: {was} to {owner}")
        known = self._epochs.setdefault((new.metadata.uid, owner.epoch), owner.incarnation)
        if known != owner.incarnation:
            raise Violation(f"epoch {owner.epoch} of {name} was {known}'s, and is {owner.incarnation}'s now")

    def _judge_end(self, old: Execution, new: Execution) -> None:
        """What is said to have stopped does not run; what died with its owner is charged with that once."""
        if is_stopped(new.status.conditions) and not is_stopped(old.status.conditions):
            runs = self._runs.get(new.metadata.uid, {})
            free = [str(replica) for replica in runs.values() if replica.own.remaining_s > 0]
            if free:
                raise Violation(f"{new.metadata.name} is said to have stopped, and runs in {free}")
        before, after = old.status, new.status
        if before.owner is None or after.owner == before.owner or old.phase is not Phase.EXECUTING:
            return
        died = before.owner.incarnation in self._dead
        if died and after.crashes <= before.crashes:
            raise Violation(f"{new.metadata.name} is not charged with the death of {before.owner}: {after}")

    def _judge_labels(self, old: Execution, new: Execution) -> None:
        was, shard = (one.metadata.labels.get(labels.SHARD, "") for one in (old, new))
        if was == shard or not shard:
            return
        name = new.metadata.name
        if old.phase.is_terminal:
            raise Violation(f"{name} had ended, and was moved from {was} to {shard}")
        if not was:
            return
        self.relabels += 1
        self._judge_note(old, new, was)
        mutex = self._world.mutex_of(new)
        lease = leases.mutex_lease_name("g", mutex) if mutex else leases.shard_lease_name("g", was)
        held_for_s = self._world.timeline.now_s - self._held_since_s.get(lease, float("inf"))
        holder = self._world.cluster.leases[lease].spec.holder_identity if held_for_s > HELD_FOR_S else ""
        shard_for_s = self._world.timeline.now_s - self._held_since_s.get(
            leases.shard_lease_name("g", was), float("inf")
        )
        if holder and shard_for_s > HELD_FOR_S and (not mutex or holder == new.metadata.uid):
            raise Violation(f"{name} was moved from shard {was} to {shard}, although {holder} has long held {lease}")

    def _judge_note(self, old: Execution, new: Execution, was: str) -> None:
        """Who moves it away from its dead owner says so: the next one charges it."""
        lease, owner = self._world.cluster.leases.get(leases.shard_lease_name("g", was)), old.status.owner
        if lease is None or owner is None or lease.spec.holder_identity or not leases.was_expired(lease):
            return
        dead = leases.holder_of(lease).incarnation
        if owner.incarnation == dead and new.metadata.annotations.get(labels.LOST_BY) != dead:
            raise Violation(f"{new.metadata.name} was moved away from {dead}, which has died, and nothing says so")

    # The end.

    def are_stopping(self) -> bool:
        """Tell whether a living replica has still to say of something that it has stopped."""
        return any(self._is_stopping(one) for one in self._world.cluster.executions.values())

    def _is_stopping(self, one: Execution) -> bool:
        if not one.phase.is_terminal or is_stopped(one.status.conditions) or one.status.owner is None:
            return False
        if one.status.observed_retries and not has_open_attempt(one.status):
            return False  # it was retried, and canceled before anybody had begun again, or seen it
        return one.status.owner.incarnation in {str(replica) for replica in self._world.replicas}

    def on_death(self, run: Run) -> None:
        """A runner died with it, or its replica did."""
        self._deaths[run.entry.uid] += 1

    def check_end(self) -> None:
        """Nothing is lost, and nothing that nobody needs is left."""
        world = self._world
        for one in world.cluster.executions.values():
            name, status = one.metadata.name, one.status
            if not one.phase.is_terminal:
                raise Violation(f"{name} has not ended, shard {one.metadata.labels.get(labels.SHARD)!r}: {status}")
            if self._is_stopping(one):
                raise Violation(f"{name} has ended, and is not marked as stopped: {status}")
            has_died_often = status.reason == "RunnerCrashed" and self._deaths[one.metadata.uid] > CRASH_BUDGET
            if one.phase is Phase.FAILED and not has_died_often:
                died = self._deaths[one.metadata.uid]
                raise Violation(f"{name} has failed, and has died {died} times: {status}")
            self._check_steps(one)
        left = [name for name in world.cluster.leases if name.startswith("kontinue-mutex.")]
        if left:
            raise Violation(f"nobody needs these Leases, and nobody deletes them: {left}")
        most = MOVES_EACH * len(world.cluster.executions) * (world.counts["ends"] + world.counts["leaders"])
        if self.relabels > most:
            raise Violation(f"{self.relabels} relabels, which is more than {most}")

    def _check_steps(self, one: Execution) -> None:
        recorded = self._world.records_of(one)
        expected = [str(number) for number in range(len(self._world.programs[one.metadata.name]))]
        if recorded != (expected if one.phase.value == "Completed" else expected[: len(recorded)]):
            raise Violation(f"{one.metadata.name} recorded {recorded} instead of {expected}")
