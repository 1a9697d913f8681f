"""Internal. What a namespace says of itself while it goes, and which finalizers and phases it may have.

Pure. Called by ``kontinue_engine.apiserver.controllers.namespaces``, which deletes the content, and by
``preparation`` for writes of the subresources ``finalize`` and ``status``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kontinue_engine.apiserver.schemas.metadata import qualified_name_problem
from kontinue_engine.apiserver.statuses import Cause, cause

_STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_WHEN_WELL: Final = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)
"""Type, reason and message of the conditions of a namespace that nothing keeps, as users of kubectl know them."""


def conditions(
    remaining: Mapping[str, int], finalizers: Mapping[str, int], old: list[dict[str, Any]], *, now: str
) -> list[dict[str, Any]]:
    """Return the conditions of a namespace that terminates.

    Args:
        remaining: objects still there by resource (``configmaps.``, ``executions.kontinue.cloud``).
        finalizers: objects still there by the finalizer that holds them.
        old: its conditions until now; what did not change keeps its time.
        now: time of those that did.
    """
    trouble: dict[str, tuple[str, str]] = {}
    if remaining:
        listed = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(remaining.items()))
        trouble["NamespaceContentRemaining"] = "SomeResourcesRemain", f"Some resources are remaining: {listed}"
    if finalizers:
        listed = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        text = f"Some content in the namespace has finalizers remaining: {listed}"
        trouble["NamespaceFinalizersRemaining"] = "SomeFinalizersRemain", text
    before = {condition.get("type"): condition for condition in old}
    current = []
    for kind, well_reason, well_message in _WHEN_WELL:
        status = "True" if kind in trouble else "False"
        reason, message = trouble.get(kind, (well_reason, well_message))
        was = before.pop(kind, {})
        since = was["lastTransitionTime"] if was.get("status") == status else now
        current.append(
            {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        )
    return [*before.values(), *current]


def problems(document: dict[str, Any], *, subresource: str) -> list[Cause]:
    """Return what is wrong with a namespace that is written through ``finalize`` or ``status``."""
    if subresource == "finalize":
        finalizers = (document.get("spec") or {}).get("finalizers") or []
        return [found for index, name in enumerate(finalizers) if (found := _finalizer_problem(name, index))]
    is_deleting = "deletionTimestamp" in document["metadata"]
    wanted = "Terminating" if is_deleting else "Active"
    phase = (document.get("status") or {}).get("phase", "")
    if phase == wanted:
        return []
    detail = f"may only be '{wanted}' if `deletionTimestamp` is {'not ' if is_deleting else ''}empty"
    return [cause("FieldValueInvalid", "status.Phase", value=phase, detail=detail)]


def _finalizer_problem(name: Any, index: int) -> Cause | None:
    at = f"spec.finalizers[{index}]"
    if not isinstance(name, str):
        return cause("FieldValueTypeInvalid", at, value=name, detail="must be of type string")
    problem = qualified_name_problem(name)
    if not problem and "/" not in name and name not in _STANDARD_FINALIZERS:
        problem = "name is neither a standard finalizer name nor is it fully qualified"
    return cause("FieldValueInvalid", at, value=name, detail=problem) if problem else None
