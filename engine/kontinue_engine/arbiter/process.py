"""Internal. Builds one coordinator and runs it: it stands by until it has the Lease, then looks after the primitives.

Two that work at the same time would do no harm: everything that they write carries the resourceVersion of what they
have seen. The Lease saves the second one's requests, and tells people who works: there is one for each API group that
is looked after, and it says for which namespaces. Called by ``main`` and ``kontinue_engine.cli.dev.session``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.api.konductor.mutexes import MUTEXES
from kontinue.api.konductor.rwmutexes import RWMUTEXES
from kontinue.api.meta import Lease
from kontinue.client.together import all_of
from kontinue.kube import requests
from kontinue.kube.api_groups import for_group
from kontinue.kube.config import KubeConfig, load_config
from kontinue.kube.http import KubeTransport
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.barriers import BarrierController
from kontinue_engine.arbiter.gates import GateController
from kontinue_engine.arbiter.leases import LeaseController
from kontinue_engine.arbiter.locks import LockController
from kontinue_engine.arbiter.onces import OnceController
from kontinue_engine.arbiter.options import ArbiterOptions
from kontinue_engine.arbiter.semaphores import SemaphoreController
from kontinue_engine.arbiter.wait_groups import WaitGroupController
from kontinue_engine.clock import Clock, SystemClock
from kontinue_engine.coordinator.campaign import Campaign
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.lease import HeldLease
from kontinue_engine.kube.process_identity import local_identity
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.telemetry.logs import describe_process, get_logger
from kontinue_engine.worker.pages import Page, Pages, serving

USER_AGENT: Final = "kontinue-coordinator"
LEASE: Final = "kontinue-coordinator"

_log = get_logger(__name__)


async def run_arbiter(options: ArbiterOptions, stop: asyncio.Event) -> None:
    """Run one coordinator until ``stop`` is set.

    Raises:
        StartupError: it cannot start; the message says what to do.
        KontinueError: there is no server to be found.
    """
    config = load_config(kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace)
    describe_process(namespace=config.namespace)
    ready = asyncio.Event()
    async with serving(_pages(ready), options.health, what="probes", option="--health"):
        coordinator = asyncio.create_task(_run(options, config, ready), name="coordinator")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([coordinator, stopping], return_when=asyncio.FIRST_COMPLETED)
            if coordinator.done():
                coordinator.result()
        finally:
            stopping.cancel()
            coordinator.cancel()
            await asyncio.gather(coordinator, stopping, return_exceptions=True)


async def look_after(config: KubeConfig, namespace: str) -> None:
    """Be the coordinator of a namespace until cancelled: for ``kontinue dev``.

    It keeps a Lease as any other, so that everybody sees that it works. Its successor need not wait until that has run
    out: a holder on the same machine is known to be dead.

    Raises:
        KontinueError: the server cannot be used.
    """
    options = ArbiterOptions(lease=LeaseTimes())
    await _run(options, msgspec.structs.replace(config, namespace=namespace), asyncio.Event())


async def _run(options: ArbiterOptions, config: KubeConfig, ready: asyncio.Event) -> None:
    waited_for = set(options.api_groups)

    def on_ready(api_group: str) -> None:
        waited_for.discard(api_group)
        if not waited_for:
            ready.set()
            _log.info("coordinator ready", lease=", ".join(map(lease_name, options.api_groups)))

    await all_of(_run_in(api_group, options, config, on_ready) for api_group in options.api_groups)


def lease_name(api_group: str) -> str:
    """Return the name of the Lease of who looks after the primitives in an API group."""
    return LEASE if api_group == group.GROUP else f"{LEASE}.{api_group}"


async def _run_in(api_group: str, options: ArbiterOptions, config: KubeConfig, on_ready: Callable[[str], None]) -> None:
    clock = SystemClock()
    identity = local_identity(socket.gethostname())
    looks_after = labels.ALL_NAMESPACES if options.all_namespaces else config.namespace
    # Its own connections: a renewal must not wait for other requests.
    async with _transport(config) as lease_transport:
        lease = HeldLease(
            lease_transport,
            config.namespace,
            lease_name(api_group),
            identity,
            group=api_group,
            label=labels.COORDINATOR,
            clock=clock,
            times=options.lease,
            notes={labels.LOOKS_AFTER: looks_after},
        )
        async with _transport(config, lease.until_valid) as transport, _transport(config) as event_transport:
            events = EventRecorder(
                for_group(event_transport, api_group), component=USER_AGENT, instance=identity.shard, clock=clock
            )
            watch = LeaseWatch(LeaseBook(api_group), clock)
            leases = Informer(
                lease_transport,
                requests.LEASES,
                config.namespace,
                type_=Lease,
                handler=watch,
                label_selector=f"{labels.COORDINATOR}={api_group}",
            )

            async def lead() -> None:
                namespace = "" if options.all_namespaces else config.namespace
                await look_after_all(for_group(transport, api_group), namespace, events, clock)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(events.run(), name="events")
                tasks.create_task(leases.run(), name="leases")
                await leases.synced.wait()
                on_ready(api_group)
                await Campaign(lease, watch, clock, events, lead).run()


async def look_after_all(transport: Transport, namespace: str, events: EventRecorder, clock: Clock) -> None:
    """Look after the primitives of a namespace, or of all if it is empty, until cancelled."""
    wait_groups = WaitGroupController(transport, namespace=namespace, events=events, clock=clock)
    mutexes = LockController(transport, requests.MUTEXES, MUTEXES, namespace=namespace, events=events, clock=clock)
    rw_mutexes = LockController(
        transport, requests.RW_MUTEXES, RWMUTEXES, namespace=namespace, events=events, clock=clock
    )
    onces = OnceController(transport, namespace=namespace, events=events, clock=clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait_groups.run(), name="wait groups")
        tasks.create_task(mutexes.run(), name="mutexes")
        tasks.create_task(rw_mutexes.run(), name="rwmutexes")
        tasks.create_task(onces.run(), name="onces")
        for controller in (SemaphoreController, BarrierController, LeaseController, GateController):
            running = controller(transport, namespace=namespace, events=events, clock=clock).run()
            tasks.create_task(running, name=controller.__name__)


@asynccontextmanager
async def _transport(
    config: KubeConfig, before_write: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[KubeTransport]:
    transport = KubeTransport(config, user_agent=USER_AGENT, before_write=before_write)
    try:
        yield transport
    finally:
        await transport.close()


def _pages(ready: asyncio.Event) -> Pages:
    return {
        "/livez": lambda: Page(text="ok\n"),
        "/readyz": lambda: Page(text="ok\n") if ready.is_set() else Page(status=503, text="it lists its Leases\n"),
    }
