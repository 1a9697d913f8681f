"""Internal. What this replica's Executions ask of objects of ``konductor.io``: who waits for what, and who is told.

``kube.primitive_operations`` does it; here is who asks. A wait outlives its activation: one that is evicted is woken
by the answer. It does not outlive the replica: who inherits the Execution replays it, and asks with the same id. What
an Execution holds when it ends is given back by the coordinator, because it is bound to it
(docs/adr/0032-primitives-in-functions.md). Called by ``activations`` and ``execution``.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable, Mapping
from typing import Final

from kontinue import errors
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.v1alpha1 import ExecutionStatus
from kontinue.kube.backoff import Backoff
from kontinue.primitive_calls import BARRIER, GATE, LEASE, MUTEX, ONCE, RW_MUTEX, SEMAPHORE, WAIT_GROUP
from kontinue.sync.objects.changes import SETTLE_S
from kontinue_engine.controllers.entries import Entry, Rest
from kontinue_engine.controllers.own_errors import own_error
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.kube.primitive_operations import HELD_VERBS, KEPT_VERBS, WAITING_VERBS, PrimitiveOperations
from kontinue_engine.lifecycle.observed import Wait
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

KINDS: Final = frozenset({BARRIER, GATE, LEASE, MUTEX, ONCE, RW_MUTEX, SEMAPHORE, WAIT_GROUP})
"""Of what a Suspended Execution waits for by its code."""
_PASSING: Final = (errors.Unavailable, errors.Conflict, errors.Gone)
"""What is tried again. Of an add or done the server has the last word: ``Unavailable`` says that nobody can tell."""
_LATE_S: Final = 60.0
"""So long after a write that was not answered it may still come: kube-apiserver's limit of one request."""

_log = get_logger(__name__)


class _Asked:
    """Something that a step has asked.

    Attributes:
        command: what.
        activation: number of the one that waits for the answer.
        after: set once what is being given up with the same id is; None if nothing is.
        ended: of a release: set once it is over.
        why: why it has to wait, for people.
        answer: what the activation is told, or is to be told when it asks again.
        task: that does it.
    """

    __slots__ = ("activation", "after", "answer", "command", "ended", "task", "why")

    def __init__(self, command: frames.AskPrimitive, activation: int, after: asyncio.Event | None) -> None:
        self.command = command
        self.activation = activation
        self.after = after
        self.ended = asyncio.Event() if command.verb == "release" else None
        self.why = ""
        self.answer: frames.PrimitiveAnswered | frames.ErrorInfo | None = None
        self.task: asyncio.Task[bytes] | None = None


