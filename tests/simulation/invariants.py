"""What must hold after each step of a simulated world, and at its end. Whatever breaks raises ``Violation``."""

from __future__ import annotations

from typing import Any

import programs
from runners import LIMIT
from server import Change, is_retry_requested, labels_of

from kontinue.api import labels
from kontinue_engine.lifecycle.conditions import STOPPED
from kontinue_engine.sharding import leases

TERMINAL = frozenset({"Completed", "Failed", "Canceled", "Skipped"})
_OF_A_RUN = ("state", "result", "attempts", "crashes")
CRASH_BUDGET = 3
"""How often one may die without a new record: the product's default."""
HELD_FOR_S = 150.0
"""A leader knows from its watch within this time that a shard is held: watches are late, and writes are retried."""


class Violation(Exception):  # noqa: N818 - what the simulation looks for
    """An invariant is broken."""


class Writes:
    """Judges every accepted write."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._epochs: dict[tuple[str, int], str] = {}
        self._held_since_s: dict[str, tuple[str, float]] = {}
        self.relabels = 0
        self.claims = 0
        self.verdicts = 0
        self.restarts = 0

    def on_change(self, change: Change) -> None:
        if change.plural == "leases" and change.new is None:
            assert change.old is not None
            self._held_since_s.pop(change.old["metadata"]["name"], None)
        elif change.plural == "leases" and change.new is not None:
            self._judge_lease(change.old, change.new, change.who)
        elif change.plural == "executions" and change.old is not None and change.new is not None:
            if change.subresource == "status":
                self._judge_status(change.old, change.new, change.who)
            else:
                self._judge_labels(change.old, change.new, change.who)

    def _judge_lease(self, old: dict[str, Any] | None, new: dict[str, Any], who: Any) -> None:
        name = new["metadata"]["name"]
        holder, was = holder_of(new), holder_of(old) if old is not None else ""
        if holder != was:
            self._held_since_s[name] = holder, self._world.timeline.now_s
        if was and not holder and labels.EXPIRED_BY in new["metadata"].get("annotations", {}):
            self.verdicts += 1
        if was and holder != was and who is not None and who.incarnation != was:
            self._charge(was)

    def _charge(self, incarnation: str) -> None:
        """It has lost its Lease without giving it back: all that it ran, as far as anybody knows, died with it."""
        for execution in self._world.server.objects["executions"].values():
            status = execution.get("status") or {}
            if status.get("phase") == "Executing" and status["owner"]["incarnation"] == incarnation:
                self._world.deaths_of[execution["metadata"]["uid"]] += 1

    def _judge_status(self, old: dict[str, Any], new: dict[str, Any], who: Any) -> None:
        name, uid = new["metadata"]["name"], new["metadata"]["uid"]
        before, after = old.get("status") or {}, new["status"]
        if is_retry_requested(old) and after["phase"] == "Pending":
            self._judge_restart(name, uid, before, after)
            return
        if before.get("phase") in TERMINAL:
            for field in ("phase", "result", "reason"):
                if before.get(field) != after.get(field):
                    raise Violation(f"{name} had ended, and {who} changed its {field}: {before} to {after}")
        if _says_stopped(after) and not _says_stopped(before):
            self._judge_stopped(name, uid)
        was, owner = before.get("owner"), after.get("owner")
        if who is None or (after.get("phase") == "Canceled" and was == owner):
            return  # a client, or a parent as one
        if labels.WORKER_GROUP not in labels_of(old):
            return
        shard = labels_of(old).get(labels.SHARD)
        says_why = bool(after.get("waitingFor")) and all(before.get(key) == after.get(key) for key in _OF_A_RUN)
        if who.is_sharded and shard != who.shard and not (shard is None and was is None and says_why):
            raise Violation(f"{who} wrote the status of {name}, which its label gives to shard {shard}")
        if was == owner and says_why:
            return  # it says what keeps it from being started
        if owner is None or (owner != was and owner["incarnation"] != who.incarnation):
            raise Violation(f"{who} wrote the status of {name} in the name of {owner}")
        if owner == was and owner["incarnation"] != who.incarnation and before.get("phase") not in TERMINAL:
            raise Violation(f"{who} wrote the status of {name} without a claim: {owner} owns it")
        if was is not None and owner != was:
            self.claims += 1
            if owner["epoch"] <= was["epoch"]:
                raise Violation(f"the epoch of {name} did not grow with the claim: {was} to {owner}")
        known = self._epochs.setdefault((uid, owner["epoch"]), owner["incarnation"])
        if known != owner["incarnation"]:
            raise Violation(f"epoch {owner['epoch']} of {name} was {known}'s, and is {owner['incarnation']}'s now")

    def _judge_restart(self, name: str, uid: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        self._judge_stopped(name, uid)
        self.restarts += 1
        if before.get("owner") != after.get("owner"):
            raise Violation(f"{name} was restarted under another owner: {before} to {after}")

    def _judge_stopped(self, name: str, uid: str) -> None:
        runs_in = [str(one) for one in self._world.processes if one.may_write and one.runs(uid)]
        if runs_in:
            raise Violation(f"{name} is said to have stopped, and runs in {runs_in}")

    def _judge_labels(self, old: dict[str, Any], new: dict[str, Any], who: Any) -> None:
        was, shard = (labels_of(one).get(labels.SHARD, "") for one in (old, new))
        if was == shard:
            return
        name = new["metadata"]["name"]
        if is_retry_requested(old) and not shard:
            return  # it is placed anew
        if (old.get("status") or {}).get("phase") in TERMINAL:
            raise Violation(f"{name} had ended, and was moved from {was} to {shard}")
        if not was:
            return
        self.relabels += 1
        holder = self._holder_for_long(leases.shard_lease_name(self._world.GROUP, was))
        mutex = (new["spec"].get("mutex") or {}).get("name", "")
        if mutex and shard == who.shard:  # the leader gathers those that wait for one
            owner = self._holder_for_long(leases.mutex_lease_name(self._world.GROUP, mutex))
            if holder and owner == new["metadata"]["uid"]:
                raise Violation(f"{name} holds mutex {mutex}, and was moved to {shard} from shard {was} of {holder}")
        elif holder:
            raise Violation(f"{name} was moved to {shard} from shard {was}, which {holder} has held for long")

    def _holder_for_long(self, lease: str) -> str:
        holder, since_s = self._held_since_s.get(lease, ("", 0.0))
        return holder if self._world.timeline.now_s - since_s > HELD_FOR_S else ""


def holder_of(lease: dict[str, Any]) -> str:
    """Return the incarnation or, of a mutex, the Execution that holds a Lease; nothing if it is free."""
    holder: str = lease["spec"].get("holderIdentity") or ""
    return holder if lease["metadata"]["name"].startswith("kontinue-mutex.") else incarnation_of(lease)


def incarnation_of(lease: dict[str, Any]) -> str:
    """Return who holds a Lease, or nothing."""
    if not lease["spec"].get("holderIdentity"):
        return ""
    found: str = lease["metadata"]["annotations"][labels.INCARNATION]
    return found


def check_tenures(world: Any) -> None:
    """At most one process believes that it may write under each Lease, the frozen included."""
    writers: dict[str, str] = {}
    for process in world.processes:
        for lease in process.leases:
            if lease.remaining_s > 0:
                other = writers.setdefault(lease.name, process.incarnation)
                if other != process.incarnation:
                    raise Violation(f"both {other} and {process} may write under Lease {lease.name}")


def check_progress(world: Any, process: Any) -> None:
    """A runner does nothing any more once others may start its work, unless its supervisor was frozen."""
    if _was_frozen(world, process):
        return
    if process.fenced_for_s > 1.0:
        raise Violation(f"a runner of {process} goes on, although it has been fenced for {process.fenced_for_s:.1f} s")
    found = world.server.objects["leases"]
    lease = found.get(process.own_lease_name)
    if lease is None or incarnation_of(lease) != process.incarnation:
        raise Violation(f"a runner of {process} goes on, although its Lease is not its own any more: {lease}")


def check_effect(world: Any, process: Any, effect: Any) -> None:
    """Nor does it begin anything without the mutex that it needs."""
    check_progress(world, process)
    if effect.mutex and not _was_frozen(world, process):
        found = world.server.objects["leases"]
        lease = found.get(leases.mutex_lease_name(world.GROUP, effect.mutex))
        if lease is None or lease["spec"]["holderIdentity"] != effect.uid:
            raise Violation(f"{effect} is done by a runner of {process}, although the mutex is not its own: {lease}")


def _was_frozen(world: Any, process: Any) -> bool:
    frozen: bool = process.loop.is_frozen or process.frozen_until_s >= world.timeline.now_s - 1.0
    return frozen


def check_end(world: Any) -> None:
    """Nothing is lost: every Execution has ended as it should, its steps recorded once, its children too."""
    executions = world.server.objects["executions"]
    for name, execution in executions.items():
        status = execution.get("status") or {}
        phase = status.get("phase")
        if phase not in TERMINAL or is_retry_requested(execution):
            raise Violation(f"{name} has not ended: {status}")
        died = world.deaths_of[execution["metadata"]["uid"]]
        if phase == "Failed" and not (status["reason"] == "RunnerCrashed" and died > CRASH_BUDGET):
            raise Violation(f"{name} failed, and has died {died} times: {status}")
        if not _is_stopped(world, status):
            raise Violation(f"{name} has ended, and is not marked as stopped: {status}")
        _check_steps(world, execution)
    for name, program in world.roots.items():
        _check_tree(world, name, program)
        status = executions[name]["status"]
        failed = sum(one.get("reason") == "UserError" for one in status.get("attempts", []))
        if status["phase"] == "Completed" and failed != programs.failures_of(program) and name not in world.retried:
            raise Violation(f"{failed} attempts of {name} failed: {status}")


def _is_stopped(world: Any, status: dict[str, Any]) -> bool:
    """Tell whether nothing of it runs: its owner says so, or is no more."""
    owner = (status.get("owner") or {}).get("incarnation")
    return _says_stopped(status) or not any(process.incarnation == owner for process in world.processes)


def _says_stopped(status: dict[str, Any]) -> bool:
    return any(one["type"] == STOPPED and one["status"] == "True" for one in status.get("conditions", []))


def check_runs(world: Any) -> None:
    """At most one runs of an Execution and of a mutex, and no more than a limit, but for those that are fenced."""
    running: dict[tuple[str, str], list[str]] = {}
    for process in world.processes:
        if process.pool is None or not process.may_write:
            continue
        for run in process.pool.begun():
            for guard in world.guards_of(run.activate):
                running.setdefault(guard, []).append(f"{run.activate.execution} in {process}")
    for (kind, name), found in running.items():
        if len(found) > (LIMIT if kind == "limit" else 1):
            raise Violation(f"{kind} {name}: {', '.join(found)} run at the same time")


def _check_steps(world: Any, execution: dict[str, Any]) -> None:
    status = execution["status"]
    recorded = [record["id"] for record in (status.get("state") or {}).get("records", [])]
    expected = programs.step_ids(execution["spec"]["arguments"]["do"])
    is_whole = recorded == expected if status["phase"] == "Completed" else recorded == expected[: len(recorded)]
    if not is_whole:
        raise Violation(f"{execution['metadata']['name']} recorded {recorded} instead of {expected}")


def _check_tree(world: Any, name: str, program: programs.Program) -> bool:
    """Check an Execution and its children; tells whether nothing in it was canceled or has failed."""
    execution = world.server.objects["executions"][name]
    completed = execution["status"]["phase"] == "Completed"
    is_whole: bool = completed and labels.RETRIED_ALONE not in execution["metadata"].get("annotations", {})
    for child, its_program in programs.children_of(program, name).items():
        found = world.server.objects["executions"].get(child)
        if found is None:
            if completed:
                raise Violation(f"{name} has completed without its child {child}")
            continue
        if found["metadata"]["ownerReferences"][0]["uid"] != execution["metadata"]["uid"]:
            raise Violation(f"{child} does not belong to {name}")
        is_whole = _check_tree(world, child, its_program) and is_whole
    if is_whole and execution["status"]["result"] != programs.result_of(program):
        raise Violation(f"{name} returned {execution['status']['result']} instead of {programs.result_of(program)}")
    return is_whole
