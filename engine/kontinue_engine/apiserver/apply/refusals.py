"""Internal. Why a configuration cannot be applied, or managedFields not be stored, as kube-apiserver words it.

Called by ``kontinue_engine.apiserver.apply.tracking``. What the object must be like after the apply is judged like any
other write. No I/O.
"""

from __future__ import annotations

from typing import Any

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply import typed_values
from kontinue_engine.apiserver.apply.field_sets import Path, text
from kontinue_engine.apiserver.apply.managers import Manager
from kontinue_engine.apiserver.apply.types import Type
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.schemas.metadata import check_name


def check_configuration(target: Target, config: dict[str, Any], kind: Type, live: dict[str, Any] | None) -> None:
    """Refuse a configuration that is not of the object of the path, or has no place in its schema.

    Raises:
        StatusError: 400, 409 or 422.
    """
    metadata = config["metadata"]
    if metadata.get("managedFields") is not None:
        raise statuses.bad_request("metadata.managedFields must be nil")
    if live is None:
        check_name(metadata, target.name)
    uid = metadata.get("uid")
    if uid and live is None:
        problem = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise statuses.conflict(target.resource, target.name, problem)
    if uid and live and uid != live["metadata"]["uid"]:
        cause = statuses.cause("FieldValueInvalid", "metadata.uid", value=uid, detail="field is immutable")
        raise statuses.invalid(target.resource, target.name, [cause])
    if found := list(typed_values.problems(kind, config)):
        listed = found[0] if len(found) == 1 else "errors:\n  " + "\n  ".join(found)
        named = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        shown = f"{named}; {target.resource.api_version}, Kind={target.resource.kind}"
        # kube-apiserver answers 500, but what was sent is at fault.
        raise statuses.bad_request(f"failed to create typed patch object ({shown}): {listed}")


def refuse_nulls(target: Target, kind: Type, applied: dict[str, Any]) -> None:
    """Refuse nulls, which other writes may send for what they leave out.

    Raises:
        StatusError: 422, there are some.
    """
    causes = [
        statuses.cause("FieldValueTypeInvalid", at, value="null", detail=f"{at} in body must not be null")
        for key in applied.keys() - {"metadata"}
        for path in typed_values.nulls(kind, {key: applied[key]})
        if (at := text(path).removeprefix("."))
    ]
    if causes:
        raise statuses.invalid(target.resource, target.name, causes)


def check_entries(entries: Any) -> None:
    """Refuse managedFields that are no list of entries.

    Raises:
        StatusError: 400.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise statuses.bad_request("metadata.managedFields must be an array of objects")


def conflict(conflicts: list[tuple[Manager, Path]]) -> statuses.StatusError:
    """409: the configuration would change what others own."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": text(path)}
        for manager, path in conflicts
    ]
    if len(conflicts) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines: list[str] = []
        for manager in dict.fromkeys(manager for manager, _ in conflicts):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {text(path)}" for other, path in conflicts if other == manager]
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return statuses.StatusError(409, "Conflict", message, details={"causes": causes})
