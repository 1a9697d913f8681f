"""Internal. Where client-side apply of kubectl and server-side apply meet: the last-applied annotation.

kubectl's server-side apply goes on where its client-side apply left off: it meets no conflict about what it applied
itself and nobody changed since, and the annotation is kept up to date for clients that still read it. Called by
``kontinue_engine.apiserver.apply.tracking``. No I/O.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from kontinue_engine.apiserver.apply import typed_values
from kontinue_engine.apiserver.apply.field_sets import Path
from kontinue_engine.apiserver.apply.managers import Manager
from kontinue_engine.apiserver.apply.ownership import Rules
from kontinue_engine.apiserver.schemas.metadata import MAX_ANNOTATIONS_BYTES

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL: Final = "kubectl"
"""The manager that all this is for."""


def beyond_last_applied(
    rules: Rules, live: dict[str, Any], conflicts: list[tuple[Manager, Path]]
) -> list[tuple[Manager, Path]]:
    """Return the conflicts that are not about what kubectl itself applied on the client's side, and nobody changed."""
    try:
        last = orjson.loads((live["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "null")
    except orjson.JSONDecodeError:
        return conflicts
    kind = rules.kind()
    if not isinstance(last, dict) or last.get("apiVersion") != rules.version or any(typed_values.problems(kind, last)):
        return conflicts
    changes = typed_values.compare(kind, last, live)
    own = typed_values.field_set(kind, last) - changes.modified - changes.added - changes.removed
    return [(manager, path) for manager, path in conflicts if path not in own]


def with_last_applied(applied: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return ``applied`` with the annotation telling of ``config``, if it has the annotation at all."""
    annotations = applied["metadata"].get("annotations")
    if not isinstance(annotations, dict) or not annotations.get(LAST_APPLIED):
        return applied
    given = config["metadata"]
    if LAST_APPLIED in (given.get("annotations") or ()):
        given = {**given, "annotations": {k: v for k, v in given["annotations"].items() if k != LAST_APPLIED}}
    said = orjson.dumps({**config, "metadata": given}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    updated = {**annotations, LAST_APPLIED: said}
    size_bytes = sum(len(key.encode()) + len(str(value).encode()) for key, value in updated.items())
    if size_bytes > MAX_ANNOTATIONS_BYTES:
        del updated[LAST_APPLIED]
    return {**applied, "metadata": {**applied["metadata"], "annotations": updated}}
