"""Internal. The watches of a replica: what it follows, and who is told. Built for ``worker.replica``."""

from __future__ import annotations

from kontinue.api import labels
from kontinue.api.meta import Lease, PartialObjectMetadata
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Execution
from kontinue.kube import requests
from kontinue_engine.controllers.adoption import Adopter
from kontinue_engine.controllers.function import FunctionController
from kontinue_engine.controllers.offspring import Offspring
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.kube.ends_of_children import follow_ends
from kontinue_engine.kube.executions import UNADOPTED_SELECTOR
from kontinue_engine.kube.informer import Informer, InformerHandler
from kontinue_engine.kube.open_suspensions import SuspensionView, follow_open_suspensions


def own_executions(runtime: Runtime, handler: InformerHandler[Execution]) -> Informer[Execution]:
    """Follow the live Executions that this replica is responsible for."""
    selector = _of_group(runtime)
    if runtime.scope.shard:
        selector += f",{labels.SHARD}={runtime.scope.shard}"
    return _live_executions(runtime, handler, selector)


def unadopted_executions(runtime: Runtime, adopter: Adopter) -> Informer[Execution]:
    """Follow the live Executions of the namespace that belong to no worker group."""
    return _live_executions(runtime, adopter, UNADOPTED_SELECTOR)


def ends_of_children(runtime: Runtime, offspring: Offspring) -> Informer[PartialObjectMetadata]:
    """Follow the ends of children that run elsewhere, for parents of this group."""
    return follow_ends(
        runtime.transport,
        namespace=runtime.scope.namespace,
        group=runtime.scope.group,
        on_end=offspring.on_foreign_end,
    )


def open_suspensions(runtime: Runtime) -> Informer[SuspensionView]:
    """Follow what Executions of the group wait for."""
    return follow_open_suspensions(
        runtime.transport,
        namespace=runtime.scope.namespace,
        group=runtime.scope.group,
        store=runtime.suspensions,
    )


def group_leases(runtime: Runtime, watch: LeaseWatch) -> Informer[Lease]:
    """Follow the Leases of the group: of leadership, shards and mutexes."""
    return Informer(
        runtime.transport,
        requests.LEASES,
        runtime.scope.namespace,
        type_=Lease,
        handler=watch,
        label_selector=_of_group(runtime),
    )


def registered_functions(runtime: Runtime, functions: FunctionController) -> Informer[PartialObjectMetadata]:
    """Follow the Function objects of the group."""
    return Informer(
        runtime.transport,
        requests.FUNCTIONS,
        runtime.scope.namespace,
        type_=PartialObjectMetadata,
        handler=functions,
        label_selector=_of_group(runtime),
        only_metadata=True,
    )


def _of_group(runtime: Runtime) -> str:
    return f"{labels.WORKER_GROUP}={runtime.scope.group}"


def _live_executions(runtime: Runtime, handler: InformerHandler[Execution], selector: str) -> Informer[Execution]:
    return Informer(
        runtime.transport,
        requests.EXECUTIONS,
        runtime.scope.namespace,
        type_=Execution,
        handler=handler,
        label_selector=selector,
        field_selector=LIVE_PHASES_SELECTOR,
    )
