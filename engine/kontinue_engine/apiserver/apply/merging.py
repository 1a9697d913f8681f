"""Internal. Lay an applied configuration over an object, and take fields out of an object.

Objects merge member by member and lists of items with an identity item by item; everything else is replaced as a
whole. Nothing is changed in place; what did not change is shared. Called by
``kontinue_engine.apiserver.apply.ownership``.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from kontinue_engine.apiserver.apply import field_sets
from kontinue_engine.apiserver.apply.field_sets import FieldSet, Path
from kontinue_engine.apiserver.apply.typed_values import ABSENT, elements, repeated_elements
from kontinue_engine.apiserver.apply.types import LIST, MAP, UNKNOWN, ListType, Type


def merge(kind: Type, live: Any, config: Any) -> Any:
    """Return ``live`` with everything that ``config`` says."""
    if live is ABSENT:
        return config
    form = kind.form(config)
    if form == MAP and kind.map and not kind.map.is_atomic and isinstance(config, dict | None):
        before = live if isinstance(live, dict) else {}
        if before or config:
            return _merged_members(kind, before, config or {})
    if form == LIST and kind.list and kind.list.is_associative and isinstance(config, list | None):
        items = live if isinstance(live, list) else []
        if items or config:
            return _merged_items(kind.list, items, config or [])
    return config


def remove(kind: Type, value: Any, fields: FieldSet) -> Any:
    """Return ``value`` without ``fields``; an object or list that loses all it had becomes null, as upstream."""
    return _remaining(kind, value, (), fields, field_sets.prefixes(fields)) if fields else value


def with_named_fields(kind: Type, fields: FieldSet) -> FieldSet:
    """Return ``fields`` and the members named by the schema that lead to them, which go when all within them goes."""
    found = set(fields)
    for path in field_sets.prefixes(fields):
        parent = _type_at(kind, path[:-1])
        if parent and parent.map and path[-1].removeprefix("f:") in parent.map.fields and path[-1].startswith("f:"):
            found.add(path)
    return frozenset(found)


def reconciled(kind: Type, fields: FieldSet) -> FieldSet:
    """Return ``fields`` where those within what the schema now owns as a whole are that whole."""
    return frozenset(_outermost_atom(kind, path) for path in fields)


def _outermost_atom(kind: Type, path: Path) -> Path:
    for length in range(1, len(path)):
        below = _type_at(kind, path[:length])
        if below is None or below is UNKNOWN:
            break
        is_member = path[length].startswith("f:")
        if (below.map and below.map.is_atomic and is_member) or (
            below.list and not below.list.is_associative and not is_member
        ):
            return path[:length]
    return path


def _type_at(kind: Type, path: Path) -> Type | None:
    found: Type | None = kind
    for element in path:
        if found is None:
            return None
        if element.startswith("f:"):
            found = found.member(element.removeprefix("f:"))
        else:
            found = found.list.element if found.list else None
    return found


def _merged_members(kind: Type, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    merged = dict(live)
    for key, value in config.items():
        merged[key] = merge(kind.member(key) or UNKNOWN, live.get(key, ABSENT), value)
    return merged


def _merged_items(kind: ListType, live: list[Any], config: list[Any]) -> list[Any]:
    before = elements(kind, live)
    after = elements(kind, config)
    live_by_element = dict(zip(before, live, strict=True))
    config_by_element = dict(zip(after, config, strict=True))
    repeated = repeated_elements(before)
    merged: list[Any] = []
    for element, index in _merged_order(before, after):
        if element not in config_by_element:
            merged.append(live[index])
        elif element in repeated:  # which of them is meant cannot be told: the configuration replaces them all
            merged.append(config_by_element[element])
        else:
            item = live_by_element.get(element, ABSENT)
            merged.append(merge(kind.element, item, config_by_element[element]))
    return merged


def _merged_order(live: list[str], config: list[str]) -> list[tuple[str, int]]:
    """Return the order of merged items, each with its place in ``live`` if only that has it.

    The configuration's order counts where both have items; an item that only the object has stays behind the one that
    it stood behind.
    """
    in_live, in_config = set(live), set(config)
    shared = deque(element for element in config if element in in_live)
    taken: set[str] = set()
    order: list[tuple[str, int]] = []
    left = right = 0
    while left < len(live) or right < len(config):
        if left < len(live):
            element = live[left]
            if element not in in_config:
                order.append((element, left))
                left += 1
                continue
            is_out_of_turn = right < len(config) and bool(shared) and shared[0] != element
            if element in taken or is_out_of_turn:
                left += 1
                continue
        if right < len(config):
            element = config[right]
            order.append((element, -1))
            taken.add(element)
            if shared and shared[0] == element:
                shared.popleft()
            left += left < len(live) and live[left] == element
            right += 1
    return order


def _remaining(kind: Type, value: Any, path: Path, fields: FieldSet, leading: FieldSet) -> Any:
    form = kind.form(value)
    if form == MAP and kind.map and not kind.map.is_atomic and isinstance(value, dict):
        members = {
            key: _remaining(kind.member(key) or UNKNOWN, below, at, fields, leading) if at in leading else below
            for key, below in value.items()
            if (at := (*path, f"f:{key}")) not in fields
        }
        return members or None
    if form == LIST and kind.list and kind.list.is_associative and isinstance(value, list):
        items = [
            _remaining(kind.list.element, item, at, fields, leading) if at in leading else item
            for element, item in zip(elements(kind.list, value), value, strict=True)
            if (at := (*path, element)) not in fields
        ]
        return items or None
    return value
