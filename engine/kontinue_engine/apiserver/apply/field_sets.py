"""Internal. Sets of fields of an object: what ``fieldsV1`` of managedFields holds.

A field is the path to it, a tuple of elements as FieldsV1 spells them: ``f:NAME`` a member, ``k:{"type":"Ready"}`` an
item of a list by its keys, ``v:VALUE`` an item of a set, ``i:N`` an item by its place. So a set of fields is a plain
frozenset, and union, intersection and difference are the language's. A field does not contain those below it:
``("f:spec",)`` and ``("f:spec", "f:retry")`` are two fields. Called by the other modules of this package.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from kontinue_engine.apiserver.values import whole_number

Path = tuple[str, ...]
FieldSet = frozenset[Path]

EMPTY: Final[FieldSet] = frozenset()
_ITSELF: Final = "."
_KINDS: Final = frozenset({"f", "k", "v", "i"})


class FieldSetError(ValueError):
    """Something is no FieldsV1."""


def field(*names: str) -> Path:
    """Return the path to a member of objects within objects."""
    return tuple(f"f:{name}" for name in names)


def key_element(keys: dict[str, Any]) -> str:
    """Return the element of a list's item that ``keys`` identify."""
    return f"k:{_canonical(keys)}"


def value_element(value: Any) -> str:
    """Return the element of a set's item."""
    return f"v:{_canonical(value)}"


def parse(fields: Any) -> FieldSet:
    """Read FieldsV1.

    Raises:
        FieldSetError: it is none.
    """
    found: set[Path] = set()
    try:
        _collect(fields, (), found)
    except RecursionError as error:
        raise FieldSetError("fieldsV1 is nested too deeply") from error
    return frozenset(found)


def dump(fields: FieldSet) -> dict[str, Any]:
    """Return FieldsV1 of ``fields``; equal sets give equal JSON."""
    root: dict[str, Any] = {}
    for path in sorted(fields):
        _node(root, path)
    for path in fields & prefixes(fields):
        _node(root, path)[_ITSELF] = {}
    return root


def text(path: Path) -> str:
    """Return ``path`` as people read it in conflicts: ``.status.conditions[type="Ready"].status``."""
    return "".join(map(_element_text, path))


def without_subtrees(fields: FieldSet, roots: Iterable[Path]) -> FieldSet:
    """Return ``fields`` without ``roots`` and whatever is below them."""
    cut = tuple(roots)
    if not cut:
        return fields
    return frozenset(path for path in fields if not any(path[: len(root)] == root for root in cut))


def prefixes(fields: Iterable[Path]) -> FieldSet:
    """Return the paths that lead to ``fields``, themselves not included."""
    return frozenset(path[:length] for path in fields for length in range(1, len(path)))


def _collect(fields: Any, above: Path, found: set[Path]) -> None:
    if not isinstance(fields, dict):
        raise FieldSetError(f"fieldsV1 must consist of objects, not {fields!r}")
    for key, below in fields.items():
        if key == _ITSELF:
            found.add(above)
            continue
        element = _checked_element(key)
        if element is None:
            continue
        path = (*above, element)
        if below:
            _collect(below, path, found)
        else:
            found.add(path)


def _checked_element(key: str) -> str | None:
    """Return an element in the one form that we compare; None for kinds that we do not know, as upstream."""
    kind, colon, content = key.partition(":")
    if not colon:
        raise FieldSetError(f"missing colon: {key}")
    if kind in {"k", "v"}:
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise FieldSetError(f"{key} holds no JSON: {error}") from error
        if kind == "k" and not isinstance(value, dict):
            raise FieldSetError(f"{key} holds no object")
        try:
            return f"{kind}:{_canonical(value)}"
        except TypeError as error:  # orjson reads deeper than it writes
            raise FieldSetError(f"{kind}: {error}") from error
    if kind == "i" and not content.removeprefix("-").isdecimal():
        raise FieldSetError(f"{key} holds no index")
    return key if kind in _KINDS else None


def _canonical(value: Any) -> str:
    """Return JSON that is the same for what Kubernetes takes for equal: 1 and 1.0."""
    if isinstance(value, dict):
        value = {key: whole_number(below) for key, below in value.items()}
    return orjson.dumps(whole_number(value), option=orjson.OPT_SORT_KEYS).decode()


def _node(root: dict[str, Any], path: Path) -> dict[str, Any]:
    node = root
    for element in path:
        node = node.setdefault(element, {})
    return node


def _element_text(element: str) -> str:
    kind, _, content = element.partition(":")
    match kind:
        case "f":
            return f".{content}"
        case "k":
            keys = orjson.loads(content)
            return f"[{','.join(f'{key}={_canonical(value)}' for key, value in keys.items())}]"
        case "v":
            return f"[={content}]"
        case _:
            return f"[{content}]"
