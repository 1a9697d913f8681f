"""Internal. Asks the server what ``kontinue doctor`` judges, in bounded requests; what is refused is noted, not raised.

Lists come in pages and end at a limit; Executions are reduced page by page to what matters of them. Suspensions and
Leases are read before Executions: what they name then was alive, or is being cleared away.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.api.meta import Lease, ListMeta, ObjectMeta, PartialObjectMetadata
from kontinue.api.rights import Right, Role, rights, rules_of
from kontinue.api.v1alpha1 import (
    LIVE_PHASES_SELECTOR,
    OPEN_SUSPENSIONS_SELECTOR,
    Execution,
    Function,
    ScheduledExecution,
    Suspension,
)
from kontinue.client.together import all_of
from kontinue.errors import ApiError, Forbidden, NotFound, Unauthorized
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.kube.transport import Transport
from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.cli.deployment import definitions
from kontinue_engine.cli.doctor import pods, primitives, wait_groups
from kontinue_engine.cli.doctor.observed import (
    ExecutionFacts,
    Identity,
    Observed,
    PodFacts,
    PrimitiveFacts,
    ServerFacts,
    WaitGroupFacts,
)

_RETRY_FOR_S: Final = 5.0
_VERSION_S: Final = 10.0
"""A server that does not say its version for so long is away, for whoever waits for it."""
_LATENCY_SAMPLES: Final = 3
_SMALL_PAGE: Final = 50
"""Executions may have 1.5 MiB each."""
_PAGE: Final = 500
_AT_A_TIME: Final = 16
_SELF_REVIEW: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCESS_REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

T = TypeVar("T")


class _Page(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class Observer:
    """Looks at one server.

    Args:
        transport: to the server.
        config: how it was found.
        namespace: where to look; empty for all.
        roles: whose rights to ask for.
        limit: objects of each kind that are looked at.
        api_group: in which primitives are looked at.
    """

    def __init__(
        self,
        transport: Transport,
        config: KubeConfig,
        *,
        namespace: str,
        roles: Sequence[Role],
        limit: int,
        api_group: str = group.GROUP,
    ) -> None:
        self._transport = transport
        self._config = config
        self._namespace = namespace
        self._roles = roles
        self._limit = limit
        self._api_group = api_group
        self._refusals: dict[str, str] = {}
        self._cut: dict[str, int] = {}
        self._sees_all_coordinators = False

    async def observe(self) -> Observed:
        """Look at everything."""
        server = ServerFacts(
            address=self._config.address,
            source=self._config.source,
            namespace=self._namespace,
            api_group=self._api_group,
        )
        answered = await self._attempt("server", self._version())
        if answered is None:
            return Observed(server=server, now=datetime.now(UTC), now_s=time.monotonic(), refusals=self._refusals)
        version, latency_s = answered
        await self._attempt("readiness", self._readiness())
        identity = await self._attempt("identity", self._identity())
        async with asyncio.TaskGroup() as tasks:
            granted = tasks.create_task(self._attempt("rights", self._rights()), name="rights")
            kinds = tasks.create_task(self._attempt("kinds", self._kinds()), name="kinds")
            functions = tasks.create_task(self._list(requests.FUNCTIONS, Function), name="functions")
            schedules = tasks.create_task(
                self._list(requests.SCHEDULED_EXECUTIONS, ScheduledExecution), name="schedules"
            )
            worker_pods = tasks.create_task(self._attempt("pods", self._worker_pods()), name="pods")
            archives = tasks.create_task(self._attempt("archives", self._archives()), name="archives")
            groups = tasks.create_task(self._attempt("waitgroups", self._wait_groups()), name="wait groups")
            others = [
                tasks.create_task(self._attempt(kind.plural, self._primitives(kind)), name=kind.plural)
                for kind in primitives.KINDS
            ]
            # Under the name of all Leases: who may not see these may not see those.
            coordinators = tasks.create_task(self._attempt("leases", self._coordinators()), name="coordinators")
            objects = tasks.create_task(self._live_objects(), name="live objects")
        leases, suspensions, executions = objects.result()
        return Observed(
            server=msgspec.structs.replace(server, version=version, latency_s=latency_s),
            now=identity.server_time if identity else datetime.now(UTC),
            now_s=time.monotonic(),
            identity=identity,
            rights=granted.result(),
            roles=self._roles,
            kinds=kinds.result(),
            leases=leases,
            functions=functions.result(),
            pods=worker_pods.result(),
            suspensions=suspensions,
            executions=executions,
            schedules=schedules.result(),
            archives=archives.result(),
            wait_groups=groups.result(),
            primitives=[one for found in others for one in found.result() or ()],
            coordinators=coordinators.result(),
            sees_all_coordinators=self._sees_all_coordinators,
            refusals=self._refusals,
            cut=self._cut,
        )

    async def _attempt(self, part: str, reading: Awaitable[T]) -> T | None:
        try:
            return await reading
        except Unauthorized as error:
            self._refusals["credentials"] = str(error)
        except (ApiError, msgspec.MsgspecError) as error:
            self._refusals[part] = str(error)
        return None

    async def _version(self) -> tuple[str, float]:
        fastest_s = float("inf")
        for _ in range(_LATENCY_SAMPLES):
            begin_s = time.monotonic()
            request = requests.Request("GET", "/version")
            answer = await self._transport.send(request, retries=False, timeout_s=_VERSION_S)
            fastest_s = min(fastest_s, time.monotonic() - begin_s)
        return str(msgspec.json.decode(answer).get("gitVersion", "")), fastest_s

    async def _readiness(self) -> None:
        """Raise what keeps the server from its work; who may not ask has learned nothing."""
        request = requests.Request("GET", "/readyz", accept="*/*")
        with contextlib.suppress(Forbidden, NotFound):
            await self._transport.send(request, retries=False, timeout_s=_VERSION_S)

    async def _identity(self) -> Identity:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        asked_at = datetime.now(UTC)
        found = await self._review(_SELF_REVIEW, body)
        return Identity(
            user=found["status"]["userInfo"].get("username", ""),
            server_time=msgspec.convert(found["metadata"]["creationTimestamp"], datetime),
            asked_at=asked_at,
            answered_at=datetime.now(UTC),
        )

    async def _rights(self) -> dict[Right, bool]:
        wanted = sorted({right for role in self._roles for right in rights(rules_of(role, [self._api_group]))})
        slots = asyncio.Semaphore(_AT_A_TIME)

        async def ask(right: Right) -> bool:
            resource, _, subresource = right.resource.partition("/")
            attributes = {
                "namespace": self._namespace,
                "group": right.group,
                "resource": resource,
                "subresource": subresource,
                "verb": right.verb,
            }
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            async with slots:
                return bool((await self._review(_ACCESS_REVIEW, body))["status"]["allowed"])

        return dict(zip(wanted, await all_of(map(ask, wanted)), strict=True))

    async def _kinds(self) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        for crd in definitions.in_groups(load_crds(), [self._api_group]):
            name = crd["metadata"]["name"]
            try:
                found[name] = msgspec.json.decode(await self._send(requests.get(requests.CRDS, "", name)))
            except NotFound:
                found[name] = None
        return found

    async def _live_objects(
        self,
    ) -> tuple[Sequence[Lease] | None, Sequence[Suspension] | None, Sequence[ExecutionFacts] | None]:
        leases = await self._list(requests.LEASES, Lease, label_selector=labels.WORKER_GROUP)
        suspensions = await self._list(requests.SUSPENSIONS, Suspension, field_selector=OPEN_SUSPENSIONS_SELECTOR)
        return leases, suspensions, await self._attempt("executions", self._executions())

    async def _executions(self) -> list[ExecutionFacts]:
        found = self._pages(requests.EXECUTIONS, page=_SMALL_PAGE, field_selector=LIVE_PHASES_SELECTOR)
        return [execution_facts(raw) async for raw in found]

    async def _worker_pods(self) -> list[PodFacts]:
        found = self._pages(requests.PODS, label_selector=pods.SELECTOR)
        return [pods.pod_facts(raw) async for raw in found]

    async def _archives(self) -> list[ObjectMeta]:
        found = self._pages(requests.ARCHIVED_EXECUTIONS, only_metadata=True)
        return [msgspec.json.decode(raw, type=PartialObjectMetadata).metadata async for raw in found]

    async def _wait_groups(self) -> list[WaitGroupFacts]:
        return [wait_groups.wait_group_facts(raw) async for raw in self._pages(requests.WAIT_GROUPS)]

    async def _primitives(self, kind: requests.Resource) -> list[PrimitiveFacts]:
        return [primitives.primitive_facts(kind, raw) async for raw in self._pages(kind)]

    async def _coordinators(self) -> list[Lease]:
        """Return the Leases of coordinators: of one that works for all namespaces it stands in any of them."""
        try:
            found = await self._coordinators_in("")
        except Forbidden:
            if not self._namespace:
                raise
            return await self._coordinators_in(self._namespace)
        self._sees_all_coordinators = True
        return found

    async def _coordinators_in(self, namespace: str) -> list[Lease]:
        found = self._pages(
            requests.LEASES, namespace=namespace, label_selector=f"{labels.COORDINATOR}={self._api_group}"
        )
        return [msgspec.json.decode(raw, type=Lease) async for raw in found]

    async def _list(
        self, resource: requests.Resource, type_: type[T], *, label_selector: str = "", field_selector: str = ""
    ) -> list[T] | None:
        async def read() -> list[T]:
            found = self._pages(resource, label_selector=label_selector, field_selector=field_selector)
            return [msgspec.json.decode(raw, type=type_) async for raw in found]

        return await self._attempt(resource.plural, read())

    async def _pages(
        self,
        resource: requests.Resource,
        *,
        namespace: str | None = None,
        page: int = _PAGE,
        label_selector: str = "",
        field_selector: str = "",
        only_metadata: bool = False,
    ) -> AsyncIterator[msgspec.Raw]:
        count, token = 0, ""
        while True:
            request = requests.list_objects(
                resource,
                self._namespace if namespace is None else namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=min(page, self._limit - count),
                continue_token=token,
                only_metadata=only_metadata,
            )
            answer = msgspec.json.decode(await self._send(request), type=_Page)
            for raw in answer.items or ():
                count += 1
                yield raw
            token = answer.metadata.continue_
            if not token:
                return
            if count >= self._limit:
                self._cut[resource.plural] = count
                return

    async def _review(self, path: str, body: Any) -> dict[str, Any]:
        """Ask a question: a POST that stores nothing, and may be repeated."""
        request = requests.Request("POST", path, body=msgspec.json.encode(body))
        found: dict[str, Any] = msgspec.json.decode(
            await self._transport.send(request, repeatable=True, retry_for_s=_RETRY_FOR_S)
        )
        return found

    async def _send(self, request: requests.Request) -> bytes:
        return await self._transport.send(request, retry_for_s=_RETRY_FOR_S)


def execution_facts(raw: msgspec.Raw) -> ExecutionFacts:
    """Return what matters of an Execution."""
    found = msgspec.json.decode(raw, type=Execution)
    return ExecutionFacts(
        name=found.metadata.name,
        namespace=found.metadata.namespace,
        uid=found.metadata.uid,
        function=found.spec.function,
        group=found.metadata.labels.get(labels.WORKER_GROUP, ""),
        phase=found.phase,
        created=found.metadata.creation_timestamp,
        message=found.status.message,
        waiting_for=tuple(found.status.waiting_for),
        crashes=found.status.crashes,
        size=len(bytes(raw)),
    )
