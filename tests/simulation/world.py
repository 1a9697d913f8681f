"""A simulated world: an API server, replicas that share a group's Executions, clients, and what goes wrong.

``run(seed)`` plays one: everything in it follows from the seed. ``simulate`` is the command line.
"""

from __future__ import annotations

import dataclasses
import random
import traceback
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import faults
import invariants
import programs
from invariants import Violation
from network import Network
from processes import EPOCH, Machine, Process, installed
from runners import LIMITED, Effect, Ledger
from server import Change, Server, is_retry_requested, labels_of
from timeline import Timeline

from kontinue.api import labels
from kontinue_engine.sharding.leases import LeaseTimes

PATIENCE_S: Final = 1200.0
"""How long after the last fault everything must have ended. A watch whose connection died in silence takes 315 s."""
CALM_S: Final = 20.0
"""How long a world goes on after its last Execution has ended."""


@dataclasses.dataclass
class Report:
    """How one world went."""

    seed: int
    problem: str = ""
    at_s: float = 0.0
    virtual_s: float = 0.0
    counts: Counter[str] = dataclasses.field(default_factory=Counter)


class World:
    """Everything that exists.

    Attributes:
        processes: replicas that run.
        wanted: shard -> whether a replica of that id should run.
        builds: how many builds of the code there have been; replicas that are started now have the last one.
        is_sharded: whether replicas that are started now have ``--sharding``.
        roots: programs of the Executions that clients have created, by name.
        deaths_of: uid -> how many runners, and holders of Leases, have died that ran it.
    """

    GROUP = "g"

    def __init__(self, seed: int, *, kinds: Sequence[str] = faults.KINDS, trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.timeline = Timeline()
        self.ledger = Ledger()
        self.writes = invariants.Writes(self)
        self.server = Server(self._kube_time, self._on_change)
        self.network = Network(self.timeline, self.server, self.rng)
        self.times = LeaseTimes(*self.rng.choice([(40, 10.0), (40, 10.0), (15, 4.0), (9, 2.0)]))
        self.processes: list[Process] = []
        self.wanted: dict[str, bool] = {}
        self.roots: dict[str, programs.Program] = {}
        self.deaths_of: Counter[str] = Counter()
        self.retried: set[str] = set()
        self.builds = 1
        self.fault_kinds = kinds
        self.is_healed = False
        self.created_all = False
        self.counts: Counter[str] = Counter()
        self._trace = trace
        self._problem: Violation | None = None
        self._live: set[str] = set()
        self._quiet_since_s = 0.0
        self.is_sharded = self.rng.random() < 0.8
        self._kind = self.rng.choice(["pods", "pods", "dev", "hosts"])
        self._machines: dict[str, Machine] = {}
        self._pods: dict[str, str] = {}
        self._started = 0

    def say(self, what: str) -> None:
        """Note something for whoever reads the trace."""
        if self._trace:
            print(f"{self.timeline.now_s:10.3f}  {what}")

    def fail(self, problem: str, cause: BaseException | None = None) -> None:
        """Something is broken, inside of code that would swallow an exception."""
        if self._problem is None:
            self._problem = Violation(problem)
            self._problem.__cause__ = cause

    # Played.

    def play(self) -> None:
        """Let it all happen.

        Raises:
            Violation: an invariant is broken.
        """
        faults.plan(self)
        self.timeline.run(self._is_over)
        invariants.check_end(self)

    def _is_over(self) -> bool:
        if self._problem is not None:
            raise self._problem
        now_s = self.timeline.now_s
        if not self.is_healed or self._live or not self.created_all:
            self._quiet_since_s = now_s
        if self.is_healed and now_s > self.healed_at_s + PATIENCE_S:
            return True
        return now_s - self._quiet_since_s > CALM_S

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.is_healed = True
        self.healed_at_s = self.timeline.now_s
        self.say("healed")
        faults.calm(self)
        for shard in self.wanted:
            self.start(shard)

    # Replicas.

    def replica(self, shard: str) -> Process | None:
        return next((one for one in self.processes if one.shard == shard), None)

    def start(self, shard: str, *, twice: bool = False) -> None:
        """Start a replica, unless one of that id runs or none is wanted any more."""
        if not self.wanted.get(shard) or (self.replica(shard) is not None and not twice):
            return
        self._started += 1
        rng = self.rng
        place = "dev" if self._kind == "dev" else shard
        if place not in self._machines or (self._kind == "pods" and rng.random() < 0.3):
            self._machines[place] = Machine(f"{place}-{self._started}", rng)
            self._pods[shard] = f"pod-{self._started}"
        if twice:
            self._pods[shard] = f"pod-{self._started}"
        pod_uid = self._pods[shard] if self._kind == "pods" else ""
        process = Process(
            self, shard, self._machines[place], pod_uid=pod_uid, number=self._started, is_sharded=self.is_sharded
        )
        self.processes.append(process)
        self.say(f"{process} starts")
        self.counts["replicas"] += 1
        process.start()

    def on_process_end(self, process: Process) -> None:
        self.processes.remove(process)
        self.network.cut.pop(process, None)
        self.say(f"{process} ends: {process.ended_by}")
        self.counts[process.ended_by.partition(":")[0]] += 1
        if self.wanted.get(process.shard):
            delay_s = self.rng.choice([0.1, 1.0, self.rng.uniform(1, 30), self.rng.uniform(20, 120)])
            self.timeline.after(5.0 if self.is_healed else delay_s, self.start, process.shard)

    # Clients.

    def create(self, name: str, program: programs.Program, found: dict[str, str], *, function: str, mutex: str) -> None:
        """Create an Execution, as a client does."""
        program = programs.with_failures(program, random.Random(f"{self.seed} {name}"))
        self.roots[name] = program
        spec: dict[str, Any] = {"function": function, "arguments": {"do": program}}
        if programs.failures_of(program):
            spec["retry"] = {"retries": programs.MAX_FAILURES, "backoff": "2s", "multiplier": 2, "jitter": 0.5}
        if mutex:
            spec["mutex"] = {"name": mutex}
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name, "labels": found},
            "spec": spec,
        }
        self.server._create("executions", body, None)

    def cancel(self, name: str) -> None:
        """Cancel it if it lives, as a client does."""
        execution = self.server.objects["executions"][name]
        status = execution.get("status") or {}
        if status.get("phase") not in invariants.TERMINAL:
            after = {**status, "phase": "Canceled", "reason": "CanceledByClient", "message": "enough"}
            after["observedRetries"] = (execution["spec"].get("retry") or {}).get("retries", 0)
            self.server._store(200, "executions", "status", execution, {**execution, "status": after}, None)
            self.counts["cancels"] += 1
            whim = random.Random(f"{self.seed} {name} {self.counts['cancels']}")
            if whim.random() < 0.5:
                self.timeline.after(whim.choice([0.01, whim.uniform(0, 2), whim.uniform(2, 60)]), self.retry, name)

    def retry(self, name: str) -> None:
        """Ask for another attempt of what was canceled, as a client does."""
        old = self.server.objects["executions"][name]
        status = old.get("status") or {}
        if status.get("phase") != "Canceled" or is_retry_requested(old):
            return
        retry = old["spec"].get("retry") or {}
        asked = max(retry.get("retries", 0), status.get("observedRetries", 0)) + 1
        metadata = {**old["metadata"], "generation": old["metadata"]["generation"] + 1}
        new = {**old, "metadata": metadata, "spec": {**old["spec"], "retry": {**retry, "retries": asked}}}
        self.server._store(200, "executions", "", old, new, None)
        self.retried.add(name)
        self.counts["retries"] += 1

    def annotate(self, plural: str) -> None:
        """Somebody else changes an object: the next write with its old resourceVersion is refused."""
        objects = self.server.objects[plural]
        if objects:
            old = objects[self.rng.choice(list(objects))]
            notes = {**(old["metadata"].get("annotations") or {}), "someone/else": str(self.server.version)}
            new = {**old, "metadata": {**old["metadata"], "annotations": notes}}
            self.server._store(200, plural, "", old, new, None)

    # Told by what is simulated.

    def note_lease_answer(self) -> None:
        """Somebody's tenure may have changed; what it believes shows when its code has run."""
        self.timeline.at(self.timeline.now_s, invariants.check_tenures, self)

    def mutex_of(self, name: str) -> str:
        execution = self.server.objects["executions"][name]
        mutex: str = (execution["spec"].get("mutex") or {}).get("name", "")
        return mutex

    def guards_of(self, activate: Any) -> list[tuple[str, str]]:
        """Return what limits how many may run: it itself, its mutex, the limit of its function."""
        mutex = self.mutex_of(activate.execution)
        guards = [("Execution", activate.uid), *([("mutex", mutex)] if mutex else [])]
        return [*guards, ("limit", activate.function)] if activate.function == LIMITED else guards

    def check_runs(self) -> None:
        invariants.check_runs(self)

    def on_effect(self, process: Process, effect: Effect) -> None:
        """Code in one of its runners does something outside."""
        invariants.check_effect(self, process, effect)

    def on_progress(self, process: Process) -> None:
        """Code in one of its runners goes on after something that took time."""
        invariants.check_progress(self, process)

    def take_effect(self, effect: Effect) -> None:
        problem = self.ledger.take(effect)
        if problem:
            raise Violation(problem)

    def _on_change(self, change: Change) -> None:
        if change.plural == "executions" and change.new is not None:
            name = change.new["metadata"]["name"]
            status = change.new.get("status") or {}
            if status.get("phase") in invariants.TERMINAL and not is_retry_requested(change.new):
                self._live.discard(name)
            else:
                self._live.add(name)
        if self._trace and change.plural != "events":
            self.say(_described(change))
        self.writes.on_change(change)

    def _kube_time(self) -> str:
        now = EPOCH + timedelta(seconds=int(self.timeline.now_s))
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def run(seed: int, *, kinds: Sequence[str] = faults.KINDS, trace: bool = False) -> Report:
    """Play the world of one seed, with faults of these kinds."""
    with installed(seed):
        world = World(seed, kinds=kinds, trace=trace)
        report = Report(seed)
        try:
            world.play()
        except Violation as error:
            report.problem = f"{error}" + (f" (from {error.__cause__!r})" if error.__cause__ else "")
        except Exception:
            report.problem = f"the simulation itself failed: {traceback.format_exc()}"
        report.at_s = world.timeline.now_s
        report.virtual_s = world.timeline.now_s
        world.wanted.clear()
        for process in list(world.processes):
            process.kill()
    report.counts = world.counts + Counter(
        executions=len(world.server.objects["executions"]),
        requests=world.network.requests,
        writes=world.server.writes,
        relabels=world.writes.relabels,
        claims=world.writes.claims,
        verdicts=world.writes.verdicts,
        restarts=world.writes.restarts,
        effects=world.ledger.taken,
        refused_effects=world.ledger.refused,
    )
    return report


def _described(change: Change) -> str:
    shown = change.new or change.old
    assert shown is not None
    metadata = shown["metadata"]
    what = f"{change.plural} {metadata['name']} {change.subresource} at {change.version} by {change.who}"
    if change.new is None:
        return f"{what}: deleted"
    if change.plural == "leases":
        notes = metadata.get("annotations", {})
        kept = {key.partition("/")[2]: value for key, value in notes.items() if key in _TOLD}
        return f"{what}: holder {shown['spec'].get('holderIdentity')!r} {kept}"
    status = shown.get("status") or {}
    told = {key: status.get(key) for key in ("phase", "owner", "crashes", "reason")}
    records = [record["id"] for record in (status.get("state") or {}).get("records", [])]
    notes = {key.partition("/")[2]: value for key, value in (metadata.get("annotations") or {}).items() if key in _TOLD}
    return f"{what}: shard {labels_of(shown).get(labels.SHARD)!r} {notes} {told} {records}"


_TOLD = frozenset({labels.INCARNATION, labels.DRAINING, labels.EXPIRED_BY, labels.LOST_BY, labels.DEATHS})
