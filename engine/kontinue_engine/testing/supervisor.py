"""Internal. One worker of a test environment: the product's controllers over in-process runners.

It is what ``kontinue_engine.worker.replica`` builds for a group that is not sharded, with all duties of its leader, but
without what has to do with other replicas. Whatever else a replica starts for its Executions belongs here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from kontinue.definition import FunctionDefinition
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.controllers.backlog import ASYNC_WINDOW, SYNC_WINDOW_PER_RUNNER
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.execution import ExecutionController
from kontinue_engine.controllers.function import FunctionController
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Both
from kontinue_engine.lifecycle.observed import Worker
from kontinue_engine.runner.loader import describe_functions
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from kontinue_engine.testing.runners import InProcessRunners
from kontinue_engine.testing.virtual_loop import housekeeping
from kontinue_engine.worker import informers
from kontinue_engine.worker.leadership import Leadership

NAMESPACE: Final = "default"
SHARD: Final = "test"

_MOVE_TIME: Final = frozenset({"schedules", "wake times"})
"""Duties of the leader whose timers are worth moving time to; the others only look from time to time."""

Functions = Mapping[str, FunctionDefinition[..., Any]]


class Supervisor:
    """A worker, from its start to its death. Construct and start it on the engine's loop.

    Args:
        transport: to the server.
        clock: virtual time.
        runners: of this worker alone.
        functions: what it has; a copy is made.
        group: worker group.
        on_failure: told if it cannot go on: a bug of the engine.
        number: of this worker: the second one comes after the death of the first, and so on.
        build: of the code.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        runners: InProcessRunners,
        functions: Functions,
        *,
        on_failure: Callable[[Exception], None],
        group: str,
        number: int,
        build: str,
    ) -> None:
        self._group = group
        self._on_failure = on_failure
        self._functions = dict(functions)
        self.runners = runners
        incarnation = f"worker-{number}"
        events = EventRecorder(transport, component="kontinue-test", instance=SHARD, clock=clock)
        self.runtime = Runtime(
            transport,
            runners,
            events,
            clock,
            worker=Worker(shard=SHARD, incarnation=incarnation, build=build),
            scope=_scope(self._functions, group=group, predecessor=f"worker-{number - 1}" if number > 1 else ""),
            lease_remaining_s=lambda: math.inf,
        )
        self._watch = LeaseWatch(LeaseBook(group), clock)
        self._controller = ExecutionController(self.runtime, self._watch.book)
        self._registered = FunctionController(
            transport, events, namespace=NAMESPACE, group=group, functions=describe_functions(self._functions)
        )
        self._leadership = Leadership(
            self.runtime,
            self._registered,
            self._watch,
            me=ReplicaIdentity(shard=SHARD, incarnation=incarnation),
            times=LeaseTimes(),
            is_pruning=False,
        )
        self._mutexes = self._leadership.build_mutexes()
        runners.listener = self._controller.activations
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register the functions and take work; returns once everything that exists has been seen."""
        await self._registered.register(take_over=True)
        synced = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._work(synced))
        await synced.wait()

    def die(self) -> None:
        """End without a word, as by SIGKILL."""
        self.runners.abandon()
        if self._task is not None:
            self._task.cancel()

    def explain(self) -> str:
        """Return what each live Execution waits for, a line for each."""
        lines = [
            f"  {entry.name} ({entry.spec.function}), {entry.status.phase or 'Pending'}: {_waits_for(entry)}"
            for entry in self.runtime.entries
        ]
        return "\n".join(["Executions that have not ended:", *lines]) if lines else "No Execution is left."

    async def _work(self, synced: asyncio.Event) -> None:
        try:
            await self._run(synced)
        except Exception as error:  # noqa: BLE001 - whoever waits for an Execution must hear of it
            self._on_failure(error)

    async def _run(self, synced: asyncio.Event) -> None:
        runtime = self.runtime
        own = informers.own_executions(runtime, Both(self._controller.observation, self._mutexes))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runtime.run(self._controller.reconcile), name="controller")
            tasks.create_task(runtime.events.run(), name="events")
            await runtime.started.wait()
            leases = informers.group_leases(runtime, self._watch)
            tasks.create_task(leases.run(), name="Leases")
            tasks.create_task(self._controller.admission.run(self._watch.subscribed()), name="admission")
            suspensions = informers.open_suspensions(runtime)
            tasks.create_task(suspensions.run(), name="Suspensions")
            await suspensions.synced.wait()
            tasks.create_task(own.run(), name="own Executions")
            await leases.synced.wait()
            for name, work in self._leadership.duties(self._mutexes).items():
                with contextlib.nullcontext() if name in _MOVE_TIME else housekeeping():
                    tasks.create_task(work, name=name)
            await own.synced.wait()
            synced.set()


def _scope(functions: Functions, *, group: str, predecessor: str) -> Scope:
    return Scope(
        namespace=NAMESPACE,
        group=group,
        colours={name: "async" if one.is_async else "sync" for name, one in functions.items()},
        deaf=frozenset(name for name, one in functions.items() if not (one.is_async or one.takes_context)),
        windows={"sync": SYNC_WINDOW_PER_RUNNER, "async": ASYNC_WINDOW},
        dead_predecessor=predecessor,
        defaults={name: defaults for name, one in functions.items() if (defaults := one.defaults.to_api()) is not None},
        limits={name: one.limit for name, one in functions.items() if one.limit},
    )


def _waits_for(entry: Entry) -> str:
    """Return what an Execution waits for: as its activation has said, else as its status does."""
    items: list[str] = []
    activation = entry.activation
    if activation is not None and activation.parked_since_ms is not None:
        items = [f"{item.kind} {item.name}" for item in activation.waiting_for]
        items += [f"and {activation.more} more"] if activation.more else []
    items = items or [" ".join(filter(None, (w.kind, w.name, w.message))) for w in entry.status.waiting_for]
    if not items and activation is not None:
        if activation.parked_since_ms is not None:
            return "waits for something that is no durable call (a Future, a lock, a queue?)"
        return "it runs" if entry.is_active else "waits for a runner"
    return "waits for " + ", ".join(items) if items else "waits for nothing that is known"
