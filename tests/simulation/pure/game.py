"""A pure world: the product's pure modules in replicas without tasks, bytes or processes, hundreds in a second.

``run(seed)`` plays one: everything in it follows from the seed. Whole replicas, parents and children are in ``world``;
here are leases, leaders, placement, claims, mutexes and limits, as many and as unlucky as possible.
"""

from __future__ import annotations

import dataclasses
import random
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from invariants import Violation
from pure.cluster import Change, Cluster, Weather, Wire, replaced
from pure.replica import Machine, Replica
from pure.rules import Rules
from runners import FUNCTION, LIMITED
from timeline import Timeline
from world import Report

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionMutex, ExecutionRetry, ExecutionSpec, Phase
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.lifecycle.retrying import restarted
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.sharding.views import deaths_of

PATIENCE_S: Final = 400.0
"""How long after the last fault everything must have ended."""
CALM_S: Final = 3.0
"""How long a world goes on after all has ended."""
KINDS = (
    *("kill", "kill", "freeze", "freeze", "sleep", "terminate", "terminate", "cut", "cut", "crash_runner"),
    *("rain", "rain", "busy", "repeats", "stall", "break_watches", "conflicts", "scale_up", "scale_down", "cancel"),
)
TIMES = ((9, 2.0), (13, 4.0), (13, 4.0), (15, 5.0))


