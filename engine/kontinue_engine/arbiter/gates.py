"""Internal. Looks after Gates: opens one when all that it waits for is so, fails it when its time is over.

Before either, the API server is asked for what it is about: watches of several kinds show no common moment. Nor do
several answers: before it opens, all is read twice, and what is the same both times was so together in between. A Gate
that is open or has failed is left alone, so Gates that wait for each other come to rest. Built by ``process``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from kontinue import errors
from kontinue.api.konductor.gates import Gate, GateConditionStatus, GatePhase, GateTarget
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import INVALID_TIMEOUT, OPENED, TIMED_OUT, Caretaker, key_of
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.arbiter.targets import Targets
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import gates
from kontinue_engine.primitives.gate_states import Target

UNREAD_S: Final = 1.0
"""How long a kind may take to be listed before it is looked whether it can be. Judgement."""

READINGS: Final = 20
"""What changes so often that no two readings in a row are the same is read again a moment later. Judgement."""

_Subject: TypeAlias = tuple[GateTarget, Key]
_Found: TypeAlias = Target | str | None

_decode: Final = reader(Gate)


class GateController(Caretaker[Gate]):
    """Looks after the Gates of a namespace, or of all.

    Args:
        transport: to the API server.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, requests.GATES, Gate, namespace=namespace, events=events, clock=clock)
        self._targets = Targets(transport, namespace, self._on_target)
        self._waiting: dict[GateTarget, dict[Key, set[Key]]] = {}

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._targets.run(), name="gates/targets")
            tasks.create_task(super().run(), name="gates/all")

    async def _look(self, key: Key) -> None:
        gate = self._objects.get(key)
        if gate is None:
            return
        subjects = _subjects(gate)
        if not all([self._targets.is_known(*one) for one in subjects]):  # noqa: C419 - all of them are to be watched
            self._looks.again_in(key, UNREAD_S)  # unless their list comes first
            return
        now = self._clock.now()
        seen = _judged(gate, [self._targets.find(*one) for one in subjects])
        plan = gates.decide(gate, seen, are_fresh=False, now=now)
        if plan.needs_fresh:
            plan = await self._decided(gate, subjects, now)
        if plan.bad_timeout and gate.status.phase is None:
            self.tell(gate, "Warning", INVALID_TIMEOUT, f"it never fails: {plan.bad_timeout}")
        if plan.status is not None:
            await self._write(gate, msgspec.structs.replace(gate, status=plan.status))
        if plan.look_again_at is not None:
            self._looks.again_in(key, (plan.look_again_at - now).total_seconds())

    async def _decided(self, gate: Gate, subjects: Sequence[_Subject], now: datetime) -> gates.Plan:
        """Decide about what the server says, and to open only about what was so at one moment."""
        before: list[object] | None = None
        for _ in range(READINGS):
            distinct = list(dict.fromkeys(subjects))
            read = await asyncio.gather(*(self._targets.read(*one) for one in distinct))
            found = dict(zip(distinct, read, strict=True))
            plan = gates.decide(gate, _judged(gate, [found[one] for one in subjects]), are_fresh=True, now=now)
            opens = plan.status is not None and plan.status.phase is GatePhase.OPEN
            versions = [_version(one) for one in read]
            if not opens or len(distinct) == 1 or versions == before:
                return plan
            before = versions
        raise errors.Unavailable("what it waits for changes too often to be seen at one moment")

    async def _write(self, before: Gate, wanted: Gate) -> None:
        try:
            stored = _decode(await self.send_status(wanted))
        except (errors.Conflict, errors.NotFound):
            return  # the watch shows what stands there instead
        if stored.status.phase is before.status.phase:
            return
        if stored.status.phase is GatePhase.OPEN:
            why = "by hand" if stored.spec.override is not None else f"{stored.status.met} conditions are met"
            self.tell(stored, "Normal", OPENED, why)
        elif stored.status.phase is GatePhase.FAILED:
            self.tell(stored, "Warning", TIMED_OUT, f"not within {stored.spec.timeout}: {stored.missing}")

    def _take(self, found: Gate) -> None:
        self._unfollow(key_of(found))
        for target, subject in _subjects(found):
            self._waiting.setdefault(target, {}).setdefault(subject, set()).add(key_of(found))
        super()._take(found)

    def _forget(self, key: Key) -> None:
        self._unfollow(key)
        super()._forget(key)

    def _unfollow(self, key: Key) -> None:
        known = self._objects.get(key)
        for target, subject in _subjects(known) if known is not None else ():
            waiting = self._waiting[target].get(subject, set())
            waiting.discard(key)
            if not waiting:
                self._waiting[target].pop(subject, None)

    def _on_target(self, target: GateTarget, subject: Key | None) -> None:
        by_subject = self._waiting.get(target, {})
        keys = by_subject.get(subject, ()) if subject is not None else set().union(*by_subject.values())
        for key in keys:
            self._looks.queue.add(key)


def _subjects(gate: Gate) -> Sequence[_Subject]:
    """Return what the conditions of a Gate are about, in order; nothing, once they matter no more."""
    if gates.is_settled(gate):
        return ()
    home = gate.metadata.namespace
    return [(one.type, (one.namespace or home, one.name)) for one in gate.spec.conditions]


def _version(found: _Found) -> object:
    """Return what differs whenever an object has changed, or been made again, in between."""
    return found if found is None or isinstance(found, str) else (found.metadata.uid, found.metadata.resource_version)


def _judged(gate: Gate, found: Sequence[_Found]) -> Sequence[GateConditionStatus]:
    given = zip(gate.spec.conditions, found, strict=False)
    return [gates.condition_status(gate, condition, one) for condition, one in given]
