"""Internal. Builds one replica and runs it: the only place of the engine that constructs I/O objects.

Order of start: runners (so that an import error is the first thing said), own Lease (of its shard, or of leadership in
a group that is not sharded; once no replica of the other kind lives), Function objects, controller, informers, the
leader's duties. Order of stop: dispatch nothing, give up leadership, let active work end within the grace, kill the
runners, give the own Lease back. It takes the grace and a few seconds at most, whether the API server answers or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, ExecutionDefaults
from kontinue.errors import NotFound
from kontinue.kube.config import KubeConfig, load_config
from kontinue.kube.http import KubeTransport
from kontinue.naming import MAX_NAME_LENGTH, is_group_name
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.backlog import ASYNC_WINDOW, SYNC_WINDOW_PER_RUNNER
from kontinue_engine.controllers.execution import ExecutionController
from kontinue_engine.controllers.function import FunctionController
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.coordinator import group_events
from kontinue_engine.coordinator.closing import Closer
from kontinue_engine.coordinator.exclusion import Exclusion
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.coordinator.mutexes import MutexDuty
from kontinue_engine.errors import StartupError, first_known
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Both, Informer, InformerHandler
from kontinue_engine.kube.lease import HeldLease
from kontinue_engine.kube.open_suspensions import SuspensionView
from kontinue_engine.kube.process_identity import local_identity
from kontinue_engine.lifecycle.observed import ALONE_EPOCH, SHARDED_EPOCH, Worker
from kontinue_engine.pool.options import PoolOptions
from kontinue_engine.pool.pool import Pool
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import ReplicaIdentity, is_shard_id
from kontinue_engine.telemetry.logs import describe_process, get_logger
from kontinue_engine.wire import frames
from kontinue_engine.worker import informers
from kontinue_engine.worker.health import Health, Stage, pages_of
from kontinue_engine.worker.leadership import Leadership
from kontinue_engine.worker.listener import Listener
from kontinue_engine.worker.metrics_page import MetricsPage
from kontinue_engine.worker.options import WorkerOptions
from kontinue_engine.worker.pages import serving

USER_AGENT: Final = "kontinue-worker"
DRAIN_POLL_S: Final = 0.02
SUSPENSIONS_PATIENCE_S: Final = 10.0
"""How long a start waits for the list of Suspensions. Judgement: without their CRD all else still runs."""
GC_THRESHOLD: Final = 10_000
"""New containers between two collections: those of a burst of Executions die by themselves. Judgement: 1-2 MiB."""

_log = get_logger(__name__)

T = TypeVar("T")


async def run_replica(options: WorkerOptions, stop: asyncio.Event) -> None:
    """Run one replica until ``stop`` is set.

    Raises:
        AppLoadFailedError: the user's module does not import, or has no App.
        StartupError: it cannot start; the message says what to do.
        LeaseHeld: another replica of the group lives.
        LeaseLost: somebody else holds the Lease now, or the API server was away for too long.
        KontinueError: the API server refuses what the worker needs.
    """
    config = load_config(kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace)
    listener = Listener()
    pool = Pool(_pool_options(options), listener)
    health, metrics = Health(), MetricsPage()
    async with (
        serving(pages_of(health), options.health, what="probes", option="--health"),
        serving(metrics.pages, options.metrics, what="metrics", option="--metrics"),
        _closing(pool),
    ):
        app = await pool.start()
        for warning in app.warnings:
            _log.warning("app warning", app=options.app, message=warning)
        group = app.group if options.group is None else options.group
        _check_group(group)
        _check_shard(_shard_of(options))
        describe_process(namespace=config.namespace, group=group, shard=_shard_of(options))
        replica = _Replica(options, config, pool, app, group, listener, health, metrics)
        await replica.run(stop)


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is made of once it has its Lease and its Functions."""

    runtime: Runtime
    functions: FunctionController
    watch: LeaseWatch
    controller: ExecutionController
    leadership: Leadership
    mutexes: MutexDuty
    group_leases: Informer[Lease]
    open_suspensions: Informer[SuspensionView]
    own_executions: Informer[Execution]