class Game:
    """Everything that exists.

    Attributes:
        is_sharded: whether the group is; in any other one one replica works, and the others wait.
        limits: function -> how many Executions of it may run at a time.
        programs: name of an Execution -> what it does, as (kind, seconds).
    """

    def __init__(self, seed: int, *, kinds: Sequence[str], trace: bool) -> None:
        self.rng = rng = random.Random(seed)
        self.timeline = Timeline()
        self.rules = Rules(self)
        self.cluster = Cluster(self.timeline, self._on_change)
        self.wire = Wire(self.timeline, self.cluster, rng)
        self.times = LeaseTimes(*rng.choice(TIMES))
        self.is_sharded = rng.random() < 0.8
        self.limits = {LIMITED: rng.choice([1, 2])}
        self.replicas: list[Replica] = []
        self.wanted: dict[str, bool] = {}
        self.programs: dict[str, list[tuple[str, float]]] = {}
        self.counts: Counter[str] = Counter()
        self.is_healed = False
        self.fault_kinds = kinds
        self.is_traced = trace
        self._live: set[str] = set()
        self._healed_at_s = self._quiet_since_s = 0.0
        self._is_finished = False
        self._has_pods = rng.random() < 0.5
        self._machines: dict[str, Machine] = {}
        self._pods: dict[str, str] = {}
        self._started = 0

    def say(self, what: str) -> None:
        """Note something for whoever reads the trace."""
        if self.is_traced:
            print(f"{self.timeline.now_s:10.3f}  {what}")

    # Played.

    def play(self) -> None:
        """Let it all happen.

        Raises:
            Violation: something is broken.
        """
        rng, timeline = self.rng, self.timeline
        end_s = rng.uniform(2.0, 5.0) * self.times.duration_s
        for number in range(rng.randint(2, 3)):
            self.wanted[f"r{number}"] = True
            timeline.after(rng.choice([0.0, rng.uniform(0, 5)]), self.start, f"r{number}")
        for number in range(rng.randint(3, 7)):
            timeline.at(rng.uniform(0, end_s * 0.6), self._create, f"e{number}")
        for _ in range(rng.randint(1, 6)):
            timeline.at(rng.uniform(1, end_s), self._happen, rng.choice(self.fault_kinds))
        timeline.at(end_s, self._heal)
        timeline.run(self._is_over)
        self.rules.check_end()

    def _is_over(self) -> bool:
        if self.rules.crowded:
            self.rules.check_runs()
        return self._is_finished

    def _look(self) -> None:
        """Once a second after the last fault: has everything ended?"""
        now_s = self.timeline.now_s
        has_mutexes = any(name.startswith("kontinue-mutex.") for name in self.cluster.leases)
        if self._live or has_mutexes or self.rules.are_stopping():
            self._quiet_since_s = now_s
        self._is_finished = now_s - self._quiet_since_s > CALM_S or now_s > self._healed_at_s + PATIENCE_S
        self.timeline.after(1.0, self._look)

    def _heal(self) -> None:
        self.say("healed")
        self.is_healed, self._healed_at_s = True, self.timeline.now_s
        self._quiet_since_s = self._healed_at_s
        self._look()
        self.wire.weather = Weather()
        self.wire.cut.clear()
        for replica in list(self.replicas):
            replica.thaw()
        for shard in self.wanted:
            self.start(shard)

    # What is.

    @staticmethod
    def is_live(one: Execution) -> bool:
        return not one.phase.is_terminal

    @staticmethod
    def mutex_of(one: Execution) -> str:
        return one.spec.mutex.name if one.spec.mutex is not None else ""

    def guards_of(self, one: Execution) -> list[tuple[str, int]]:
        """Return what limits how many may run: itself, its mutex, the limit of its function."""
        guards = [(one.metadata.uid, 1)]
        if one.spec.mutex is not None:
            guards.append((f"mutex {one.spec.mutex.name}", 1))
        if one.spec.function in self.limits:
            guards.append((one.spec.function, self.limits[one.spec.function]))
        return guards

    def most(self, key: str) -> int:
        """Return how many may run under one of those."""
        return self.limits.get(key, 1)

    @staticmethod
    def records_of(one: Execution) -> list[str]:
        """Return the ids of the steps that its memo has."""
        return [msgspec.json.decode(record)["id"] for record in parse_memo(one.status.state).records]

    def _on_change(self, change: Change) -> None:
        if change.kind == "executions":
            alive = self._live.discard if change.new.phase.is_terminal else self._live.add
            alive(change.new.metadata.name)
        if self.is_traced:
            self._tell(change)
        self.rules.on_change(change)

    def _tell(self, change: Change) -> None:
        one = change.new or change.old
        metadata = one.metadata
        what = f"{metadata.name} at {metadata.resource_version} by {change.who}"
        if change.new is None:
            self.say(f"{what}: deleted")
        elif change.kind == "leases":
            self.say(f"{what}: holder {one.spec.holder_identity!r} {metadata.annotations.get(labels.INCARNATION)}")
        else:
            owner = one.status.owner
            told = (one.phase.value, one.status.reason, owner.incarnation if owner else "", owner and owner.epoch)
            self.say(f"{what}: shard {metadata.labels.get(labels.SHARD)!r} {told} {self.records_of(one)}")

    # Replicas and clients.

    def start(self, shard: str) -> None:
        """Start a replica unless one of that id runs, or none is wanted."""
        if not self.wanted.get(shard) or any(replica.shard == shard for replica in self.replicas):
            return
        self._started += 1
        if shard not in self._machines or (self._has_pods and self.rng.random() < 0.3):
            self._machines[shard] = Machine(f"{shard}-{self._started}", self.rng)
            self._pods[shard] = f"pod-{self._started}" if self._has_pods else ""
        replica = Replica(self, shard, self._machines[shard], pod_uid=self._pods[shard], number=self._started)
        self.replicas.append(replica)
        self.say(f"{replica} starts")
        replica.start()

    def on_end(self, replica: Replica) -> None:
        """A replica has ended: it is started again, sooner or later."""
        self.replicas.remove(replica)
        self.wire.cut.discard(replica)
        self.say(f"{replica} ends: {replica.ended_by}")
        self.counts["ends"] += 1
        self.counts[replica.ended_by] += 1
        delay_s = 3.0 if self.is_healed else self.rng.choice([0.1, 2.0, self.rng.uniform(1, 40)])
        self.timeline.after(delay_s, self.start, replica.shard)

    def _create(self, name: str) -> None:
        rng = self.rng
        function = LIMITED if rng.random() < 0.4 else FUNCTION
        mutex = rng.choice(["m0", "m0", "m1"]) if rng.random() < 0.4 else ""
        durations = (rng.uniform(0, 2), rng.uniform(2, 12))
        self.programs[name] = [
            ("sleep" if rng.random() < 0.25 else "step", rng.choice(durations)) for _ in range(rng.randint(1, 3))
        ]
        found = {labels.WORKER_GROUP: "g", labels.FUNCTION: function}
        if rng.random() < 0.1 and function == FUNCTION and not mutex:
            found[labels.SHARD] = rng.choice(["r0", "nobody"])
        spec = ExecutionSpec(function=function, mutex=ExecutionMutex(name=mutex) if mutex else None)
        self.cluster.create_execution(Execution(metadata=ObjectMeta(name=name, labels=found), spec=spec))

    # Faults.

    def _happen(self, fault: str) -> None:
        if not self.is_healed:
            self.counts[fault] += 1
            self.say(f"fault: {fault}")
            getattr(self, f"_{fault}")()

    def _some(self) -> Replica | None:
        leaders = [replica for replica in self.replicas if replica.leader is not None]
        if leaders and self.rng.random() < 0.4:
            return leaders[0]
        return self.rng.choice(self.replicas) if self.replicas else None

    def _duration_s(self) -> float:
        lasts_s = self.times.duration_s
        rng = self.rng
        return rng.choice([rng.uniform(0.1, 5), rng.uniform(0.5, 1.5) * lasts_s, rng.uniform(0.8, 2.5) * lasts_s])

    def _kill(self) -> None:
        if (replica := self._some()) is not None:
            replica.end("killed")

    def _freeze(self, *, machine_sleeps: bool = False) -> None:
        replica = self._some()
        if replica is not None and not replica.is_frozen:
            self.say(f"{replica} freezes")
            replica.freeze(machine_sleeps=machine_sleeps)
            self.timeline.after(self._duration_s(), replica.thaw)

    def _sleep(self) -> None:
        self._freeze(machine_sleeps=True)

    def _terminate(self) -> None:
        if (replica := self._some()) is not None:
            replica.enter(replica.stop)
            self.timeline.after(20.0, replica.end, "killed")

    def _cut(self) -> None:
        if (replica := self._some()) is not None:
            self.say(f"{replica} is cut off")
            self.wire.cut.add(replica)
            for feed in self.wire.feeds_of(replica):
                feed.break_off()
            self.timeline.after(self._duration_s(), self.wire.cut.discard, replica)

    def _weather(self, **changes: float) -> None:
        weather = dataclasses.replace(self.wire.weather, **changes)
        self.wire.weather = weather
        self.timeline.after(self.rng.uniform(3, 20), self._clear, weather)

    def _clear(self, weather: Weather) -> None:
        if self.wire.weather is weather:
            self.wire.weather = Weather()

    def _rain(self) -> None:
        uniform, choice = self.rng.uniform, self.rng.choice
        self._weather(
            lost_answers=uniform(0, 0.3),
            lost_requests=uniform(0, 0.2),
            late=uniform(0, 0.15),
            slow_s=choice([0.004, 0.1, 2.0]),
            watch_lag_s=choice([0.01, 0.5, 5.0]),
        )

    def _busy(self) -> None:
        self._weather(busy=self.rng.uniform(0.3, 1.0))

    def _repeats(self) -> None:
        self._weather(repeated=self.rng.uniform(0.2, 0.8), lost_answers=self.rng.uniform(0, 0.3))

    def _stall(self) -> None:
        for feed in self.wire.feeds_of(self._some()):
            if self.rng.random() < 0.6:
                feed.free_at_s = max(feed.free_at_s, self.timeline.now_s + self.rng.uniform(1, 40))

    def _break_watches(self) -> None:
        for feed in self.wire.feeds_of():
            if self.rng.random() < 0.7:
                feed.break_off()

    def _conflicts(self) -> None:
        for _ in range(self.rng.randint(10, 40)):
            self.timeline.after(self.rng.uniform(0, 8), self._annotate)

    def _annotate(self) -> None:
        """Somebody else changes an object: the next write with its old resourceVersion is refused."""
        executions, held = self.cluster.executions, self.cluster.leases
        if executions and self.rng.random() < 0.6:
            patch = {"metadata": {"annotations": {"someone/else": str(self.cluster.version)}}}
            self.cluster.patch_labels(self.rng.choice(list(executions)), patch, None)
        elif held:
            lease = held[self.rng.choice(list(held))]
            notes = {**lease.metadata.annotations, "someone/else": str(self.cluster.version)}
            self.cluster.replace_lease(replaced(lease, metadata=replaced(lease.metadata, annotations=notes)), None)

    def _crash_runner(self) -> None:
        replica = self._some()
        if replica is not None and replica.work is not None and replica.work.runners.runs:
            replica.work.runners.kill(self.rng.choice(list(replica.work.runners.runs)))

    def _scale_up(self) -> None:
        shard = f"r{len(self.wanted)}"
        self.wanted[shard] = True
        self.start(shard)

    def _scale_down(self) -> None:
        shards = [shard for shard, is_wanted in self.wanted.items() if is_wanted]
        if len(shards) > 1:
            self.wanted[shards[-1]] = False
            for replica in [replica for replica in self.replicas if replica.shard == shards[-1]]:
                replica.enter(replica.stop)
                self.timeline.after(20.0, replica.end, "killed")

    def _cancel(self) -> None:
        live = [name for name, one in self.cluster.executions.items() if self.is_live(one)]
        if live:
            one = self.cluster.executions[self.rng.choice(live)]
            status = replaced(one.status, phase=Phase.CANCELED, reason="CanceledByClient", message="enough")
            self.cluster.put_status(one.metadata.name, one.metadata.resource_version, status, None)
            if self.rng.random() < 0.6:
                self.timeline.after(self.rng.uniform(0, 10), self._retry, one.metadata.name)

    def _retry(self, name: str) -> None:
        """Somebody asks for another attempt: as ``coordinator.retries`` does, once it has stopped, in two writes."""
        one = self.cluster.executions[name]
        if self.is_live(one):
            return
        if not is_stopped(one.status.conditions):
            self.timeline.after(1.0, self._retry, name)
            return
        self.counts["retries"] += 1
        spec = replaced(one.spec, retry=ExecutionRetry(retries=one.status.observed_retries + 1))
        self.cluster.put_spec(name, spec)
        is_free = one.spec.mutex is None and one.spec.function not in self.limits
        changes: dict[str, Any] = {}
        if self.is_sharded and not (is_free and self.rng.random() < 0.5):
            changes["labels"] = {labels.SHARD: None}
        if one.status.owner is None:
            changes["annotations"] = {labels.DEATHS: str(deaths_of(one.metadata.annotations))}
        self.cluster.patch_labels(name, {"metadata": changes}, None)
        now_ms = int(self.timeline.now_s * 1000)
        status = restarted(spec, one.status, parse_memo(one.status.state), None, now_ms)
        self.cluster.put_status(name, "", status, None)


def run(seed: int, *, kinds: Sequence[str] = KINDS, trace: bool = False) -> Report:
    """Play the pure world of one seed, with faults of these kinds."""
    game = Game(seed, kinds=kinds, trace=trace)
    report = Report(seed)
    try:
        game.play()
    except Violation as error:
        report.problem = str(error)
    except Exception:
        report.problem = f"the simulation itself failed: {traceback.format_exc()}"
    report.at_s = report.virtual_s = game.timeline.now_s
    rules: Any = game.rules
    report.counts = game.counts + Counter(
        executions=len(game.cluster.executions),
        requests=game.wire.requests,
        writes=game.cluster.version,
        relabels=rules.relabels,
        verdicts=rules.verdicts,
        claims=rules.claims,
        effects=rules.ledger.taken,
        refused_effects=rules.ledger.refused,
    )
    return report
