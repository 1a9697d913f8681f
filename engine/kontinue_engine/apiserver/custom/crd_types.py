"""Internal. A CustomResourceDefinition as types: what is no such thing is refused, unknown members are dropped.

``normalized`` does to a CRD what kube-apiserver does by decoding it: wrong types are a 400, unknown members go, names
that may be left out are filled in. ``kontinue_engine.apiserver.custom.definitions`` and
``kontinue_engine.apiserver.custom.structural`` judge the typed values. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from kontinue_engine.apiserver import statuses

_SPELLED: Final = {
    "schema_": "$schema",
    "ref": "$ref",
    "open_api_v3_schema": "openAPIV3Schema",
    "x_embedded_resource": "x-kubernetes-embedded-resource",
    "x_int_or_string": "x-kubernetes-int-or-string",
    "x_list_map_keys": "x-kubernetes-list-map-keys",
    "x_list_type": "x-kubernetes-list-type",
    "x_map_type": "x-kubernetes-map-type",
    "x_preserve_unknown_fields": "x-kubernetes-preserve-unknown-fields",
    "x_validations": "x-kubernetes-validations",
    "not_": "not",
}
_T = TypeVar("_T")
_RAW: Final = frozenset({"default", "enum", "example"})
"""Members of a schema whose values are anything, nulls included."""


def _spelled(name: str) -> str:
    if name in _SPELLED:
        return _SPELLED[name]
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Typed(msgspec.Struct, rename=_spelled, omit_defaults=True):
    """What was given and is not null is kept as it came; so False and "" stay."""


class Rule(_Typed):
    """One entry of x-kubernetes-validations."""

    rule: str = ""
    message: str | None = None
    message_expression: str | None = None
    reason: str | None = None
    field_path: str | None = None
    optional_old_self: bool | None = None


class Schema(_Typed):
    """An OpenAPI schema, as far as CRDs know it."""

    id: str | None = None
    schema_: str | None = None
    ref: str | None = None
    description: str | None = None
    type: str | None = None
    format: str | None = None
    title: str | None = None
    default: Any = None
    maximum: int | float | None = None
    exclusive_maximum: bool | None = None
    minimum: int | float | None = None
    exclusive_minimum: bool | None = None
    max_length: int | None = None
    min_length: int | None = None
    pattern: str | None = None
    max_items: int | None = None
    min_items: int | None = None
    unique_items: bool | None = None
    multiple_of: int | float | None = None
    enum: list[Any] | None = None
    max_properties: int | None = None
    min_properties: int | None = None
    required: list[str] | None = None
    items: Schema | None = None
    all_of: list[Schema] | None = None
    one_of: list[Schema] | None = None
    any_of: list[Schema] | None = None
    not_: Schema | None = None
    properties: dict[str, Schema] | None = None
    additional_properties: bool | Schema | None = None
    pattern_properties: dict[str, Schema] | None = None
    dependencies: dict[str, Any] | None = None
    additional_items: bool | Schema | None = None
    definitions: dict[str, Schema] | None = None
    external_docs: dict[str, Any] | None = None
    example: Any = None
    nullable: bool | None = None
    x_preserve_unknown_fields: bool | None = None
    x_embedded_resource: bool | None = None
    x_int_or_string: bool | None = None
    x_list_map_keys: list[str] | None = None
    x_list_type: str | None = None
    x_map_type: str | None = None
    x_validations: list[Rule] | None = None


class Column(_Typed):
    """One of additionalPrinterColumns."""

    name: str = ""
    type: str = ""
    json_path: str = ""
    format: str | None = None
    description: str | None = None
    priority: int | None = None


class SelectableField(_Typed):
    """One of selectableFields."""

    json_path: str = ""


class Scale(_Typed):
    """Where a kind keeps its replicas."""

    spec_replicas_path: str = ""
    status_replicas_path: str = ""
    label_selector_path: str | None = None


class Subresources(_Typed):
    """What a kind has besides its objects."""

    status: dict[str, Any] | None = None
    scale: Scale | None = None


class VersionSchema(_Typed):
    """The schema of a version."""

    open_api_v3_schema: Schema | None = None


class Version(_Typed):
    """One version of a kind."""

    name: str
    served: bool
    storage: bool
    deprecated: bool | None = None
    deprecation_warning: str | None = None
    schema: VersionSchema | None = None
    subresources: Subresources | None = None
    additional_printer_columns: list[Column] | None = None
    selectable_fields: list[SelectableField] | None = None


class Names(_Typed):
    """What a kind is called."""

    plural: str = ""
    kind: str = ""
    singular: str | None = None
    list_kind: str | None = None
    short_names: list[str] | None = None
    categories: list[str] | None = None


class Conversion(_Typed):
    """How objects get from one version to another."""

    strategy: str = "None"
    webhook: dict[str, Any] | None = None


class Spec(_Typed):
    """The spec of a CustomResourceDefinition."""

    group: str = ""
    names: Names = msgspec.field(default_factory=Names)
    scope: str = ""
    versions: list[Version] = []
    conversion: Conversion | None = None
    preserve_unknown_fields: bool | None = None


class Condition(_Typed):
    """One of the conditions of a status."""

    type: str = ""
    status: str = ""
    last_transition_time: datetime | None = None
    reason: str | None = None
    message: str | None = None
    observed_generation: int | None = None


class Status(_Typed):
    """The status of a CustomResourceDefinition, which clients can write too."""

    conditions: list[Condition] | None = None
    accepted_names: Names | None = None
    stored_versions: list[str] | None = None
    observed_generation: int | None = None


def parse(crd: dict[str, Any], *, is_patched: bool = False) -> Spec:
    """Read the spec of ``crd``.

    Raises:
        StatusError: 400 (422 when ``is_patched``), something has a type that it cannot have.
    """
    return _read(crd.get("spec"), Spec, "spec", is_patched=is_patched)


def normalized(crd: dict[str, Any], *, is_patched: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Return ``crd`` as it is stored and the paths of the members that it should not have.

    Raises:
        StatusError: 400 (422 when ``is_patched``), something has a type that it cannot have.
    """
    kept = msgspec.to_builtins(parse(crd, is_patched=is_patched))
    unknown = list(_dropped(crd.get("spec") or {}, kept, "spec"))
    if "status" in crd:
        status = msgspec.to_builtins(_read(crd["status"], Status, "status", is_patched=is_patched))
        unknown += _dropped(crd["status"] or {}, status, "status")
        crd = {**crd, "status": status}
    names = kept.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    kept["conversion"] = {"strategy": "None", **kept.get("conversion", {})}
    if kept.get("preserveUnknownFields") is False:
        del kept["preserveUnknownFields"]
    return {**crd, "spec": kept}, unknown


def _read(value: Any, kind: type[_T], name: str, *, is_patched: bool) -> _T:
    try:
        return msgspec.convert({} if value is None else _without_nulls(value), kind)
    except msgspec.ValidationError as error:
        problem = (
            f'CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition: {name}: {error}'
        )
        raise statuses.undecodable(problem, is_patched=is_patched) from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if key in _RAW else _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _dropped(given: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from _dropped(value, kept[key], f"{path}.{key}")
            elif value:  # an empty one may have been left out as a default
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for index, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from _dropped(value, other, f"{path}[{index}]")
