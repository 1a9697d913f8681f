"""The client: spawn Executions, look at them, wait for them, cancel and retry them, from outside of a worker.

Called by users, by the CLI and by the web page. Every call is a request or a few (``kontinue.kube.requests``); waits
share one watch per namespace (``kontinue.client.waiting``). What a call does beyond sending stands in the modules
beside this one, mostly as pure functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast, overload

from kontinue import codec, errors
from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.konductor import group
from kontinue.api.meta import ObjectList, ObjectMeta, parent_of
from kontinue.api.patches import CANCELED_BY_CLIENT, cancel_operations, retry_operations, skip_operations
from kontinue.api.v1alpha1 import ENDED_PHASES, ChildPolicy, Execution, Function, Phase, ScheduledExecution, Suspension
from kontinue.archives import Archive, MissingPartsError
from kontinue.client import archived, job_reading, resuming, schedules
from kontinue.client import arguments as argument_check
from kontinue.client.ending import Operations, encode_result, end_execution
from kontinue.client.functions import FunctionDirectory
from kontinue.client.handle import ExecutionHandle
from kontinue.client.job_logs import JobLogs, LogOptions
from kontinue.client.limits import limit, limited, limited_write
from kontinue.client.options import ClientOptions, SpawnOptions
from kontinue.client.reading import fetch_named, fetch_pages
from kontinue.client.retrying import check_retry, must_be_canceled, warn_of_failed
from kontinue.client.selectors import execution_filter
from kontinue.client.spawning import create_execution
from kontinue.client.throttle import Throttle
from kontinue.client.tree import ExecutionTree, call_order, root_of
from kontinue.client.tree_reading import fetch_below
from kontinue.client.tree_state import build_tree
from kontinue.client.tree_watcher import TreeWatcher
from kontinue.client.waiting import Target, Waits, judge
from kontinue.definition import FunctionDefinition
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.api_groups import for_group
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue.kube.official_client import ApiClient, read_api_client
from kontinue.kube.patching import patch_as_seen
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue.options import require_duration

P = ParamSpec("P")
R = TypeVar("R")

Ref = Execution | ExecutionHandle[Any] | str
"""An Execution as callers may name it: the object, a handle, or its name."""

RETRY_S: Final = 30.0
"""How long a request is retried when the client has no timeout."""
PAGE_SIZE: Final = 500
USER_AGENT: Final = "kontinue-client"
_NO_SPAWN_OPTIONS: Final = SpawnOptions()


def _root_hint(execution: Ref) -> str:
    """Return the name of the root of an Execution that is at hand; empty if there is no more than its name."""
    return root_of(execution) if isinstance(execution, Execution) else ""


_decode_execution: Final = reader(Execution)
_decode_page: Final = reader(ObjectList[Execution], what="list of Executions")


class _Shared:
    """What a client and the views made by ``with_...`` have in common."""

    def __init__(self, transport: Transport, throttle: Throttle) -> None:
        self.transport = transport
        self.throttle = throttle
        self.waits = Waits(transport)


class Client:
    """Client of one API server, asynchronous. Use it as a context manager, or call ``close``.

    Executions may be given as object, handle or name. Every method that takes ``namespace`` uses the client's own
    unless told otherwise. All methods may be cancelled; a cancelled spawn may have created its Execution.

    Attributes:
        namespace: the namespace that calls use by default.
        timeout: limit of every call, waits included; None: waits have none, requests are retried for 30 s.
    """

    def __init__(self, options: ClientOptions | None = None) -> None:
        """Find the API server and its credentials; no connection is made yet.

        Raises:
            ConfigError: there is no server to be found.
        """
        options = options or ClientOptions()
        config = load_config(kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace)
        transport = KubeTransport(config, user_agent=USER_AGENT, impersonate=options.impersonate or "")
        self._shared = _Shared(for_group(transport, options.api_group), Throttle(options.qps, options.burst))
        self._close_transport: Callable[[], Coroutine[Any, Any, None]] | None = transport.close
        self.namespace = config.namespace
        self.timeout = options.timeout
        self._functions = FunctionDirectory(self._send)

    @classmethod
    def from_kube(cls, kube: Transport | ApiClient, namespace: str, *, api_group: str = group.GROUP) -> Self:
        """Return a client of the server that somebody else has found. It is not throttled.

        Args:
            kube: a transport, which the caller closes; or a ``kubernetes.client.ApiClient``, whose server, credentials
                (with their refresh), certificates and Impersonate-User are used over connections of this client.
            namespace: to work in.
            api_group: as of ``ClientOptions``.

        Raises:
            ConfigError: the ApiClient does what this client cannot do, such as using a proxy.
        """
        if not isinstance(kube, ApiClient):
            return cls._over(for_group(kube, api_group), None, namespace)
        found = read_api_client(kube, namespace)
        transport = KubeTransport(found.config, user_agent=USER_AGENT, impersonate=found.impersonate)
        return cls._over(for_group(transport, api_group), transport.close, namespace)

    @classmethod
    def _over(cls, transport: Transport, close: Callable[[], Coroutine[Any, Any, None]] | None, namespace: str) -> Self:
        client = cls.__new__(cls)
        client._shared = _Shared(transport, Throttle(None, 1))
        client._close_transport = close
        client.namespace = namespace
        client.timeout = None
        client._functions = FunctionDirectory(client._send)
        return client

    @property
    def kube(self) -> Transport:
        """The transport, for requests that the client has no method for. Not throttled."""
        return self._shared.transport

    def with_namespace(self, namespace: str) -> Self:
        """Return a view of this client that works in another namespace. Close only the original."""
        return self._view(namespace, self.timeout)

    def with_timeout(self, timeout: timedelta | None) -> Self:
        """Return a view of this client whose calls have another limit of time. Close only the original."""
        require_duration("timeout", timeout)
        return self._view(self.namespace, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close watches and connections; waits under way raise InvalidState."""
        await self._shared.waits.close()
        if self._close_transport is not None:
            await self._close_transport()

    # Spawning.

    @overload
    def spawn(
        self, function: FunctionDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, ExecutionHandle[R]]: ...
    @overload
    def spawn(
        self, function: str, arguments: object = ..., /, *, result: type[R], options: SpawnOptions = ...
    ) -> Coroutine[object, None, ExecutionHandle[R]]: ...
    @overload
    def spawn(
        self, function: str, arguments: object = ..., /, *, options: SpawnOptions = ...
    ) -> Coroutine[object, None, ExecutionHandle[Any]]: ...
    def spawn(self, function: Any, /, *args: Any, **kwargs: Any) -> Coroutine[object, None, ExecutionHandle[Any]]:
        """Create an Execution: one write. It returns when the Execution is durable, not when it has run.

        Either ``spawn(definition, *args, **kwargs)``, with options by ``definition.options(...)``; or by name
        ``spawn("name", {"parameter": value}, result=T, options=SpawnOptions(...))``.

        Raises:
            UnknownFunction: no worker registered it in the namespace; with a suggestion.
            InvalidArguments: they do not fit; ``path`` says where. Nothing was created.
            AlreadyExists: an Execution of the wanted name exists.
            ApiError: the server refuses, or was away for too long.
        """
        if isinstance(function, FunctionDefinition):
            return self._spawn_definition(cast("FunctionDefinition[..., Any]", function), args, kwargs)
        if isinstance(function, str):
            if len(args) > 1 or kwargs.keys() - {"result", "options"}:
                raise TypeError(
                    f"spawn by name takes the arguments in one mapping of names to values: "
                    f'spawn({function!r}, {{"parameter": value}})'
                )
            return self._spawn_named(function, *args, **kwargs)
        raise TypeError(
            f"spawn takes a function definition or a name, got {function!r}: decorate it with @app.function"
        )

    async def _spawn_definition(
        self, definition: FunctionDefinition[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> ExecutionHandle[R]:
        try:
            arguments = definition.codec.encode_arguments(args, kwargs)
        except errors.InvalidArguments as error:
            if not isinstance(kwargs.get("options"), SpawnOptions):
                raise
            raise errors.InvalidArguments(
                f"{error}. SpawnOptions are for functions spawned by name; a definition has its options with it: "
                "spawn(fn.options(name=...), ...)",
                path=error.path,
            ) from None
        call = definition.call_options
        options = SpawnOptions(name=call.name, retry=call.retry, timeout=call.timeout, ttl=call.ttl, mutex=call.mutex)
        async with limit(self.timeout, "spawn"):
            function = await self._functions.find(self.namespace, definition.name)
            return await self._create(function, arguments, options, definition.codec.decode_result)

    async def _spawn_named(
        self,
        name: str,
        arguments: object = None,
        *,
        result: type[Any] | None = None,
        options: SpawnOptions = _NO_SPAWN_OPTIONS,
    ) -> ExecutionHandle[Any]:
        namespace = options.namespace or self.namespace
        wanted: Any = Any if result is None else result
        async with limit(self.timeout, "spawn"):
            function = await self._functions.find(namespace, name)
            try:
                encoded = argument_check.encode_for(function, arguments)
            except errors.InvalidArguments:
                function = await self._functions.refresh(namespace, name)  # it may be another one since it was read
                encoded = argument_check.encode_for(function, arguments)
            return await self._create(function, encoded, options, codec.codec_for(wanted).decode)

    async def _create(
        self, function: Function, arguments: bytes, options: SpawnOptions, decode: Callable[[bytes], R]
    ) -> ExecutionHandle[R]:
        namespace = options.namespace or self.namespace
        metadata = await create_execution(self._send, namespace, function, arguments, options)
        return self._handle(namespace, metadata, decode)

    def _handle(self, namespace: str, metadata: ObjectMeta, decode: Callable[[bytes], R]) -> ExecutionHandle[R]:
        return ExecutionHandle(
            name=metadata.name,
            namespace=namespace,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            wait=self.wait_for_execution,
            decode=decode,
        )

    # Reading.

    @limited
    async def get(self, name: str, *, namespace: str | None = None) -> Execution:
        """Read an Execution by name; one that has been archived from its archive (``is_archived``).

        Raises:
            NotFound: there is none of that name.
        """
        target = Target(namespace or self.namespace, name)
        found = await self._look_up(target)
        return self._in(found, target) if isinstance(found, Archive) else found

    async def get_execution(self, name: str, *, namespace: str | None = None) -> Execution:
        """Read an Execution by name; the same as ``get``."""
        return await self.get(name, namespace=namespace)

    @limited
    async def get_archive(self, execution: Ref, *, namespace: str | None = None) -> Archive:
        """Read the archive that an Execution stands in, with its MemoPages and Suspensions.

        Raises:
            NotFound: it has not been archived.
            ArchiveError: the archive cannot be read.
        """
        target = self._target(execution, namespace)
        missing = errors.NotFound(f"no archive of Execution {target}", status=404)
        return await self._find_archive(target, missing, root=_root_hint(execution))

    @limited
    async def get_child_executions(self, parent: Ref, *, namespace: str | None = None) -> Sequence[Execution]:
        """Read what an Execution started itself, in the order of the calls; of an archived one from its archive."""
        target = self._target(parent, namespace)
        try:
            top = await self._look_up(target, root=_root_hint(parent))
        except errors.NotFound:
            top = None
        if isinstance(top, Archive):
            return sorted(archived.children_of(top, self._in(top, target)), key=call_order)
        selector = {labels.PARENT: labels.label_value(target.name)}
        found = await self.list(labels=selector, namespace=target.namespace, include_archived=False)
        return sorted(found, key=call_order)

    @limited
    async def list(
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
        """Read all Executions that fit; see ``iterate``."""
        stream = self.iterate(
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
        return [execution async for execution in stream]

    async def iterate(
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
    ) -> AsyncIterator[Execution]:
        """Yield the Executions that fit, reading page by page as they are consumed; archived ones come last.

        Args:
            function: registered name of their function.
            labels: labels that they carry.
            root: name of the root that they descend from; the root itself is left out.
            schedule: name of the ScheduledExecution that started them.
            worker_group: group that runs them.
            phases: phases that they are in; none given means all.
            only_root: leave out children.
            include_archived: also read what has been archived. With ``only_root`` or ``root`` the server chooses among
                archives; else each archive of more than one Execution is read. One that cannot be read is left out,
                with a warning in the log.
            namespace: where; an empty string means all namespaces.
        """
        wanted = execution_filter(
            function=function,
            wanted_labels=labels or {},
            root=root,
            schedule=schedule,
            worker_group=worker_group,
            phases=phases,
            only_root=only_root,
        )
        where, selectors = self.namespace if namespace is None else namespace, wanted.selectors()
        living: set[str] = set()
        async for page in fetch_pages(
            self._send,
            requests.EXECUTIONS,
            _decode_page,
            namespace=where,
            size=PAGE_SIZE,
            label_selector=selectors.labels,
            field_selector=selectors.fields,
        ):
            for execution in page.items:
                living.add(execution.metadata.uid)
                yield execution
        if include_archived:
            async for execution in archived.iterate(self._send, where, wanted):
                if execution.metadata.uid not in living:  # else it was archived since
                    yield execution

    @limited
    async def function(self, name: str, *, namespace: str | None = None) -> Function:
        """Read a Function by its registered name.

        Raises:
            UnknownFunction: no worker registered it; with a suggestion.
        """
        return await self._functions.fetch(namespace or self.namespace, name)

    @limited
    async def functions(
        self, *, include_hidden: bool = False, worker_group: str | None = None, namespace: str | None = None
    ) -> Sequence[Function]:
        """Read the Functions that workers registered, sorted by name."""
        selector = f"{labels.WORKER_GROUP}={labels.label_value(worker_group)}" if worker_group else ""
        found = await self._functions.fetch_all(namespace or self.namespace, label_selector=selector)
        shown = [item for item in found if include_hidden or labels.HIDDEN not in item.metadata.annotations]
        return sorted(shown, key=lambda item: item.spec.name)

    @limited
    async def get_tree(self, execution: Ref, *, namespace: str | None = None) -> ExecutionTree:
        """Read an Execution and everything below it: what it has started, its Suspensions and its Jobs.

        Of an archived one from its archive (``is_archived``), which keeps no Jobs. Suspensions and Jobs are left out
        if they may not be read.
        """
        target = self._target(execution, namespace)
        top = await self._look_up(target, root=_root_hint(execution))
        if isinstance(top, Archive):
            return self._archived_tree(top, target)
        return build_tree(top, await fetch_below(self._send, top))

    def watch_tree(self, execution: Ref, *, namespace: str | None = None) -> TreeWatcher:
        """Return a watcher of the tree: ``async with client.watch_tree(e) as watcher: async for tree in watcher``.

        Entering it raises NotFound when there is no such Execution. The tree of an archived one comes once.
        """
        target = self._target(execution, namespace)

        async def fetch() -> Execution | ExecutionTree:
            top = await self._look_up(target, root=_root_hint(execution))
            return self._archived_tree(top, target) if isinstance(top, Archive) else top

        return TreeWatcher(self._shared.transport, fetch)

    # Waiting.

    async def wait_for_execution(
        self,
        execution: Ref,
        *,
        until: Sequence[Phase | str] | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
    ) -> Execution:
        """Wait until an Execution is in one of the phases ``until``, by default in any terminal one.

        Thousands of waits share one watch. A wait that ends early leaves the Execution as it is. One that has been
        archived has ended.

        Raises:
            ExecutionBlocked: the code no longer matches its records, unless Blocked is among ``until``.
            InvalidState: it ended in a phase that is not among ``until``.
            WaitTimeout: it took longer than ``timeout``.
            NotFound: there is no such Execution, or it was deleted.
        """
        require_duration("timeout", timeout)
        wanted = frozenset(Phase(phase) for phase in until) if until is not None else None
        target = self._target(execution, None)
        limit = timeout if timeout is not None else self.timeout
        waiting = self._wait(target, wanted, root=_root_hint(execution))
        if limit is None:
            return judge(await waiting, wanted)
        limit_s = limit.total_seconds()
        scope = asyncio.timeout(limit_s)
        try:
            async with scope:
                return judge(await waiting, wanted)
        except TimeoutError as error:
            if not scope.expired():
                raise
            aim = "end" if wanted is None else f"become {' or '.join(sorted(wanted))}"
            raise errors.WaitTimeout(f"Execution {target} did not {aim} within {limit_s:g} s; it goes on") from error

    # Acting.

    @limited_write
    async def cancel(self, execution: Ref, *, message: str = "Canceled by client") -> None:
        """Cancel an Execution and everything that it started. Final at once; the code is stopped right after.

        Raises:
            InvalidState: it has ended already.
            NotFound: there is no such Execution.
        """
        target = self._target(execution, None)

        async def operations(found: Execution) -> Operations:
            return cancel_operations(found, reason=CANCELED_BY_CLIENT, message=message)

        await self._end(target, Phase.CANCELED, operations)

    @limited_write
    async def skip(self, execution: Ref, *, result: object = None, message: str = "Skipped by client") -> None:
        """End an Execution as if it had returned ``result``: whoever waits for it gets that, and goes on.

        Final at once, also for a retry; its code is stopped right after, and everything that it started is canceled.

        Args:
            execution: what to skip.
            result: what it is to have returned: checked against the result type that the function's worker registered.
            message: why, for people.

        Raises:
            InvalidResult: the function returns nothing like that; ``path`` says where. Nothing was changed.
            InvalidState: it has ended already.
            NotFound: there is no such Execution.
        """
        target = self._target(execution, None)

        async def operations(found: Execution) -> Operations:
            name = found.spec.function
            try:
                function: Function | None = await self._functions.find(target.namespace, name)
            except errors.UnknownFunction:
                function = None
            return skip_operations(found, encode_result(name, function, result), message=message)

        await self._end(target, Phase.SKIPPED, operations)

    async def _end(
        self, target: Target, phase: Phase, operations: Callable[[Execution], Awaitable[Operations]]
    ) -> None:
        await end_execution(
            target, phase, read=lambda: self._get_living(target), send=self._send, operations=operations
        )

    @limited_write
    async def retry_execution(
        self, execution: Ref, *, child_policy: ChildPolicy | str = ChildPolicy.RETRY_FAILED
    ) -> None:
        """Ask for one more attempt of an Execution that has failed or was canceled.

        The attempt begins as soon as nothing of the last one runs any more, with the records of what succeeded. A wait
        for the Execution that begins after this waits for the new end. One that is Blocked can only be run anew, with
        RetryAll: it is canceled first.

        Args:
            execution: what to retry.
            child_policy: what becomes of its children: None takes them as they ended, RetryFailed retries those that
                failed or were canceled, RetryAll runs everything anew, the Execution's own steps included. It stays in
                the spec, for automatic retries as well.

        Raises:
            InvalidState: it has not failed and was not canceled, a retry was asked for already, or it is a child whose
                parent has not ended: that one decides about its children itself.
            NotFound: there is no such Execution.
        """
        policy = ChildPolicy(child_policy)
        target = self._target(execution, None)

        async def build(found: Execution, refusals: int) -> Request | None:
            if target.uid and found.metadata.uid != target.uid:
                raise errors.NotFound(f"Execution {target} was deleted and created again", status=404)
            if refusals and found.is_retry_requested:
                return None  # ours, and its answer was lost, or somebody else's: the wish is the same
            check_retry(found, await self._parent_of(found), policy)
            if must_be_canceled(found, policy):
                await self.cancel(found, message="Canceled to be run anew")
                found = await self._get_living(target)
            operations = retry_operations(found, child_policy=policy)
            return requests.json_patch(requests.EXECUTIONS, target.namespace, target.name, operations)

        asked = await patch_as_seen(read=lambda: self._get_living(target), build=build, send=self._send)
        if asked is not None:
            self._shared.waits.note_retry(_decode_execution(asked))
        if policy is ChildPolicy.NONE:
            children = await self.get_child_executions(target.name, namespace=target.namespace)
            warn_of_failed(target, children)

    @limited
    async def get_suspension(self, name: str, *, namespace: str | None = None) -> Suspension:
        """Read a Suspension by name.

        Raises:
            NotFound: there is none of that name.
        """
        return await resuming.fetch(self._send, namespace or self.namespace, name)

    @limited_write
    async def resume_suspension(
        self, suspension: Suspension | str, payload: object = None, *, namespace: str | None = None
    ) -> None:
        """End a wait: a sleep before its time, or a suspend with what it is to be told.

        Args:
            suspension: the object, or its name.
            payload: what the function gets: anything that JSON carries and that fits the Suspension's schema.
            namespace: of a Suspension given by name.

        Raises:
            InvalidPayload: the payload does not fit; ``path`` says where. Nothing was changed.
            InvalidState: it is completed already.
            NotFound: there is no such Suspension.
        """
        if isinstance(suspension, str):
            await resuming.resume(self._send, namespace or self.namespace, suspension, payload)
        else:
            meta = suspension.metadata
            await resuming.resume(self._send, meta.namespace, meta.name, payload, uid=meta.uid)

    @limited_write
    async def resume_execution(
        self, execution: Ref, *, recursive: bool = False, payload: object = None
    ) -> Sequence[Suspension]:
        """End everything that an Execution waits for by itself: its sleeps and suspends.

        Args:
            execution: what to resume.
            recursive: also whatever it has started, directly or not.
            payload: for each of the Suspensions that read one.

        Returns:
            The Suspensions that were resumed, as they were before.

        Raises:
            InvalidPayload: the payload does not fit one of them, or none reads any. Nothing was changed.
            InvalidState: it waits for nothing that can be resumed.
            NotFound: there is no such Execution.
        """
        target = self._target(execution, None)
        top = await self._get_living(target)
        if target.uid and top.metadata.uid != target.uid:
            raise errors.NotFound(f"Execution {target} was deleted and created again", status=404)
        if recursive:
            found = await resuming.fetch_open(self._send, target.namespace, label=labels.ROOT, value=root_of(top))
            below = await self.list(root=root_of(top), namespace=target.namespace, include_archived=False)
            uids = resuming.uids_below(top, below)
        else:
            found = await resuming.fetch_open(self._send, target.namespace, label=labels.PARENT, value=target.name)
            uids = frozenset({top.metadata.uid})
        wanted = resuming.of_owners(found, uids)
        if not wanted:
            what = "what it has started may: recursive=True (`kontinue resume -r`)"
            what = "nor does anything below it" if recursive else what
            raise errors.InvalidState(f"Execution {target} waits for nothing that can be resumed; {what}")
        if payload is not None and not any(map(resuming.reads_payload, wanted)):
            raise errors.InvalidPayload(f"nothing that Execution {target} waits for reads a payload")
        payloads = [payload if resuming.reads_payload(one) else None for one in wanted]
        for one, value in zip(wanted, payloads, strict=True):
            resuming.encode_payload(one, value)
        return [one for one, value in zip(wanted, payloads, strict=True) if await self._try_resume(one, value)]

    # Schedules.

    @limited
    async def get_scheduled_execution(self, name: str, *, namespace: str | None = None) -> ScheduledExecution:
        """Read a ScheduledExecution by name.

        Raises:
            NotFound: there is none of that name.
        """
        return await schedules.fetch(self._send, namespace or self.namespace, name)

    @limited
    async def list_scheduled_executions(
        self,
        *,
        function: str | None = None,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> Sequence[ScheduledExecution]:
        """Read the ScheduledExecutions, sorted by name.

        Args:
            function: registered name of what they run; None: any.
            labels: labels that they carry.
            namespace: where; an empty string means all namespaces.
        """
        where = self.namespace if namespace is None else namespace
        return await schedules.fetch_all(self._send, where, function=function, wanted_labels=labels or {})

    @limited_write
    async def suspend_scheduled_execution(self, schedule: ScheduledExecution | str) -> None:
        """Start nothing more by a schedule, given as object or name. What runs goes on.

        Raises:
            NotFound: there is no such ScheduledExecution.
        """
        await schedules.set_suspended(self._send, await self._schedule(schedule), suspend=True)

    @limited_write
    async def resume_scheduled_execution(self, schedule: ScheduledExecution | str) -> None:
        """Start by a schedule again, from the next occurrence on; what was due meanwhile is not made up for.

        Raises:
            NotFound: there is no such ScheduledExecution.
        """
        await schedules.set_suspended(self._send, await self._schedule(schedule), suspend=False)

    @limited
    async def trigger_scheduled_execution(self, schedule: ScheduledExecution | str) -> ExecutionHandle[Any]:
        """Start what a schedule starts, now, suspended or not, and beside what runs already.

        The Execution belongs to the schedule: it counts for its history, and as one that runs when the next occurrence
        is due.

        Raises:
            NotFound: there is no such ScheduledExecution.
            UnknownFunction: no worker registered its function.
            InvalidArguments: the function does not take the arguments of the schedule.
        """
        found = await self._schedule(schedule)
        namespace = found.metadata.namespace
        function = await self._functions.find(namespace, found.spec.function)
        try:
            argument_check.check_stored(function, found.spec.arguments)
        except errors.InvalidArguments:
            function = await self._functions.refresh(namespace, found.spec.function)  # it may be another one by now
            argument_check.check_stored(function, found.spec.arguments)
        metadata = await schedules.trigger(self._send, found, function)
        return self._handle(namespace, metadata, codec.codec_for(Any).decode)

    # Jobs.

    @limited
    async def get_job(self, name: str, *, namespace: str | None = None) -> Job:
        """Read a Job of Kubernetes by the name of the object.

        Raises:
            NotFound: there is none of that name.
        """
        return await job_reading.fetch(self._send, namespace or self.namespace, name)

    def get_job_logs(
        self,
        name: str,
        *,
        follow: bool = False,
        container: str | None = None,
        tail_lines: int | None = None,
        pod: str | None = None,
        namespace: str | None = None,
    ) -> JobLogs:
        """Return the log of a Job: ``async with client.get_job_logs("job") as chunks: async for chunk in chunks``.

        Pieces of bytes come as they are printed; leaving the block closes the connection.

        Args:
            name: of the Job.
            follow: go on until the container has ended and is not started again in its Pod. It also waits until there
                is a Pod and its container has started, and a connection that is cut is opened anew where it was.
            container: which one of the Pod's; None: the one that it says is its default, or the first one.
            tail_lines: begin with the last so many lines; None: with the first one.
            pod: name of one of its Pods; None: the first one that it has started.
            namespace: of the Job.

        Raises (when the block is entered, or while it is read):
            NotFound: there is no such Job, or no such Pod of it.
            InvalidState: there is no Pod, or nothing has started in it yet, and ``follow`` is not set.
            WaitTimeout: no Pod was there within the client's ``timeout``, which does not limit what is followed.
            Invalid: the Pod has no such container.
            Unavailable: the server, or the node of the Pod, does not answer.
        """
        if tail_lines is not None and tail_lines < 0:
            raise ValueError(f"tail_lines={tail_lines}: expected 0 or more, or None for everything")
        options = LogOptions(follow=follow, container=container, tail_lines=tail_lines, pod=pod)
        where = namespace or self.namespace
        return JobLogs(self._shared.transport, self._send, where, name, options, self.timeout)

    # Parts.

    async def _wait(self, target: Target, wanted: Collection[Phase] | None, *, root: str) -> Execution:
        try:
            return await self._shared.waits.wait(target, wanted)
        except errors.NotFound as error:
            return self._in(await self._find_archive(target, error, root=root), target)

    async def _look_up(self, target: Target, *, root: str = "") -> Execution | Archive:
        """Return an Execution, or the archive that it stands in; ``root`` is the name of its root, if that is known.

        Raises:
            NotFound: there is neither.
        """
        try:
            found = await self._get(target.namespace, target.name)
        except errors.NotFound as error:
            return await self._find_archive(target, error, root=root)
        if not target.uid or found.metadata.uid == target.uid:
            return found
        missing = errors.NotFound(f"Execution {target} was deleted and created again", status=404)
        return await self._find_archive(target, missing, root=root)

    async def _get_living(self, target: Target) -> Execution:
        """Return an Execution that is to be changed.

        Raises:
            InvalidState: it has been archived.
            NotFound: there is none.
        """
        try:
            return await self._get(target.namespace, target.name)
        except errors.NotFound as error:
            await self._find_archive(target, error)
            raise errors.InvalidState(
                f"Execution {target} has ended and was archived: it can be read, but no longer be changed"
            ) from error

    async def _find_archive(self, target: Target, missing: errors.NotFound, *, root: str = "") -> Archive:
        """Return the archive that an Execution stands in; raises ``missing`` if there is none."""
        try:
            found = await archived.find(self._send, target.namespace, target.name, uid=target.uid, root=root)
        except errors.Forbidden as error:
            raise archived.not_found(missing, error) from missing
        except MissingPartsError as error:
            if not error.is_unfinished:
                raise
            raise archived.not_found(missing, error) from missing
        if found is None:
            raise missing
        return found

    @staticmethod
    def _in(archive: Archive, target: Target) -> Execution:
        found = archived.pick(archive, target.name, target.uid)
        return archive.root if found is None else found

    def _archived_tree(self, archive: Archive, target: Target) -> ExecutionTree:
        return build_tree(self._in(archive, target), [*archive.executions, *archive.suspensions])

    async def _schedule(self, schedule: ScheduledExecution | str) -> ScheduledExecution:
        return await self.get_scheduled_execution(schedule) if isinstance(schedule, str) else schedule

    async def _try_resume(self, suspension: Suspension, payload: object) -> bool:
        """Resume one of several; that somebody else was faster is no failure."""
        try:
            await self.resume_suspension(suspension, payload)
        except (errors.InvalidState, errors.NotFound):
            return False
        return True

    async def _parent_of(self, execution: Execution) -> Execution | None:
        owner = parent_of(execution.metadata.owner_references)
        if owner is None:
            return None
        try:
            parent = await self._get(execution.metadata.namespace, owner.name)
        except errors.NotFound:
            return None
        return parent if parent.metadata.uid == owner.uid else None

    def _view(self, namespace: str, timeout: timedelta | None) -> Self:
        view = type(self).__new__(type(self))
        view._shared = self._shared
        view._close_transport = None
        view._functions = self._functions
        view.namespace = namespace
        view.timeout = timeout
        return view

    def _target(self, execution: Ref, namespace: str | None) -> Target:
        match execution:
            case str():
                return Target(namespace or self.namespace, execution)
            case ExecutionHandle():
                return Target(execution.namespace, execution.name, execution.uid, execution.resource_version)
            case _:
                metadata = execution.metadata
                version = "" if execution.phase in ENDED_PHASES else metadata.resource_version
                return Target(metadata.namespace, metadata.name, metadata.uid, version)

    async def _get(self, namespace: str, name: str) -> Execution:
        return await fetch_named(self._send, requests.EXECUTIONS, _decode_execution, namespace=namespace, name=name)

    async def _send(self, request: Request, *, repeatable: bool | None = None) -> bytes:
        retry_for_s = RETRY_S if self.timeout is None else self.timeout.total_seconds()
        async with limit(self.timeout, f"{request.method} {request.path}", writes=request.method != "GET"):
            await self._shared.throttle.wait()
            return await self._shared.transport.send(request, repeatable=repeatable, retry_for_s=retry_for_s)
