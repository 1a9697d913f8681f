"""Internal. Who owns the fields of an object, carried along with every write, and applying a configuration.

Objects that nobody ever applied, neither on the server nor by a client (``kubectl apply`` leaves an annotation), have
no managedFields, and writing them costs a few look-ups here. The rules are in
``kontinue_engine.apiserver.apply.ownership``. Called by ``kontinue_engine.apiserver.objects.writing``. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kontinue_engine.apiserver.apply import client_side, managers, ownership, refusals
from kontinue_engine.apiserver.apply.field_sets import EMPTY, FieldSet, field
from kontinue_engine.apiserver.apply.managers import APPLY, UPDATE, InvalidEntriesError, Manager, Owners
from kontinue_engine.apiserver.apply.ownership import ConflictError, Rules
from kontinue_engine.apiserver.apply.types import Type, compile_type
from kontinue_engine.apiserver.builtin import schemas
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.values import json_equal

APPLIED: Final = "\0applied"
"""The owner to pass with what ``Tracker.apply`` returned: its managedFields are to be stored as they are."""
BEFORE_FIRST_APPLY: Final = "before-first-apply"
"""Who owns what was there before anybody was asked."""
_NOT_COMPARED: Final = frozenset({"managedFields", "resourceVersion"})
_NOTHING: Final[dict[str, Any]] = {}
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
        after, before = result["metadata"], _NOTHING if current is None else current["metadata"]
        if (
            "managedFields" not in before
            and (current is None or not given["metadata"].get("managedFields"))
            and owner is not APPLIED
            and client_side.LAST_APPLIED not in (after.get("annotations") or ())
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
        refusals.check_configuration(target, config, rules.kind(), live)
        base = live or {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        if live is None and "resourceVersion" in config["metadata"]:  # of an object that is gone: says nothing here
            config = {**config, "metadata": {k: v for k, v in config["metadata"].items() if k != "resourceVersion"}}
        owners = _decoded(base["metadata"].get("managedFields") or [])
        base = _without_entries(base)
        if live is not None and not owners:
            owners = _first_owners(rules, base, target)
        who = Manager.of(manager, APPLY, resource.api_version, target.subresource)
        try:
            applied, owners = ownership.apply(rules, base, config, owners, who, force=force)
        except ConflictError as error:
            left = error.conflicts
            if manager == client_side.KUBECTL:
                left = client_side.beyond_last_applied(rules, base, left)
            if left:
                raise refusals.conflict(left) from error
            applied, owners = ownership.apply(rules, base, config, owners, who, force=True)
        if resource.custom:
            refusals.refuse_nulls(target, rules.kind(), applied)
        if manager == client_side.KUBECTL:
            applied = client_side.with_last_applied(applied, config)
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
        after = _without_entries(result)
        if current is None:
            return ownership.update(rules, {}, after, {}, who)
        before, owners = _without_entries(current), _decoded(current["metadata"].get("managedFields") or [])
        sent = None if target.subresource else given["metadata"].get("managedFields")
        if sent is not None:
            refusals.check_entries(sent)
            is_reset = sent == [{}] or (not sent and not target.resource.custom)
            if is_reset:
                return {}
            owners = _decoded(sent) or owners
        if not owners:
            # Only what kubectl applied on the client's side is tracked from then on.
            if client_side.LAST_APPLIED not in (result["metadata"].get("annotations") or ()) or sent:
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


def _without_entries(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document["metadata"]
    if "managedFields" not in metadata:
        return document
    return {**document, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _decoded(entries: Any) -> Owners:
    try:
        return managers.decode(entries)
    except InvalidEntriesError:
        return {}  # as in kube-apiserver: what cannot be read was never said


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
