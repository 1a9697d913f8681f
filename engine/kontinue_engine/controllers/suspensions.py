"""Internal. Sleeps and suspends of this replica's Executions: who waits for which Suspension, and who is told.

``kube.suspensions`` knows them as API objects, ``kube.open_suspensions`` which are open; here is who waits. Nothing
depends on an event: whoever asks again after a crash finds the Suspension by its deterministic name, each new list is
compared with what is waited for, and what is gone is read, to learn whether it was completed or deleted. One that was
deleted is created again, with the end that it had: to end a wait, resume it, or cancel its Execution.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import PAYLOAD_INVALID, Phase, Suspension, SuspensionKind, SuspensionSpec
from kontinue.kube.backoff import Backoff
from kontinue_engine.controllers.entries import AwaitedSuspension, Entry, Rest
from kontinue_engine.controllers.own_errors import own_error
from kontinue_engine.controllers.runtime import FATAL, Runtime
from kontinue_engine.kube import suspensions
from kontinue_engine.kube.events import execution_reference
from kontinue_engine.kube.open_suspensions import OpenSuspension
from kontinue_engine.lifecycle.observed import Wait
from kontinue_engine.lifecycle.statuses import next_attempt
from kontinue_engine.lifecycle.times import ms_of, time_of
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

SUSPENSION: Final = "Suspension"

_log = get_logger(__name__)


class Suspensions:
    """Suspensions that the Executions of this replica wait for.

    Args:
        runtime: shared tools, the open Suspensions of the group among them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._open = runtime.suspensions
        self._open.on_gone = self._on_gone
        self._open.on_listed = self._on_listed
        self._unwanted: set[str] = set()
        self._asked: dict[str, bool] = {}
        """Name -> whether its answer may be old when it comes."""

    # Asked for by an activation.

    def is_kept_as_timer(self, entry: Entry, step: str, command: frames.StartSuspension) -> bool:
        """Tell whether a sleep is too short for a Suspension, or has begun as a timer."""
        is_short = command.duration_ms <= self._runtime.worker.parking_ms
        return command.is_sleep and (is_short or step in entry.memo.timers)

    def request(self, entry: Entry, step: str, command: frames.StartSuspension) -> None:
        """Create the Suspension of a step, or find it; its end goes to the activation."""
        activation = entry.activation
        if activation is not None:
            if activation.resumption == 0 and next_attempt(entry.status) > 1:
                entry.ends_of_waits.pop(command.name, None)  # of an earlier attempt
            until_ms = self._end_of(entry, command)
            entry.suspensions[step] = AwaitedSuspension(command=command, until_ms=until_ms)
            self._ask(entry, step, look_first=activation.resumption > 0)

    def _end_of(self, entry: Entry, command: frames.StartSuspension) -> int | None:
        """Return when the wait ends: as was written when it began, else counted from now."""
        known_ms = entry.ends_of_waits.get(command.name)
        if known_ms is not None:
            return known_ms
        return None if command.duration_ms < 0 else self._runtime.clock.now_ms() + command.duration_ms

    def _ask(self, entry: Entry, step: str, *, look_first: bool = True) -> None:
        """Find out how it stands with what a step waits for. Whoever asks meanwhile has it asked once more."""
        name = entry.suspensions[step].command.name
        if name in self._asked:
            self._asked[name] = True
        else:
            self._asked[name] = False
            work = self._find_out(entry, step, name, look_first=look_first)
            self._runtime.spawn(entry.uid, work, name=f"suspension/{name}")

    async def _find_out(self, entry: Entry, step: str, name: str, *, look_first: bool) -> None:
        found, is_old = None, True
        try:
            while is_old and (awaited := self._awaited(entry, step, name)) is not None:
                self._asked[name] = False
                found = await self._create(entry, step, awaited, look_first=look_first)
                is_old, look_first = self._asked[name] and found is not None and found.is_open, True
        finally:
            del self._asked[name]
        awaited = self._awaited(entry, step, name)
        if name in self._unwanted or entry not in self._runtime.entries:
            await self._delete(name, entry.uid)
        elif awaited is None:
            # It was evicted, and what it has not been told is not said again.
            if (is_old or found is None or not found.is_open) and _is_asleep(entry):
                self._wake(entry)
        elif found is not None and not found.is_open:
            self._deliver(entry, step, found)
        elif found is not None:
            resume_at = found.spec.resume_at
            until_ms = None if resume_at is None else ms_of(resume_at)
            entry.suspensions[step] = msgspec.structs.replace(awaited, until_ms=until_ms)
            self._runtime.queue.add(entry.uid)

    def _awaited(self, entry: Entry, step: str, name: str) -> AwaitedSuspension | None:
        awaited = entry.suspensions.get(step)
        return awaited if awaited is not None and awaited.command.name == name else None

    async def _create(
        self, entry: Entry, step: str, awaited: AwaitedSuspension, *, look_first: bool
    ) -> Suspension | None:
        """Create it or find it; None if that cannot be, which the activation is told."""
        runtime = self._runtime
        try:
            return await suspensions.create_or_find(
                runtime.transport,
                namespace=runtime.scope.namespace,
                suspension=self._build(entry, step, awaited),
                look_first=look_first,
            )
        except suspensions.SuspensionUnusableError as error:
            if entry.suspensions.get(step) is awaited and entry.activation is not None:
                del entry.suspensions[step]
                info = own_error(errors.ContextError, str(error))
                runtime.send_to(entry, frames.StepRejected(entry.activation.number, step, info))
            return None

    def _build(self, entry: Entry, step: str, awaited: AwaitedSuspension) -> Suspension:
        command, scope = awaited.command, self._runtime.scope
        owner = OwnerReference(
            api_version=labels.API_VERSION, kind="Execution", name=entry.name, uid=entry.uid, controller=True
        )
        return Suspension(
            metadata=ObjectMeta(
                name=command.name,
                labels={
                    labels.WORKER_GROUP: scope.group,
                    labels.PARENT_GROUP: scope.group,
                    labels.ROOT: entry.root,
                    labels.PARENT: labels.label_value(entry.name),
                },
                annotations={labels.STEP: step, labels.PARENT_ATTEMPT: str(next_attempt(entry.status))},
                owner_references=[owner],
            ),
            spec=SuspensionSpec(
                execution=entry.name,
                kind=SuspensionKind.SLEEP if command.is_sleep else SuspensionKind.MANUAL,
                resume_at=None if awaited.until_ms is None else time_of(awaited.until_ms),
                display_name=command.display_name,
                description=command.description,
                payload_schema=msgspec.Raw(command.payload_schema) if command.payload_schema else msgspec.UNSET,
            ),
        )

    def give_up(self, entry: Entry, step: str, command: frames.CancelSuspension) -> None:
        """The program does not wait any more: nobody is to be asked for an answer that nobody reads."""
        awaited = entry.suspensions.pop(step, None)
        was_found = entry.activation is not None and entry.activation.resumption > 0
        if awaited is not None or was_found or self._open.get(command.name) is not None:
            self._discard(command.name, entry.uid)

    def discard_all(self, entry: Entry) -> None:
        """The Execution has ended: nothing waits any more."""
        names = {awaited.command.name for awaited in entry.suspensions.values()}
        names |= {one.name for one in self._open.of_owner(entry.uid)}
        entry.suspensions.clear()
        for name in names:
            self._discard(name, entry.uid)

    def _discard(self, name: str, owner_uid: str) -> None:
        if name not in self._unwanted:
            self._unwanted.add(name)
            if name not in self._asked:  # else it may be created only now: who asks deletes it
                self._runtime.spawn("", self._delete(name, owner_uid), name=f"delete-suspension/{name}")

    async def _delete(self, name: str, owner_uid: str) -> None:
        runtime = self._runtime
        try:
            await suspensions.delete(
                runtime.transport, namespace=runtime.scope.namespace, name=name, owner_uid=owner_uid
            )
        finally:
            self._unwanted.discard(name)

    def recorded(self, entry: Entry, records: Iterable[frames.EncodedRecord]) -> None:
        """Outcomes have become records: what was noted of those waits is not needed any more."""
        for record in records:
            told = entry.told_suspensions.pop(record.step, None)
            if told is not None:
                entry.ends_of_waits.pop(told.command.name, None)

    def refuse(self, entry: Entry, frame: frames.PayloadRefused) -> None:
        """The payload does not fit: say so on the Suspension, and wait for another one."""
        awaited = entry.told_suspensions.pop(frame.step, None)
        if awaited is None:
            return
        message = frame.message
        _log.warning("payload refused", **entry.log_fields, step=frame.step, suspension=frame.name, message=message)
        scope = self._runtime.scope
        about = execution_reference(scope.namespace, entry.name, entry.uid)
        self._runtime.events.record(about, "Warning", PAYLOAD_INVALID, f"Suspension {frame.name}: {message}")
        entry.suspensions[frame.step] = awaited
        self._runtime.spawn(entry.uid, self._reopen(entry, frame, awaited.version), name=f"reopen/{frame.name}")

    async def _reopen(self, entry: Entry, frame: frames.PayloadRefused, version: str) -> None:
        runtime, backoff = self._runtime, Backoff()
        while entry in runtime.entries:
            try:
                await suspensions.reopen(
                    runtime.transport,
                    namespace=runtime.scope.namespace,
                    name=frame.name,
                    version=version,
                    message=frame.message,
                    now_ms=runtime.clock.now_ms(),
                )
            except FATAL:
                raise
            except errors.ApiError as error:
                # Nobody else opens it again, and what is completed cannot be answered.
                _log.warning("not reopened yet", **entry.log_fields, suspension=frame.name, error=str(error))
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
            else:
                self._look(entry, frame.step, frame.name)  # somebody may have given a better one meanwhile
                return

    # What happens to them.

    def _on_gone(self, gone: OpenSuspension) -> None:
        entry = self._runtime.entries.get(gone.owner_uid)
        if entry is None:
            return
        steps = [step for step, awaited in entry.suspensions.items() if awaited.command.name == gone.name]
        if gone.resume_at_ms is not None and (steps or _is_asleep(entry)):
            entry.ends_of_waits[gone.name] = gone.resume_at_ms
        if _is_asleep(entry):
            self._wake(entry)
        for step in steps:
            entry.suspensions[step] = msgspec.structs.replace(entry.suspensions[step], until_ms=gone.resume_at_ms)
            self._ask(entry, step)

    def _on_listed(self) -> None:
        """Events may have been missed: look after what is waited for and not open."""
        for entry in self._runtime.entries:
            if entry.is_folded:
                continue  # all of its Suspensions were known when it was folded: that one is gone was told
            for step, awaited in list(entry.suspensions.items()):
                if self._open.get(awaited.command.name) is None:
                    self._look(entry, step, awaited.command.name)
            names = [item.name for item in entry.status.waiting_for if item.kind == SUSPENSION]
            if entry.rest is Rest.DORMANT and any(self._open.get(name) is None for name in names):
                self._wake(entry)

    def _look(self, entry: Entry, step: str, name: str) -> None:
        """Read what may not be open any more, if its Execution is awake; else it does that itself."""
        if _is_asleep(entry):
            self._wake(entry)
        elif self._awaited(entry, step, name) is not None:
            self._ask(entry, step)

    def _wake(self, entry: Entry) -> None:
        entry.rest = Rest.WOKEN
        self._runtime.queue.add(entry.uid)

    def _deliver(self, entry: Entry, step: str, found: Suspension) -> None:
        awaited = entry.suspensions.pop(step)
        status, at_ms = found.status, self._runtime.clock.now_ms()
        if status.resumed_at is not None:
            at_ms = min(at_ms, ms_of(status.resumed_at))  # of somebody else's clock
        payload = b"" if status.payload is msgspec.UNSET else bytes(status.payload)
        version = found.metadata.resource_version
        entry.told_suspensions[step] = msgspec.structs.replace(awaited, version=version)
        self._runtime.tell(entry, step, frames.SuspensionEnded(at_ms, payload, status.timed_out))

    # What is known of them.

    def waits_of(self, entry: Entry) -> Mapping[str, Wait]:
        """Return what the activation waits for here, by step id; the end as it may have been changed by hand."""
        waits = {}
        for step, awaited in entry.suspensions.items():
            name = awaited.command.name
            known = self._open.get(name)
            until_ms = known.resume_at_ms if known is not None else awaited.until_ms
            exists = known is not None or name not in self._asked
            waits[step] = Wait(name=name, until_ms=until_ms, is_sleep=awaited.command.is_sleep, exists=exists)
        return waits

    def can_rest(self, entry: Entry) -> bool:
        """Tell whether all Suspensions that an inherited Execution waits for are known to be open."""
        if entry.status.phase is not Phase.SUSPENDED:
            return False
        names = [item.name for item in entry.status.waiting_for if item.kind == SUSPENSION]
        return all((one := self._open.get(name)) is not None and one.owner_uid == entry.uid for name in names)


def _is_asleep(entry: Entry) -> bool:
    """Tell whether it has no activation that could be told, and is woken instead."""
    return entry.rest is Rest.DORMANT or entry.is_losing