class _Replica:
    def __init__(
        self,
        options: WorkerOptions,
        config: KubeConfig,
        pool: Pool,
        app: frames.AppLoaded,
        group: str,
        listener: Listener,
        health: Health,
        metrics: MetricsPage,
    ) -> None:
        self._options = options
        self._config = config
        self._pool = pool
        self._app = app
        self._group = group
        self._listener = listener
        self._health = health
        self._metrics = metrics
        self._clock = SystemClock()
        self._leader = ""
        self._identity = local_identity(_shard_of(options), build=app.build)

    async def run(self, stop: asyncio.Event) -> None:
        # Its own connections: a renewal must not wait for other requests, nor one Lease's for the other's.
        async with _transport(self._config, 2) as lease_transport:
            lease = self._build_lease(lease_transport, self._own_lease_name())
            self._health.lease = lease
            try:
                await _until(self._acquire(lease, lease_transport), stop)
                if stop.is_set():
                    return
                self._health.stage = Stage.STARTING
                async with _transport(self._config, self._options.max_in_flight, lease.until_valid) as transport:
                    await self._hold(transport, lease, lease_transport, stop)
            except ExceptionGroup as group:
                known = first_known(group)
                if known is None:
                    raise
                raise known from group
            finally:
                # Runners first: nothing of ours may run once somebody else can take over.
                await self._pool.stop()
                await asyncio.shield(lease.release())

    async def _acquire(self, lease: HeldLease, transport: KubeTransport) -> None:
        exclusion = Exclusion(
            transport,
            lease,
            namespace=self._config.namespace,
            group=self._group,
            sharding=self._options.sharding,
            clock=self._clock,
        )
        try:
            await exclusion.acquire(waits=self._stands_by, on_wait=self._stand_by)
        except NotFound as error:
            raise self._say_missing(f"take Lease {lease.name}", error) from error

    def _own_lease_name(self) -> str:
        """Return the Lease whose holder may run what this replica runs."""
        if self._options.sharding:
            return leases.shard_lease_name(self._group, self._identity.shard)
        return leases.leader_lease_name(self._group)

    def _build_lease(self, transport: KubeTransport, name: str) -> HeldLease:
        return HeldLease(
            transport,
            self._config.namespace,
            name,
            self._identity,
            group=self._group,
            clock=self._clock,
            times=self._options.lease,
        )

    def _stand_by(self) -> None:
        self._health.stage = Stage.STANDING_BY  # so that a rolling update goes on to the replicas that are waited for

    def _stands_by(self, holder: ReplicaIdentity) -> bool:
        """Whether to wait for the holder to end: another replica is; one with our own id is a mistake."""
        if holder.shard == self._identity.shard:
            return False
        self._stand_by()
        if self._leader != holder.shard:
            self._leader = holder.shard
            _log.info("standing by", leader=holder.shard, host=holder.host)
        return True

    async def _register(self, transport: KubeTransport, events: EventRecorder) -> FunctionController:
        functions = FunctionController(
            transport, events, namespace=self._config.namespace, group=self._group, functions=self._app.functions
        )
        try:
            await functions.register(take_over=self._options.take_ownership)
        except NotFound as error:
            raise self._say_missing("register functions", error) from error
        return functions

    def _say_missing(self, what: str, error: NotFound) -> StartupError:
        return StartupError(
            f"cannot {what} in namespace {self._config.namespace} at {self._config.address}: "
            f"{error}. Create the namespace, and install the CRDs (kontinue install)"
        )

    async def _hold(
        self, transport: KubeTransport, lease: HeldLease, lease_transport: KubeTransport, stop: asyncio.Event
    ) -> None:
        """Do everything else while the Lease is kept: nothing is written, nor started, once it has run out."""
        events = EventRecorder(
            transport,
            component=USER_AGENT,
            instance=self._identity.shard,
            clock=self._clock,
            home=lambda: lease.reference,
        )
        watch = LeaseWatch(LeaseBook(self._group), self._clock)
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep(lease, watch, events), name="lease")
            functions = await _until(self._register(transport, events), stop)
            if functions is not None:
                parts = self._build_parts(transport, events, functions, watch, lease)
                await self._work(parts, lease, lease_transport, stop)
            keeping.cancel()

    async def _work(self, parts: _Parts, lease: HeldLease, lease_transport: KubeTransport, stop: asyncio.Event) -> None:
        """Start everything, work until ``stop`` is set, stop everything. Each step below waits for the one before."""
        async with asyncio.TaskGroup() as tasks:
            running = _start(tasks, self._core(parts))
            await parts.runtime.started.wait()
            running += _start(tasks, self._sources(parts))
            await _until(parts.group_leases.synced.wait(), stop)
            leading = tasks.create_task(self._lead(parts, lease, lease_transport), name="leader")
            await _until(parts.own_executions.synced.wait(), stop)
            self._become_ready()
            await stop.wait()
            self._health.stage = Stage.DRAINING
            parts.controller.activations.drain()  # before all that waits for an answer of the API server
            if self._options.sharding:
                lease.annotate({labels.DRAINING: "true"})
            leading.cancel()  # gives leadership back, so that somebody else can place what we leave
            await self._drain(parts.controller)
            await asyncio.wait([leading])
            for task in running:
                task.cancel()

    def _build_parts(
        self,
        transport: KubeTransport,
        events: EventRecorder,
        functions: FunctionController,
        watch: LeaseWatch,
        lease: HeldLease,
    ) -> _Parts:
        self._metrics.runtime = runtime = self._build_runtime(transport, events, functions, lease)
        controller = ExecutionController(runtime, watch.book)
        self._listener.entries, self._listener.activations = runtime.entries, controller.activations
        leadership = Leadership(
            runtime,
            functions,
            watch,
            me=self._identity,
            times=self._options.lease,
            is_pruning=self._options.prune,
        )
        mutexes = leadership.build_mutexes()
        handler: InformerHandler[Execution] = controller.observation
        if not self._options.sharding:
            handler = Both(handler, mutexes)
        return _Parts(
            runtime=runtime,
            functions=functions,
            watch=watch,
            controller=controller,
            leadership=leadership,
            mutexes=mutexes,
            group_leases=informers.group_leases(runtime, watch),
            open_suspensions=informers.open_suspensions(runtime),
            own_executions=informers.own_executions(runtime, handler),
        )

    def _core(self, parts: _Parts) -> dict[str, Coroutine[None, None, None]]:
        """Return what runs Executions once it is told of them."""
        return {
            "pool": self._pool.run(),
            "events": parts.runtime.events.run(),
            "controller": parts.controller.run(),
        }

    def _sources(self, parts: _Parts) -> dict[str, Coroutine[None, None, None]]:
        """Return what tells the core of things to do."""
        runtime, controller = parts.runtime, parts.controller
        closer = Closer(
            runtime.transport,
            namespace=self._config.namespace,
            group=self._group,
            is_sharded=self._options.sharding,
            clock=self._clock,
            times=self._options.lease,
        )
        closer.look_into(runtime.scope.shard)
        return {
            "Leases": parts.group_leases.run(),
            "admission": controller.admission.run(parts.watch.subscribed()),
            "Suspensions": parts.open_suspensions.run(),
            "own Executions": self._follow_own(parts),
            "ends of children": informers.ends_of_children(runtime, controller.offspring).run(),
            "functions": parts.functions.run(),
            "registered functions": informers.registered_functions(runtime, parts.functions).run(),
            "closing": closer.run(),
        }

    async def _follow_own(self, parts: _Parts) -> None:
        """Follow the own Executions once it is known what they wait for: else each would be replayed to find out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUSPENSIONS_PATIENCE_S):
                await parts.open_suspensions.synced.wait()
        await parts.own_executions.run()

    async def _lead(self, parts: _Parts, lease: HeldLease, lease_transport: KubeTransport) -> None:
        if self._options.sharding:
            leader_lease = self._build_lease(lease_transport, leases.leader_lease_name(self._group))
            await parts.leadership.campaign(leader_lease)
        else:
            await parts.leadership.lead_alone(lease, parts.mutexes)

    async def _keep(self, lease: HeldLease, watch: LeaseWatch, events: EventRecorder) -> None:
        def fence() -> None:
            self._pool.freeze()
            group_events.fenced(events, lease)

        def resume() -> None:
            self._pool.thaw()
            group_events.resumed(events, lease)

        with watch.guarding(lease):
            await lease.run(on_fence=fence, on_resume=resume)

    def _build_runtime(
        self, transport: KubeTransport, events: EventRecorder, functions: FunctionController, lease: HeldLease
    ) -> Runtime:
        sync_runners = sum(1 for runner in self._pool.runners() if runner.colour == "sync")
        return Runtime(
            transport,
            self._pool,
            events,
            self._clock,
            worker=Worker(
                shard=self._identity.shard,
                incarnation=self._identity.incarnation,
                build=self._app.build,
                crash_budget=self._options.crash_budget,
                cancel_grace_ms=round(self._options.cancel_grace_s * 1000),
                first_epoch=SHARDED_EPOCH if self._options.sharding else ALONE_EPOCH,
            ),
            scope=Scope(
                namespace=self._config.namespace,
                group=self._group,
                colours={one.name: "async" if one.is_async else "sync" for one in self._app.functions},
                deaf=frozenset(one.name for one in self._app.functions if not (one.is_async or one.takes_context)),
                windows={"sync": SYNC_WINDOW_PER_RUNNER * sync_runners, "async": ASYNC_WINDOW},
                dead_predecessor=lease.dead_predecessor,
                defaults={
                    one.name: msgspec.json.decode(one.defaults, type=ExecutionDefaults)
                    for one in self._app.functions
                    if one.defaults
                },
                ttl=self._options.ttl,
                limits={one.name: one.limit for one in self._app.functions if one.limit},
                shard=self._identity.shard if self._options.sharding else "",
            ),
            lease_remaining_s=lambda: lease.remaining_s,
            is_lost=functions.is_lost,
        )

    def _become_ready(self) -> None:
        gc.collect()
        gc.freeze()  # what was built so far lives as long as the process
        gc.set_threshold(GC_THRESHOLD)
        self._health.stage = Stage.WORKING
        identity = self._identity
        _log.info(
            "worker ready",
            server=self._config.address,
            sharding=self._options.sharding,
            incarnation=identity.incarnation,
            pid=identity.pid,
            build=self._app.build,
            functions=[function.name for function in self._app.functions],
            runners=[{"pid": runner.pid, "colour": runner.colour} for runner in self._pool.runners()],
        )

    async def _drain(self, controller: ExecutionController) -> None:
        _log.info("worker draining", grace_s=self._options.grace_s)
        deadline = asyncio.get_running_loop().time() + self._options.grace_s
        while controller.busy and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - ends by itself, once
            await asyncio.sleep(DRAIN_POLL_S)
        _log.info("worker stopped", unfinished=controller.busy)


def _pool_options(options: WorkerOptions) -> PoolOptions:
    return PoolOptions(
        app=options.app,
        app_dir=options.app_dir,
        sync_runners=options.sync_runners,
        async_runners=options.async_runners,
        memory_limit_bytes=options.runner_memory_bytes,
        recycle_after=options.recycle_after,
        recycle_above_bytes=options.recycle_above_bytes,
        max_active=options.max_active,
    )


def _check_group(group: str) -> None:
    if not is_group_name(group):
        raise StartupError(
            f"worker group {group!r} cannot be used: it must be 1 to {MAX_NAME_LENGTH} characters of a-z, 0-9 and "
            "'-', because it becomes part of Lease names. Change App(group=...) or --group"
        )


def _shard_of(options: WorkerOptions) -> str:
    return socket.gethostname() if options.shard is None else options.shard


def _check_shard(shard: str) -> None:
    if not is_shard_id(shard):
        raise StartupError(
            f"shard id {shard!r} cannot be used: it must be 1 to {MAX_NAME_LENGTH} characters of a-z, 0-9, '-' and "
            "'.', because it becomes a label and part of a Lease name. Change --shard, or the host name that it is by "
            "default"
        )


def _start(tasks: asyncio.TaskGroup, works: Mapping[str, Coroutine[None, None, None]]) -> list[asyncio.Task[None]]:
    return [tasks.create_task(work, name=name) for name, work in works.items()]


@asynccontextmanager
async def _closing(pool: Pool) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await pool.stop()


@asynccontextmanager
async def _transport(
    config: KubeConfig, max_in_flight: int, before_write: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[KubeTransport]:
    transport = KubeTransport(config, user_agent=USER_AGENT, max_in_flight=max_in_flight, before_write=before_write)
    try:
        yield transport
    finally:
        await transport.close()


async def _until(work: Coroutine[object, None, T], stop: asyncio.Event) -> T | None:
    """Await ``work``, but not longer than until ``stop`` is set: then it is None."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, stopped):
            one.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
