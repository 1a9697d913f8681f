"""Internal. How the values of a kind are owned and merged: field by field, item by item, or as a whole.

``compile_type`` reads it from an OpenAPI schema of whole objects: ``x-kubernetes-list-type``, ``-list-map-keys`` and
``-map-type``. What a schema says nothing about is deduced from the value: objects field by field, lists as a whole.
Called by ``kontinue_engine.apiserver.apply.tracking``, once per kind and version.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kontinue_engine.apiserver.schemas.pruning import EMBEDDED, PRESERVE

MAP: Final = "map"
LIST: Final = "list"
SCALAR: Final = "scalar"


@dataclasses.dataclass(eq=False, slots=True)
class MapType:
    """An object: owned by its members, or as a whole when ``is_atomic``.

    Attributes:
        fields: the members that the schema names.
        element: what other members are; None: there may be none.
    """

    fields: dict[str, Type] = dataclasses.field(default_factory=dict)
    element: Type | None = None
    is_atomic: bool = False


@dataclasses.dataclass(eq=False, slots=True)
class ListType:
    """A list: owned by its items when ``is_associative``, else as a whole.

    Attributes:
        keys: members that identify an item; none: the items are values of a set.
        defaults: of keys that an item leaves out.
    """

    element: Type
    keys: tuple[str, ...] = ()
    is_associative: bool = False
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False, slots=True)
class Type:
    """What a value may be; more than one of them where the schema leaves it open.

    Attributes:
        scalars: Python types of scalars that fit; none: no scalar fits.
        allows_null: whether null is a value, and not just a field left out.
    """

    scalars: tuple[type, ...] = ()
    list: ListType | None = None
    map: MapType | None = None
    allows_null: bool = True

    def form(self, value: Any) -> str:
        """Return as which of ``MAP``, ``LIST`` and ``SCALAR`` to treat ``value``; null is taken for what fits first."""
        if isinstance(value, dict) and self.map:
            return MAP
        if isinstance(value, list) and self.list:
            return LIST
        if isinstance(value, str | int | float) and self.scalars:
            return SCALAR
        return MAP if self.map else SCALAR if self.scalars else LIST

    def member(self, key: str) -> Type | None:
        """Return the type of the member ``key`` of an object; None when there may be none."""
        return self.map.fields.get(key, self.map.element) if self.map else None


_ANY_SCALAR: Final = (str, int, float, bool)
_SCALARS: Final[dict[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "string": (str,),
}
_UNKNOWN_MEMBERS: Final = MapType()
UNKNOWN: Final = Type(scalars=_ANY_SCALAR, map=_UNKNOWN_MEMBERS)
"""Of values that no schema describes."""
_UNKNOWN_MEMBERS.element = UNKNOWN
UNKNOWN.list = ListType(element=UNKNOWN)
_TEXT: Final = Type(scalars=(str,))
_NUMBER: Final = Type(scalars=(int, float))
_TEXTS: Final = Type(map=MapType(element=_TEXT))
OBJECT_META: Final = Type(
    map=MapType(
        fields={
            "annotations": _TEXTS,
            "creationTimestamp": _TEXT,
            "deletionGracePeriodSeconds": _NUMBER,
            "deletionTimestamp": _TEXT,
            "finalizers": Type(list=ListType(element=_TEXT, is_associative=True)),
            "generateName": _TEXT,
            "generation": _NUMBER,
            "labels": _TEXTS,
            "managedFields": Type(list=ListType(element=UNKNOWN)),
            "name": _TEXT,
            "namespace": _TEXT,
            "ownerReferences": Type(
                list=ListType(
                    element=Type(map=MapType(element=UNKNOWN, is_atomic=True)), keys=("uid",), is_associative=True
                )
            ),
            "resourceVersion": _TEXT,
            "selfLink": _TEXT,
            "uid": _TEXT,
        }
    )
)
_WHOLE_OBJECT: Final = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": OBJECT_META}


_REFERENCE: Final = "#/components/schemas/"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_WHOLE_VALUE: Final = Type(
    scalars=_ANY_SCALAR, list=ListType(element=UNKNOWN), map=MapType(element=UNKNOWN, is_atomic=True)
)
_NAMED: Final = {
    _QUANTITY: Type(scalars=_ANY_SCALAR),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _WHOLE_VALUE,
}
"""Types whose schemas do not say what they are."""


def compile_type(schema: dict[str, Any], references: Mapping[str, dict[str, Any]] = {}) -> Type:
    """Return the type of whole objects of ``schema``; ``references`` are the schemas that it may refer to."""
    compiled = _Compiler(references).compile(schema, is_open=False)
    # A kind without a schema of its own is an object all the same.
    described = compiled.map or MapType(element=UNKNOWN)
    fields = {**described.fields, **_WHOLE_OBJECT}
    return Type(map=MapType(fields=fields, element=described.element))


class _Compiler:
    def __init__(self, references: Mapping[str, dict[str, Any]]) -> None:
        self._references = references
        self._named: dict[str, Type] = dict(_NAMED)

    def compile(self, schema: dict[str, Any], *, is_open: bool) -> Type:
        """Compile; ``is_open``: something above lets unknown fields stay, which holds for everything below it."""
        name = _reference(schema)
        if name:
            return self._referred(name, schema)
        is_open = is_open or bool(schema.get(PRESERVE))
        # Null stands for the default where there is one.
        allows_null = bool(schema.get("nullable")) or "default" in schema or not schema.get("type")
        kind = schema.get("type", "")
        if kind in _SCALARS:
            scalars = _ANY_SCALAR if schema.get("format") == "int-or-string" else _SCALARS[kind]
            return Type(scalars=scalars, allows_null=allows_null)
        is_any = kind not in {"array", "object"}
        return Type(
            scalars=_ANY_SCALAR if is_any else (),
            list=self._list(schema, is_open=is_open) if is_any or kind == "array" else None,
            map=self._map(schema, is_open=is_open) if is_any or kind == "object" else None,
            allows_null=allows_null,
        )

    def _referred(self, name: str, schema: dict[str, Any]) -> Type:
        found = self._named.get(name)
        if found is None:
            found = self._named[name] = Type()  # schemas refer to themselves
            compiled = self.compile(self._references[name], is_open=False)
            found.scalars, found.list, found.map = compiled.scalars, compiled.list, compiled.map
        if found.map and _is_atomic(schema):
            return dataclasses.replace(found, map=dataclasses.replace(found.map, is_atomic=True))
        return found

    def _map(self, schema: dict[str, Any], *, is_open: bool) -> MapType:
        properties = schema.get("properties") or {}
        fields = {name: self.compile(below, is_open=is_open) for name, below in properties.items()}
        if schema.get(EMBEDDED):
            fields |= _WHOLE_OBJECT
        additional = schema.get("additionalProperties")
        element: Type | None = None
        if isinstance(additional, dict):
            element = self.compile(additional, is_open=is_open)
        elif additional or (additional is None and (is_open or not fields)):
            element = UNKNOWN
        return MapType(fields=fields, element=element, is_atomic=_is_atomic(schema))

    def _list(self, schema: dict[str, Any], *, is_open: bool) -> ListType:
        items = schema.get("items")
        element = self.compile(items, is_open=is_open) if isinstance(items, dict) else UNKNOWN
        is_associative, keys = _relationship(schema)
        properties: dict[str, Any] = self._resolved(items or {}).get("properties") or {}
        defaults = {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}
        return ListType(element=element, keys=keys, is_associative=is_associative, defaults=defaults)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = _reference(schema)
        return self._references[name] if name else schema


def _reference(schema: dict[str, Any]) -> str:
    """Return the name of the schema that ``schema`` refers to, or "" when it stands for itself."""
    every = schema.get("allOf") or []
    reference = schema.get("$ref") or (every[0].get("$ref") if len(every) == 1 else "") or ""
    return str(reference).removeprefix(_REFERENCE)


def _is_atomic(schema: dict[str, Any]) -> bool:
    return schema.get("x-kubernetes-map-type") == "atomic"


def _relationship(schema: dict[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Tell whether a list's items have an identity, and the keys of it; older kinds only say how they are patched."""
    kind = schema.get("x-kubernetes-list-type")
    if kind:
        return kind in {"map", "set"}, tuple(schema.get("x-kubernetes-list-map-keys") or ()) if kind == "map" else ()
    is_merged = str(schema.get("x-kubernetes-patch-strategy", "")).startswith("merge")
    merge_key = schema.get("x-kubernetes-patch-merge-key")
    return is_merged, (merge_key,) if is_merged and merge_key else ()
