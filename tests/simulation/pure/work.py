"""The Executions of one replica of a pure world: ``lifecycle.decide`` says what to do, here it is done.

What ``controllers`` do around it, without tasks: observe, ask what keeps an Execution from being started, decide,
write, act. ``Runners`` is what they run in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pure.cluster import RefusedError, replaced
from runners import Effect

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, ExecutionStatus, Phase
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.admission import FUNCTION, MUTEX, full_message, held_message
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import NO_NEWS, Activation, Lost, News, Observed, Obstacle
from kontinue_engine.sharding import leases, views
from kontinue_engine.sharding.limits import Limits
from kontinue_engine.wire import frames

TELL_AFTER_MS = 1000


@dataclasses.dataclass(eq=False, slots=True)
class Run:
    """One activation in its runner. ``done`` operations have a record, the next one is under way."""

    entry: Entry
    number: int
    token: int
    done: int
    is_over: bool = False
    is_due: bool = False
    is_ending: bool = False
    began: int = -1
    pending: tuple[frames.EncodedRecord, ...] = ()


@dataclasses.dataclass(eq=False, slots=True)
class Entry:
    """One live Execution, as its replica knows it; ``version`` is the newest that was seen or written."""

    name: str
    uid: str
    execution: Execution
    version: int
    memo: MemoBytes
    inherited: bool
    status: ExecutionStatus
    activation: Activation | None = None
    run: Run | None = None
    news: News = NO_NEWS
    is_writing: bool = False
    deferred: Execution | None = None
    grant: int = 0
    waits_since_ms: int = 0
    looks_at_s: float = -1.0


class Work:
    """Informer handler of the Executions that are this replica's."""

    def __init__(self, replica: Any) -> None:
        self.runners = Runners(self, replica)
        self._replica = replica
        self._world = replica.world
        self._cluster = replica.world.cluster
        self._entries: dict[str, Entry] = {}
        self._left: dict[str, int] = {}
        self._numbers = 0
        self._is_draining = False
        self._limits = Limits({} if self._world.is_sharded else self._world.limits)

    # Observe.

    def on_list(self, found: Iterable[Execution], *, initial: bool) -> None:
        """Take all of them; what is missing is looked after."""
        found = list(found)
        listed = {one.metadata.uid for one in found}
        for entry in [entry for entry in self._entries.values() if entry.uid not in listed]:
            self._verify(entry)
        for one in found:
            self._observe(one, inherited=initial)
        for one in found:
            self.look(one.metadata.uid)
        self._hand_on(found)

    def on_event(self, type_: str, one: Execution) -> None:
        """Take one change. DELETED means that it left: find out why."""
        entry = self._entries.get(one.metadata.uid)
        if type_ != "DELETED":
            self._observe(one, inherited=False)
            self.look(one.metadata.uid)
        elif entry is not None:
            self._verify(entry)
        leader = self._replica.leader
        if leader is not None and not self._world.is_sharded:
            leader.on_contender(type_, one)

    def _hand_on(self, found: list[Execution]) -> None:
        leader = self._replica.leader
        if leader is not None and not self._world.is_sharded:
            leader.on_contenders(found)

    def _observe(self, one: Execution, *, inherited: bool) -> None:
        uid, version = one.metadata.uid, int(one.metadata.resource_version)
        entry = self._entries.get(uid)
        if entry is not None:
            if version > entry.version and entry.is_writing:
                if entry.deferred is None or version > int(entry.deferred.metadata.resource_version):
                    entry.deferred = one
            elif version > entry.version:
                self._refresh(entry, one)
            return
        if version <= self._left.get(uid, 0):
            return
        owner = one.status.owner
        is_anothers = owner is not None and owner.incarnation != self._replica.me.incarnation
        may_have_run = is_anothers or labels.DEATHS in one.metadata.annotations
        was_moved = may_have_run and (self._world.is_sharded or one.phase is Phase.PENDING)
        if is_anothers and not inherited and not was_moved:
            return
        memo = parse_memo(one.status.state)
        entry = Entry(one.metadata.name, uid, one, version, memo, inherited or was_moved, one.status)
        self._entries[uid] = entry
        function = one.spec.function
        if self._limits.is_limited(function):
            if views.has_begun(one.status):
                self._limits.hold(uid, function, entry.name)
            elif one.spec.mutex is None:
                self._limits.wait(uid, function, self._turn(entry))

    def _refresh(self, entry: Entry, one: Execution) -> None:
        """Take what somebody else wrote."""
        entry.execution, entry.status = one, one.status
        entry.version = int(one.metadata.resource_version)
        owner = one.status.owner
        is_ours = entry.inherited or owner is None or owner.incarnation == self._replica.me.incarnation
        shard = one.metadata.labels.get(labels.SHARD)
        if (self._world.is_sharded and shard != self._replica.shard) or not is_ours:
            self.runners.end(entry.run)
            self._limits.release(entry.uid)
            self._drop(entry)
            return
        if entry.activation is None:
            entry.memo = parse_memo(one.status.state)
        self.look(entry.uid)

    def _verify(self, entry: Entry) -> None:
        def answered(one: Execution | None, error: Exception | None) -> None:
            if self._entries.get(entry.uid) is not entry:
                return
            if error is not None:
                self._replica.after(0.5, self._verify, entry)
            elif one is not None:
                self._observe(one, inherited=False)

        self._replica.ask(lambda: self._cluster.executions.get(entry.name), answered)

    def _drop(self, entry: Entry) -> None:
        self._left[entry.uid] = entry.version
        self._entries.pop(entry.uid, None)
        for uid in self._limits.admit():
            self.look(uid)

    # Decide.

    def look_at_all(self) -> None:
        """The replica may write again."""
        for uid in list(self._entries):
            self.look(uid)

    def look_at_leases(self) -> None:
        """A Lease has changed: whoever waits for it looks again."""
        for entry in list(self._entries.values()):
            if entry.execution.spec.mutex is not None and entry.activation is None:
                self.look(entry.uid)

    def look(self, uid: str) -> None:
        """Bring one Execution a step further."""
        entry = self._entries.get(uid)
        if entry is None or entry.is_writing or self._replica.own.remaining_s <= 0:
            return
        now_ms = self._replica.now_ms()
        plan = decide(self._observed(entry, now_ms), self._replica.worker, now_ms)
        if plan.requeue_after_ms is not None:
            self._look_after(entry, plan.requeue_after_ms / 1000)
        if plan.status is None:
            self._act(entry, plan.actions)
            return
        unwritten, entry.news = entry.news, NO_NEWS
        entry.is_writing = True
        self._write(entry, plan, unwritten, str(entry.version), 0)

    def _look_after(self, entry: Entry, delay_s: float) -> None:
        now_s = self._world.timeline.now_s
        if not now_s < entry.looks_at_s <= now_s + delay_s:
            entry.looks_at_s = now_s + delay_s
            self._replica.after(delay_s + 0.001, self.look, entry.uid)

    def _observed(self, entry: Entry, now_ms: int) -> Observed:
        may_start = entry.activation is None and not entry.execution.phase.is_terminal
        obstacle = self._obstacle(entry, now_ms) if may_start else None
        return Observed(
            spec=entry.execution.spec,
            status=entry.status,
            memo=entry.memo,
            created_at_ms=0,
            activation=entry.activation,
            news=entry.news,
            inherited=entry.inherited,
            lost_by=self._lost_by(entry),
            deaths=views.deaths_of(entry.execution.metadata.annotations),
            obstacle=obstacle,
            grant=entry.grant,
        )

    def _lost_by(self, entry: Entry) -> str:
        owner, dead = entry.status.owner, self._replica.dead_predecessor
        if owner is not None and owner.incarnation == dead:
            return owner.incarnation
        return entry.execution.metadata.annotations.get(labels.LOST_BY, "")

    # What keeps it from being started.

    def _lease_of(self, entry: Entry) -> Lease | None:
        mutex = entry.execution.spec.mutex
        sighting = self._replica.book.get(leases.mutex_lease_name("g", mutex.name)) if mutex is not None else None
        return sighting.lease if sighting is not None else None

    def _obstacle(self, entry: Entry, now_ms: int) -> Obstacle | None:
        spec = entry.execution.spec
        if spec.mutex is not None:
            lease = self._lease_of(entry)
            holder = lease.spec.holder_identity if lease is not None else ""
            if lease is None or not views.is_grant_of(lease, entry.uid, entry.status):
                return self._closed(entry, MUTEX, spec.mutex.name, held_message(holder), now_ms)
            entry.grant = int(lease.metadata.resource_version)
            shard = self._replica.shard if self._world.is_sharded else ""
            if not views.has_begun(entry.status) and not views.is_granted_here(lease, shard):
                entry.inherited = True
        if self._limits.is_limited(spec.function):
            self._limits.wait(entry.uid, spec.function, self._turn(entry))
            for uid in self._limits.admit():
                self._replica.after(0.001, self.look, uid)
            if not self._limits.has_slot(entry.uid):
                holders = self._limits.holders(spec.function)
                message = full_message(holders, self._limits.limit(spec.function))
                return self._closed(entry, FUNCTION, spec.function, message, now_ms)
        entry.waits_since_ms = 0
        return None

    def _closed(self, entry: Entry, kind: str, name: str, message: str, now_ms: int) -> Obstacle:
        entry.waits_since_ms = entry.waits_since_ms or now_ms
        told = [one.message for one in entry.status.waiting_for if one.kind == kind]
        return Obstacle(
            kind=kind,
            name=name,
            message=told[0] if told else message,
            tell_from_ms=entry.waits_since_ms + TELL_AFTER_MS,
        )

    def _turn(self, entry: Entry) -> tuple[float, str]:
        return views.created_s_of(entry.execution.metadata), entry.name

    # Write.

    def _write(self, entry: Entry, plan: plans.Plan, unwritten: News, version: str, failures: int) -> None:
        status = plan.status
        assert status is not None
        if self._replica.own.remaining_s <= 0:  # each try asks whether it may
            self._replica.after(0.1, self._write, entry, plan, unwritten, version, failures)
            return

        def answered(one: Execution | None, error: Exception | None) -> None:
            if isinstance(error, RefusedError):
                self._replica.ask(lambda: self._cluster.executions.get(entry.name), looked)
            elif error is not None:
                again_s = self._world.rng.random() * min(5.0, 0.05 * 2.0**failures)
                self._replica.after(again_s, self._write, entry, plan, unwritten, version, failures + 1)
            else:
                assert one is not None
                self._written(entry, plan, one)

        def looked(one: Execution | None, error: Exception | None) -> None:
            if error is not None:
                self._replica.after(0.2, self._write, entry, plan, unwritten, version, failures)
            elif one is not None and one.status == status:
                self._written(entry, plan, one)
            elif one is not None:
                entry.is_writing = False
                entry.news = unwritten.merged(entry.news)
                if self._entries.get(entry.uid) is entry:
                    self._refresh(entry, one)
                    self._after_write(entry)

        self._replica.ask(lambda: self._cluster.put_status(entry.name, version, status, self._replica), answered)

    def _written(self, entry: Entry, plan: plans.Plan, one: Execution) -> None:
        assert plan.status is not None
        entry.is_writing = False
        if self._entries.get(entry.uid) is not entry:
            return
        entry.version, entry.status, entry.memo = int(one.metadata.resource_version), plan.status, plan.memo
        entry.execution = replaced(entry.execution, status=plan.status)
        if plan.status.owner is not None and plan.status.owner.incarnation == self._replica.me.incarnation:
            entry.inherited = False
        self._act(entry, plan.actions)
        self._after_write(entry)
        self.look(entry.uid)

    def _after_write(self, entry: Entry) -> None:
        deferred, entry.deferred = entry.deferred, None
        if deferred is not None:
            self._observe(deferred, inherited=False)

    # Act.

    def _act(self, entry: Entry, actions: Iterable[plans.Action]) -> None:
        for action in actions:
            match action:
                case plans.Dispatch(resumption=resumption, fencing_token=token) if not self._is_draining:
                    self._numbers += 1
                    now_ms = self._replica.now_ms()
                    entry.activation = Activation(number=self._numbers, resumption=resumption, running_since_ms=now_ms)
                    entry.run = Run(entry, self._numbers, token, len(entry.memo.records))
                    self.runners.start(entry.run)
                    self._look_after(entry, 0.05)
                case plans.Acknowledge(flush=flush):
                    self.runners.acknowledge(entry.run, flush)
                case plans.StopActivation() if entry.activation is not None:
                    entry.activation = replaced(entry.activation, stopping_since_ms=self._replica.now_ms())
                    self.runners.stop(entry.run)
                case plans.KillActivation():
                    self.runners.kill(entry.run)
                case plans.ForgetActivation():
                    self.runners.end(entry.run)
                    entry.activation, entry.run, entry.news = None, None, NO_NEWS
                    self._replica.after(0.001, self.look, entry.uid)
                case plans.Finish():
                    self._finish(entry)
                case _:
                    pass

    def _finish(self, entry: Entry) -> None:
        self._limits.release(entry.uid)
        self._drop(entry)
        lease = self._lease_of(entry)
        if lease is not None and lease.spec.holder_identity == entry.uid:
            self._replica.ask(lambda: self._cluster.delete_lease(lease, self._replica), lambda *_: None)

    def drain(self) -> None:
        """Start nothing more; what runs goes on."""
        self._is_draining = True

    # Told by runners.

    def report(self, run: Run, news: News, *, parked: str = "", is_awake: bool = False) -> None:
        """Something has happened in a runner."""
        entry = run.entry
        if entry.run is not run or entry.activation is None:
            return
        entry.news = entry.news.merged(news)
        if parked:
            waiting = (frames.WaitingItem("Timer", "nap", parked),)
            since_ms = self._replica.now_ms()
            entry.activation = replaced(entry.activation, parked_since_ms=since_ms, waiting_for=waiting)
        elif is_awake:
            entry.activation = replaced(entry.activation, parked_since_ms=None, waiting_for=())
        self.look(entry.uid)

    def wake_ms(self, run: Run, step: str) -> int | None:
        """Return when a timer fires that was started by an earlier run."""
        return run.entry.memo.timers.get(step)


