"""Watches every Execution while faults strike: owners, epochs, shards and ends may change in one direction only."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kontinue.api import labels
from kontinue.api.meta import ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import ExecutionOwner, ExecutionSpec, Phase
from kontinue.kube.watch import EventType


class SeenStatus(ApiStruct, frozen=True, kw_only=True):
    """Of an Execution's status."""

    phase: Phase | None = None
    owner: ExecutionOwner | None = None


class SeenExecution(ApiStruct, frozen=True, kw_only=True):
    """An Execution without its memo and result."""

    metadata: ObjectMeta
    spec: ExecutionSpec
    status: SeenStatus = SeenStatus()

    @property
    def has_ended(self) -> bool:
        """Whether it is terminal."""
        return self.status.phase is not None and self.status.phase.is_terminal

    @property
    def shard(self) -> str:
        """Where it is placed; empty while it is nowhere."""
        return self.metadata.labels.get(labels.SHARD, "")


class Observer:
    """Informer handler.

    Attributes:
        relabels: how often an Execution that had a shard was given another one.
        violations: changes that must not happen.
    """

    def __init__(self) -> None:
        self.relabels = 0
        self.violations: list[str] = []
        self._seen: dict[str, SeenExecution] = {}
        self._ended_at_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def running(self, function: str, shard: str) -> list[str]:
        """Return the names of the function's live Executions that a replica of that shard has written to."""
        return [
            one.metadata.name
            for one in self._seen.values()
            if one.spec.function == function
            and one.shard == shard
            and not one.has_ended
            and one.status.owner is not None
            and one.status.owner.shard == shard
        ]

    def has_ended(self, name: str) -> bool:
        """Tell whether an Execution was seen to have ended."""
        return name in self._ended_at_s

    def on_list(self, objects: Sequence[SeenExecution], *, initial: bool) -> None:
        """Take all Executions."""
        del initial
        for obj in objects:
            self._observe(obj)

    def on_event(self, type: EventType, obj: SeenExecution) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type == "DELETED":
            self.violations.append(f"{obj.metadata.name} was deleted")
        else:
            self._observe(obj)

    def _observe(self, new: SeenExecution) -> None:
        old = self._seen.get(new.metadata.uid)
        self._seen[new.metadata.uid] = new
        if new.has_ended:
            self._ended_at_s.setdefault(new.metadata.name, time.monotonic())
        if old is not None:
            self.relabels += bool(old.shard) and old.shard != new.shard
            self.violations += changes_that_must_not_be(old, new)


def changes_that_must_not_be(old: SeenExecution, new: SeenExecution) -> list[str]:
    """Say what is wrong between two states of one Execution."""
    name, found = new.metadata.name, []
    if old.has_ended and (not new.has_ended or old.status.phase is not new.status.phase):
        found.append(f"{name} was {old.status.phase} and is {new.status.phase}")
    if old.has_ended and old.shard != new.shard:
        found.append(f"{name} has ended and was moved from {old.shard} to {new.shard}")
    before, after = old.status.owner, new.status.owner
    if before is None or before == after:
        return found
    if after is None or after.epoch < before.epoch:
        found.append(f"{name}: its epoch went back, from {before} to {after}")
    elif after.epoch == before.epoch:
        found.append(f"{name}: two owners in one epoch, {before} and {after}")
    return found