class Primitives:
    """What the Executions of this replica ask; ``len`` counts what is being given back.

    Args:
        runtime: shared tools.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._operations = PrimitiveOperations(runtime.transport, runtime.scope.namespace)
        self._asked: dict[str, dict[str, _Asked]] = {}
        self._ending: dict[str, asyncio.Event] = {}
        """Ids of what is being given up or released: who asks with one of them waits until that is over."""

    def __len__(self) -> int:
        return len(self._ending)

    def request(self, entry: Entry, step: str, command: frames.AskPrimitive) -> None:
        """Ask, or go on waiting for the answer to what an earlier activation has asked."""
        activation = entry.activation
        if activation is None:
            return
        of_entry = self._asked.setdefault(entry.uid, {})
        known = of_entry.get(step)
        if known is not None and known.command.id == command.id:
            known.activation = activation.number
            if known.answer is not None:
                self._tell(entry, step, known)
            return
        asked = of_entry[step] = _Asked(command, activation.number, self._ending.get(command.id))
        if asked.ended is not None:
            self._ending[command.id] = asked.ended
        # What this attempt has asked here and has no record yet is known: only others can have asked besides.
        may_repeat = command.may_repeat and (activation.attempt > 1 or entry.was_found)
        holder = Holder(kind=HolderKind.EXECUTION, name=entry.name, uid=entry.uid)
        work = self._answer(entry.uid, step, asked, holder, may_repeat=may_repeat)
        self._runtime.spawn(entry.uid, work, name=f"{command.verb}/{entry.name}")

    def give_up(self, entry: Entry, step: str, command: frames.WithdrawPrimitive) -> None:
        """The program does not wait any more: it leaves the queue. What was counted stays counted."""
        of_entry = self._asked.get(entry.uid, {})
        asked = of_entry.pop(step, None)
        if command.verb in WAITING_VERBS and asked is not None and asked.task is not None:
            asked.task.cancel()
        if command.verb in HELD_VERBS:
            self._withdraw(entry, command, asked)

    def recorded(self, entry: Entry, records: Iterable[frames.EncodedRecord]) -> None:
        """Outcomes have become records: nobody asks again."""
        of_entry = self._asked.get(entry.uid)
        for record in records if of_entry else ():
            self._asked[entry.uid].pop(record.step, None)

    def discard_all(self, entry: Entry) -> None:
        """Its attempt has ended: nothing waits any more. What its records say that it holds, it goes on holding."""
        of_entry = self._asked.pop(entry.uid, {}).values()
        released = {asked.command.id for asked in of_entry if asked.ended is not None}
        for asked in of_entry:
            command = asked.command
            if command.verb in WAITING_VERBS and asked.task is not None:
                asked.task.cancel()
            if command.verb in HELD_VERBS and command.id not in released:
                withdraw = frames.WithdrawPrimitive(command.kind, command.name, command.verb, command.id)
                self._withdraw(entry, withdraw, asked)

    def leave(self, entry: Entry) -> None:
        """It is not this replica's any more: whoever has it asks with the same ids."""
        for asked in self._asked.pop(entry.uid, {}).values():
            if asked.task is not None:
                asked.task.cancel()

    async def _answer(self, uid: str, step: str, asked: _Asked, holder: Holder, *, may_repeat: bool) -> None:
        try:
            if asked.after is not None:
                await asked.after.wait()
            if not self._is_wanted(uid, step, asked):
                return  # given up meanwhile
            asked.task = asyncio.ensure_future(self._perform(uid, asked, holder, may_repeat=may_repeat))
            try:
                asked.answer = await self._outcome(asked, asked.task, holder)
            except asyncio.CancelledError:
                if self._is_wanted(uid, step, asked):
                    raise  # the worker stops
                return  # given up
            finally:
                asked.task.cancel()
        finally:
            if asked.ended is not None:
                self._has_ended(asked.command.id, asked.ended)
        entry = self._runtime.entries.get(uid)
        if entry is not None and self._is_wanted(uid, step, asked):
            self._tell(entry, step, asked)

    def _is_wanted(self, uid: str, step: str, asked: _Asked) -> bool:
        return self._asked.get(uid, {}).get(step) is asked

    async def _outcome(
        self, asked: _Asked, task: asyncio.Task[bytes], holder: Holder
    ) -> frames.PrimitiveAnswered | frames.ErrorInfo:
        command = asked.command
        try:
            answer = await task
        except errors.Unauthorized:
            raise
        except errors.KontinueError as error:
            return own_error(type(error), str(error))
        except Exception as error:  # noqa: BLE001 - who asked must hear of it, or it would wait for ever
            what = f"{command.kind}/{command.name}"
            trace = "".join(traceback.format_exception(error))
            _log.error("primitive failed", execution=holder.name, uid=holder.uid, name=what, traceback=trace)
            told = f"{command.verb} of {what} has failed, which is a bug of kontinue: {type(error).__name__}: {error}"
            return own_error(errors.KontinueError, told)
        return frames.PrimitiveAnswered(self._runtime.clock.now_ms(), answer, command.verb in KEPT_VERBS)

    async def _perform(self, uid: str, asked: _Asked, holder: Holder, *, may_repeat: bool) -> bytes:
        def progress(why: str) -> None:
            asked.why = why

        command, backoff = asked.command, Backoff()
        while True:
            try:
                return await self._operations.perform(command, holder, may_repeat=may_repeat, on_progress=progress)
            except _PASSING as error:
                if command.verb == "add":
                    raise
                what = f"{command.kind}/{command.name}"
                _log.warning("not answered yet", execution=holder.name, uid=uid, name=what, error=str(error))
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))

    def _tell(self, entry: Entry, step: str, asked: _Asked) -> None:
        """Answer the activation that waits, or wake its Execution: then it asks again."""
        activation, answer = entry.activation, asked.answer
        if entry.rest is Rest.DORMANT or entry.is_losing:
            entry.rest = Rest.WOKEN
            self._runtime.queue.add(entry.uid)
        elif activation is None or activation.number != asked.activation:
            pass  # it has not asked yet
        elif isinstance(answer, frames.PrimitiveAnswered):
            self._runtime.tell(entry, step, answer)
        elif answer is not None:
            self._runtime.send_to(entry, frames.StepRejected(activation.number, step, answer))

    def _withdraw(self, entry: Entry, command: frames.WithdrawPrimitive, asked: _Asked | None) -> None:
        if command.id not in self._ending:
            holder = Holder(kind=HolderKind.EXECUTION, name=entry.name, uid=entry.uid)
            ended = self._ending[command.id] = asyncio.Event()
            task = asked.task if asked is not None else None
            work = self._keep_withdrawing(command, holder, task, ended)
            self._runtime.spawn("", work, name=f"withdraw/{entry.name}")

    async def _keep_withdrawing(
        self,
        command: frames.WithdrawPrimitive,
        holder: Holder,
        task: asyncio.Task[bytes] | None,
        ended: asyncio.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        ends_s, backoff = 0.0, Backoff()
        try:
            if task is not None:
                since_s = loop.time()
                await asyncio.wait([task])  # a write of it that is under way would come after ours
                if loop.time() - since_s > SETTLE_S / 2:  # it may not have been answered, and come later
                    ends_s = loop.time() + _LATE_S
            while True:
                try:
                    await self._operations.withdraw(command, holder)
                    if loop.time() >= ends_s:
                        return
                    pause_s = backoff.next_s()
                except _PASSING as error:
                    pause_s = backoff.next_s(at_least_s=error.retry_after_s)
                except errors.Forbidden as error:
                    _log.error("not given back", execution=holder.name, uid=holder.uid, error=str(error))
                    return
                await asyncio.sleep(pause_s)
        finally:
            self._has_ended(command.id, ended)

    def _has_ended(self, id_: str, ended: asyncio.Event) -> None:
        if self._ending.get(id_) is ended:
            del self._ending[id_]
        ended.set()

    # What is known of them.

    def waits_of(self, entry: Entry) -> Mapping[str, Wait]:
        """Return what the activation waits for here, by step id."""
        return {
            step: Wait(name=one.command.name, until_ms=None, is_sleep=False, kind=one.command.kind, message=one.why)
            for step, one in self._asked.get(entry.uid, {}).items()
            if one.answer is None
        }

    @staticmethod
    def can_rest(status: ExecutionStatus) -> bool:
        """Tell whether one that is inherited need not ask again: what it waits for wakes only those who have asked."""
        return all(item.kind not in KINDS for item in status.waiting_for)
