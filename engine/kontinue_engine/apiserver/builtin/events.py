"""Internal. Events in the form of ``events.k8s.io/v1``: the core group's objects with other names for fields. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

_NEW_NAMES: Final = {
    "count": "deprecatedCount",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "involvedObject": "regarding",
    "lastTimestamp": "deprecatedLastTimestamp",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
}
_OLD_NAMES: Final = {new: old for old, new in _NEW_NAMES.items()}

FIELD_ALIASES: Final = {
    "reportingController": "reportingComponent",
    **{
        f"regarding.{field}": f"involvedObject.{field}"
        for field in ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid")
    },
}
"""Names of selectable fields, to those of Events as they are stored."""


def to_new(data: bytes) -> bytes:
    """Return the JSON of a stored Event as events.k8s.io shows it."""
    event: dict[str, Any] = {_NEW_NAMES.get(key, key): value for key, value in orjson.loads(data).items()}
    event["apiVersion"] = "events.k8s.io/v1"
    for key in ("reportingController", "reportingInstance"):
        if not event.get(key):
            event.pop(key, None)
    return orjson.dumps(event)


def to_core(event: dict[str, Any]) -> dict[str, Any]:
    """Return an Event of events.k8s.io in the form that is stored."""
    core = {_OLD_NAMES.get(key, key): value for key, value in event.items()}
    core["apiVersion"] = "v1"
    core.setdefault("involvedObject", {})
    core.setdefault("source", {})
    for key in ("reportingComponent", "reportingInstance"):
        core.setdefault(key, "")
    return core
