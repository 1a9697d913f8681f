"""Internal. Carries out retries that somebody asks for: an Execution that has failed or was canceled is Pending again.

Whoever wants one raises ``spec.retry.retries`` above ``status.observedRetries``: a client, a parent's new attempt, or a
person with kubectl. A duty of the leader, level-based: a watch of metadata alone shows what has ended badly, and only
what somebody has edited since it was created (``metadata.generation``) is read. Begins with what
``lifecycle.retrying.restarted`` says, once nothing of the last attempt runs any more. Of what was canceled or skipped
before any shard had it nobody else says that it has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, PartialObjectMetadata, parent_of
from kontinue.api.v1alpha1 import UNTOUCHED_GENERATION, Execution, ExecutionDefaults, Phase
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator import fates
from kontinue_engine.errors import EngineError
from kontinue_engine.kube import executions, memo_pages
from kontinue_engine.kube.events import EventRecorder, execution_reference
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle.child_notes import is_asked_by_parent
from kontinue_engine.lifecycle.conditions import is_stopped, with_stopped
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.lifecycle.retrying import RETRY_REQUESTED, is_retry_doubtful, noted_retries, restarted
from kontinue_engine.lifecycle.statuses import asked_for, has_open_attempt
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.sharding.fates import ASK_AGAIN_S, Fate
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.sharding.views import deaths_of
from kontinue_engine.telemetry.logs import get_logger

RETRY_REFUSED: Final = "RetryRefused"
IN_FLIGHT: Final = 8
"""Executions at a time. Judgement: somebody may ask for thousands at once, and others want to write, too."""
RETRY_CAP_S: Final = 60.0
"""Longest delay between two tries. Judgement: somebody waits for it."""

_ENDED_EARLY: Final = ",".join(f"status.phase!={phase}" for phase in ("", *sorted(set(Phase) - set(fates.MAY_RUN_ON))))
_FAILURES: Final = (errors.ApiError, EngineError, msgspec.MsgspecError)
_log = get_logger(__name__)
_decode: Final = msgspec.json.Decoder(Execution).decode


class RetryDuty:
    """Looks after what has ended badly in one group.

    Informer handler.

    Args:
        transport: to the API server.
        events: where it is told what becomes of a wish.
        namespace: of the group.
        group: worker group.
        is_sharded: whether it is.
        defaults: function -> its defaults.
        limits: function -> limit, of those that have one.
        owns: tells whether the group has a function.
        live_shards: returns the shards that take work.
        clock: time.
        times: of the group's Leases.
    """

    def __init__(
        self,
        transport: Transport,
        events: EventRecorder,
        *,
        namespace: str,
        group: str,
        is_sharded: bool,
        defaults: Mapping[str, ExecutionDefaults],
        limits: Mapping[str, int],
        owns: Callable[[str], bool],
        live_shards: Callable[[], Sequence[str]],
        clock: Clock,
        times: LeaseTimes,
    ) -> None:
        self._transport = transport
        self._events = events
        self._namespace = namespace
        self._group = group
        self._is_sharded = is_sharded
        self._defaults = defaults
        self._limits = limits
        self._owns = owns
        self._live_shards = live_shards
        self._clock = clock
        self._patience_s = times.patience_s
        self._queue: WorkQueue[str] = WorkQueue()
        self._failures: dict[str, Backoff] = {}
        self._unsure_since_s: dict[str, tuple[str, float]] = {}  # by name, with the uid

    async def run(self) -> None:
        """Carry out what is asked for until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            # Some were applied by hand, and ended before a group had adopted them.
            for selector in (f"{labels.WORKER_GROUP}={self._group}", executions.UNADOPTED_SELECTOR):
                informer = Informer(
                    self._transport,
                    requests.EXECUTIONS,
                    self._namespace,
                    type_=PartialObjectMetadata,
                    handler=self,
                    label_selector=selector,
                    field_selector=_ENDED_EARLY,
                    only_metadata=True,
                )
                tasks.create_task(informer.run(), name=f"ended badly, {selector}")
            for number in range(IN_FLIGHT):
                tasks.create_task(self._work(), name=f"retries/{number}")

    # Informer handler.

    def on_list(self, objects: Sequence[PartialObjectMetadata], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        for obj in objects:
            self.on_event("ADDED", obj)

    def on_event(self, type: EventType, obj: PartialObjectMetadata) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it runs again, or is gone."""
        is_edited = obj.metadata.generation > UNTOUCHED_GENERATION
        if type != "DELETED" and (is_edited or not self._has_place(obj.metadata)):
            self._queue.add(obj.metadata.name)

    # Decide, act.

    async def _work(self) -> None:
        while True:
            await self._next()

    async def _next(self) -> None:
        name = await self._queue.get()
        try:
            again_s = await self._look_at(name)
            self._failures.pop(name, None)
            if again_s is not None:
                self._queue.add_after(name, again_s)
        except _FAILURES as error:
            delay_s = self._failures.setdefault(name, Backoff(cap_s=RETRY_CAP_S)).next_s()
            _log.warning("retry not carried out", execution=name, error=str(error), retry_in_s=round(delay_s, 3))
            self._queue.add_after(name, delay_s)
        finally:
            self._queue.done(name)

    async def _look_at(self, name: str) -> float | None:
        """Do what is to be done about one Execution; return the seconds until it is looked at again, if that is so."""
        execution = await executions.read_execution(self._transport, namespace=self._namespace, name=name)
        if execution is None or not execution.is_retry_requested:
            self._unsure_since_s.pop(name, None)
        if execution is None:
            return None
        if labels.WORKER_GROUP not in execution.metadata.labels and not self._owns(execution.spec.function):
            return None
        if not execution.is_retry_requested:
            return await self._close(execution) if self._was_never_placed(execution) else None
        if not await self._has_stopped(execution):
            return ASK_AGAIN_S
        if is_retry_doubtful(execution):
            return await self._let_cancel_win(execution)
        parent = parent_of(execution.metadata.owner_references)
        is_alone = False
        if parent is not None:
            is_wanted = await self._is_live(parent.name, parent.uid)
            if is_wanted != is_asked_by_parent(execution):
                return await self._refuse(execution, parent.name, is_live=is_wanted)
            is_alone = not is_wanted
        notes: dict[str, str | None] = {labels.RETRIED_ALONE: "true" if is_alone else None}
        placed = await self._place_anew(execution, notes if parent is not None else {})
        return await self._restart(placed) if placed is not None else 0.0

    async def _has_stopped(self, execution: Execution) -> bool:
        name, uid = execution.metadata.name, execution.metadata.uid
        if is_stopped(execution.status.conditions) or self._was_never_placed(execution):
            self._unsure_since_s.pop(name, None)
            return True
        fate = await fates.fetch_fate(
            self._transport,
            self._namespace,
            group=self._group,
            is_sharded=self._is_sharded,
            name=name,
            uid=uid,
            live=(),
        )
        now_s = self._clock.monotonic_s()
        whose, since_s = self._unsure_since_s.get(name, (uid, now_s))
        if fate is Fate.STOPPED or (fate is Fate.UNSURE and whose == uid and now_s - since_s >= self._patience_s):
            self._unsure_since_s.pop(name, None)
            return True
        self._unsure_since_s[name] = uid, since_s if whose == uid else now_s
        return False

    def _has_place(self, meta: ObjectMeta) -> bool:
        return labels.WORKER_GROUP in meta.labels and (labels.SHARD in meta.labels or not self._is_sharded)

    def _was_never_placed(self, execution: Execution) -> bool:
        """Tell whether nobody can have started it, or not since it was last retried: its shard was taken away then."""
        return not self._has_place(execution.metadata) and not has_open_attempt(execution.status)

    async def _close(self, execution: Execution) -> float | None:
        """Say of one that nobody has, or has had, that nothing of it runs."""
        status = execution.status
        if is_stopped(status.conditions) or not execution.phase.is_terminal:
            return None
        now_ms = self._clock.now_ms()
        closed = msgspec.structs.replace(
            status,
            observed_retries=noted_retries(execution),
            finished_at=status.finished_at or time_of(now_ms),
            waiting_for=[],
            conditions=with_stopped(status.conditions, execution.phase, now_ms),
        )
        return None if await self._write(execution, closed) else 0.0

    async def _let_cancel_win(self, execution: Execution) -> float | None:
        again_s = await self._close(execution)
        if again_s is None:
            message = "not retried: it was canceled by hand while no worker looked, perhaps after that. Ask once more"
            self._tell(execution, "Warning", RETRY_REFUSED, message)
        return again_s

    async def _is_live(self, name: str, uid: str) -> bool:
        parent = await executions.read_execution(self._transport, namespace=self._namespace, name=name)
        return parent is not None and parent.metadata.uid == uid and not parent.phase.is_terminal

    async def _refuse(self, execution: Execution, parent: str, *, is_live: bool) -> float | None:
        """Note that the wish was seen: a parent that lives decides about its children itself, and none other does."""
        if is_live:
            message = f"not retried: its parent {parent} has not ended. Cancel or retry the parent instead"
        else:
            message = f"not retried: its parent {parent}, which asked for it, has ended"
        status = msgspec.structs.replace(execution.status, observed_retries=asked_for(execution.spec))
        if not await self._write(execution, status):
            return 0.0
        self._tell(execution, "Warning", RETRY_REFUSED, message)
        return None

    async def _place_anew(self, execution: Execution, notes: Mapping[str, str | None]) -> Execution | None:
        """Take it from its shard, if another one may have to run it; None if it has changed meanwhile.

        Who needs a mutex or a slot queues for it anew, and the leader gives it a shard then.
        """
        meta, spec = execution.metadata, execution.spec
        shard = meta.labels.get(labels.SHARD)
        is_free = spec.mutex is None and spec.function not in self._limits
        stays = shard is None or (is_free and shard in self._live_shards())
        wanted: dict[str, str | None] = {}
        if labels.WORKER_GROUP not in meta.labels:
            wanted = {labels.WORKER_GROUP: self._group, labels.FUNCTION: labels.label_value(spec.function)}
        if not stays:
            wanted[labels.SHARD] = None
            if parent_of(meta.owner_references) is not None and labels.PARENT_GROUP not in meta.labels:
                wanted[labels.PARENT_GROUP] = self._group
        changes: dict[str, Any] = {"labels": wanted} if wanted else {}
        if execution.status.owner is None and (shard is not None or not self._is_sharded):
            # It may have been started there, and nobody has written so: it is claimed, with a higher fencing token.
            notes = {**notes, labels.DEATHS: str(deaths_of(meta.annotations))}
        changed_notes = {key: value for key, value in notes.items() if meta.annotations.get(key) != value}
        if changed_notes:
            changes["annotations"] = changed_notes
        if not changes:
            return execution
        patch = {"metadata": {"resourceVersion": meta.resource_version, **changes}}
        try:
            return _decode(
                await self._transport.send(requests.merge_patch(requests.EXECUTIONS, self._namespace, meta.name, patch))
            )
        except (errors.Conflict, errors.NotFound):
            return None

    async def _restart(self, execution: Execution) -> float | None:
        status = restarted(
            execution.spec,
            execution.status,
            parse_memo(execution.status.state, execution.status.memo_pages),
            self._defaults.get(execution.spec.function),
            self._clock.now_ms(),
        )
        if not await self._write(execution, status):
            return 0.0
        if execution.status.memo_pages is not None and status.memo_pages is None:
            meta = execution.metadata
            run = memo_pages.Owner(self._namespace, meta.name, meta.uid, status.run_epoch)
            await memo_pages.delete_older(self._transport, run)
        self._tell(execution, "Normal", RETRY_REQUESTED, f"attempt {status.attempt_count + 1} was asked for")
        return None

    async def _write(self, execution: Execution, status: Any) -> bool:
        meta = execution.metadata
        result = await executions.write_status(
            self._transport,
            namespace=self._namespace,
            name=meta.name,
            uid=meta.uid,
            version=meta.resource_version,
            status=status,
        )
        match result:
            case executions.Written() | executions.Gone():
                return True
            case executions.Changed():
                return False
            case executions.Refused(error=error):
                raise error

    def _tell(self, execution: Execution, type_: Any, reason: str, message: str) -> None:
        meta = execution.metadata
        _log.info(
            "execution event",
            execution=meta.name,
            uid=meta.uid,
            attempt=max(1, execution.status.attempt_count),
            reason=reason,
            message=message,
        )
        self._events.record(execution_reference(self._namespace, meta.name, meta.uid), type_, reason, message)
