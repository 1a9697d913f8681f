"""Internal. The local API server put together: storage, memory, handlers, background work, socket.

``LocalServer`` is an async context manager, used in-process by tests and by ``kontinue_engine.apiserver.main``. It
installs kontinue's CRDs and the standing namespaces at start, and on exit finishes requests in flight, ends watches
and closes the storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kontinue_engine import clock as clocks
from kontinue_engine.apiserver import router, statuses
from kontinue_engine.apiserver.backup import backup
from kontinue_engine.apiserver.controllers.crd_controller import CrdController
from kontinue_engine.apiserver.controllers.garbage_collector import GarbageCollector
from kontinue_engine.apiserver.controllers.namespaces import NamespaceController
from kontinue_engine.apiserver.custom import crd_types, custom_resources
from kontinue_engine.apiserver.discovery.documents import Documents
from kontinue_engine.apiserver.http import access, http_protocol
from kontinue_engine.apiserver.http.http_protocol import Application, HttpProtocol, Refusals
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.latest import LatestRouter
from kontinue_engine.apiserver.objects.deletion import DeleteOptions
from kontinue_engine.apiserver.objects.object_store import ObjectStore
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.pod_logs import PodLogs
from kontinue_engine.apiserver.reads.reading import Reader
from kontinue_engine.apiserver.reads.watch import BOOKMARK_PERIOD_S, WatchHub
from kontinue_engine.apiserver.registry import Registry, load_crds
from kontinue_engine.apiserver.resources import EVENTS
from kontinue_engine.apiserver.storage.protocol import Storage, StorageFailedError
from kontinue_engine.clock import Clock
from kontinue_engine.errors import EngineError, StartupError

_log: Final = logging.getLogger(__name__)
EVENT_TTL: Final = timedelta(hours=1)
"""As in kube-apiserver."""
MAINTENANCE_PERIOD_S: Final = 15.0
"""Judgement: how often Events are expired, and history is compacted that is not past its limit of bytes."""
SLOW_CHECK_PERIOD_S: Final = 1.0
"""Judgement: how often connections are looked at whose clients do not go on."""
COMPACTION_PAUSE_S: Final = 0.5
"""Judgement: between two compactions, so that the storage is not compacted row by row under load."""
STOP_TIMEOUT_S: Final = 5.0
"""Judgement: how long requests in flight may take at a stop."""
LISTEN_BACKLOG: Final = 1024


class AddressInUseError(StartupError):
    """Something else listens on the port."""


class ServerFailedError(EngineError):
    """Work that the server cannot do without ended by an exception, its cause: a bug of ours. A restart may help."""


class LocalServer:
    """A Kubernetes-compatible API server on loopback."""

    def __init__(
        self,
        storage: Storage,
        *,
        token: str,
        host: str = "127.0.0.1",
        port: int | None = 0,
        clock: Clock | None = None,
        pod_logs: Path | None = None,
    ) -> None:
        """Prepare a server; nothing is opened before ``async with``.

        Args:
            storage: not yet opened; the server opens and closes it.
            token: bearer token of the one user.
            host: a loopback address.
            port: 0 takes a free one; None listens on none: requests come through ``application``.
            clock: what objects' timestamps are taken from.
            pod_logs: folder of what Pods print, if somebody runs their commands on this machine.

        Raises:
            StartupError: ``host`` is not a loopback address.
        """
        if not _is_loopback(host):
            raise StartupError(f"the local API server listens on loopback only, not on {host}; use --host 127.0.0.1")
        self._clock = clock or clocks.SystemClock()
        self._storage = storage
        self._token = token
        self._host = host
        self._port = port
        self._registry = Registry()
        self._store = ObjectStore(storage, monotonic_s=self._clock.monotonic_s)
        self._hub = WatchHub(self._store, now=self._clock.now)
        self._writer = Writer(self._store, storage, self._registry, now=self._clock.now)
        self._reader = Reader(self._store, self._hub, now=self._clock.now)
        self._crds = CrdController(self._store, self._registry, self._writer, self._hub)
        self._namespaces = NamespaceController(self._store, self._registry, self._writer)
        self._collector = GarbageCollector(self._store, self._registry, self._writer)
        documents = Documents(
            self._registry,
            write_counts=lambda: self._writer.counts,
            watch_count=lambda: self._hub.count,
            storage_problem=self._writer.storage_problem,
            backup=lambda: backup.answer(self._store, created_at=self._clock.now().isoformat(timespec="seconds")),
        )
        authenticator = access.Authenticator(token)
        self._router = router.Router(
            self._registry, self._reader, self._writer, documents, authenticator, PodLogs(pod_logs)
        )
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._failed = asyncio.Event()
        self._failure: ServerFailedError | None = None

    @property
    def url(self) -> str:
        """Address for clients, ``http://127.0.0.1:PORT``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def port(self) -> int:
        """Port that the server listens on; 0 while there is none."""
        return self._port or 0

    @property
    def application(self) -> Application:
        """What answers requests, for whoever is in the same process."""
        return LatestRouter(self._router, self._store) if self._storage.is_shared else self._router

    @property
    def token(self) -> str:
        """Bearer token that requests must carry."""
        return self._token

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig of mode 0600 for this server."""
        access.write_kubeconfig(path, url=self.url, token=self._token)

    async def compact(self) -> None:
        """Forget all history: watches from revisions before now get 410."""
        await self._store.compact_to(self._store.rev)

    async def serve(self, stop: asyncio.Event) -> None:
        """Wait until ``stop`` is set.

        Raises:
            ServerFailedError: the server cannot go on.
        """
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._failure is not None:
            raise self._failure

    async def __aenter__(self) -> Self:
        """Open the storage, bring it up to date and listen.

        Raises:
            StorageError: the storage cannot be opened.
            StartupError: it cannot listen; AddressInUseError when the port is taken.
        """
        self._storage.open()
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish requests in flight, end watches, close the storage.

        Raises:
            ServerFailedError: background work failed, and nobody has been told yet.
        """
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close_when_idle()
        deadline_s = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
        while self._connections and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110 - at a stop only, and bounded
            await asyncio.sleep(0.005)
        for connection in list(self._connections):
            connection.abort()
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._storage.close()
        if error is None and self._failure is not None:
            raise self._failure

    async def _start(self) -> None:
        crds = load_crds()
        shipped = [info for crd in crds for info in custom_resources.resource_infos(crd_types.normalized(crd)[0])]
        self._store.load([*self._registry.resources, *shipped])
        self._crds.serve_all()
        for listener in (self._crds, self._hub, self._namespaces, self._collector):
            self._store.listen(listener)
        try:
            await self._namespaces.create_missing()
            await self._crds.install(crds)
        except statuses.StatusError as error:
            if not isinstance(error.__cause__, StorageFailedError):
                raise
            raise error.__cause__ from None
        self._namespaces.add_all()
        self._collector.add_all()
        self._run("storage", self._storage.watch_over())
        self._run("garbage collector", self._collector.run())
        self._run("custom resources", self._crds.run())
        self._run("namespaces", self._namespaces.run())
        self._run("compaction", self._compact())
        self._run("expiry", self._expire())
        self._run("bookmarks", self._bookmark())
        if self._port is not None:
            self._run("slow connections", self._close_slow())
            await self._listen(self._port)

    def _run(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=f"apiserver {name}")
        self._tasks[task] = name
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.get(task)
        if name is None or self._failure is not None:
            return  # the server stops
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        _log.error("api server failed", exc_info=error, extra={"task": name})
        self._failure = ServerFailedError(f"the server's background work stopped: {name}")
        self._failure.__cause__ = error
        self._failed.set()

    async def _listen(self, port: int) -> None:
        refusals = Refusals(
            too_large=router.error_response(statuses.too_large()),
            bad_request=router.error_response(statuses.bad_request("the request is not valid HTTP")),
            timed_out=router.error_response(statuses.request_timed_out()),
            too_many=router.error_response(statuses.too_many_connections()),
        )
        application = self.application
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: HttpProtocol(application, connections=self._connections, refusals=refusals),
                self._host,
                port,
                backlog=LISTEN_BACKLOG,
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise StartupError(
                    f"cannot listen on port {port} of {self._host}: {error.strerror}; "
                    "choose another one with --port or --host"
                ) from error
            raise AddressInUseError(
                f"port {port} on {self._host} is in use; choose another one with --port (--port 0 takes a free one)"
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def _compact(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAINTENANCE_PERIOD_S):
                    await self._store.compaction_due.wait()
            with contextlib.suppress(StorageFailedError):  # the disk is full; the next round may find room
                await self._store.compact()
            await asyncio.sleep(COMPACTION_PAUSE_S)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(MAINTENANCE_PERIOD_S)
            await self._expire_events()

    async def _expire_events(self) -> None:
        oldest = (self._clock.now() - EVENT_TTL).strftime("%Y-%m-%dT%H:%M:%S")
        expired = [entry for entry in self._store.table(EVENTS.store_key).entries() if entry.facts.last_seen < oldest]
        for entry in expired:
            options = DeleteOptions(entry.facts.uid, str(entry.rev), "Background")
            try:
                await self._writer.delete_object(Target(EVENTS, entry.namespace, entry.name, ""), options)
            except statuses.StatusError:
                continue  # changed or deleted meanwhile: the next round looks again

    async def _close_slow(self) -> None:
        while True:
            await asyncio.sleep(SLOW_CHECK_PERIOD_S)
            http_protocol.close_slow(self._connections, asyncio.get_running_loop().time())

    async def _bookmark(self) -> None:
        while True:
            await asyncio.sleep(BOOKMARK_PERIOD_S)
            self._hub.send_bookmarks()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
