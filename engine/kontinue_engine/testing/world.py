"""Internal. Everything behind one test environment: the API server, the workers one after the other, and time.

``environment`` and ``execution`` are the public faces of it. Started by the first call that needs it.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, TypeVar

from kontinue import App, FunctionDefinition
from kontinue.api import labels
from kontinue.client import Client
from kontinue.errors import ExecutionBlocked, ExecutionEnded, InvalidState
from kontinue.kube.transport import Transport
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.arbiter.process import look_after_all
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.testing.bridge import BridgeTransport
from kontinue_engine.testing.crashes import Crashes
from kontinue_engine.testing.driver import Driver
from kontinue_engine.testing.jobs import JobPlayer, Jobs
from kontinue_engine.testing.runners import InProcessRunners
from kontinue_engine.testing.server import InProcessTransport, start_server
from kontinue_engine.testing.supervisor import NAMESPACE, Supervisor
from kontinue_engine.testing.virtual_loop import VirtualClock, housekeeping

T = TypeVar("T")


class World:
    """What exists in one environment.

    Attributes:
        apps: in use.
        stubs: functions that are not run; they go before those of the apps.
        jobs: how Jobs and Pods end.
        client: of the server; to be called within ``call`` only.
        bridge: to the server, for clients on the test's loop.

    Args:
        replays: whether activations are evicted after each durable call.
        start: virtual time at the beginning.
    """

    def __init__(self, *, replays: bool, start: datetime) -> None:
        self.driver = Driver()
        self.clock = VirtualClock(self.driver.loop, start)
        self.crashes = Crashes()
        self.apps: list[App] = []
        self.stubs: dict[str, FunctionDefinition[..., Any]] = {}
        self.jobs = Jobs()
        self.client: Client
        self.bridge = BridgeTransport(self.driver, self._started_transport)
        self._replays = replays
        self._server: LocalServer | None = None
        self._transport: InProcessTransport
        self._player: JobPlayer
        self._workers: list[Supervisor] = []
        self._coordinator: asyncio.Task[None] | None = None
        self._is_closed = False
        self._start_lock = asyncio.Lock()

    @property
    def has_started(self) -> bool:
        """Whether a worker runs."""
        return bool(self._workers)

    @property
    def functions(self) -> dict[str, FunctionDefinition[..., Any]]:
        """What the next worker has, by name."""
        functions = {name: one for app in self.apps for name, one in app.functions.items()}
        return {**functions, **self.stubs}

    async def start(self) -> None:
        """Start server and worker, unless they run.

        Raises:
            InvalidState: it has been closed.
        """
        if self._is_closed:
            raise InvalidState("the test environment has been closed")
        async with self._start_lock:
            if not self._workers:
                await self.call(self._start_server())
                await self.call(self._start_worker())

    async def restart_worker(self) -> None:
        """Kill the worker, and start another one with what is in use now."""
        await self.start()
        self._workers[-1].die()
        await self.call(self._start_worker())

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the engine do something; time moves as it must.

        Raises:
            Stuck: nothing happens any more, however long one waits.
        """
        return await self.driver.call(work, explain=self._explain)

    def writes(self, root: str) -> int:
        """Return how many writes an Execution and everything below it have taken."""
        return self._transport.writes[labels.label_value(root)]

    def notes(self, error: ExecutionEnded) -> list[str]:
        """Return what explains the end of an Execution, beyond what a client knows of it."""
        notes = [f"Traceback of the function:\n{error.traceback}"] if error.traceback else []
        if isinstance(error, ExecutionBlocked) and len(self._workers) == 1:
            notes.append(
                "The code has not changed in this test: it does not repeat itself when it is replayed. What differs "
                "from run to run (time, random numbers, ids, global variables, files) belongs into a step."
            )
        unknown = self._workers[-1].runners.unknown
        if unknown:
            names = ", ".join(repr(name) for name in unknown)
            notes.append(
                f"Children of functions that nobody has here: {names}. Give them a stub, env.stub(function, "
                "result=...), or env.use() the app that has them."
            )
        return notes

    def close(self) -> None:
        """End everything; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        for name in self.crashes.missed():
            warnings.warn(f"crash_after({name!r}): no durable call of that name has ended", stacklevel=3)
        for worker in self._workers:
            worker.die()
        self.driver.detach()
        if self._server is not None:
            self.driver.loop.create_task(self._server.__aexit__(None, None, None))
            self.driver.run_ready()
        self.driver.loop.cancel_tasks()
        for worker in self._workers:
            worker.runners.unwind()

    async def _started_transport(self) -> Transport:
        await self.start()
        return self._transport

    async def _start_server(self) -> None:
        self._server = await start_server(self.clock)
        self._transport = InProcessTransport(self._server, on_primitive=self._start_coordinator)
        self.client = Client.from_kube(self._transport, NAMESPACE)
        self._player = JobPlayer(self.jobs, InProcessTransport(self._server), NAMESPACE, now=self.clock.now)
        self.driver.loop.create_task(self._player.run(), name="jobs")

    def _start_coordinator(self) -> None:
        """Somebody uses a primitive: from now on they are looked after. Who uses none need not wait for that."""
        if self._coordinator is None and self._server is not None:
            transport = InProcessTransport(self._server)
            with housekeeping():
                self._coordinator = self.driver.loop.create_task(self._look_after(transport), name="coordinator")

    async def _look_after(self, transport: Transport) -> None:
        events = EventRecorder(transport, component="kontinue-coordinator", instance="test", clock=self.clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(events.run(), name="events")
                tasks.create_task(look_after_all(transport, NAMESPACE, events, self.clock), name="primitives")
        except Exception as error:  # noqa: BLE001 - whoever waits for what it does must hear of it
            self.driver.loop.failures.append(error)

    async def _start_worker(self) -> None:
        functions = self.functions
        runners = InProcessRunners(
            functions, self.driver, now_ms=self.clock.now_ms, crashes=self.crashes, replays=self._replays
        )
        number = len(self._workers) + 1
        worker = Supervisor(
            self._transport,
            self.clock,
            runners,
            functions,
            on_failure=self.driver.loop.failures.append,
            group=self.apps[0].group if self.apps else "test",
            number=number,
            build=f"test-{number}",
        )
        self._workers.append(worker)
        self.driver.is_busy_elsewhere = lambda: any(one.runners.is_busy for one in self._workers)
        await worker.start()

    def _explain(self) -> str:
        if not self._workers:
            return "No worker runs yet."
        hints = [
            f"Nobody has said how {name!r} ends: env.jobs.succeed({name!r}), or env.jobs.fail({name!r})."
            for name in self._player.unanswered
        ]
        return "\n".join([self._workers[-1].explain(), *hints])
