"""Internal. How the values of a kind are owned and merged: field by field, item by item, or as a whole.

``compile_type`` reads it from an OpenAPI schema of whole objects: ``x-kubernetes-list-type``, ``-list-map-keys`` and
``-map-type``. What a schema says nothing about is deduced from the value: objects field by field, lists as a whole.
Called by ``kontinue_engine.apiserver.apply.tracking``, once per kind and version.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from kontinue_engine.apiserver.pruning import EMBEDDED, PRESERVE

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


def compile_type(schema: dict[str, Any]) -> Type:
    """Return the type of whole objects of ``schema``."""
    compiled = _compiled(schema, is_open=False)
    # A kind without a schema of its own is an object all the same.
    described = compiled.map or MapType(element=UNKNOWN)
    fields = {**described.fields, **_WHOLE_OBJECT}
    return Type(map=MapType(fields=fields, element=described.element))


def _compiled(schema: dict[str, Any], *, is_open: bool) -> Type:
    """Compile; ``is_open``: something above lets unknown fields stay, which holds for everything below it."""
    is_open = is_open or bool(schema.get(PRESERVE))
    # Null stands for the default where there is one.
    allows_null = bool(schema.get("nullable")) or "default" in schema or not schema.get("type")
    match schema.get("type"):
        case "object":
            return Type(map=_map_type(schema, is_open=is_open), allows_null=allows_null)
        case "array":
            return Type(list=_list_type(schema, is_open=is_open), allows_null=allows_null)
        case str() as name if name in _SCALARS:
            return Type(scalars=_SCALARS[name], allows_null=allows_null)
        case _:
            return Type(
                scalars=_ANY_SCALAR,
                list=_list_type(schema, is_open=is_open),
                map=_map_type(schema, is_open=is_open),
                allows_null=allows_null,
            )


def _map_type(schema: dict[str, Any], *, is_open: bool) -> MapType:
    properties = schema.get("properties") or {}
    fields = {name: _compiled(below, is_open=is_open) for name, below in properties.items()}
    if schema.get(EMBEDDED):
        fields |= _WHOLE_OBJECT
    additional = schema.get("additionalProperties")
    element: Type | None = None
    if isinstance(additional, dict):
        element = _compiled(additional, is_open=is_open)
    elif additional or (additional is None and (is_open or not fields)):
        element = UNKNOWN
    return MapType(fields=fields, element=element, is_atomic=schema.get("x-kubernetes-map-type") == "atomic")


def _list_type(schema: dict[str, Any], *, is_open: bool) -> ListType:
    items = schema.get("items")
    element = _compiled(items, is_open=is_open) if isinstance(items, dict) else UNKNOWN
    kind = schema.get("x-kubernetes-list-type")
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if kind == "map" else ()
    properties = (items or {}).get("properties") or {}
    defaults = {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}
    return ListType(element=element, keys=keys, is_associative=kind in {"map", "set"}, defaults=defaults)
