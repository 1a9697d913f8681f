"""Internal. Who owns the fields of an object, carried along with every write, and applying a configuration.

Objects that nobody ever applied, neither on the server nor by a client (``kubectl apply`` leaves an annotation), have
no managedFields, and writing them costs a few look-ups here. The rules are in
``kontinue_engine.apiserver.apply.ownership``. Called by ``kontinue_engine.apiserver.writing``. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply import managers, ownership, typed_values
from kontinue_engine.apiserver.apply.field_sets import EMPTY, FieldSet, field, text
from kontinue_engine.apiserver.apply.managers import APPLY, UPDATE, InvalidEntriesError, Manager, Owners
from kontinue_engine.apiserver.apply.ownership import ConflictError, Rules
from kontinue_engine.apiserver.apply.types import Type, compile_type
from kontinue_engine.apiserver.builtin import schemas
from kontinue_engine.apiserver.metadata import MAX_ANNOTATIONS_BYTES
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.requests import Target
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.values import json_equal

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
APPLIED: Final = "\0applied"
"""The owner to pass with what ``Tracker.apply`` returned: its managedFields are to be stored as they are."""
BEFORE_FIRST_APPLY: Final = "before-first-apply"
"""Who owns what was there before anybody was asked."""
_KUBECTL: Final = "kubectl"
"""The manager whose server-side apply goes on where its client-side apply left off."""
_NOT_COMPARED: Final = frozenset({"managedFields", "resourceVersion"})
_IGNORED: Final[dict[str, FieldSet]] = {
    "": frozenset({field("status")}),
    "status": frozenset({field("metadata"), field("spec")}),
}


class Tracker:
    """Keeps managedFields up to date.

    Args:
        registry: of the kinds served.
        now: the time as metadata carries it.
    """

    def __init__(self, registry: Registry, *, now: Callable[[], str]) -> None:
        self._registry = registry
        self._now = now
        self._types: dict[str, tuple[ResourceInfo, Type]] = {}

    def track(
        self,
        target: Target,
        current: dict[str, Any] | None,
        given: dict[str, Any],
        result: dict[str, Any],
        owner: str | bytes,
    ) -> dict[str, Any]:
        """Return ``result`` with its managedFields.

        Args:
            target: of the request.
            current: what is stored; None for a create.
            given: what the client sent, which may name managedFields itself.
            result: what is to be stored, without managedFields unless it shares the current metadata.
            owner: the field manager that the client named, or its User-Agent (bytes); or ``APPLIED``.

        Raises:
            StatusError: 400, the client sent managedFields that are none.
        """
        after, before = result["metadata"], {} if current is None else current["metadata"]
        if (
            "managedFields" not in before
            and (current is None or not given["metadata"].get("managedFields"))
            and owner is not APPLIED
            and LAST_APPLIED not in (after.get("annotations") or ())
        ):
            return result
        if owner is APPLIED:
            entries = given["metadata"].get("managedFields") or []
        else:
            entries = managers.encode(self._updated(target, current, given, result, owner))
        kept = before.get("managedFields") or []
        if _differ_in_times(kept, entries) and current is not None and _is_same(current, result):
            entries = kept  # a write that changes nothing must not change times either
        metadata = {key: value for key, value in after.items() if key != "managedFields"}
        if entries:
            metadata["managedFields"] = entries
        return {**result, "metadata": metadata}

    def apply(
        self, target: Target, live: dict[str, Any] | None, config: dict[str, Any], manager: str, *, force: bool
    ) -> dict[str, Any]:
        """Return the object after ``config`` was applied over ``live``, with its managedFields.

        Raises:
            StatusError: 400, 409 or 422, it cannot be applied.
        """
        resource = target.resource
        rules = self._rules(target)
        _check(target, config, rules.kind(), live)
        base = live or {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        if live is None and "resourceVersion" in config["metadata"]:  # of an object that is gone: says nothing here
            config = {**config, "metadata": {k: v for k, v in config["metadata"].items() if k != "resourceVersion"}}
        base, owners = _without_entries(base)
        if live is not None and not owners:
            owners = _first_owners(rules, base, target)
        who = Manager.of(manager, APPLY, resource.api_version, target.subresource)
        try:
            applied, owners = ownership.apply(rules, base, config, owners, who, force=force)
        except ConflictError as error:
            left = [] if manager != _KUBECTL else _beyond_last_applied(rules, base, error.conflicts)
            if manager != _KUBECTL or left:
                raise _conflict(left or error.conflicts) from error
            applied, owners = ownership.apply(rules, base, config, owners, who, force=True)
        if resource.custom:
            _refuse_nulls(target, rules.kind(), applied)
        if manager == _KUBECTL:
            applied = _with_last_applied(applied, config)
        return {**applied, "metadata": {**applied["metadata"], "managedFields": managers.encode(owners)}}

    def _updated(
        self,
        target: Target,
        current: dict[str, Any] | None,
        given: dict[str, Any],
        result: dict[str, Any],
        owner: str | bytes,
    ) -> Owners:
        rules = self._rules(target)
        name = managers.name_of_user_agent(owner) if isinstance(owner, bytes) else owner
        who = Manager.of(name, UPDATE, target.resource.api_version, target.subresource)
        after, _ = _without_entries(result)
        if current is None:
            return ownership.update(rules, {}, after, {}, who)
        before, owners = _without_entries(current)
        sent = None if target.subresource else given["metadata"].get("managedFields")
        if sent is not None:
            _check_entries(sent)
            is_reset = sent == [{}] or (not sent and not target.resource.custom)
            if is_reset:
                return {}
            owners = _decoded(sent) or owners
        if not owners:
            # Only what kubectl applied on the client's side is tracked from then on.
            if LAST_APPLIED not in (result["metadata"].get("annotations") or ()) or sent:
                return {}
            owners = _first_owners(rules, before, target)
        return ownership.update(rules, before, after, owners, who)

    def _rules(self, target: Target) -> Rules:
        resource = target.resource

        def type_of(version: str) -> Type | None:
            if version == resource.api_version:
                return self._type(resource)
            group, _, name = version.rpartition("/")
            found = self._registry.find(group, name, resource.plural) if group == resource.group else None
            return self._type(found) if found else None

        is_split = "status" in resource.subresources
        ignored = _IGNORED.get(target.subresource, EMPTY) if is_split else EMPTY
        return Rules(version=resource.api_version, type_of=type_of, ignored=ignored, now=self._now())

    def _type(self, resource: ResourceInfo) -> Type:
        key = resource.api_version + resource.kind
        known = self._types.get(key)
        if known is not None and known[0] is resource:
            return known[1]
        compiled = compile_type(resource.schema) if resource.custom else _built_in_type(resource)
        self._types[key] = (resource, compiled)
        return compiled


def _built_in_type(resource: ResourceInfo) -> Type:
    kind = (resource.group, resource.version, resource.kind)
    found = schemas.schemas_of([kind])
    named = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    for schema in found.values():
        if named in schema.get("x-kubernetes-group-version-kind", ()):
            return compile_type(schema, found)
    return compile_type({})


def _check(target: Target, config: dict[str, Any], kind: Type, live: dict[str, Any] | None) -> None:
    metadata = config["metadata"]
    if metadata.get("managedFields") is not None:
        raise statuses.bad_request("metadata.managedFields must be nil")
    if live is None and not metadata.get("name"):
        raise statuses.bad_request(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
    if live is None and metadata["name"] != target.name:
        raise statuses.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
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


def _refuse_nulls(target: Target, kind: Type, applied: dict[str, Any]) -> None:
    """Refuse nulls, which other writes may send for what they leave out."""
    causes = [
        statuses.cause("FieldValueTypeInvalid", at, value="null", detail=f"{at} in body must not be null")
        for key in applied.keys() - {"metadata"}
        for path in typed_values.nulls(kind, {key: applied[key]})
        if (at := text(path).removeprefix("."))
    ]
    if causes:
        raise statuses.invalid(target.resource, target.name, causes)


def _without_entries(document: dict[str, Any]) -> tuple[dict[str, Any], Owners]:
    metadata = document["metadata"]
    if "managedFields" not in metadata:
        return document, {}
    rest = {key: value for key, value in metadata.items() if key != "managedFields"}
    return {**document, "metadata": rest}, _decoded(metadata["managedFields"])


def _decoded(entries: Any) -> Owners:
    try:
        return managers.decode(entries)
    except InvalidEntriesError:
        return {}  # as in kube-apiserver: what cannot be read was never said


def _check_entries(entries: Any) -> None:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise statuses.bad_request("metadata.managedFields must be an array of objects")


def _first_owners(rules: Rules, live: dict[str, Any], target: Target) -> Owners:
    nothing = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": {}}
    who = Manager.of(BEFORE_FIRST_APPLY, UPDATE, rules.version, target.subresource)
    return ownership.update(rules, nothing, live, {}, who)


def _differ_in_times(kept: list[dict[str, Any]], entries: list[dict[str, Any]]) -> bool:
    if kept == entries or len(kept) != len(entries):
        return False
    return all({**entry, "time": ""} == {**before, "time": ""} for before, entry in zip(kept, entries, strict=True))


def _is_same(current: dict[str, Any], result: dict[str, Any]) -> bool:
    before, after = (
        {**document, "metadata": {k: v for k, v in document["metadata"].items() if k not in _NOT_COMPARED}}
        for document in (current, result)
    )
    return json_equal(before, after)


def _conflict(conflicts: list[tuple[Manager, tuple[str, ...]]]) -> statuses.StatusError:
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


def _beyond_last_applied(
    rules: Rules, live: dict[str, Any], conflicts: list[tuple[Manager, tuple[str, ...]]]
) -> list[tuple[Manager, tuple[str, ...]]]:
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


def _with_last_applied(applied: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
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
