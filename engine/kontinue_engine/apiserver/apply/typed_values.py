"""Internal. Which fields a value has, which changed between two values, and whether a value fits its type.

Walks plain JSON along a ``Type``. Fields are leaves: scalars, values owned as a whole, and what is empty; an item of a
list is a field of its own beside those within it. Merging is in ``kontinue_engine.apiserver.apply.merging``. Called by
``kontinue_engine.apiserver.apply.ownership``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kontinue_engine.apiserver.apply import field_sets
from kontinue_engine.apiserver.apply.field_sets import FieldSet, Path
from kontinue_engine.apiserver.apply.types import LIST, MAP, UNKNOWN, ListType, Type
from kontinue_engine.apiserver.values import json_equal, type_name

_SCALAR_NAMES: Final[dict[type, str]] = {bool: "boolean", float: "number", str: "string"}
ABSENT: Final = object()
"""Stands for a member or item that is not there; null is a value."""


class Changes(NamedTuple):
    """Fields that differ between two values."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    def without(self, roots: FieldSet) -> Changes:
        """Return the changes outside of ``roots``."""
        return Changes(*(field_sets.without_subtrees(fields, roots) for fields in self)) if roots else self


def field_set(kind: Type, value: Any) -> FieldSet:
    """Return the fields that ``value`` has."""
    found: set[Path] = set()
    _collect(kind, value, (), found)
    found.discard(())
    return frozenset(found)


def compare(kind: Type, old: Any, new: Any) -> Changes:
    """Return what changed from ``old`` to ``new``."""
    changes: tuple[set[Path], set[Path], set[Path]] = (set(), set(), set())
    _compare(kind, old, new, (), changes)
    return Changes(*(frozenset(paths - {()}) for paths in changes))


def problems(kind: Type, value: Any, path: Path = ()) -> Iterator[str]:
    """Yield why ``value`` does not fit; nulls always do."""
    if value is None:
        return
    form = kind.form(value)
    if form == MAP and isinstance(value, dict):
        for key, below in value.items():
            member = kind.member(key)
            at = (*path, f"f:{key}")
            if member is None:
                yield f"{field_sets.text(at)}: field not declared in schema"
            else:
                yield from problems(member, below, at)
    elif form == LIST and kind.list and isinstance(value, list):
        yield from _item_problems(kind.list, value, path)
    elif type(value) not in kind.scalars:
        yield f"{field_sets.text(path)}: expected {_expected(kind)}, got {type_name(value)}"


