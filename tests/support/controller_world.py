"""A worker whose runners are played by the test, beside a real API server: what controllers do of their own accord.

It has everything of a replica that is not sharded: controller, informers and the leader's duty over mutexes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec

from api_server import ApiServer
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Execution, Phase
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.execution import ExecutionController
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.coordinator.mutexes import MutexDuty
from kontinue_engine.coordinator.retries import RetryDuty
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Both, Informer
from kontinue_engine.lifecycle.observed import Worker
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from kontinue_engine.wire import frames
from polling import SOON_S, eventually

GROUP = "g"
WINDOW = 2
decode = msgspec.json.Decoder(Execution).decode


class FakeRunners:
    """Runners that do what the test says."""

    def __init__(self) -> None:
        self.submitted: list[frames.Activate] = []
        self.sent: list[frames.Command] = []
        self.killed: list[int] = []
        self.alone: list[int] = []
        self.is_held = False

    def submit(self, activate: frames.Activate, *, alone: bool = False) -> None:
        self.submitted.append(activate)
        if alone:
            self.alone.append(activate.activation)

    def send(self, command: frames.Command) -> None:
        self.sent.append(command)

    def forget(self, activation: int) -> None:
        del activation

    def kill_activation(self, activation: int) -> None:
        self.killed.append(activation)

    def hold(self) -> None:
        self.is_held = True

    def sent_of(self, kind: type[frames.Command]) -> list[Any]:
        return [command for command in self.sent if isinstance(command, kind)]


class SetForwardClock(SystemClock):
    """The machine's, and a test may set it forward; event loops do not notice.

    Attributes:
        ahead: by how much it is ahead.
    """

    def __init__(self, ahead: timedelta) -> None:
        self.ahead = ahead

    def now(self) -> datetime:
        return super().now() + self.ahead

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead // timedelta(milliseconds=1)


class World:
    """One worker without runners, its API server, and a second client of that server."""

    def __init__(
        self,
        server: ApiServer,
        incarnation: str,
        *,
        dead_predecessor: str,
        executing_after_ms: int,
        cancel_grace_ms: int = 5_000,
        limits: Mapping[str, int],
        ahead: timedelta = timedelta(),
    ) -> None:
        self.server = server
        self.namespace = server.namespace
        self.transport = transport = server.transport(before_write=self._until_valid)
        self.client = server.transport()
        self.runners = FakeRunners()
        self.clock = clock = SetForwardClock(ahead)
        self.runtime = Runtime(
            transport,
            self.runners,
            EventRecorder(transport, component="test", instance="test", clock=clock),
            clock,
            worker=Worker(
                shard="w-0",
                incarnation=incarnation,
                build="b1",
                executing_after_ms=executing_after_ms,
                cancel_grace_ms=cancel_grace_ms,
            ),
            scope=Scope(
                namespace=self.namespace,
                group=GROUP,
                colours={"f": "sync", "child": "sync"},
                deaf=frozenset(),
                windows={"sync": WINDOW},
                dead_predecessor=dead_predecessor,
                limits=limits,
            ),
            lease_remaining_s=self._look_at_lease,
        )
        self.leases = LeaseWatch(LeaseBook(GROUP), clock)
        self.controller = ExecutionController(self.runtime, self.leases.book)
        self.mutexes = MutexDuty(
            transport,
            namespace=self.namespace,
            group=GROUP,
            me=ReplicaIdentity(shard="w-0", incarnation=incarnation),
            is_sharded=False,
            book=self.leases.book,
            clock=clock,
            times=LeaseTimes(),
        )
        self.retries = RetryDuty(
            transport,
            self.runtime.events,
            namespace=self.namespace,
            group=GROUP,
            is_sharded=False,
            defaults={},
            limits=limits,
            owns=self.runtime.owns,
            live_shards=list,
            clock=clock,
            times=LeaseTimes(),
        )
        self.entries = self.runtime.entries
        self.on_frame = self.controller.activations.on_frame
        self.lease_remaining_s = 30.0
        self.lease_looks = 0

    async def _until_valid(self) -> None:
        while self._look_at_lease() <= 0:
            await asyncio.sleep(0.1)

    def _look_at_lease(self) -> float:
        self.lease_looks += 1
        return self.lease_remaining_s

    async def create(
        self,
        name: str,
        *,
        mutex: str = "",
        function: str = "f",
        retry: Mapping[str, Any] = {},
        timeout: Mapping[str, str] = {},
        **metadata: Any,
    ) -> Execution:
        spec: dict[str, Any] = {"function": function, "arguments": {}}
        if mutex:
            spec["mutex"] = {"name": mutex}
        if retry:
            spec["retry"] = retry
        if timeout:
            spec["timeout"] = timeout
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name, "labels": {labels.WORKER_GROUP: GROUP}, **metadata},
            "spec": spec,
        }
        return decode(await self.client.send(requests.create(requests.EXECUTIONS, self.namespace, body)))

    async def get(self, name: str) -> Execution:
        return decode(await self.transport.send(requests.get(requests.EXECUTIONS, self.namespace, name)))

    async def start(self, name: str, **spec: Any) -> frames.Activate:
        """Create an Execution and let its user code run."""
        await self.create(name, **spec)
        return await self.run(name)

    async def run(self, name: str, *, attempt: int = 1) -> frames.Activate:
        """Wait until it is dispatched (for the last time) in this attempt or a later one, and let its user code run."""
        await eventually(
            lambda: any(one.execution == name and one.attempt >= attempt for one in self.runners.submitted)
        )
        activate = next(one for one in reversed(self.runners.submitted) if one.execution == name)
        self.on_frame(frames.Running(activate.activation))
        return activate

    async def phase(self, name: str, phase: Phase) -> Execution:
        """Wait until the Execution exists and is in that phase."""
        async with asyncio.timeout(SOON_S):
            while True:
                with contextlib.suppress(NotFound):
                    if (execution := await self.get(name)).phase is phase:
                        return execution
                await asyncio.sleep(0.01)

    def let_pass(self, time: timedelta, name: str) -> None:
        """Set the clock forward, and have an Execution looked at, as it would have been in the end."""
        entry = self.entries.by_name(name)
        assert entry is not None
        self.clock.ahead += time
        self.runtime.queue.add(entry.uid)


@asynccontextmanager
async def replica(
    server: ApiServer,
    incarnation: str = "one",
    *,
    dead_predecessor: str = "one",
    list_first: Sequence[Execution] = (),
    executing_after_ms: int = 50,
    cancel_grace_ms: int = 5_000,
    limits: Mapping[str, int] = {},
    ahead: timedelta = timedelta(),
) -> AsyncIterator[World]:
    """Run a controller with its informer, until the block ends: then it is dead, without a word.

    ``dead_predecessor`` is the incarnation before it; ``list_first`` is what its first list shows, if that is older
    than what is stored; ``ahead``, by how much its clock is.
    """
    world = World(
        server,
        incarnation,
        dead_predecessor=dead_predecessor,
        executing_after_ms=executing_after_ms,
        cancel_grace_ms=cancel_grace_ms,
        limits=limits,
        ahead=ahead,
    )
    leases = Informer(
        world.transport,
        requests.LEASES,
        world.namespace,
        type_=Lease,
        handler=world.leases,
        label_selector=f"{labels.WORKER_GROUP}={GROUP}",
    )
    informer = Informer(
        world.transport,
        requests.EXECUTIONS,
        world.namespace,
        type_=Execution,
        handler=Both(world.controller.observation, world.mutexes),
        label_selector=f"{labels.WORKER_GROUP}={GROUP}",
        field_selector=LIVE_PHASES_SELECTOR,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(world.controller.run())]
            await world.runtime.started.wait()
            if list_first:
                world.controller.observation.on_list(list_first, initial=True)
            running.append(tasks.create_task(leases.run()))
            running.append(tasks.create_task(world.controller.admission.run(world.leases.subscribed())))
            running.append(tasks.create_task(world.mutexes.run()))
            running.append(tasks.create_task(world.retries.run()))
            running.append(tasks.create_task(informer.run()))
            await informer.synced.wait()
            yield world
            for task in running:
                task.cancel()
    finally:
        await world.transport.close()
        await world.client.close()
