"""Internal. The part of a structural schema that says how the items of a list are told apart: sets, maps, their keys.

Called by ``kontinue_engine.apiserver.custom.structural`` for every place of a schema. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kontinue_engine.apiserver.custom.crd_types import Schema
from kontinue_engine.apiserver.statuses import Cause, cause


def problems(schema: Schema, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the list type of ``schema``, not with what stands below it."""
    keys, items = schema.x_list_map_keys or [], schema.items
    list_type, at_keys = f"{path}.x-kubernetes-list-type", f"{path}.x-kubernetes-list-map-keys"
    if keys and schema.x_list_type != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        if schema.x_list_type is None:
            yield cause("FieldValueRequired", list_type, detail=detail)
        else:
            yield cause("FieldValueInvalid", list_type, value=schema.x_list_type, detail=detail)
    if schema.x_list_type == "set" and items is not None:
        yield from _set_item_problems(items, f"{path}.items")
    if schema.x_list_type in {"map", "set"} and items is not None and items.nullable:
        detail = "this is the item of a list of type map or set, so it cannot be nullable"
        yield cause("FieldValueForbidden", f"{path}.items.nullable", detail=detail)
    if schema.x_list_type != "map":
        return
    if not keys:
        yield cause("FieldValueRequired", at_keys, detail="must not be empty if x-kubernetes-list-type is map")
    if items is None:
        detail = "must have a schema if x-kubernetes-list-type is map"
        yield cause("FieldValueRequired", f"{path}.items", detail=detail)
    elif items.type != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        yield cause("FieldValueInvalid", f"{path}.items.type", value=items.type or "", detail=detail)
    else:
        yield from _key_problems(keys, items, f"{path}.items", at_keys)


def _set_item_problems(items: Schema, path: str) -> Iterator[Cause]:
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.type == "array" and items.x_list_type not in {None, "atomic"}:
        yield cause("FieldValueInvalid", f"{path}.x-kubernetes-list-type", value=items.x_list_type, detail=detail)
    if items.type == "object" and items.x_map_type != "atomic":
        yield cause("FieldValueInvalid", f"{path}.x-kubernetes-map-type", value=items.x_map_type, detail=detail)


def _key_problems(keys: Sequence[str], items: Schema, path: str, at_keys: str) -> Iterator[Cause]:
    for index, key in enumerate(keys):
        field = (items.properties or {}).get(key)
        at = f"{path}.properties[{key}]"
        if key in keys[:index]:
            yield cause("FieldValueInvalid", at_keys, value=keys, detail="must not contain duplicate entries")
        if field is None:
            yield cause("FieldValueInvalid", at_keys, value=keys, detail="entries must all be names of item properties")
            continue
        if field.type in {"array", "object"}:
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield cause("FieldValueInvalid", f"{at}.type", value=field.type, detail=detail)
        because = "this property is in x-kubernetes-list-map-keys, so it"
        if field.default is None and key not in (items.required or ()):
            yield cause("FieldValueRequired", f"{at}.default", detail=f"{because} must have a default or be required")
        if field.nullable:
            yield cause("FieldValueForbidden", f"{at}.nullable", detail=f"{because} cannot be nullable")
