"""Internal. What the server knows of one kind of one group and version: ``ResourceInfo``.

Discovery, tables, OpenAPI and the router are all built from these values; the kinds of CRDs are made by
``kontinue_engine.apiserver.custom.custom_resources``, those of Kubernetes by
``kontinue_engine.apiserver.builtin.kinds``. No I/O here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from kontinue_engine.apiserver.values import whole_number

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
METADATA_FIELDS: Final = ("metadata.name", "metadata.namespace")


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of server-side printing; ``json_path`` is the dotted form of CRDs, ``.spec.function``."""

    name: str
    type: str
    json_path: str
    description: str = ""
    format: str = ""
    priority: int = 0


class ScalePaths(msgspec.Struct, frozen=True, kw_only=True):
    """Where a kind keeps what its scale subresource shows: paths as ``.spec.replicas``; "" for no label selector."""

    spec_replicas: str
    status_replicas: str
    label_selector: str


class ResourceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as served: names, verbs, how it is printed and selected, and its schema.

    Attributes:
        subresources: of ``status``, ``scale`` and ``finalize``.
        columns: after NAME; kube's default is one Age column.
        selectable_fields: field selectors besides ``metadata.name`` and ``metadata.namespace``, as ``status.phase``.
        field_aliases: names of selectable fields in this version, to those that objects have as they are stored.
        schema: OpenAPI v3 schema of whole objects, as in a CRD.
        has_generation: whether metadata.generation counts the changes of its objects; those of CRDs always have it.
        custom: whether a CRD defines it (no strategic merge patch, structural schema).
        scale: of those with a scale subresource.
        deprecation: what whoever uses this version is warned of; "": it is not deprecated.
        convert: from an object's JSON as stored to that of this version; None where there is but one version.
        api_version: derived; ``apiVersion`` of objects: ``v1`` or ``group/version``.
        group_resource: derived; ``executions.kontinue.cloud``, or just the plural in the core group: how messages name
            it.
        store_key: under which the objects of all versions are stored; derived unless another kind's are meant.
    """

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    list_kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    columns: tuple[Column, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    field_aliases: dict[str, str] = {}
    schema: dict[str, Any] = {}
    has_generation: bool = False
    custom: bool = False
    scale: ScalePaths | None = None
    deprecation: str = ""
    convert: Callable[[bytes], bytes] | None = None
    api_version: str = ""
    group_resource: str = ""
    store_key: str = ""

    def __post_init__(self) -> None:
        # Asked for several times by every request.
        api_version = f"{self.group}/{self.version}" if self.group else self.version
        group_resource = f"{self.plural}.{self.group}" if self.group else self.plural
        msgspec.structs.force_setattr(self, "api_version", api_version)
        msgspec.structs.force_setattr(self, "group_resource", group_resource)
        msgspec.structs.force_setattr(self, "store_key", self.store_key or group_resource)

    @property
    def field_selectors(self) -> tuple[str, ...]:
        """Every field that a field selector may name."""
        metadata_fields = METADATA_FIELDS if self.namespaced else METADATA_FIELDS[:1]
        return (*metadata_fields, *self.selectable_fields, *self.field_aliases)


AGE: Final = Column(name="Age", type="date", json_path=".metadata.creationTimestamp")


def _built_in(kind: str, plural: str, *, group: str = "", **fields: Any) -> ResourceInfo:
    return ResourceInfo(
        group=group,
        version="v1",
        plural=plural,
        kind=kind,
        singular=kind.lower(),
        list_kind=f"{kind}List",
        **fields,
    )


# Kinds that the server itself treats specially; the others stand in kontinue_engine.apiserver.builtin.kinds.

NAMESPACES: Final = _built_in(
    "Namespace",
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    subresources=("finalize", "status"),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    selectable_fields=("status.phase",),
)

EVENTS: Final = _built_in(
    "Event",
    "events",
    short_names=("ev",),
    selectable_fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)

CONFIG_MAPS: Final = _built_in("ConfigMap", "configmaps", short_names=("cm",))

SECRETS: Final = _built_in("Secret", "secrets", selectable_fields=("type",))

SERVICE_ACCOUNTS: Final = _built_in("ServiceAccount", "serviceaccounts", short_names=("sa",))

LEASES: Final = _built_in("Lease", "leases", group="coordination.k8s.io")

CUSTOM_RESOURCE_DEFINITIONS: Final = _built_in(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    group="apiextensions.k8s.io",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=("status",),
    has_generation=True,
    columns=(Column(name="Created At", type="string", json_path=".metadata.creationTimestamp"),),
)


@functools.cache
def _keys(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def field_values(resource: ResourceInfo, obj: dict[str, Any]) -> dict[str, str]:
    """Return the kind's own selectable fields that ``obj`` has, as text; a selector takes a missing one for ``""``."""
    values: dict[str, str] = {}
    for path in resource.selectable_fields:
        value: Any = obj
        for key in _keys(path):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = value.get("component")  # the source of an Event
        if value is not None:
            values[path] = ("true" if value else "false") if isinstance(value, bool) else str(whole_number(value))
    return values
