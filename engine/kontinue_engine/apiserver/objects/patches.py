"""Internal. JSON patch (RFC 6902) and merge patch (RFC 7386) on plain JSON values.

Both return a new document and leave the given one alone: changed containers are copied, the rest is shared.
Called by the handlers inside the compare-and-swap loop, so cost counts. As in kube-apiserver, ``test`` and ``copy``
take an absent member for null, ``replace`` adds one, and a value left out is null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.values import MAX_BODY_BYTES, json_equal

MAX_OPERATIONS: Final = 10_000
"""As in kube-apiserver."""
MAX_COPIED_BYTES: Final = MAX_BODY_BYTES
"""What ``copy`` may add in all, as in kube-apiserver: copies of copies double."""

_INDEX: Final = re.compile(r"[-+]?[0-9]{1,10}", re.ASCII)
_Node = TypeVar("_Node", dict[str, Any], list[Any])
_KINDS: Final = frozenset({"add", "copy", "move", "remove", "replace", "test"})
_NEEDS_PLACE: Final = frozenset({"add", "copy", "move", "remove"})
_NEEDS_FROM: Final = frozenset({"move", "copy"})
_ABSENT: Final = object()


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """Return ``document`` changed by a merge patch: null removes, objects merge, anything else replaces.

    Raises:
        StatusError: 400, the patch is nested too deeply.
    """
    try:
        return _merged(document, patch)
    except RecursionError:
        raise statuses.bad_request("merge patch is nested too deeply") from None


def _merged(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key), value)
        else:
            merged[key] = value
    return merged


def apply_json_patch(document: Any, operations: Any) -> Any:
    """Return ``document`` changed by all ``operations``, or by none.

    Raises:
        StatusError: 400 when this is no array, 413 when it has too many operations or copies too much,
            422 when an operation is malformed or cannot be applied, or a ``test`` fails.
    """
    if operations is None:
        return document
    if not isinstance(operations, list):
        raise statuses.bad_request("json patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        raise statuses.too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    try:
        return _applied(document, operations)
    except RecursionError:
        raise statuses.bad_request("the document is nested too deeply for a JSON patch") from None


def _applied(document: Any, operations: list[Any]) -> Any:
    copied_bytes = 0
    ours: dict[int, Any] = {}
    for number, operation in enumerate(operations):
        kind, path, source = _checked(operation, number)
        value = operation.get("value")
        if kind == "test":
            found = _read(document, path)
            if not json_equal(None if found is _ABSENT else found, value):
                raise statuses.unprocessable_patch(f"testing value {operation['path']} failed")
            continue
        if kind in _NEEDS_FROM:
            value = _read(document, source)
            if value is _ABSENT:
                if kind == "move":
                    raise _missing(kind, operation["from"])
                value = None
            if kind == "copy":
                encoded = _encoded(value)
                copied_bytes += len(encoded)
                if copied_bytes > MAX_COPIED_BYTES:
                    raise statuses.too_large(f"a JSON patch may copy at most {MAX_COPIED_BYTES} bytes")
                value = orjson.loads(encoded)  # two places must not share what a later operation changes
            elif path[: len(source)] == source and len(path) > len(source):
                raise statuses.unprocessable_patch(f"move of {operation['from']} into itself")
            else:
                document = _changed(document, source, "remove", None, ours)
            kind = "add"
        document = _changed(document, path, kind, value, ours)
    return document


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise statuses.bad_request(f"a copied value cannot be encoded: {error}") from error


def parse_pointer(text: str) -> tuple[str, ...]:
    """Split a JSON pointer into its unescaped keys.

    Raises:
        StatusError: 422, it does not start with ``/``.
    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise statuses.unprocessable_patch(f"JSON pointer {text!r} must start with /")
    if "~" not in text:
        return tuple(text[1:].split("/"))
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in text[1:].split("/"))


def _checked(operation: Any, number: int) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    if operation is None:
        operation = {}
    if not isinstance(operation, dict):
        raise statuses.bad_request(f"json patch operation {number} must be an object")
    kind, path, source = operation.get("op", ""), operation.get("path"), operation.get("from", "")
    if not isinstance(kind, str) or not isinstance(path, str | None) or not isinstance(source, str):
        raise statuses.bad_request(f"json patch operation {number}: op, path and from must be strings")
    if kind not in _KINDS:
        raise statuses.unprocessable_patch(f"Unexpected kind: {kind}")
    if path is None:
        raise statuses.unprocessable_patch(f"json patch operation {number}: {kind} needs path")
    if kind in _NEEDS_FROM and not source:
        raise statuses.unprocessable_patch(f"json patch operation {number}: {kind} needs from")
    if not path and kind in _NEEDS_PLACE:
        raise statuses.unprocessable_patch(f"json patch operation {number}: {kind} needs a path inside the object")
    return kind, parse_pointer(path), parse_pointer(source)


def _read(document: Any, path: Sequence[str]) -> Any:
    """Return the value at ``path``; ``_ABSENT`` when only its last key is missing.

    Raises:
        StatusError: 422, the path runs through something that does not exist.
    """
    for depth, key in enumerate(path):
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif isinstance(document, list) and (index := _index(key, len(document))) is not None:
            document = document[index]
        elif depth == len(path) - 1 and isinstance(document, dict):
            return _ABSENT
        else:
            raise _missing("read", "/" + "/".join(path))
    return document


def _changed(node: Any, path: Sequence[str], kind: str, value: Any, ours: dict[int, Any]) -> Any:
    """Return ``node`` with one add, replace or remove done.

    What lies on the path is copied once in a patch and then changed in place (``ours`` by id): ten thousand operations
    on a large object must not copy it ten thousand times. Everything else is shared with the document as it was.
    """
    if not path:
        return None if kind == "remove" else value
    key, rest = path[0], path[1:]
    if isinstance(node, dict):
        return _changed_object(node, key, rest, kind, value, ours)
    if isinstance(node, list):
        return _changed_array(node, key, rest, kind, value, ours)
    raise _missing(kind, key)


def _changed_object(
    node: dict[str, Any], key: str, rest: Sequence[str], kind: str, value: Any, ours: dict[int, Any]
) -> dict[str, Any]:
    if key not in node and (rest or kind == "remove"):
        raise _missing(kind, key)
    own = _own(node, ours)
    if rest:
        own[key] = _changed(node[key], rest, kind, value, ours)
    elif kind == "remove":
        del own[key]
    else:
        own[key] = value
    return own


def _changed_array(
    node: list[Any], key: str, rest: Sequence[str], kind: str, value: Any, ours: dict[int, Any]
) -> list[Any]:
    is_add = kind == "add" and not rest
    length = len(node) + 1 if is_add else len(node)
    index = len(node) if is_add and key == "-" else _index(key, length)
    if index is None:
        raise _missing(kind, key)
    own = _own(node, ours)
    if rest:
        own[index] = _changed(node[index], rest, kind, value, ours)
    elif is_add:
        own.insert(index, value)
    elif kind == "remove":
        del own[index]
    else:
        own[index] = value
    return own


def _own(node: _Node, ours: dict[int, Any]) -> _Node:
    if id(node) in ours:
        return node
    copied = node.copy()
    ours[id(copied)] = copied
    return copied


def _index(key: str, length: int) -> int | None:
    """Return the index that ``key`` says, counted from the end when it is negative; None when there is no such."""
    index = int(key) if _INDEX.fullmatch(key) else length
    return None if index >= length or index < -length else index % length


def _missing(kind: str, key: str) -> statuses.StatusError:
    return statuses.unprocessable_patch(f"{kind} operation does not apply: no such key or index: {key}")
