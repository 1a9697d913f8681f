"""Internal. Closes Executions that have ended while no replica had them: a client's cancel is terminal at once.

Nobody claims such an Execution any more: its children in other shards or groups would go on, and nobody would say that
it has stopped. The leader has them looked for when it sweeps a shard that nobody has, and a replica when it takes its
shard back. Level-based: what is closed carries the condition Stopped, and what fails is tried again. What its owner may
still have is left to it, and looked at again until the owner has said Stopped, or has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator.fates import MAY_RUN_ON
from kontinue_engine.coordinator.forsaken import cancel_forsaken
from kontinue_engine.coordinator.holders import Holders
from kontinue_engine.kube import executions, jobs
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle.conditions import is_stopped, with_stopped
from kontinue_engine.lifecycle.ending import PARENT_ENDED_MESSAGE
from kontinue_engine.lifecycle.retrying import noted_retries
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.sharding.views import PlacedExecution
from kontinue_engine.telemetry.logs import get_logger

AT_A_TIME: Final = 4
"""How many are closed at a time. Judgement: nobody waits for most of them, and others want to write."""
AGAIN_FIRST_S: Final = 1.0
"""Until what was left is looked at again: stopping takes up to five seconds. Judgement."""
AGAIN_CAP_S: Final = 30.0
"""At most so long; one read each. Judgement: what its owner does not close within seconds waits for its owner's end."""

_Job = tuple[str, str]
_log = get_logger(__name__)
_decode: Final = msgspec.json.Decoder(PlacedExecution).decode


