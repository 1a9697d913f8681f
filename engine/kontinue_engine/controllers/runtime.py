"""Internal. What the parts of the Execution controller share: their tools, the work loop, and what a failure costs.

A failure concerns one Execution: it is logged and the Execution is looked at again with back-off. Only what no retry
can mend ends the worker: refused credentials.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import Final, Protocol

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, ExecutionDefaults, ExecutionTTL
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.controllers.entries import Entry, EntryStore
from kontinue_engine.controllers.room import RoomNotices
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.open_suspensions import OpenSuspensions
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle.observed import Worker
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.telemetry.metrics import ExecutionMetrics
from kontinue_engine.wire import frames

Arrived = (
    frames.ChildFinished
    | frames.TimerFired
    | frames.LookDue
    | frames.SuspensionEnded
    | frames.JobEnded
    | frames.PrimitiveAnswered
)

RECONCILES_PER_TURN: Final = 64
"""Reconciles between two looks at pipes and sockets (judgement: about 3 ms)."""

FENCE_POLL_S: Final = 0.1
"""Judgement: an outage that led here took half a minute."""

FATAL: Final = (errors.Unauthorized, errors.Forbidden)
"""Errors that concern the whole worker."""

_log = get_logger(__name__)


class Runners(Protocol):
    """What the controller needs of the pool."""

    def submit(self, activate: frames.Activate, *, alone: bool = False) -> None:
        """Queue an activation for a runner; ``alone``: for one that runs nothing else."""

    def send(self, command: frames.Command) -> None:
        """Send a command to the runner that has the activation."""

    def forget(self, activation: int) -> None:
        """Drop whatever is known of an activation."""

    def kill_activation(self, activation: int) -> None:
        """Kill the runner that has the activation."""

    def hold(self) -> None:
        """Start nothing more; what runs goes on."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is responsible for.

    Attributes:
        namespace: the one namespace that it works in.
        group: its worker group.
        colours: the functions that its app has: name -> ``sync`` or ``async``.
        deaf: names of those whose code cannot notice a cancel: sync functions without a context.
        windows: colour -> how many inherited Executions may be claimed at a time (``controllers.backlog``).
        dead_predecessor: incarnation of the replica before this one, of the same shard; empty if it stopped in order.
        defaults: function -> its defaults; only those with any.
        ttl: of Executions for which nobody has said anything else; None keeps them.
        limits: function -> how many Executions of it may run in the group at once; only those with a limit.
        shard: of this replica; empty in a group that is not sharded.
    """

    namespace: str
    group: str
    colours: Mapping[str, str]
    deaf: frozenset[str]
    windows: Mapping[str, int]
    dead_predecessor: str
    defaults: Mapping[str, ExecutionDefaults] = {}
    ttl: ExecutionTTL | None = None
    limits: Mapping[str, int] = {}
    shard: str = ""

    def is_responsible(self, execution: Execution) -> bool:
        """Tell whether the labels of an Execution give it to this replica."""
        found = execution.metadata.labels
        return found.get(labels.WORKER_GROUP) == self.group and (
            not self.shard or found.get(labels.SHARD) == self.shard
        )


class Runtime:
    """Tools and work loop; belongs to one event loop.

    Args:
        transport: to the API server.
        runners: the pool.
        events: where Kubernetes Events go.
        clock: wall time.
        worker: identity and rules of this replica.
        scope: what it is responsible for.
        lease_remaining_s: seconds until this replica must have stopped writing.
        is_lost: tells of a function of the app whether another group has taken it over.
    """

    def __init__(
        self,
        transport: Transport,
        runners: Runners,
        events: EventRecorder,
        clock: Clock,
        *,
        worker: Worker,
        scope: Scope,
        lease_remaining_s: Callable[[], float],
        is_lost: Callable[[str], bool] = lambda _function: False,
    ) -> None:
        self.transport = transport
        self.runners = runners
        self.events = events
        self.clock = clock
        self.worker = worker
        self.scope = scope
        self.entries = EntryStore()
        self.queue: WorkQueue[str] = WorkQueue()
        self.room = RoomNotices(self.queue, clock)
        self.suspensions = OpenSuspensions()
        self.metrics = ExecutionMetrics(scope.colours, namespace=scope.namespace, worker=worker.shard)
        self.started = asyncio.Event()
        """Set once ``run`` takes work; informers start after it."""
        self._lease_remaining_s = lease_remaining_s
        self._is_lost = is_lost
        self._tasks: asyncio.TaskGroup | None = None
        self._failures: dict[str, Backoff] = {}

    async def run(self, reconcile: Callable[[str], None]) -> None:
        """Reconcile what is queued, by uid, until cancelled.

        Raises:
            Unauthorized, Forbidden: this worker cannot go on.
        """
        async with asyncio.TaskGroup() as self._tasks:
            self.started.set()
            done_in_turn = 0
            while True:
                uid = await self.queue.get()
                try:
                    reconcile(uid)
                except Exception as error:  # noqa: BLE001 - one Execution must not end the work on all others
                    self.retry_later(uid, error)
                finally:
                    self.queue.done(uid)
                done_in_turn += 1
                if done_in_turn >= RECONCILES_PER_TURN or not len(self.queue):
                    done_in_turn = 0
                    await asyncio.sleep(0)

    def spawn(self, uid: str, work: Coroutine[object, None, None], *, name: str) -> None:
        """Do I/O for one Execution beside everything else; a failure has it reconciled again later."""
        if self._tasks is None:
            work.close()
            raise RuntimeError("Runtime.run is not running")
        task = self._tasks.create_task(self._guard(uid, work), name=name)
        task.add_done_callback(lambda _: work.close())  # canceled before its first step it would never be awaited

    def owns(self, function: str) -> bool:
        """Tell whether new Executions of the function belong to this group, without asking the server.

        Those that the group has already are run wherever the app has it.
        """
        return function in self.scope.colours and not self._is_lost(function)

    @property
    def is_writable(self) -> bool:
        """Whether this replica may start things: not while its Lease may be somebody else's.

        Writes need not ask: the transport waits before each of them (``HeldLease.until_valid``).
        """
        return self._lease_remaining_s() > 0

    def tell(self, entry: Entry, step: str, outcome: Arrived) -> None:
        """Send the activation of an Execution what one of its steps waits for."""
        if entry.activation is not None:
            self.send_to(entry, frames.StepArrived(entry.activation.number, step, outcome))

    def send_to(self, entry: Entry, answer: frames.StepArrived | frames.StepRejected) -> None:
        """Send an activation an answer, and remember that it was sent one."""
        if entry.activation is not None and entry.activation.number == answer.activation:
            entry.activation = msgspec.structs.replace(entry.activation, told=entry.activation.told + 1)
        self.runners.send(answer)

    def succeeded(self, uid: str) -> None:
        """Forget earlier failures of an Execution."""
        self._failures.pop(uid, None)

    def retry_later(self, uid: str, error: Exception) -> None:
        """Log a failure, and look at the Execution again after a growing delay."""
        entry = self.entries.get(uid)
        delay_s = self._failures.setdefault(uid, Backoff()).next_s()
        _log.error(
            "reconcile failed",
            **(entry.log_fields if entry else {"uid": uid}),
            error=f"{type(error).__name__}: {error}",
            retry_in_s=round(delay_s, 3),
            traceback="".join(traceback.format_exception(error)),
        )
        if entry is None:
            self._failures.pop(uid, None)
        else:
            self.queue.add_after(uid, delay_s)

    async def _guard(self, uid: str, work: Coroutine[object, None, None]) -> None:
        try:
            await work
        except FATAL:
            raise
        except Exception as error:  # noqa: BLE001 - one Execution must not end the work on all others
            self.retry_later(uid, error)
