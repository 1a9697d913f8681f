"""Kubernetes' object metadata as frozen structs (camelCase on the wire). Only the fields that kontinue reads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")


class ApiStruct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every API struct: immutable, camelCase, defaults left out when encoded."""


class ApiObject(ApiStruct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of whole objects: ``apiVersion`` and ``kind`` are always encoded, as custom resources need them."""


class OwnerReference(ApiStruct, frozen=True):
    """Names the object that this one belongs to; ``uid`` decides."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


def parent_of(owners: Iterable[OwnerReference]) -> OwnerReference | None:
    """Return the Execution among the owners of an object; None if there is none."""
    return next((owner for owner in owners if owner.kind == "Execution"), None)


class ObjectMeta(ApiStruct, frozen=True):
    """``metadata`` of any object."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []


class PartialObjectMetadata(ApiStruct, frozen=True):
    """Any object without spec and status, as ``meta.k8s.io/v1`` answers it."""

    metadata: ObjectMeta


class ListMeta(ApiStruct, frozen=True):
    """``metadata`` of a list; in kube's JSON ``continue`` marks that more pages follow."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")
    remaining_item_count: int | None = None


class ObjectList(ApiStruct, Generic[T], frozen=True):
    """One page of a list."""

    metadata: ListMeta
    items: list[T] = []


class Condition(ApiStruct, frozen=True):
    """One entry of ``status.conditions``; ``status`` is ``True``, ``False`` or ``Unknown``."""

    type: Annotated[str, msgspec.Meta(description="Name of the fact, such as Stopped.")]
    status: Annotated[str, msgspec.Meta(description="True, False or Unknown.")]
    reason: Annotated[str, msgspec.Meta(description="Machine-readable cause.")] = ""
    message: Annotated[str, msgspec.Meta(description="Cause, for people.")] = ""
    last_transition_time: Annotated[datetime | None, msgspec.Meta(description="When status last changed.")] = None
    observed_generation: Annotated[int, msgspec.Meta(description="metadata.generation that this speaks about.")] = 0


class Lease(ApiObject, frozen=True):
    """``coordination.k8s.io/v1`` Lease."""

    metadata: ObjectMeta
    spec: LeaseSpec
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


class LeaseSpec(ApiStruct, frozen=True):
    """Who holds a Lease, since when and for how long (seconds)."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int = 0


class ObjectReference(ApiStruct, frozen=True):
    """Names the object that an Event is about."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Event(ApiObject, frozen=True):
    """Core ``v1`` Event: what ``kubectl describe`` prints at the end."""

    metadata: ObjectMeta
    involved_object: ObjectReference
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    count: int = 1
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    source: EventSource | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
    api_version: str = "v1"
    kind: str = "Event"


class EventSource(ApiStruct, frozen=True):
    """Component that reported an Event."""

    component: str = ""
    host: str = ""