class Closer:
    """Closes what has ended in one group.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        is_sharded: whether it is.
        clock: time.
        times: of the group's Leases.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        group: str,
        is_sharded: bool,
        clock: Clock,
        times: LeaseTimes,
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._is_sharded = is_sharded
        self._clock = clock
        self._shards: WorkQueue[str] = WorkQueue()
        self._failures: dict[str, Backoff] = {}
        self._patience_s = times.patience_s
        self._left: dict[str, tuple[str, float]] = {}  # uid -> name, and since when it has been known to have ended
        self._again = Backoff(first_s=AGAIN_FIRST_S, cap_s=AGAIN_CAP_S)
        self._news = asyncio.Event()

    def look_into(self, shard: str) -> None:
        """Have ``run`` close what has ended in a shard; a group that is not sharded has one, without a name.

        It looks for children of what has ended, too, wherever they are (``forsaken``).
        """
        self._shards.add(shard)

    async def run(self) -> None:
        """Close what has ended where it was told to look, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._close_left(), name="closing/left")
            while True:
                await self._close_next()

    async def close(self, shard: str) -> None:
        """Close what has ended in a shard; what is left then is the business of ``run``.

        Raises:
            ApiError: the server does not tell what is there.
        """
        selector = f"{labels.WORKER_GROUP}={self._group}" + (f",{labels.SHARD}={shard}" if shard else "")
        found: list[PlacedExecution] = []
        for phase in MAY_RUN_ON:
            ended = Reflector(
                self._transport,
                requests.EXECUTIONS,
                self._namespace,
                type_=PlacedExecution,
                label_selector=selector,
                field_selector=f"status.phase={phase}",
            )
            found += (await ended.fetch()).objects
        await self._judge(found)

    async def _close_next(self) -> None:
        shard = await self._shards.get()
        try:
            await self.close(shard)
            if not len(self._shards):  # once for all of them
                await cancel_forsaken(self._transport, namespace=self._namespace, group=self._group)
            self._failures.pop(shard, None)
        except errors.ApiError as error:
            _log.warning("not closed", of_shard=shard, error=str(error))
            delay_s = self._failures.setdefault(shard, Backoff()).next_s(at_least_s=error.retry_after_s)
            self._shards.add_after(shard, delay_s)
        finally:
            self._shards.done(shard)

    async def _close_left(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(self._again.next_s())
            try:
                await self._look_again()
            except errors.ApiError as error:
                _log.warning("not looked at again", executions=len(self._left), error=str(error))
            if not self._left:
                self._news.clear()

    async def _look_again(self) -> None:
        found: list[PlacedExecution] = []
        for uid, (name, _) in list(self._left.items()):
            one = await self._read(name, uid)
            if one is not None and one.metadata.uid == uid:
                found.append(one)
            else:
                self._left.pop(uid, None)
        await self._judge(found)

    async def _read(self, name: str, uid: str) -> PlacedExecution | None:
        try:
            return _decode(await self._transport.send(requests.get(requests.EXECUTIONS, self._namespace, name)))
        except errors.NotFound:
            return None
        except msgspec.MsgspecError as error:
            _log.error("not closed", execution=name, uid=uid, error=str(error))
            return None

    async def _judge(self, found: Iterable[PlacedExecution]) -> None:
        """Close what nobody has any more. All of them have been read, so one answer per Lease tells of their owners."""
        holders = Holders(self._transport, self._namespace, self._group, is_sharded=self._is_sharded)
        gone: deque[PlacedExecution] = deque()
        for one in found:
            if one.status.phase not in MAY_RUN_ON or is_stopped(one.status.conditions):
                self._left.pop(one.metadata.uid, None)
            elif await self._has_gone(one, holders):
                gone.append(one)
        started = await self._list_jobs() if gone else {}
        async with asyncio.TaskGroup() as tasks:
            for number in range(min(AT_A_TIME, len(gone))):
                tasks.create_task(self._close_all(gone, started), name=f"closing/{number}")
        if self._left:
            self._news.set()

    async def _list_jobs(self) -> dict[str, set[_Job]]:
        """Return the Jobs and Pods of the group that have not ended, by their owner's uid.

        Once for all that are closed: most groups have none. Those who had these owners have gone, and start no more.
        """
        selector = f"{labels.PARENT_GROUP}={self._group}"
        started: dict[str, set[_Job]] = {}
        for kind, one in await jobs.list_unended(self._transport, namespace=self._namespace, label_selector=selector):
            started.setdefault(one.owner_uid, set()).add((kind, one.metadata.name))
        return started

    async def _close_all(self, gone: deque[PlacedExecution], started: Mapping[str, AbstractSet[_Job]]) -> None:
        while gone:
            one = gone.popleft()
            if await self._try_to_close(one, started.get(one.metadata.uid, set())):
                self._left.pop(one.metadata.uid, None)

    async def _has_gone(self, ended: PlacedExecution, holders: Holders) -> bool:
        """Tell whether nobody runs it any more.

        One without an owner can only have been started under the Lease of the shard that it is in: it was moved there
        once nobody had the one before, and what has ended is not moved. While somebody has it, nobody knows whether
        that was who started it, nor whether the holder of a Lease that is not there lives: every such replica has
        stopped it, or lost its Lease, when our patience ends.
        """
        now_s, uid = self._clock.monotonic_s(), ended.metadata.uid
        if uid not in self._left:
            self._left[uid] = ended.metadata.name, now_s
            self._again.reset()
        _, since_s = self._left[uid]
        owner = ended.status.owner
        shard = ended.metadata.labels.get(labels.SHARD, "") if owner is None else owner.shard
        lease = await holders.find(shard)
        if lease is not None and owner is not None:
            return await holders.is_gone(owner)
        if lease is not None and not lease.spec.holder_identity:
            return True
        return now_s - since_s >= self._patience_s

    async def _try_to_close(self, ended: PlacedExecution, started: AbstractSet[_Job]) -> bool:
        try:
            return await self._close(ended, started)
        except executions.UnreadableError as error:
            _log.error("not closed", execution=ended.metadata.name, uid=ended.metadata.uid, error=str(error))
            return True
        except errors.ApiError as error:
            _log.warning("not closed yet", execution=ended.metadata.name, uid=ended.metadata.uid, error=str(error))
            return False

    async def _close(self, ended: PlacedExecution, started: AbstractSet[_Job]) -> bool:
        """Return whether nothing is left to be done."""
        name, uid = ended.metadata.name, ended.metadata.uid
        await executions.cancel_children(
            self._transport, namespace=self._namespace, name=name, uid=uid, message=PARENT_ENDED_MESSAGE
        )
        execution = await executions.read_execution(self._transport, namespace=self._namespace, name=name)
        if execution is None or execution.metadata.uid != uid or not execution.phase.is_terminal:
            return True
        if execution.status.owner != ended.status.owner:
            return False  # somebody had it once more, of whom the Lease was not asked
        await self._delete_jobs(execution, started)
        stopped = with_stopped(execution.status.conditions, execution.phase, self._clock.now_ms())
        result = await executions.write_status(
            self._transport,
            namespace=self._namespace,
            name=name,
            uid=uid,
            version=execution.metadata.resource_version,
            status=msgspec.structs.replace(
                execution.status, observed_retries=noted_retries(execution), waiting_for=[], conditions=stopped
            ),
        )
        match result:
            case executions.Written():
                _log.info("closed", execution=name, uid=uid, phase=execution.phase.value)
            case executions.Refused(error=error):
                _log.error("not closed", execution=name, uid=uid, error=str(error))
        return not isinstance(result, executions.Changed)

    async def _delete_jobs(self, ended: Execution, started: AbstractSet[_Job]) -> None:
        """Delete the Jobs and Pods that it had started, and those that its status names, should none be listed."""
        named = {(item.kind, item.name) for item in ended.status.waiting_for if item.kind in jobs.RESOURCES}
        for kind, name in sorted(named | started):
            try:
                await jobs.delete_unended(
                    self._transport, namespace=self._namespace, kind=kind, name=name, owner_uid=ended.metadata.uid
                )
            except jobs.JobUnusableError as error:
                _log.error("not deleted", kind=kind, name=name, error=str(error))
