"""The client for code without an event loop: the asynchronous one, on a loop in a thread of its own (ADR 0019).

Called by users: scripts, notebooks, web frameworks with threads. It hands each call over and adds no behaviour, so what
``kontinue.client.client`` says of a method holds here as well.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from kontinue import errors
from kontinue.api.batch import Job
from kontinue.api.konductor import group
from kontinue.api.v1alpha1 import ChildPolicy, Execution, Function, Phase, ScheduledExecution, Suspension
from kontinue.archives import Archive
from kontinue.client.client import Client
from kontinue.client.event_thread import EventThread
from kontinue.client.handle import ExecutionHandle
from kontinue.client.job_logs import JobLogs
from kontinue.client.options import ClientOptions, SpawnOptions
from kontinue.client.tree import ExecutionTree
from kontinue.client.tree_watcher import TreeWatcher
from kontinue.definition import FunctionDefinition
from kontinue.kube.official_client import ApiClient
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue.options import require_type

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class SyncExecutionHandle(Generic[R_co]):
    """An Execution that this client spawned or attached to.

    Attributes:
        name: its name.
        namespace: its namespace.
        uid: tells it from a later one of the same name.
        resource_version: version of the object when the handle was made.
        asynchronous: the handle of ``Client`` behind it, of use on the client's own loop only.
    """

    __slots__ = ("_thread", "asynchronous", "name", "namespace", "resource_version", "uid")

    def __init__(self, handle: ExecutionHandle[R_co], thread: EventThread) -> None:
        self.name = handle.name
        self.namespace = handle.namespace
        self.uid = handle.uid
        self.resource_version = handle.resource_version
        self.asynchronous = handle
        self._thread = thread

    def wait(self, *, timeout: timedelta | None = None) -> Execution:
        """Wait for the end, whatever it is, and return the Execution; see ``ExecutionHandle.wait``."""
        return self._thread.run(self.asynchronous.wait(timeout=timeout))

    def result(self, *, timeout: timedelta | None = None) -> R_co:
        """Wait for the end and return the result; see ``ExecutionHandle.result``."""
        return self._thread.run(self.asynchronous.result(timeout=timeout))

    def __repr__(self) -> str:
        return f"<SyncExecutionHandle {self.namespace}/{self.name}>"


SyncRef = Execution | SyncExecutionHandle[Any] | str
"""An Execution as callers may name it: the object, a handle, or its name."""


class SyncTreeWatcher:
    """A tree that follows the cluster: ``with`` it, then iterate over its states; see ``TreeWatcher``."""

    def __init__(self, watcher: TreeWatcher, thread: EventThread) -> None:
        self._watcher = watcher
        self._thread = thread

    @property
    def last_error(self) -> errors.ApiError | None:
        """Why it is not up to date at the moment; None while all is well."""
        return self._watcher.last_error

    def __enter__(self) -> Self:
        self._thread.run(self._watcher.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[ExecutionTree]:
        return self._thread.iterate(self._watcher.__aiter__())

    def stop(self) -> None:
        """Close the watches; an iteration under way, in whatever thread, ends."""
        self._thread.run(self._watcher.stop())


class SyncJobLogs:
    """The log of one container: ``with`` it, then iterate over pieces of bytes; see ``JobLogs``."""

    def __init__(self, logs: JobLogs, thread: EventThread) -> None:
        self._logs = logs
        self._thread = thread

    @property
    def pod(self) -> str:
        """Name of the Pod; empty before it is found."""
        return self._logs.pod

    @property
    def container(self) -> str:
        """Name of the container."""
        return self._logs.container

    def __enter__(self) -> Self:
        self._thread.run(self._logs.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if self._thread.is_running:
            self._thread.run(self._logs.__aexit__(None, None, None))

    def __iter__(self) -> Iterator[bytes]:
        return self._thread.iterate(self._logs)


class SyncTransport:
    """Sends requests that the client has no method for, see ``kontinue.kube.transport``."""

    def __init__(self, transport: Transport, thread: EventThread) -> None:
        self._transport = transport
        self._thread = thread

    def send(self, request: Request, *, repeatable: bool | None = None, retry_for_s: float | None = None) -> bytes:
        """Send one request and return the body of a successful answer; see ``Transport.send``."""
        return self._thread.run(self._transport.send(request, repeatable=repeatable, retry_for_s=retry_for_s))

    def stream(self, request: Request, *, timeout_s: float | None = None) -> Iterator[bytes]:
        """Open a watch and yield its lines until the server ends it; see ``Transport.stream``."""
        return self._thread.iterate(self._transport.stream(request, timeout_s=timeout_s))

    def chunks(self, request: Request, *, timeout_s: float | None = None) -> Iterator[bytes]:
        """Yield the body of an answer as it comes; see ``Transport.chunks``."""
        return self._thread.iterate(self._transport.chunks(request, timeout_s=timeout_s))


class SyncClient:
    """Client of one API server, synchronous. Use it as a context manager, or call ``close``.

    Any number of threads may share it: thousands of waits are one watch. Its own thread starts with the first call; a
    process that forks makes a client in each of the processes. Ctrl-C ends a call and leaves Executions as they are.

    In asynchronous code use ``Client``: a call of this one blocks the loop.

    Executions may be given as object, handle or name. Every method that takes ``namespace`` uses the client's own
    unless told otherwise.
    """

    def __init__(self, options: ClientOptions | None = None) -> None:
        """Find the API server and its credentials; no connection is made yet.

        Raises:
            ConfigError: there is no server to be found.
        """
        self._client = Client(options)
        self._thread = EventThread()
        self._is_view = False

    @classmethod
    def from_kube(cls, kube: ApiClient, namespace: str, *, api_group: str = group.GROUP) -> Self:
        """Return a client of the server of a ``kubernetes.client.ApiClient``; see ``Client.from_kube``.

        A transport belongs to the loop that uses it, and this client has one of its own: none is taken here.
        """
        if not isinstance(kube, ApiClient):  # pyright: ignore[reportUnnecessaryIsInstance] - not all are checked
            raise TypeError(f"SyncClient.from_kube takes a kubernetes.client.ApiClient, got {type(kube).__name__}")
        return cls._around(Client.from_kube(kube, namespace, api_group=api_group), EventThread(), is_view=False)

    @property
    def namespace(self) -> str:
        """The namespace that calls use by default."""
        return self._client.namespace

    @property
    def timeout(self) -> timedelta | None:
        """Limit of every call, waits included; None: waits have none, requests are retried for 30 s."""
        return self._client.timeout

    @property
    def kube(self) -> SyncTransport:
        """The transport, for requests that the client has no method for. Not throttled."""
        return SyncTransport(self._client.kube, self._thread)

    def with_namespace(self, namespace: str) -> Self:
        """Return a view of this client that works in another namespace. Close only the original."""
        return self._around(self._client.with_namespace(namespace), self._thread, is_view=True)

    def with_timeout(self, timeout: timedelta | None) -> Self:
        """Return a view of this client whose calls have another limit of time. Close only the original."""
        return self._around(self._client.with_timeout(timeout), self._thread, is_view=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close watches, connections and the thread; calls under way in other threads raise InvalidState."""
        if self._is_view:
            return
        if self._thread.is_running:
            self._thread.run(self._client.close())
        self._thread.close()

    # Spawning.

    @overload
    def spawn(
        self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> SyncExecutionHandle[R]: ...
    @overload
    def spawn(
        self, function: str, arguments: object = ..., /, *, result: type[R], options: SpawnOptions = ...
    ) -> SyncExecutionHandle[R]: ...
    @overload
    def spawn(
        self, function: str, arguments: object = ..., /, *, options: SpawnOptions = ...
    ) -> SyncExecutionHandle[Any]: ...
    def spawn(self, function: Any, /, *args: Any, **kwargs: Any) -> SyncExecutionHandle[Any]:
        """Create an Execution; see ``Client.spawn``."""
        return SyncExecutionHandle(self._run(self._client.spawn(function, *args, **kwargs)), self._thread)

    # Reading.

    def get(self, name: str, *, namespace: str | None = None) -> Execution:
        """Read an Execution by name; see ``Client.get``."""
        return self._run(self._client.get(name, namespace=namespace))

    def get_execution(self, name: str, *, namespace: str | None = None) -> Execution:
        """Read an Execution by name; the same as ``get``."""
        return self.get(name, namespace=namespace)

    def get_archive(self, execution: SyncRef, *, namespace: str | None = None) -> Archive:
        """Read the archive that an Execution stands in; see ``Client.get_archive``."""
        return self._run(self._client.get_archive(_ref(execution), namespace=namespace))

    def get_child_executions(self, parent: SyncRef, *, namespace: str | None = None) -> Sequence[Execution]:
        """Read what an Execution started itself, in the order of the calls."""
        return self._run(self._client.get_child_executions(_ref(parent), namespace=namespace))

    def list(
        self,
        *,
        function: str | None = None,
        labels: Mapping[str, str] | None = None,
        root: str | None = None,
        schedule: str | None = None,
        worker_group: str | None = None,
        phases: Sequence[Phase | str] = (),
        only_root: bool = False,
        include_archived: bool = True,
        namespace: str | None = None,
    ) -> Sequence[Execution]:
        """Read all Executions that fit; see ``Client.iterate``."""
        return self._run(
            self._client.list(
                function=function,
                labels=labels,
                root=root,
                schedule=schedule,
                worker_group=worker_group,
                phases=phases,
                only_root=only_root,
                include_archived=include_archived,
                namespace=namespace,
            )
        )

    def iterate(
        self,
        *,
        function: str | None = None,
        labels: Mapping[str, str] | None = None,
        root: str | None = None,
        schedule: str | None = None,
        worker_group: str | None = None,
        phases: Sequence[Phase | str] = (),
        only_root: bool = False,
        include_archived: bool = True,
        namespace: str | None = None,
    ) -> Iterator[Execution]:
        """Yield the Executions that fit, reading page by page as they are consumed; see ``Client.iterate``."""
        return self._thread.iterate(
            self._client.iterate(
                function=function,
                labels=labels,
                root=root,
                schedule=schedule,
                worker_group=worker_group,
                phases=phases,
                only_root=only_root,
                include_archived=include_archived,
                namespace=namespace,
            )
        )

    def function(self, name: str, *, namespace: str | None = None) -> Function:
        """Read a Function by its registered name; see ``Client.function``."""
        return self._run(self._client.function(name, namespace=namespace))

    def functions(
        self, *, include_hidden: bool = False, worker_group: str | None = None, namespace: str | None = None
    ) -> Sequence[Function]:
        """Read the Functions that workers registered, sorted by name."""
        return self._run(
            self._client.functions(include_hidden=include_hidden, worker_group=worker_group, namespace=namespace)
        )

    def get_tree(self, execution: SyncRef, *, namespace: str | None = None) -> ExecutionTree:
        """Read an Execution and everything below it."""
        return self._run(self._client.get_tree(_ref(execution), namespace=namespace))

    def watch_tree(self, execution: SyncRef, *, namespace: str | None = None) -> SyncTreeWatcher:
        """Return a watcher of the tree: ``with client.watch_tree(e) as watcher: for tree in watcher``."""
        return SyncTreeWatcher(self._client.watch_tree(_ref(execution), namespace=namespace), self._thread)

    # Waiting.

    def wait_for_execution(
        self, execution: SyncRef, *, until: Sequence[Phase | str] | None = None, timeout: timedelta | None = None
    ) -> Execution:
        """Wait until an Execution is in one of the phases ``until``; see ``Client.wait_for_execution``."""
        return self._run(self._client.wait_for_execution(_ref(execution), until=until, timeout=timeout))

    # Acting.

    def cancel(self, execution: SyncRef, *, message: str = "Canceled by client") -> None:
        """Cancel an Execution and everything that it started; see ``Client.cancel``."""
        self._run(self._client.cancel(_ref(execution), message=message))

    def skip(self, execution: SyncRef, *, result: object = None, message: str = "Skipped by client") -> None:
        """End an Execution as if it had returned ``result``; see ``Client.skip``."""
        self._run(self._client.skip(_ref(execution), result=result, message=message))

    def retry_execution(
        self, execution: SyncRef, *, child_policy: ChildPolicy | str = ChildPolicy.RETRY_FAILED
    ) -> None:
        """Ask for one more attempt of an Execution that has failed or was canceled; see ``Client.retry_execution``."""
        self._run(self._client.retry_execution(_ref(execution), child_policy=child_policy))

    def get_suspension(self, name: str, *, namespace: str | None = None) -> Suspension:
        """Read a Suspension by name."""
        return self._run(self._client.get_suspension(name, namespace=namespace))

    def resume_suspension(
        self, suspension: Suspension | str, payload: object = None, *, namespace: str | None = None
    ) -> None:
        """End a wait: a sleep before its time, or a suspend; see ``Client.resume_suspension``."""
        self._run(self._client.resume_suspension(suspension, payload, namespace=namespace))

    def resume_execution(
        self, execution: SyncRef, *, recursive: bool = False, payload: object = None
    ) -> Sequence[Suspension]:
        """End everything that an Execution waits for by itself; see ``Client.resume_execution``."""
        return self._run(self._client.resume_execution(_ref(execution), recursive=recursive, payload=payload))

    # Schedules.

    def get_scheduled_execution(self, name: str, *, namespace: str | None = None) -> ScheduledExecution:
        """Read a ScheduledExecution by name."""
        return self._run(self._client.get_scheduled_execution(name, namespace=namespace))

    def list_scheduled_executions(
        self,
        *,
        function: str | None = None,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> Sequence[ScheduledExecution]:
        """Read the ScheduledExecutions, sorted by name; see ``Client.list_scheduled_executions``."""
        return self._run(self._client.list_scheduled_executions(function=function, labels=labels, namespace=namespace))

    def suspend_scheduled_execution(self, schedule: ScheduledExecution | str) -> None:
        """Start nothing more by a schedule; see ``Client.suspend_scheduled_execution``."""
        self._run(self._client.suspend_scheduled_execution(schedule))

    def resume_scheduled_execution(self, schedule: ScheduledExecution | str) -> None:
        """Start by a schedule again; see ``Client.resume_scheduled_execution``."""
        self._run(self._client.resume_scheduled_execution(schedule))

    def trigger_scheduled_execution(self, schedule: ScheduledExecution | str) -> SyncExecutionHandle[Any]:
        """Start what a schedule starts, now; see ``Client.trigger_scheduled_execution``."""
        return SyncExecutionHandle(self._run(self._client.trigger_scheduled_execution(schedule)), self._thread)

    # Jobs.

    def get_job(self, name: str, *, namespace: str | None = None) -> Job:
        """Read a Job of Kubernetes by the name of the object; see ``Client.get_job``."""
        return self._run(self._client.get_job(name, namespace=namespace))

    def get_job_logs(
        self,
        name: str,
        *,
        follow: bool = False,
        container: str | None = None,
        tail_lines: int | None = None,
        pod: str | None = None,
        namespace: str | None = None,
    ) -> SyncJobLogs:
        """Return the log of a Job: ``with client.get_job_logs("job") as chunks: for chunk in chunks``.

        See ``Client.get_job_logs``.
        """
        logs = self._client.get_job_logs(
            name, follow=follow, container=container, tail_lines=tail_lines, pod=pod, namespace=namespace
        )
        return SyncJobLogs(logs, self._thread)

    # Parts.

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(call)

    @classmethod
    def _around(cls, client: Client, thread: EventThread, *, is_view: bool) -> Self:
        made = cls.__new__(cls)
        made._client = client
        made._thread = thread
        made._is_view = is_view
        return made


def _ref(execution: SyncRef) -> Execution | ExecutionHandle[Any] | str:
    return execution.asynchronous if isinstance(execution, SyncExecutionHandle) else execution


def parts_of(client: SyncClient) -> tuple[Client, EventThread]:
    """Return the asynchronous client and the thread that it runs on, for twins of what else is asynchronous.

    Raises:
        TypeError: it is no SyncClient.
    """
    require_type("client", client, SyncClient, "SyncClient(); a Client is for the classes that do not begin with Sync")
    return client._client, client._thread  # pyright: ignore[reportPrivateUsage]
