"""Internal. Strategic merge patch: a merge patch that knows which lists of the built-in kinds merge, and by which key.

Objects merge as in a merge patch. A list whose field says so merges by its merge key, or as a set of values; any other
is replaced. The directives ``$patch``, ``$retainKeys``, ``$deleteFromPrimitiveList`` and ``$setElementOrder`` are
obeyed, and order comes out as in kube-apiserver. Types are asked of ``builtin.types``; of what they do not know
(CustomResourceDefinitions) only metadata has a type. Called by the handlers; custom kinds answer 415 and never come
here. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import types
from kontinue_engine.apiserver.builtin.types import Field
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.values import with_whole_numbers

_DELETE_VALUES: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"
_NOTHING: Final[dict[str, Field]] = {}
_UNTYPED: Final = {"metadata": Field(1, "", "meta/v1.ObjectMeta", "")}


def apply_strategic_patch(resource: ResourceInfo, document: Any, patch: Any) -> Any:
    """Return ``document`` changed by ``patch``; neither is changed itself.

    Raises:
        StatusError: 400, a directive has a wrong form or the patch is nested too deeply.
    """
    struct = types.struct_of(resource.group, resource.version, resource.kind)
    try:
        # Of no other JSON does kube-apiserver take 1.0 for the integers of its own kinds.
        patch = with_whole_numbers(patch)
        return _merged(types.json_fields(struct) if struct else _UNTYPED, document, patch)
    except RecursionError:
        raise statuses.bad_request("strategic merge patch is nested too deeply") from None


def _merged(fields: dict[str, Field], document: Any, patch: dict[str, Any]) -> Any:
    merged: dict[str, Any] = dict(document) if isinstance(document, dict) else {}
    match patch.get("$patch", "merge"):
        case "replace":
            return {key: value for key, value in patch.items() if key != "$patch"}
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise statuses.bad_request(f"unknown $patch directive {other!r}")
    if "$retainKeys" in patch:
        merged = _retained(merged, patch)
    for key, value in patch.items():
        if key.startswith(_DELETE_VALUES):
            name = key.removeprefix(_DELETE_VALUES)
            if isinstance(merged.get(name), list) and isinstance(value, list):  # else ignored, as in kube-apiserver
                gone = set(map(_identity, value))
                merged[name] = [item for item in merged[name] if _identity(item) not in gone]
        elif key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            if name not in patch and isinstance(merged.get(name), list):
                merged[name] = _ordered(fields.get(name), merged[name], _list_of(patch, key), merged[name])
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        else:
            order = _list_of(patch, _ORDER + key) if _ORDER + key in patch else None
            merged[key] = _merged_value(fields.get(key), merged.get(key), value, order)
    return merged


def _retained(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    kept = set(map(_identity, _list_of(patch, "$retainKeys")))
    if any(key not in kept for key, value in patch.items() if not key.startswith("$") and value is not None):
        raise statuses.bad_request("$retainKeys must name every key of its patch")
    return {key: value for key, value in document.items() if key in kept}


def _merged_value(field: Field | None, old: Any, new: Any, order: list[Any] | None) -> Any:
    if isinstance(new, dict):
        return _merged(_fields_below(field), old, new)
    if not isinstance(new, list) or field is None or not field.strategy.startswith("merge"):
        return new
    before = old if isinstance(old, list) else []
    merged = _merged_list(field, before, new)
    if order is None:
        return merged
    position = _position_in(field, order)
    positions = [position(item) for item in new if not _is_directive(item)]
    if positions != sorted(positions) or -1 in positions:
        raise statuses.bad_request(f"the order in the patch does not match its $setElementOrder: {order}")
    return _ordered(field, merged, order, before)


def _is_directive(item: Any) -> bool:
    return isinstance(item, dict) and "$patch" in item


def _fields_below(field: Field | None) -> dict[str, Field]:
    if field is None or field.container or not types.is_struct(field.element):
        return _NOTHING
    return types.json_fields(field.element)


def _merged_list(field: Field, before: list[Any], patches: list[Any]) -> list[Any]:
    if not field.merge_key:
        unique: dict[Any, Any] = {}
        for value in (*before, *patches):
            unique.setdefault(_identity(value), value)
        return _ordered(field, list(unique.values()), patches, before)
    wanted = [_with_key(field.merge_key, patch) for patch in patches]
    if any(patch.get("$patch") == "replace" for patch in wanted):
        return [patch for patch in wanted if patch.get("$patch") != "replace"]
    gone = {_identity(patch.get(field.merge_key)) for patch in wanted if patch.get("$patch") == "delete"}
    before = [item for item in before if _key_of(field, item) not in gone]
    wanted = [patch for patch in wanted if patch.get("$patch") != "delete"]
    below = types.json_fields(field.element)
    merged = list(before)
    places: dict[Any, int] = {}
    for index, item in enumerate(merged):
        places.setdefault(_key_of(field, item), index)
    for patch in wanted:
        place = places.setdefault(_key_of(field, patch), len(merged))
        if place == len(merged):
            merged.append({})
        merged[place] = _merged(below, merged[place], patch)
    return _ordered(field, merged, wanted, before)


def _with_key(merge_key: str, patch: Any) -> dict[str, Any]:
    if not isinstance(patch, dict) or (patch.get("$patch") != "replace" and merge_key not in patch):
        raise statuses.bad_request(f"map: {patch} does not contain declared merge key: {merge_key}")
    return patch


def _key_of(field: Field, item: Any) -> Any:
    return _identity(item.get(field.merge_key) if field.merge_key and isinstance(item, dict) else item)


def _identity(value: Any) -> Any:
    """Return what can be looked up: lists may be long, and comparing each item with each would hold up everybody."""
    return value if isinstance(value, str | float | None) or type(value) is int else (type(value), repr(value))


def _ordered(field: Field | None, items: list[Any], order: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """Return ``items``, those of ``order`` in its order, the others as near to where they were as that allows."""
    if field is None:
        return items
    first = _position_in(field, order)
    was = _position_in(field, before)
    patched = sorted((item for item in items if first(item) >= 0), key=first)
    others = sorted((item for item in items if first(item) < 0), key=was)
    result = []
    next_patched, next_others = deque(patched), deque(others)
    while next_patched and next_others:
        is_other_next = 0 <= was(next_others[0]) < was(next_patched[0])
        result.append((next_others if is_other_next else next_patched).popleft())
    return [*result, *next_patched, *next_others]


def _position_in(field: Field, items: Sequence[Any]) -> Callable[[Any], int]:
    places: dict[Any, int] = {}
    for index, item in enumerate(items):
        places.setdefault(_key_of(field, item), index)
    return lambda item: places.get(_key_of(field, item), -1)


def _list_of(patch: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(patch[key], list):
        raise statuses.bad_request(f"{key} must be an array")
    values: list[Any] = patch[key]
    return values