def nulls(kind: Type, value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the fields that are null where the schema allows none."""
    if value is None:
        if not kind.allows_null:
            yield path
    elif isinstance(value, dict) and kind.map:
        for key, below in value.items():
            yield from nulls(kind.member(key) or UNKNOWN, below, (*path, f"f:{key}"))
    elif isinstance(value, list) and kind.list:
        for index, item in enumerate(value):
            yield from nulls(kind.list.element, item, (*path, f"i:{index}"))


def elements(kind: ListType, items: list[Any]) -> list[str]:
    """Return what identifies each item; its place, where the item has no identity."""
    return [_element(kind, item) or f"i:{index}" for index, item in enumerate(items)]


def repeated_elements(found: list[str]) -> set[str]:
    """Return what stands there more than once, and so identifies nothing."""
    if len(set(found)) == len(found):
        return set()
    return {element for element, count in Counter(found).items() if count > 1}


def _element(kind: ListType, item: Any) -> str | None:
    if not kind.keys:
        return None if item is None or isinstance(item, dict | list) else field_sets.value_element(item)
    if not isinstance(item, dict):
        return None
    keys = {key: item.get(key, kind.defaults.get(key)) for key in kind.keys if key in item or key in kind.defaults}
    return field_sets.key_element(keys) if keys else None


def _item_problems(kind: ListType, items: list[Any], path: Path) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        element: str | None = f"i:{index}"
        if kind.is_associative:
            element = _element(kind, item)
            if element is None:
                needed = f"one of {', '.join(kind.keys)}" if kind.keys else "scalars as items"
                yield f"{field_sets.text(path)}: element {index}: the list needs {needed}"
                continue
            if element in seen:
                yield f"{field_sets.text(path)}: duplicate entries for key {field_sets.text((element,))}"
            seen.add(element)
        yield from problems(kind.element, item, (*path, element or ""))


def _expected(kind: Type) -> str:
    fitting = ["object"] if kind.map else []
    fitting += ["array"] if kind.list else []
    return " or ".join([*fitting, *(_SCALAR_NAMES[scalar] for scalar in kind.scalars if scalar is not int)])


def _collect(kind: Type, value: Any, path: Path, found: set[Path]) -> None:
    form = kind.form(value)
    if form == MAP and kind.map:
        if kind.map.is_atomic:
            found.add(path)
        elif isinstance(value, dict):
            for key, below in value.items():
                at = (*path, f"f:{key}")
                _collect(kind.member(key) or UNKNOWN, below, at, found)
                if below is None or below == {} or key not in kind.map.fields:
                    found.add(at)
    elif form == LIST and kind.list:
        if not kind.list.is_associative:
            found.add(path)
        elif isinstance(value, list):
            _collect_items(kind.list, value, path, found)
    else:
        found.add(path)


def _collect_items(kind: ListType, items: list[Any], path: Path, found: set[Path]) -> None:
    identities = elements(kind, items)
    repeated = repeated_elements(identities)
    for element, item in zip(identities, items, strict=True):
        found.add((*path, element))
        if element not in repeated:
            _collect(kind.element, item, (*path, element), found)


def _compare(kind: Type, old: Any, new: Any, path: Path, changes: tuple[set[Path], set[Path], set[Path]]) -> None:
    if old is new:
        return  # what a patch did not touch is shared
    forms = {kind.form(value) for value in (old, new) if value is not ABSENT}
    if len(forms) > 1:  # the value became one of another form: what was within is gone, what is within is new
        _compare_as(kind, kind.form(old), old, ABSENT, path, changes)
        _compare_as(kind, kind.form(new), ABSENT, new, path, changes)
        for paths in (changes[0], changes[2]):
            paths.discard(path)
        changes[1].add(path)
        return
    _compare_as(kind, forms.pop(), old, new, path, changes)


def _compare_as(
    kind: Type, form: str, old: Any, new: Any, path: Path, changes: tuple[set[Path], set[Path], set[Path]]
) -> None:
    was, now = (value if isinstance(value, dict) else {} for value in (old, new))
    items, new_items = (value if isinstance(value, list) else [] for value in (old, new))
    if form == MAP and kind.map and not kind.map.is_atomic and (was or now):
        _compare_members(kind, was, now, path, changes)
    elif form == LIST and kind.list and kind.list.is_associative and (items or new_items):
        _compare_items(kind.list, items, new_items, path, changes)
    elif old is not ABSENT and new is not ABSENT and not json_equal(old, new):
        changes[1].add(path)
    if old is ABSENT:
        changes[0].add(path)
    elif new is ABSENT:
        changes[2].add(path)


def _compare_members(
    kind: Type, old: dict[str, Any], new: dict[str, Any], path: Path, changes: tuple[set[Path], set[Path], set[Path]]
) -> None:
    for key in {**old, **new}:
        member = kind.member(key) or UNKNOWN
        _compare(member, old.get(key, ABSENT), new.get(key, ABSENT), (*path, f"f:{key}"), changes)


def _compare_items(
    kind: ListType, old: list[Any], new: list[Any], path: Path, changes: tuple[set[Path], set[Path], set[Path]]
) -> None:
    was, now = _by_element(kind, old), _by_element(kind, new)
    for element in {**was, **now}:
        before, after = was.get(element, []), now.get(element, [])
        at = (*path, element)
        if len(before) <= 1 and len(after) <= 1:
            _compare(kind.element, before[0] if before else ABSENT, after[0] if after else ABSENT, at, changes)
        elif not json_equal(before, after):  # repeated items have no identity of their own: they are one field
            changes[1 if before and after else 0 if after else 2].add(at)


def _by_element(kind: ListType, items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for element, item in zip(elements(kind, items), items, strict=True):
        found.setdefault(element, []).append(item)
    return found
