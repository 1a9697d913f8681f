"""Finds keys of JSON objects that the dataclass or struct they are read as does not have.

msgspec drops such keys, so a misspelled optional field would be lost without a word. ``kontinue._signatures`` looks at
arguments with it, and only where they hold such classes; pydantic models decide for themselves (``extra``).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import inspect

Objects = inspect.DataclassType | inspect.StructType | inspect.TypedDictType
_OBJECTS: Final = (inspect.DataclassType, inspect.StructType, inspect.TypedDictType)
_LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)
_TUPLES: Final = (inspect.TupleType,)
_OPEN: Final = (inspect.CustomType, inspect.AnyType)


class UnknownField(NamedTuple):
    """A key that nobody reads; ``path`` names it."""

    path: str
    message: str


def finder_for(type_: Any) -> Callable[[bytes], UnknownField | None] | None:
    """Return what finds the first unknown field in JSON of ``type_``; None if there can be none below its own keys."""
    info = inspect.type_info(type_)
    return (lambda data: _find(info, msgspec.json.decode(data), "$")) if _has_objects(info, set()) else None


def _has_objects(info: Any, seen: set[int]) -> bool:
    if id(info) in seen:
        return False
    seen.add(id(info))
    if isinstance(info, inspect.StructType) and info.forbid_unknown_fields:
        return any(_has_objects(field.type, seen) for field in info.fields)
    return isinstance(info, _OBJECTS) or any(_has_objects(part, seen) for part in _parts_of(info))


def _parts_of(info: Any) -> list[Any]:
    if isinstance(info, inspect.Metadata):
        return [info.type]
    if isinstance(info, _LISTS):
        return [info.item_type]
    if isinstance(info, _TUPLES):
        return list(info.item_types)
    if isinstance(info, inspect.DictType):
        return [info.value_type]
    if isinstance(info, inspect.UnionType):
        return list(info.types)
    return []


def _find(info: Any, value: Any, path: str) -> UnknownField | None:
    """Return the first unknown field; ``value`` is known to fit ``info``."""
    if info is None or isinstance(info, _OPEN):
        return None
    if isinstance(info, inspect.Metadata):
        return _find(info.type, value, path)
    if isinstance(info, inspect.UnionType):
        candidates = [_find(part, value, path) for part in info.types if _may_be(part, value)]
        return candidates[0] if candidates and all(candidates) else None
    if isinstance(value, dict) and isinstance(info, _OBJECTS):
        unknown = _unknown_key(info, cast("dict[str, Any]", value), path)
        if unknown is not None:
            return unknown
    for part, inner, where in _children(info, value):
        found = _find(part, inner, path + where)
        if found is not None:
            return found
    return None


def _children(info: Any, value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield the type of each part of ``value``, the part, and the step of a path to it."""
    if isinstance(value, list):
        items = cast("Sequence[Any]", value)
        types = info.item_types if isinstance(info, _TUPLES) else _parts_of(info) * len(items)
        for index, (part, item) in enumerate(zip(types, items, strict=False)):
            yield part, item, f"[{index}]"
    elif isinstance(value, dict):
        fields = {field.encode_name: field.type for field in info.fields} if isinstance(info, _OBJECTS) else {}
        for key, item in cast("dict[str, Any]", value).items():
            part = info.value_type if isinstance(info, inspect.DictType) else fields.get(key)
            yield part, item, f".{key}"


def _may_be(info: Any, value: Any) -> bool:
    """Tell whether a part of a union could be what ``value`` was read as."""
    if isinstance(info, inspect.Metadata):
        return _may_be(info.type, value)
    if not isinstance(value, dict):
        return isinstance(value, list) and isinstance(info, (*_LISTS, *_TUPLES, *_OPEN))
    if isinstance(info, inspect.StructType) and info.tag_field is not None:
        return cast("dict[str, Any]", value).get(info.tag_field) == info.tag
    return isinstance(info, (*_OBJECTS, inspect.DictType, *_OPEN))


def _unknown_key(info: Objects, value: Mapping[str, Any], path: str) -> UnknownField | None:
    known = [field.encode_name for field in info.fields]
    tag_field = info.tag_field if isinstance(info, inspect.StructType) else None
    for key in value:
        if key not in known and key != tag_field:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            fields = ", ".join(known) or "none"
            return UnknownField(f"{path}.{key}", f"unknown field{hint}; the fields of {info.cls.__name__} are {fields}")
    return None