class Runners:
    """What user code runs in: programs of the world, one operation after the other.

    They go on while their supervisor is frozen, stand still while it is fenced or the machine sleeps, and die with it.
    """

    def __init__(self, work: Work, replica: Any) -> None:
        self.runs: dict[Run, None] = {}
        self._work = work
        self._replica = replica
        self._world = replica.world

    @property
    def is_still(self) -> bool:
        """Whether no code of theirs runs."""
        replica = self._replica
        return replica.has_slept or (replica.own.is_fenced and not replica.is_frozen) or replica.is_dead

    def start(self, run: Run) -> None:
        """Run a program from its first operation without a record."""
        self.runs[run] = None
        self._world.rules.on_run(self._replica, run)
        self._go_on(run)

    def _go_on(self, run: Run) -> None:
        """Do the next operation, or end."""
        if run.is_over:
            return
        if self.is_still:
            run.is_due = True
            return
        run.is_due = False
        world, program = self._world, self._world.programs[run.entry.name]
        if run.began == run.done:  # the operation under way is done
            self._finish_operation(run, program[run.done][0])
            return
        if run.is_ending:
            self.end(run)
            self._report(run, News(outcome=frames.Interrupted(run.number)))
            return
        if run.done == len(program):
            self.end(run)
            self._report(run, News(outcome=frames.Completed(run.number, b"1", list(run.pending))))
            return
        kind, duration_s = program[run.done]
        run.began = run.done
        if kind == "sleep":
            self._sleep(run, duration_s)
            return
        world.rules.on_effect(
            self._replica,
            Effect(run.entry.uid, run.token, self._replica.me.incarnation, world.mutex_of(run.entry.execution)),
        )
        world.timeline.after(duration_s, self._go_on, run)

    def _sleep(self, run: Run, duration_s: float) -> None:
        step, now_ms = str(run.done), self._replica.now_ms()
        wake_ms = self._work.wake_ms(run, step)
        started = {} if wake_ms is not None else {step: now_ms + int(duration_s * 1000)}
        left_s = duration_s if wake_ms is None else max(0.0, (wake_ms - now_ms) / 1000)
        self._replica.enter(lambda: self._work.report(run, News(timers_started=started), parked=step))
        self._world.timeline.after(left_s, self._go_on, run)

    def _finish_operation(self, run: Run, kind: str) -> None:
        step = str(run.done)
        run.pending += (frames.EncodedRecord(step, b'{"id":"%b"}' % step.encode()),)
        run.done += 1
        if kind == "sleep":
            self._replica.enter(lambda: self._work.report(run, NO_NEWS, is_awake=True))
            self._go_on(run)
            return
        news = News(records=run.pending, flush=run.done)
        run.pending = ()
        self._report(run, news)

    def acknowledge(self, run: Run | None, flush: int) -> None:
        """Its records are durable: it goes on."""
        if run is not None and flush >= run.done and run.began < run.done:
            self._go_on(run)

    def stop(self, run: Run | None) -> None:
        """Raise the cancel; some code takes its time, some ignores it."""
        if run is not None:
            run.is_ending = True
            if self._world.rng.random() < 0.7:
                self._world.timeline.after(self._world.rng.uniform(0, 4.0), self._interrupt, run)

    def _interrupt(self, run: Run) -> None:
        if not run.is_over and self.is_still:
            self._world.timeline.after(1.0, self._interrupt, run)
        elif not run.is_over:
            self.end(run)
            self._report(run, News(outcome=frames.Interrupted(run.number)))

    def kill(self, run: Run | None) -> None:
        """The kernel ends it, or the supervisor does."""
        if run is not None and not run.is_over:
            self._world.rules.on_death(run)
            self.end(run)
            lost = Lost(was_active=True, was_alone=True, reason="RunnerCrashed", message="killed")
            self._report(run, News(lost=lost))

    def end(self, run: Run | None) -> None:
        """Nothing of it runs any more."""
        if run is not None and not run.is_over:
            run.is_over = True
            self.runs.pop(run, None)
            self._world.rules.on_run_end(run)

    def die(self) -> None:
        """Nothing runs any more."""
        for run in list(self.runs):
            self._world.rules.on_death(run)
            self.end(run)

    def go_on(self) -> None:
        """They may run again."""
        if not self.is_still:
            for run in list(self.runs):
                if run.is_due:
                    self._go_on(run)

    def _report(self, run: Run, news: News) -> None:
        self._replica.enter(lambda: self._work.report(run, news))
